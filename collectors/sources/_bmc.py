"""
A BMC asked by Redfish: one session, opened when it is needed and deleted when it is not; replies as typed resources.

A BMC has room for few clients (four at once on GB200; an iDRAC answers 503 RAC0218 until sessions time out) and locks
accounts that are refused too often: a login that failed is not repeated with every reading.

Source: DMTF DSP0266 (Redfish Specification), "Redfish session login authentication" and "HTTP basic authentication".
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any, NamedTuple, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from collectors import SourceError
from collectors.http import NO_HEADERS, Endpoint, Page, basic
from pipeline import secret_files
from pipeline.errors import ConfigError

T = TypeVar("T", bound=msgspec.Struct)

SESSIONS = "/redfish/v1/SessionService/Sessions"
TOKEN = "X-Auth-Token"  # noqa: S105 - a header's name
SHOWN = 160
"""Characters of a BMC's own explanation that an error shows."""

AFTER_REFUSAL = timedelta(minutes=10)
"""A refused password is not tried again for so long: a BMC locks the account or the address after a few."""
AFTER_FAILURE = timedelta(minutes=1)
"""A login that got lost may have left a session behind."""
REFUSED = {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}
DONE = {HTTPStatus.OK, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT}
"""What a change is answered with, ACCEPTED when a task does it later (DSP0266, "PATCH", "Asynchronous operations")."""
NO_SESSIONS = {HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED}


class _Message(msgspec.Struct, rename="pascal"):
    message: str = ""


class _Explanation(msgspec.Struct):
    message: str = ""
    extended: tuple[_Message, ...] = msgspec.field(name="@Message.ExtendedInfo", default=())


class _Error(msgspec.Struct):
    """The body of an error reply (DSP0266, "Error responses")."""

    error: _Explanation


