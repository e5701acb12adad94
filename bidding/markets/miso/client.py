"""
HTTP with MISO: what may be repeated is, what may not is not; answers are read to a limit; failures say what is next.

| answer to a POST | means |
|---|---|
| connection refused, no TLS | nothing was sent: `VenueError` |
| none, cut short, too long, not understood | `UnknownOutcomeError` |
| 200 | applied, as far as its messages do not say otherwise |
| 4xx but 408 | a definite no: `RejectedError`, `GateClosedError` when its transaction time is behind every gate |
| anything else, 5xx above all | `UnknownOutcomeError` |
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from urllib.parse import quote

import httpx
from pydantic import JsonValue

from bidding.markets.miso.answers import ApiResponse, api_response
from bidding.markets.miso.settings import MisoVenue, check, tls
from bidding.markets.miso.strict import line, read
from pipeline.errors import UnknownOutcomeError, VenueError

KEEPALIVE_S = 2.0
"""Short: a connection that the other side may be closing is not one to send an offer on."""
MEGABYTE = 1024 * 1024
TRANSACTION = "http-x-request-id"
"""The header in which MISO names the transaction of an answer."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content: bytes
    transaction: str

    @property
    def refused(self) -> bool:
        """Whether it is a definite no: nothing of the request was applied."""
        client_error = HTTPStatus.BAD_REQUEST <= self.status < HTTPStatus.INTERNAL_SERVER_ERROR
        return client_error and self.status != HTTPStatus.REQUEST_TIMEOUT

    def said(self, largest: int) -> ApiResponse:
        """Return its APIResponse; raise `VenueError` where it is none."""
        return api_response(read(self.content, largest))

    def told(self, largest: int) -> str:
        """Return in one line what it says went wrong."""
        try:
            errors = self.said(largest).errors
        except VenueError:
            errors = ()
        return line("; ".join(error.text for error in errors[:3]) or f"HTTP {self.status}")


class Absent(VenueError):  # noqa: N818 - an answer, not a failure
    """MISO says 404: there is nothing of that name, or nothing yet."""


def open_session(settings: MisoVenue) -> "Session":
    """Return a session; nothing is sent yet. Raise `ConfigError` on settings and files that cannot work."""
    check(settings)
    acting = {"x-acting-participant": settings.acting_participant} if settings.acting_participant else {}
    headers = {"accept-encoding": "identity", **acting}  # what is not compressed cannot be a bomb
    http = httpx.AsyncClient(
        timeout=settings.timeout_s,
        verify=tls(settings),
        headers=headers,
        follow_redirects=False,
        limits=httpx.Limits(keepalive_expiry=KEEPALIVE_S),
    )
    return Session(http, settings)


class Session:
    """HTTP with MISO as one participant."""

    def __init__(self, http: httpx.AsyncClient, settings: MisoVenue) -> None:
        self._http = http
        self.settings = settings
        self.largest = settings.max_answer_mb * MEGABYTE

    def path(self, *parts: str) -> str:
        """Return the URL of *parts*, quoted, `{participant}` replaced by ours."""
        names = [self.settings.participant if part == "{participant}" else part for part in parts]
        return "/".join([self.settings.url.rstrip("/"), *(quote(name, safe="") for name in names)])

    async def post(self, url: str, document: bytes) -> Answer:
        """Send *document* once; tell a request that was never sent from one whose answer did not come."""
        try:
            return await self._once("POST", url, self.settings.submit_timeout_s, content=document)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise VenueError(
                f"no MISO at {self.settings.url}: nothing was sent, so nothing was applied ({_reason(error)})"
            ) from error
        except httpx.TransportError as error:
            raise UnknownOutcomeError(f"MISO may or may not have applied the request: {_reason(error)}") from error

    async def get(self, url: str, **query: str) -> JsonValue:
        """Return the answer to a query; raise `Absent` on 404, `VenueError` where there is no answer we can use."""
        answer = await self._query(url, query)
        if answer.status == HTTPStatus.NOT_FOUND:
            raise Absent(f"MISO has nothing there: {answer.told(self.largest)}")
        if answer.status != HTTPStatus.OK:
            raise VenueError(f"MISO refused a query: {answer.told(self.largest)}")
        return read(answer.content, self.largest)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _query(self, url: str, query: dict[str, str]) -> Answer:
        failure: httpx.TransportError | None = None
        for attempt in range(self.settings.tries):
            try:
                answer = await self._once("GET", url, self.settings.timeout_s, params=query)
            except httpx.TransportError as error:
                failure = error
            else:
                if answer.status < HTTPStatus.INTERNAL_SERVER_ERROR:
                    return answer
                failure = httpx.RemoteProtocolError(f"HTTP {answer.status}")
            await asyncio.sleep(self.settings.pause_s if attempt + 1 < self.settings.tries else 0)
        raise VenueError(
            f"MISO at {self.settings.url} did not answer a query in {self.settings.tries} tries: {_reason(failure)}"
        ) from failure

    async def _once(
        self,
        method: str,
        url: str,
        timeout_s: float,
        *,
        content: bytes | None = None,
        params: dict[str, str] | None = None,
    ) -> Answer:
        """Send one request; an answer longer than allowed, or slower than *timeout_s* in all, is a transport error."""
        headers = {"content-type": "application/json"} if content is not None else {}
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._http.stream(
                    method, url, content=content, params=params, timeout=timeout_s, headers=headers
                ) as response,
            ):
                pieces, size = [], 0
                async for piece in response.aiter_raw():
                    size += len(piece)
                    if size > self.largest:
                        raise httpx.ReadError(f"an answer of more than {self.largest} bytes")
                    pieces.append(piece)
        except TimeoutError as error:
            raise httpx.ReadTimeout(f"no whole answer within {timeout_s} s") from error
        return Answer(response.status_code, b"".join(pieces), response.headers.get(TRANSACTION, ""))


def _reason(error: Exception | None) -> str:
    return line(f"{type(error).__name__} {error}")
