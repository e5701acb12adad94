"""HTTP with the sandbox: what may be repeated is, what may not is not; every failure says what to do next."""

import asyncio
from typing import Annotated, TypeVar

import httpx
from msgspec import Meta
from pydantic import ValidationError

from bidding.markets.sandbox.wire import Problem, why
from pipeline.errors import ConfigError, FencedError, GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Document
from pipeline.settings import Positive, Section

D = TypeVar("D", bound=Document)

OK, NOT_FOUND, SERVER_ERROR = 200, 404, 500
KEEPALIVE_S = 2.0
"""Below the venue's 5 s: it must never hang up on a connection that we are about to use."""


class SandboxVenue(Section, frozen=True, kw_only=True):
    """``[venue.sandbox]``. Times are the machine's: a network does not know of fast clocks."""

    url: str = "http://127.0.0.1:8431"
    timeout_s: Positive = 5.0
    submit_timeout_s: Positive = 3.0
    meter_timeout_s: Positive = 30.0
    tries: Annotated[int, Meta(ge=1)] = 5
    """How often a query is made, and how often a batch of meter data is sent that the venue says it does not hold."""
    pause_s: Positive = 0.05
    """Between two tries."""


def open_session(settings: SandboxVenue) -> "Session":
    """
    Return a session; nothing is sent yet.

    No proxy is asked: it leads to the world, and the sandbox is on this machine. Authorities are loaded only where
    there is a certificate to check: that takes longer than all else on the way to the first question after a restart.
    """
    try:
        http = httpx.AsyncClient(
            base_url=settings.url,
            timeout=settings.timeout_s,
            trust_env=False,
            verify=settings.url.startswith("https"),
            limits=httpx.Limits(keepalive_expiry=KEEPALIVE_S),
        )
    except httpx.InvalidURL as error:
        raise ConfigError(f"[venue.sandbox] url {settings.url!r}: {error}") from error
    if http.base_url.scheme not in {"http", "https"}:
        raise ConfigError(f"[venue.sandbox] url {settings.url!r} does not start with http:// or https://")
    return Session(http, settings)


class Session:
    """HTTP with the venue: what may be repeated is, what may not is not."""

    def __init__(self, http: httpx.AsyncClient, settings: SandboxVenue) -> None:
        self._http = http
        self.settings = settings

    async def put(self, path: str, document: bytes, timeout_s: float, epoch: int | None = None) -> httpx.Response:
        """Send *document* once; tell a request that was never sent from one whose reply did not come."""
        headers = {"content-type": "application/json", **_epoch(epoch)}
        return await self._once("PUT", path, timeout_s, headers, document)

    async def delete(self, path: str, timeout_s: float, epoch: int) -> httpx.Response:
        """Ask once for what is at *path* to be taken back; raises as `put` does."""
        return await self._once("DELETE", path, timeout_s, _epoch(epoch))

    async def _once(
        self, method: str, path: str, timeout_s: float, headers: dict[str, str], document: bytes | None = None
    ) -> httpx.Response:
        try:
            return await self._http.request(method, path, content=document, timeout=timeout_s, headers=headers)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise VenueError(f"no venue at {self.settings.url}: nothing was sent, so nothing was applied") from error
        except httpx.TransportError as error:
            raise UnknownOutcomeError(f"the venue may or may not have applied {method} {path}: {error!r}") from error

    async def get(self, kind: type[D], path: str, **query: str) -> D:
        """Return the answer to a query; raise `VenueError` when there is none."""
        return read(kind, await self._query(path, query))

    async def find(self, kind: type[D], path: str, absent: str) -> D | None:
        """Return the answer to a query, None when it is 404 with the error code *absent*."""
        response = await self._query(path, {})
        if response.status_code == NOT_FOUND and problem_in(response).error == absent:
            return None
        return read(kind, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _query(self, path: str, query: dict[str, str]) -> httpx.Response:
        failure: httpx.TransportError | None = None
        for attempt in range(self.settings.tries):
            try:
                return await self._http.get(path, params=query)
            except httpx.TransportError as error:
                failure = error
                await asyncio.sleep(self.settings.pause_s if attempt + 1 < self.settings.tries else 0)
        raise VenueError(
            f"the venue at {self.settings.url} did not answer GET {path} in {self.settings.tries} tries: {failure!r}; "
            "is `firmwatt sandbox` running there?"
        ) from failure


def _epoch(epoch: int | None) -> dict[str, str]:
    """Return the header that lets the venue refuse a sender older than one it has heard from."""
    return {} if epoch is None else {"firmwatt-epoch": str(epoch)}


def problem_in(response: httpx.Response) -> Problem:
    """Return what the venue complains of."""
    try:
        return Problem.model_validate_json(response.content)
    except ValidationError:
        return Problem(detail=f"HTTP {response.status_code}")


def raise_refusal(response: httpx.Response) -> None:
    """Raise what any answer but 200 means."""
    if response.status_code == OK:
        return
    problem = problem_in(response)
    text = f"the venue refused ({problem.error}): {problem.detail}"
    if problem.error == "gate_closed":
        raise GateClosedError(text)
    if problem.error == "fenced":
        raise FencedError(f"{text}; this process ends, nothing more is sent by it")
    if problem.error == "unavailable":
        raise VenueError(text)
    if response.status_code >= SERVER_ERROR:
        raise UnknownOutcomeError(f"the venue failed ({problem.error}): {problem.detail}")
    raise RejectedError(text)


def read(kind: type[D], response: httpx.Response) -> D:
    """Return the *kind* in the answer to a query."""
    if response.status_code != OK:
        problem = problem_in(response)
        raise VenueError(f"the venue refused a query ({problem.error}): {problem.detail}")
    try:
        return kind.model_validate_json(response.content)
    except ValidationError as error:
        raise VenueError(f"the venue's answer was not understood: {why(error)}") from error
