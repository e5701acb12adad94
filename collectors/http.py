"""
Pages fetched from a device or an engine beside us: one connection kept open, a bound on time and on size.

The deadline holds for the whole page, from connecting to the last byte, status line and headers included: a server that
sends a byte a second does not get around it. (A name that must be looked up takes as long as the resolver lets it.)
"""

import base64
import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import SplitResult, urlsplit

from collectors import SourceError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAX_BYTES = 8 << 20
"""An engine's page with every histogram of eight replicas is 0.3 MB; what is larger than this is no metrics page."""
CHUNK = 1 << 16
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
CLOSED_MEANWHILE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError)
"""What a request over a kept connection meets when the server has closed it since the page before."""


class Page(NamedTuple):
    """A reply."""

    status: int
    content_type: str
    body: bytes
    headers: Mapping[str, str] = NO_HEADERS
    """Names in lower case."""


class Endpoint:
    """One base URL; called by one thread at a time."""

    def __init__(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 2.0,
        max_bytes: int = MAX_BYTES,
        ca_file: str = "",
        verify: bool = True,
    ) -> None:
        """Raise `SourceError` for what is no http(s) URL; connect to nothing yet."""
        parts = _parsed(url)
        self.url = url
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        tls = _tls(ca_file, verify=verify) if parts.scheme == "https" else None
        self._connection = _Connection(parts.hostname or "", parts.port or (80 if tls is None else 443), tls)

    def get(self, path: str = "") -> Page:
        """
        Return the page at *path* (empty: the URL's own); raise `SourceError` if it is late, too big or not there.

        A kept connection that the server has closed meanwhile is opened again once. An HTTP error status is a page.
        """
        return self.request("GET", path)

    def request(self, method: str, path: str = "", body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS) -> Page:
        """
        Ask as `get` does, by another method, with a body, with *headers* on top of the endpoint's own.

        What is no GET goes out once, over a connection opened for it: over a kept one that breaks, nobody could tell
        whether the server had acted already.
        """
        if method != "GET":
            self.close()
        kept = self._connection.sock is not None
        deadline = time.monotonic() + self._timeout_s
        sent = (method, path or self._target, body, {**self._headers, **headers})
        try:
            try:
                return self._ask(*sent, deadline)
            except CLOSED_MEANWHILE:
                if not kept:
                    raise
                self.close()
                return self._ask(*sent, deadline)
        except SourceError:
            self.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SourceError(f"{self.url}: {self._reason(error)}") from error

    def close(self) -> None:
        """Close the connection; the next page opens another."""
        self._connection.close()

    def _ask(self, method: str, target: str, body: bytes, headers: Mapping[str, str], deadline: float) -> Page:
        connection = self._connection
        if connection.sock is None:
            connection.open(deadline)
        connection.sock.settimeout(_left(deadline))
        connection.request(method, target, body=body or None, headers=headers)
        connection.sock.settimeout(_left(deadline))
        with connection.getresponse() as reply:
            received = bytearray()
            while chunk := reply.read1(CHUNK):
                received += chunk
                if len(received) > self._max_bytes:
                    raise SourceError(f"{self.url}: the page is larger than {self._max_bytes} bytes")
            if reply.length:  # read1 is silent about a body that ends before its Content-Length
                raise http.client.IncompleteRead(bytes(received), reply.length)
            named = {name.lower(): text for name, text in reply.getheaders()}
        return Page(reply.status, named.get("content-type", ""), bytes(received), named)

    def _reason(self, error: Exception) -> str:
        match error:
            case TimeoutError():
                return f"no whole page within {self._timeout_s:g} s"
            case ssl.SSLCertVerificationError():
                return f"{error.verify_message}; name the file of the CA that signed it in ca_file"
            case OSError(strerror=str(reason)):
                return reason
            case _:
                return str(error) or type(error).__name__


class _Until(io.RawIOBase):
    """A socket's bytes until a deadline, however many waits they take: the timeout of a socket is that of one wait."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw = raw
        self._sock = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Reply(http.client.HTTPResponse):
    """A reply that is whole, head and body, within the timeout its socket has when it begins."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        deadline = time.monotonic() + (sock.gettimeout() or 0)
        self.fp = io.BufferedReader(_Until(self.fp.detach(), sock, deadline))


class _Connection(http.client.HTTPConnection):
    """A connection that may be TLS; opened by `open` only."""

    response_class = _Reply
    auto_open = 0

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None) -> None:
        super().__init__(host, port)
        self._tls = tls

    def open(self, deadline: float) -> None:
        """Connect, and shake hands where it is TLS."""
        self.timeout = _left(deadline)
        self.connect()
        if self._tls is not None:
            self.sock.settimeout(_left(deadline))
            self.sock = self._tls.wrap_socket(self.sock, server_hostname=self.host)


def _parsed(url: str) -> SplitResult:
    shown = "(not shown: it holds an @)" if "@" in url else repr(url)
    try:
        parts = urlsplit(url)
        if parts.username is not None:
            raise SourceError("a URL is shown in messages: no user or password in it")
        if parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0:
            return parts
    except ValueError as error:  # a port that is no number, half an IPv6 address
        raise SourceError(f"not a URL: {shown}; write http://HOST:PORT/path") from error
    raise SourceError(f"not a URL: {shown}; write http://HOST:PORT/path")


def _left(deadline: float) -> float:
    """Return the seconds until *deadline*; raise `TimeoutError` if there are none."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _tls(ca_file: str, *, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SourceError(f"cannot read the CA file {ca_file}: {error.strerror or error}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def basic(user: str, password: str) -> str:
    """Return the Authorization header of *user* (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode("ascii")
