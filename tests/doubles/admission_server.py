"""
What an inference engine, or the router in front of it, says of how many requests it takes at once, and lets be set.

    GET /admission                                     {"limit": 64, "running": 40}; limit null: as many as come
    PUT /admission  {"limit": 20}                      200 with the new document; null lifts it

401 without the right bearer token where one is set, 400 on anything but a whole number from 0 or null. A limit admits
no more; what runs ends by itself, so the reply to a PUT still shows it and the next GET no longer does.

    with admission_server.serving(limit=64, running=40) as engine:       # in this process
        engine.url; engine.limit; engine.puts
        engine.ignores = True                                            # it says yes and does nothing

    with admission_server.process(limit=64, token="t") as engine:        # as a process of its own
        engine.restart()                                                 # the limit is forgotten, the URL stays

    PYTHONPATH=tests python -m doubles.admission_server --limit 64 --running 40
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from doubles import pages
from doubles.pages import Page, Request, Server

PATH = "/admission"
TESTS = Path(__file__).parents[1]


@dataclass
class Admission:
    """One engine. Everything may be changed while it serves."""

    limit: int | None = None
    running: int = 0
    token: str = ""
    delay_s: float = 0.0
    """Of every reply."""
    fails: frozenset[str] = frozenset()
    """Methods that are answered with 500."""
    ignores: bool = False
    """It says yes to a PUT, shows the limit that was asked for, and keeps the old one."""
    url: str = ""
    """Where it serves, the path included."""
    puts: list[int | None] = field(default_factory=list)
    """Limits that it has taken, in order."""
    asked: list[str] = field(default_factory=list)
    """Methods of all requests, refused ones too."""

    def __post_init__(self) -> None:
        self._first = self.limit
        self.demand = self.running
        """How many would run if nothing limited them."""

    def restart(self) -> None:
        """Forget the limit, as an engine does that starts anew."""
        self.limit = self._first
        self._settle()

    def answer(self, request: Request) -> Page:
        """Return the reply."""
        self.asked.append(request.method)
        if request.path != PATH:
            return self._page(404, {"error": "not found"})
        if self.token and request.headers.get("authorization", "") != f"Bearer {self.token}":
            return self._page(401, {"error": "unauthorized"})
        if request.method in self.fails:
            return self._page(500, {"error": "internal server error"})
        match request.method:
            case "GET":
                self._settle()
                return self._page(200, self._document(self.limit))
            case "PUT":
                return self._put(request.body)
        return self._page(405, {"error": "method not allowed"})

    def _put(self, body: bytes) -> Page:
        try:
            limit = _limit(body)
        except ValueError as error:
            return self._page(400, {"error": str(error)})
        if not self.ignores:
            self.limit = limit
            self.puts.append(limit)
        return self._page(200, self._document(limit))

    def _settle(self) -> None:
        self.running = self.demand if self.limit is None else min(self.demand, self.limit)

    def _document(self, limit: int | None) -> dict[str, int | None]:
        return {"limit": limit, "running": self.running}

    def _page(self, status: int, document: object) -> Page:
        return Page(json.dumps(document), status=status, content_type=pages.JSON, delay_s=self.delay_s)


def _limit(body: bytes) -> int | None:
    """Return the limit that a PUT asks for; raise `ValueError` on nonsense."""
    document = json.loads(body)
    if not isinstance(document, dict) or document.keys() != {"limit"}:
        raise ValueError('want {"limit": N} or {"limit": null}')
    limit = document["limit"]
    if limit is None or (isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0):
        return limit
    raise ValueError(f"limit must be null or a whole number from 0, not {limit!r}")


@contextmanager
def serving(
    *, limit: int | None = None, running: int = 0, token: str = "", port: int = 0, delay_s: float = 0.0
) -> Iterator[Admission]:
    """Serve an engine from this process until the block ends."""
    engine = Admission(limit, running, token, delay_s)
    server = Server(answer=engine.answer, port=port)
    engine.url = f"{server.url}{PATH}"
    server.start()
    try:
        yield engine
    finally:
        server.close()


class Process:
    """An engine as a process of its own, started with the words of its command line."""

    def __init__(self, *words: str) -> None:
        self._words = words
        self.url = ""
        self._start("--port", "0")

    def kill(self) -> None:
        """Kill it with -9: nobody serves at its URL."""
        self._process.kill()
        self._end()

    def restart(self) -> None:
        """Start it anew at the same URL, after `kill` or instead of it: what was set is forgotten."""
        if self._process.poll() is None:
            self.kill()
        self._start("--port", self.url.rpartition(":")[2].partition("/")[0])

    def stop(self) -> None:
        """Close its standard input and wait until it has ended."""
        if self._process.poll() is None:
            assert self._process.stdin is not None
            self._process.stdin.close()
        self._end()

    def _start(self, *words: str) -> None:
        line = [sys.executable, "-m", "doubles.admission_server", *self._words, *words]
        self._process = subprocess.Popen(line, cwd=TESTS, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the engine has ended before it served"

    def _end(self) -> None:
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


@contextmanager
def process(
    *, limit: int | None = None, running: int = 0, token: str = "", delay_s: float = 0.0, words: Sequence[str] = ()
) -> Iterator[Process]:
    """Run an engine as a process until the block ends; *words* are further options of its command line."""
    options = [] if limit is None else ["--limit", str(limit)]
    engine = Process(*options, "--running", str(running), "--token", token, "--delay-s", str(delay_s), *words)
    try:
        yield engine
    finally:
        engine.stop()


def main(words: Sequence[str] | None = None) -> None:
    """Serve as the command line says, until standard input ends."""
    parser = argparse.ArgumentParser(description="an engine's admission endpoint")
    parser.add_argument("--limit", type=int, help="from the start; else unlimited")
    parser.add_argument("--running", type=int, default=0, help="requests, where nothing limits them")
    parser.add_argument("--token", default="")
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--fail", default="", help="methods that are answered with 500, such as GET,PUT")
    parser.add_argument("--ignore", action="store_true", help="say yes to a PUT and do nothing")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args(words)
    with serving(
        limit=options.limit, running=options.running, token=options.token, port=options.port, delay_s=options.delay_s
    ) as engine:
        engine.fails = frozenset(filter(None, options.fail.split(",")))
        engine.ignores = options.ignore
        sys.stdout.write(f"{engine.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