class BmcError(SourceError):
    """The BMC answered, and not with what was asked for."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class _Tagged(msgspec.Struct):
    """What every resource may say of its version (DSP0266, "ETags")."""

    etag: str = msgspec.field(name="@odata.etag", default="")


class _Wait(NamedTuple):
    """Why there is no login before *until*."""

    until: datetime
    reason: str
    status: int


class Bmc:
    """One BMC; called by one thread at a time."""

    def __init__(self, endpoint: Endpoint, user: str, password_file: str) -> None:
        """*user* empty: this BMC asks for none."""
        self.url = endpoint.url
        self._endpoint = endpoint
        self._user = user
        self._password_file = password_file
        self._credentials = NO_HEADERS
        self._session = ""
        self._wait: _Wait | None = None

    def get(self, path: str, kind: type[T], now: datetime) -> T | None:
        """
        Return the resource at *path*, None where there is none; raise `SourceError` for everything else.

        A session that the BMC has ended meanwhile is opened again, once.
        """
        page = self._page(path, now)
        return None if page is None else self._decoded(page, path, kind)

    def versioned(self, path: str, kind: type[T], now: datetime) -> tuple[T | None, str]:
        """Return the resource at *path* as `get` does, and its ETag, empty where the BMC gives none."""
        page = self._page(path, now)
        if page is None:
            return None, ""
        found = self._decoded(page, path, kind)
        return found, page.headers.get("etag") or self._decoded(page, path, _Tagged).etag

    def patch(self, path: str, change: Mapping[str, Any], etag: str, now: datetime) -> None:
        """
        Change the resource at *path*, only if it still is the one of *etag* where one is given.

        Raise `BmcError` with the BMC's status and words when it does not, `SourceError` when it cannot be asked. A
        change it has accepted may take effect later.
        """
        headers = {"Content-Type": "application/json"} | ({"If-Match": etag} if etag else {})
        page = self._answer("PATCH", path, now, msgspec.json.encode(change), headers)
        if page.status not in DONE:
            raise BmcError(f"{self.url}: {path}: {_explained(page)}", page.status)

    def close(self) -> None:
        """Delete the session and close the connection; a session that cannot be deleted ends by its own timeout."""
        session, credentials = self._session, self._credentials
        self._credentials, self._session = NO_HEADERS, ""
        try:
            if session:
                self._endpoint.request("DELETE", session, headers=credentials)
        except SourceError:
            return
        finally:
            self._endpoint.close()

    def _page(self, path: str, now: datetime) -> Page | None:
        page = self._answer("GET", path, now)
        if page.status == HTTPStatus.NOT_FOUND:
            return None
        if page.status != HTTPStatus.OK:
            raise BmcError(f"{self.url}: {path}: {_explained(page)}", page.status)
        return page

    def _decoded(self, page: Page, path: str, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(page.body, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise SourceError(f"{self.url}: {path} is not what Redfish says it is: {error}") from error

    def _answer(
        self, method: str, path: str, now: datetime, body: bytes = b"", headers: Mapping[str, str] = NO_HEADERS
    ) -> Page:
        """Return the reply to a request that carries our login; raise `SourceError` where the BMC wants another."""
        if self._user and not self._credentials:
            self._log_in(now)
        page = self._endpoint.request(method, path, body, {**self._credentials, **headers})
        if page.status == HTTPStatus.UNAUTHORIZED and TOKEN in self._credentials:
            self.close()  # it may be there still, and would be one of few (bb-Ricardo/check_redfish#198)
            self._log_in(now)
            page = self._endpoint.request(method, path, body, {**self._credentials, **headers})
        if page.status == HTTPStatus.UNAUTHORIZED:
            self.close()
            deed = "read" if method == "GET" else "change anything"
            reason = (
                f"does not let {self._user} {deed}" if self._user else "asks for a user: set user and password_file"
            )
            self._refuse(now, AFTER_REFUSAL, f"{self.url} {reason}", page.status)
        return page

    def _log_in(self, now: datetime) -> None:
        """Open a session; where the BMC has none, send user and password with every request."""
        if (wait := self._wait) is not None and now < wait.until:
            raise BmcError(f"{wait.reason}; not tried again before {wait.until:%H:%M:%S} UTC", wait.status)
        self._credentials, self._session = NO_HEADERS, ""
        password = self._password()
        body = msgspec.json.encode({"UserName": self._user, "Password": password})
        try:
            reply = self._endpoint.request("POST", SESSIONS, body, {"Content-Type": "application/json"})
        except SourceError as error:
            self._refuse(now, AFTER_FAILURE, str(error))
        if reply.status in NO_SESSIONS:
            self._credentials = {"Authorization": basic(self._user, password)}
            return
        why = _explained(reply).replace(password, "…")
        if reply.status in REFUSED:
            reason = f"{self.url} refuses user {self._user} and the password in {self._password_file}: {why}"
            self._refuse(now, AFTER_REFUSAL, reason, reply.status)
        if not (token := reply.headers.get(TOKEN.lower(), "")):
            self._refuse(now, AFTER_FAILURE, f"{self.url} opens no session: {why}", reply.status)
        self._credentials = {TOKEN: token}
        self._session = urlsplit(reply.headers.get("location", "")).path

    def _password(self) -> str:
        """Return the password, read anew: it may have been changed since."""
        try:
            return secret_files.read(self._password_file).reveal()
        except ConfigError as error:
            raise SourceError(str(error)) from error

    def _refuse(self, now: datetime, wait: timedelta, reason: str, status: int = 0) -> NoReturn:
        """Raise *reason*, and again for *wait* without asking; *status* is the BMC's, 0 if it gave none."""
        self._wait = _Wait(now + wait, reason, status)
        raise BmcError(reason, status)


def _explained(page: Page) -> str:
    """Return a status with the BMC's own words about it, on one line."""
    try:
        said = msgspec.json.decode(page.body, type=_Error).error
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = _Explanation()
    words = " ".join((said.extended[0].message if said.extended else said.message).split())
    return f"{page.status} {words[:SHOWN]}".rstrip()
