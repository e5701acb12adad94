"""What all requests have in common: bodies read, refusals answered, senders fenced, replies late or lost."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from bidding.sandbox.answers import Problem
from bidding.sandbox.faults import Reply
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import LARGEST, Utc, Wire
from pipeline.clock import Clock

W = TypeVar("W", bound=Wire)

OK, NOT_FOUND, CONFLICT, UNPROCESSABLE, UNAVAILABLE = 200, 404, 409, 422, 503
EPOCH_HEADER = "firmwatt-epoch"

_UTC: TypeAdapter[datetime] = TypeAdapter(Utc)
_NUMBER = re.compile(r"[0-9]{1,12}")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a failure
    """An answer other than 200."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.status = status
        self.problem = problem


def malformed(detail: str) -> Refusal:
    """Return the refusal of what cannot be understood."""
    return Refusal(UNPROCESSABLE, Problem(error="malformed", detail=detail))


def absent(code: str, detail: str) -> Refusal:
    """Return the refusal of a question about what never came."""
    return Refusal(NOT_FOUND, Problem(error=code, detail=detail))


def answer(document: Wire, status: int = OK) -> Response:
    """Return *document* as an HTTP answer."""
    return Response(document.model_dump_json(), status, media_type="application/json")


def read(kind: type[W], payload: bytes) -> W:
    """Return the *kind* in *payload*; refuse anything else, saying where it went wrong."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        raise malformed(f"{'.'.join(map(str, first['loc'])) or 'document'}: {first['msg']}") from error


def instant(name: str, text: str) -> datetime:
    """Return the instant in *text*; refuse anything else."""
    try:
        return _UTC.validate_strings(text)
    except ValidationError as error:
        raise malformed(f"{name}: {text!r} is no instant with an offset, as in 2026-07-24T01:00:00Z") from error


def queried(request: Request, name: str) -> str:
    """Return the *name* in a query; refuse one without."""
    if found := request.query_params.get(name):
        return found
    raise malformed(f"say which: ?{name}=…")


def counted(request: Request, name: str, otherwise: int, most: int) -> int:
    """Return the number called *name* in a query, from 1 to *most*."""
    text = request.query_params.get(name, str(otherwise))
    if not _NUMBER.fullmatch(text) or not 1 <= int(text) <= most:
        raise malformed(f"{name} must be 1 to {most}, got {text!r}")
    return int(text)


@dataclass
class Exchange:
    """One venue, one clock, and how its answers go out."""

    venue: Venue
    clock: Clock
    queries: int = 0
    query_replies: Counter[Reply] = field(default_factory=Counter)

    def heard(self, request: Request) -> int | None:
        """Take note of the sender's epoch, if it says one; refuse one that is no number."""
        text = request.headers.get(EPOCH_HEADER)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text) or int(text) > LARGEST:
            raise malformed(f"{EPOCH_HEADER}: {text!r} is no number of up to twelve digits")
        self.venue.hear(int(text), self.clock.now())
        return int(text)

    def admitted(self, request: Request) -> datetime:
        """Return now, at which a request that changes something came in; refuse it of a sender that is fenced off."""
        now = self.clock.now()
        epoch = self.heard(request)
        if epoch is not None and (problem := self.venue.fence(epoch, f"{request.method} {request.url.path}", now)):
            raise Refusal(CONFLICT, problem)
        return now

    async def received(self, request: Request) -> tuple[datetime, bytes]:
        """
        Return the body, and when all of it was there: the gate is judged then.

        The fence is judged then too, and before: who was fenced off need send no more.
        """
        self.admitted(request)
        payload = await request.body()
        return self.admitted(request), payload

    async def query(self, request: Request, response: Response) -> Response:
        """Answer a question: faulty only where questions are."""
        self.heard(request)
        self.queries += 1
        if not self.venue.faults.shares.fault_queries:
            return response
        fate = self.venue.faults.reply(f"query|{self.queries}")
        self.query_replies[fate] += 1
        return await self.deliver(request, response, fate)

    async def deliver(self, request: Request, response: Response, fate: Reply) -> Response:
        """Return *response* now, later, or hang up instead."""
        if fate is Reply.LATE:
            await asyncio.sleep(self.venue.faults.shares.late_s)
        if fate is Reply.LOST:
            hang_up: Callable[[], None] = request.state.hang_up
            hang_up()
            while (await request.receive())["type"] != "http.disconnect":
                pass
        return response
