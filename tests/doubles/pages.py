r"""
A small web server on loopback, for whatever fetches pages: metrics of engines and exporters, trees of BMCs.

    with pages.serve({"/metrics": Page("up 1\n")}) as server:
        server.url                                          # http://127.0.0.1:PORT
        server.put("/metrics", Page("up 0\n", delay_s=1))   # from now on
        server.asked("/metrics")                            # how often it was asked for

It speaks real HTTP/1.1 over a real socket, with connections that are kept, one thread for each.
"""

import base64
import ipaddress
import ssl
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import SHUT_RDWR, socket
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CLASSIC = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
JSON = "application/json; charset=utf-8"

FOREVER_S = 3600.0
"""As a page's delay: it hangs until the server is closed."""


@dataclass(frozen=True)
class Page:
    """A reply, and how it is sent."""

    body: str | bytes = b""
    status: int = 200
    content_type: str = CLASSIC
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    """Before the first byte."""
    drip_bytes_per_s: float | None = None
    """The body a piece at a time, ten pieces a second; None: at once."""
    drip_head: bool = False
    """Status line and headers drip as well."""
    framing: Literal["length", "chunked", "close"] = "length"
    """How the client learns where the body ends."""
    cut_at: int | None = None
    """The connection breaks after this many bytes of the body."""
    hangs_up: bool = False
    """The connection is closed after this page without a word in its headers."""
    drops: bool = False
    """The connection is closed instead of a reply."""
    raw: bytes | None = None
    """Sent instead of all that."""


@dataclass(frozen=True)
class Request:
    """What was asked for."""

    method: str
    path: str
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes


Answer = Callable[[Request], Page]


@dataclass(frozen=True)
class Certificate:
    """A server's certificate for 127.0.0.1, signed by itself: `ca_file` is what a client must trust."""

    ca_file: Path
    key_file: Path


class Server:
    """
    A running server. Its pages may be changed at any time; *answer*, where given, is asked instead of them.

    It takes a port of the system's choice where *port* is 0.
    """

    def __init__(
        self,
        pages: Mapping[str, Page] | None = None,
        *,
        answer: Answer | None = None,
        tls: Certificate | None = None,
        authorization: str = "",
        port: int = 0,
    ) -> None:
        self.pages = dict(pages or {})
        self.requests: list[Request] = []
        self.connections = 0
        self.authorization = authorization
        """The Authorization header that every request must carry; else 401."""
        self.closing = threading.Event()
        self.faults: list[BaseException] = []
        self._answer = answer
        self._http = _Http(self, tls, port)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._http.server_port}"

    def put(self, path: str, page: Page) -> None:
        """Serve *page* at *path* from now on."""
        self.pages[path] = page

    def asked(self, path: str) -> int:
        """Return how often *path* was asked for, query included, refused requests too."""
        return sum(request.path == path for request in self.requests)

    def reply(self, request: Request) -> Page:
        """Return the answer to *request*."""
        if self.authorization and request.headers.get("authorization") != self.authorization:
            return Page("who are you?\n", status=401)
        if self._answer is not None:
            return self._answer(request)
        return self.pages.get(request.path, Page("no such page\n", status=404))

    def start(self) -> None:
        """Begin to serve."""
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), name="pages")
        self._thread.start()

    def close(self) -> None:
        """Break every connection, wait until every thread has ended, raise what went wrong inside."""
        self.closing.set()
        self._http.shutdown()
        self._thread.join()
        self._http.hang_up()
        self._http.server_close()
        if self.faults:
            raise self.faults[0]


@contextmanager
def serve(
    pages: Mapping[str, Page] | None = None,
    *,
    answer: Answer | None = None,
    tls: Certificate | None = None,
    authorization: str = "",
) -> Iterator[Server]:
    """Serve *pages* by path, or whatever *answer* says, on a port of the system's choice until the block ends."""
    server = Server(pages, answer=answer, tls=tls, authorization=authorization)
    server.start()
    try:
        yield server
    finally:
        server.close()


def basic(user: str, password: str) -> str:
    """Return the Authorization header of *user*."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def certificate(folder: Path) -> Certificate:
    """Return a new certificate, written to *folder*."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    signed = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2099, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    written = Certificate(folder / "server.crt", folder / "server.key")
    written.ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    written.key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return written


class _Http(ThreadingHTTPServer):
    """The socket and its threads, all of which `server_close` waits for."""

    daemon_threads = False

    def __init__(self, owner: Server, tls: Certificate | None, port: int) -> None:
        self.owner = owner
        self._tls: ssl.SSLContext | None = None
        self._open: set[socket] = set()
        self._lock = threading.Lock()
        if tls is not None:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(tls.ca_file, tls.key_file)
        super().__init__(("127.0.0.1", port), _Handler)

    def get_request(self) -> tuple[socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:  # the handshake happens in the connection's own thread, with its first read
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._lock:
            self._open.add(connection)
            self.owner.connections += 1
        return connection, address

    def close_request(self, request: object) -> None:
        assert isinstance(request, socket)
        with self._lock:
            self._open.discard(request)
        super().close_request(request)

    def hang_up(self) -> None:
        """Break what is still open, so that its thread ends."""
        with self._lock:
            for connection in self._open:
                _break(connection)

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - the library calls it
        error = sys.exc_info()[1]
        if error is not None and not isinstance(error, OSError):  # a client that goes away is no fault of ours
            self.owner.faults.append(error)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every second small page of a connection waits 40 ms for an acknowledgement
    server: _Http

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""

    def _serve(self) -> None:
        owner = self.server.owner
        length = int(self.headers.get("Content-Length", "0"))
        headers = {name.lower(): text for name, text in self.headers.items()}
        request = Request(self.command, self.path, headers, self.rfile.read(length))
        owner.requests.append(request)
        page = owner.reply(request)
        owner.closing.wait(page.delay_s)
        if owner.closing.is_set() or page.drops:
            self.close_connection = True
            return
        self._send(page)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = _serve  # noqa: N815 - the library calls them by these names

    def _send(self, page: Page) -> None:
        body = page.body.encode() if isinstance(page.body, str) else page.body
        head, sent = _framed(page, body) if page.raw is None else (page.raw, b"")
        if page.drip_head:
            head, sent = b"", head + sent
        self.wfile.write(head)
        self._drip(sent, page.drip_bytes_per_s)
        ends = page.hangs_up or page.framing == "close" or page.cut_at is not None or page.raw is not None
        self.close_connection = ends or self.close_connection

    def _drip(self, data: bytes, bytes_per_s: float | None) -> None:
        if bytes_per_s is None:
            self.wfile.write(data)
            return
        step = max(1, round(bytes_per_s / 10))
        for start in range(0, len(data), step):
            self.wfile.write(data[start : start + step])
            if self.server.owner.closing.wait(step / bytes_per_s):
                return


def _framed(page: Page, body: bytes) -> tuple[bytes, bytes]:
    """Return status line and headers, and the body as it travels."""
    headers = {"Content-Type": page.content_type, **page.headers}
    sent = body[: page.cut_at]
    match page.framing:
        case "length":
            headers["Content-Length"] = str(len(body))
        case "chunked":
            headers["Transfer-Encoding"] = "chunked"
            sent = b"%x\r\n%b" % (len(body), sent) + (b"\r\n0\r\n\r\n" if page.cut_at is None else b"")
        case "close":
            headers["Connection"] = "close"
    lines = [f"HTTP/1.1 {page.status} {HTTPStatus(page.status).phrase}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1"), sent


def _break(connection: socket) -> None:
    try:
        connection.shutdown(SHUT_RDWR)
    except OSError:
        return  # the client was quicker
