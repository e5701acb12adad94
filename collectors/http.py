"""
Pages fetched from a device or an engine beside us: one connection kept open, a bound on time and on size.

The deadline holds for the whole page: a server that sends a byte a second does not get around it.
"""

import http.client
import ssl
import time
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import urlsplit

from collectors import SourceError

MAX_BYTES = 8 << 20
"""An engine's page with every histogram of eight replicas is 0.3 MB; what is larger than this is no metrics page."""
CHUNK = 1 << 16


class Page(NamedTuple):
    """A reply."""

    status: int
    content_type: str
    body: bytes


class Endpoint:
    """One base URL; `get` is called by one thread at a time."""

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
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise SourceError(f"not a URL: {url!r}; write http://HOST:PORT/path")
        self.url = url
        self._parts = parts
        self._headers = dict(headers or {})
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._tls = _tls(ca_file, verify=verify) if parts.scheme == "https" else None
        self._connection: http.client.HTTPConnection | None = None

    def get(self, path: str = "") -> Page:
        """
        Return the page at *path* (empty: the URL's own); raise `SourceError` if it is late, too big or not there.

        A kept connection that the server has closed meanwhile is opened again once.
        """
        target = path or (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        reused = self._connection is not None
        deadline = time.monotonic() + self._timeout_s
        try:
            try:
                return self._ask(target, deadline)
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                if not reused:
                    raise
                self.close()
                return self._ask(target, deadline)
        except SourceError:
            self.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise SourceError(f"{self.url}: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Close the connection; the next `get` opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, target: str, deadline: float) -> Page:
        connection = self._connection = self._connection or self._connect()
        connection.timeout = self._left(deadline)
        if connection.sock is not None:
            connection.sock.settimeout(connection.timeout)
        connection.request("GET", target, headers=self._headers)
        reply = connection.getresponse()
        body = bytearray()
        while chunk := reply.read1(CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise SourceError(f"{self.url}: the page is larger than {self._max_bytes} bytes")
            if connection.sock is not None:  # None once the server has said that this reply is the last
                connection.sock.settimeout(self._left(deadline))
            elif time.monotonic() > deadline:
                self._left(deadline)
        return Page(reply.status, reply.headers.get("Content-Type", ""), bytes(body))

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._tls is None:
            return http.client.HTTPConnection(host, port, timeout=self._timeout_s)
        return http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)

    def _left(self, deadline: float) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise SourceError(f"{self.url}: no whole page within {self._timeout_s:g} s")
        return left


def _tls(ca_file: str, *, verify: bool) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=ca_file or None)
    except OSError as error:
        raise SourceError(f"cannot read the CA file {ca_file}: {error.strerror}") from error
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
