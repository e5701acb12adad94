"""
The collector's pages, in a thread of their own: a scrape never holds up a tick.

    GET  /metrics         Prometheus text, OpenMetrics if asked for
    GET  /healthz         200 while ticks are tried: the process need not be killed
    GET  /readyz          200 while a source answers and Kafka acknowledges; 503 and the reason otherwise
    PUT  /tokens/NAME     token counters that a job pushes, as NAME.prom in the tokens folder has them; if allowed
"""

import json
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector as MetricSource

from pipeline.errors import ConfigError, EnvironmentProblem

MAX_PUSHED_BYTES = 1 << 20
TIMEOUT_S = 10.0
"""A client that neither speaks nor listens for so long is left."""


class Pages:
    """What is served; every function may be called by any thread."""

    def __init__(
        self,
        metrics: MetricSource,
        health: Callable[[], list[str]],
        readiness: Callable[[], list[str]],
        push: Callable[[str, str], None] | None,
    ) -> None:
        """Take what yields metrics, what says why not healthy or ready (nothing: it is), and what takes tokens."""
        self.registry = CollectorRegistry()
        self.registry.register(metrics)
        self.health = health
        self.readiness = readiness
        self.push = push


class Server(ThreadingHTTPServer):
    """The pages at one address."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages = pages
        super().__init__(address, Handler)


def start(listen: str, pages: Pages) -> Server:
    """Serve *pages* at *listen* (HOST:PORT, port 0: a free one) until the process ends or `shutdown` is called."""
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"listen {listen!r} is not HOST:PORT, as in 127.0.0.1:9465")
    try:
        server = Server((host.strip("[]"), int(port)), pages)
    except (OSError, OverflowError) as error:
        raise EnvironmentProblem(f"cannot listen on {listen}: {error}; choose another [collector] listen") from error
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server


class Handler(BaseHTTPRequestHandler):
    """One client."""

    server: Server
    timeout = TIMEOUT_S
    protocol_version = "HTTP/1.1"
    server_version = "firmwatt"

    def do_GET(self) -> None:
        """Answer with a page."""
        pages = self.server.pages
        path = self.path.partition("?")[0]
        if path == "/metrics":
            encode, content_type = choose_encoder(self.headers.get("Accept", ""))
            self._reply(200, content_type, encode(pages.registry))
        elif path == "/healthz":
            self._say(pages.health())
        elif path == "/readyz":
            self._say(pages.readiness())
        else:
            self._reply(404, "text/plain", b"have /metrics, /healthz and /readyz\n")

    def do_PUT(self) -> None:
        """Take a job's token counters."""
        push = self.server.pages.push
        folder, _, name = self.path.removeprefix("/").partition("/")
        length = self.headers.get("Content-Length", "")
        self.close_connection = True  # what is refused is not read
        if folder != "tokens" or not name:
            self._reply(404, "text/plain", b"have /tokens/NAME\n")
        elif push is None:
            self._reply(403, "text/plain", b"set [collector] push = true to take tokens here\n")
        elif not length.isdigit() or int(length) > MAX_PUSHED_BYTES:
            self._reply(413, "text/plain", b"at most 1 MiB, with a Content-Length\n")
        else:
            self._push(push, name, self.rfile.read(int(length)))

    def _push(self, push: Callable[[str, str], None], name: str, body: bytes) -> None:
        try:
            push(name, body.decode())
        except ValueError as error:
            self._reply(400, "text/plain", f"{error}\n".encode())
        else:
            self._reply(204, "text/plain", b"")

    def _say(self, reasons: list[str]) -> None:
        body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
        self._reply(503 if reasons else 200, "application/json", body)

    def _reply(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep scrapes out of the log."""
