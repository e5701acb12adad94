"""
A process's pages over HTTP, in a thread of their own: a scrape never holds up the work.

    GET  /metrics    Prometheus text, OpenMetrics if asked for
    GET  /healthz    200 while the process need not be killed
    GET  /readyz     200 while it does its work; 503 and the reasons otherwise
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

TIMEOUT_S = 10.0
"""A client that neither speaks nor listens for so long is left."""


class Pages:
    """What is served; every function may be called by any thread."""

    def __init__(
        self, metrics: MetricSource, health: Callable[[], list[str]], readiness: Callable[[], list[str]]
    ) -> None:
        """Take what yields metrics, and what says why not healthy or ready (nothing: it is)."""
        self.registry = CollectorRegistry()
        self.registry.register(metrics)
        self.health = health
        self.readiness = readiness


class Server(ThreadingHTTPServer):
    """The pages at one address."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], pages: Pages, handler: type["Handler"]) -> None:
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self.pages = pages
        super().__init__(address, handler)

    def close(self) -> None:
        """Serve nobody any more; return once the port is free."""
        self.shutdown()
        self.server_close()


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
            self.reply(200, content_type, encode(pages.registry))
        elif path == "/healthz":
            self._say(pages.health())
        elif path == "/readyz":
            self._say(pages.readiness())
        else:
            self.reply(404, "text/plain", b"have /metrics, /healthz and /readyz\n")

    def _say(self, reasons: list[str]) -> None:
        body = json.dumps({"ok": not reasons, "reasons": reasons}).encode() + b"\n"
        self.reply(503 if reasons else 200, "application/json", body)

    def reply(self, status: int, content_type: str, body: bytes) -> None:
        """Send one whole answer."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Keep scrapes out of the log."""


def start(listen: str, pages: Pages, setting: str, handler: type[Handler] = Handler) -> Server:
    """
    Serve *pages* at *listen* (HOST:PORT, port 0: a free one) until the process ends or `Server.close`.

    Raise `ConfigError` where that is no address, `EnvironmentProblem`, which names *setting*, where it is taken.
    """
    host, _, port = listen.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigError(f"listen {listen!r} is not HOST:PORT, as in 127.0.0.1:9465")
    try:
        server = Server((host.strip("[]"), int(port)), pages, handler)
    except (OSError, OverflowError) as error:
        raise EnvironmentProblem(f"cannot listen on {listen}: {error}; choose another {setting}") from error
    threading.Thread(target=server.serve_forever, name="pages", daemon=True).start()
    return server
