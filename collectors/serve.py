"""
The collector's pages: those of every process (`pipeline.pages`), and one that takes what jobs push.

    PUT  /tokens/NAME     token counters, as NAME.prom in the tokens folder has them; if allowed
"""

from collections.abc import Callable

from prometheus_client.registry import Collector as MetricSource

from pipeline import pages

MAX_PUSHED_BYTES = 1 << 20


class Pages(pages.Pages):
    """What is served; every function may be called by any thread."""

    def __init__(
        self,
        metrics: MetricSource,
        health: Callable[[], list[str]],
        readiness: Callable[[], list[str]],
        push: Callable[[str, str], None] | None,
    ) -> None:
        """Take what the pages say, and what takes tokens; None: nobody does."""
        super().__init__(metrics, health, readiness)
        self.push = push


def start(listen: str, served: Pages) -> pages.Server:
    """Serve at *listen* until the process ends or the server is closed; errors as `pipeline.pages.start` has them."""
    return pages.start(listen, served, "[collector] listen", Handler)


class Handler(pages.Handler):
    """One client."""

    def do_PUT(self) -> None:  # noqa: N802 - http.server calls it by this name
        """Take a job's token counters."""
        served = self.server.pages
        push = served.push if isinstance(served, Pages) else None
        folder, _, name = self.path.removeprefix("/").partition("/")
        length = self.headers.get("Content-Length", "")
        self.close_connection = True  # what is refused is not read
        if folder != "tokens" or not name:
            self.reply(404, "text/plain", b"have /tokens/NAME\n")
        elif push is None:
            self.reply(403, "text/plain", b"set [collector] push = true to take tokens here\n")
        elif not length.isdigit() or int(length) > MAX_PUSHED_BYTES:
            self.reply(413, "text/plain", b"at most 1 MiB, with a Content-Length\n")
        else:
            self._push(push, name, self.rfile.read(int(length)))

    def _push(self, push: Callable[[str, str], None], name: str, body: bytes) -> None:
        try:
            push(name, body.decode())
        except ValueError as error:
            self.reply(400, "text/plain", f"{error}\n".encode())
        else:
            self.reply(204, "text/plain", b"")
