"""JSON documents of an engine's control endpoint, over HTTP with a bearer token."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from collectors import SourceError
from collectors.http import Endpoint, Page
from collectors.levers import LeverError
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.messages.control import Trouble
from pipeline.settings import Positive, Section

T = TypeVar("T")

SHOWN = 200
"""Characters of a reply that an error shows."""
TROUBLES: Mapping[int, Trouble] = {
    HTTPStatus.BAD_REQUEST: Trouble.OUT_OF_RANGE,
    HTTPStatus.UNPROCESSABLE_ENTITY: Trouble.OUT_OF_RANGE,
    HTTPStatus.UNAUTHORIZED: Trouble.NO_PERMISSION,
    HTTPStatus.FORBIDDEN: Trouble.NO_PERMISSION,
    HTTPStatus.NOT_FOUND: Trouble.LOST,
    HTTPStatus.METHOD_NOT_ALLOWED: Trouble.NOT_SUPPORTED,
    HTTPStatus.NOT_IMPLEMENTED: Trouble.NOT_SUPPORTED,
}


class Server(Section, frozen=True, kw_only=True):
    """What every HTTP endpoint's options hold."""

    url: str
    token_file: str = ""
    """File of a bearer token, mode 0600; empty: none is sent."""
    ca_file: str = ""
    verify: bool = True
    timeout_s: Positive = 2.0
    """For a whole reply, seconds of the machine."""


class Pages:
    """One server; called by one thread at a time."""

    def __init__(self, server: Server, url: str = "") -> None:
        """Raise `ConfigError` for a bad URL or a token that cannot be read; connect to nothing yet."""
        self._server = server
        self._headers()
        try:
            self._endpoint = Endpoint(
                url or server.url, timeout_s=server.timeout_s, ca_file=server.ca_file, verify=server.verify
            )
        except SourceError as error:
            raise ConfigError(str(error)) from error

    def get(self, kind: type[T], path: str = "") -> T:
        """Return the document at *path* (empty: the URL's own); raise `LeverError` if it is not one of *kind*."""
        return self._decoded(self._asked("GET", path), kind)

    def find(self, kind: type[T], path: str) -> T | None:
        """Return the document at *path*, None where there is none."""
        page = self._asked("GET", path, lost=HTTPStatus.NOT_FOUND)
        return None if page.status == HTTPStatus.NOT_FOUND else self._decoded(page, kind)

    def send(self, method: str, document: Any, path: str = "") -> bytes:
        """Send *document* and return the reply to it; raise `LeverError` if it was not taken."""
        return self._asked(method, path, msgspec.json.encode(document)).body

    def decode(self, body: bytes, kind: type[T]) -> T:
        """Return a reply as *kind*; raise `LeverError` if it is none."""
        try:
            return msgspec.json.decode(body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise LeverError(f"{self._server.url} answered something else: {error}") from error

    def close(self) -> None:
        """Close the connection."""
        self._endpoint.close()

    def _decoded(self, page: Page, kind: type[T]) -> T:
        return self.decode(page.body, kind)

    def _asked(self, method: str, path: str, body: bytes = b"", lost: int = 0) -> Page:
        try:
            page = self._endpoint.request(method, path, body, self._headers())
        except SourceError as error:
            late = isinstance(error.__cause__, TimeoutError)
            raise LeverError(str(error), Trouble.HANGS if late else Trouble.FAILED) from error
        except ConfigError as error:  # the token's file has changed since
            raise LeverError(str(error)) from error
        if page.status not in {HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT, lost}:
            said = " ".join(page.body.decode(errors="replace").split())[:SHOWN]
            trouble = TROUBLES.get(page.status, Trouble.FAILED)
            raise LeverError(f"{self._server.url}{path} answered {page.status} {said}".rstrip(), trouble)
        return page

    def _headers(self) -> dict[str, str]:
        """Return headers with the token, read anew: it may have been changed since."""
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._server.token_file:
            headers["Authorization"] = f"Bearer {secret_files.read(self._server.token_file).reveal()}"
        return headers
