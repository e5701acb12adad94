"""The venue over HTTP. Applies first, then answers, late or not at all when told so."""

import asyncio
from collections import Counter
from collections.abc import Callable
from hashlib import sha256
from typing import TypeVar

from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bidding.sandbox.admission import Submission, meter_violations
from bidding.sandbox.book import OfferEntry, Outcome
from bidding.sandbox.faults import FaultChange, Reply
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import (
    Awards,
    ClockReading,
    Dispatches,
    MeterBody,
    OfferBody,
    Prices,
    Problem,
    Wire,
)
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem

W = TypeVar("W", bound=Wire)

OK, NOT_FOUND, CONFLICT, UNPROCESSABLE, UNAVAILABLE = 200, 404, 409, 422, 503
MAX_PRICES = 1500

#: Refusals that leave no trace of the offer; all others carry a receipt.
REFUSALS = frozenset({Outcome.CONFLICT, Outcome.STALE_REVISION, Outcome.GATE_CLOSED, Outcome.GATE_NOT_OPEN})


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not a failure
    """An answer other than 200."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.problem = Problem(error=code, detail=detail)


def answer(document: Wire, status: int = OK) -> Response:
    """Return *document* as an HTTP answer."""
    return Response(document.model_dump_json(), status, media_type="application/json")


def read(kind: type[W], payload: bytes) -> W:
    """Return the *kind* in *payload*; refuse anything else, saying where it went wrong."""
    try:
        return kind.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "document"
        raise Refusal(UNPROCESSABLE, "malformed", f"{where}: {first['msg']}") from error


def resource_of(request: Request) -> str:
    """Return the resource a query is about."""
    if resource := request.query_params.get("resource"):
        return resource
    raise Refusal(UNPROCESSABLE, "malformed", "say which: ?resource=…")


def offer_answer(entry: OfferEntry) -> Response:
    """Return what the sender of an offer is told."""
    if entry.outcome in REFUSALS or entry.receipt is None:
        return answer(Problem(error=entry.outcome.value, detail=entry.detail), CONFLICT)
    if entry.receipt.status == Outcome.REJECTED.value:
        reasons = entry.receipt.reasons
        return answer(Problem(error="rejected", detail="; ".join(reasons), reasons=reasons), UNPROCESSABLE)
    return answer(entry.receipt)


class Api:
    """The venue's endpoints."""

    def __init__(self, venue: Venue, clock: Clock) -> None:
        self._venue = venue
        self._clock = clock
        self._queries = 0
        self._query_replies: Counter[Reply] = Counter()

    async def rules(self, request: Request) -> Response:
        """``GET /v1/rules``."""
        return await self._queried(request, answer(self._venue.published_rules(self._clock.now())))

    async def clock(self, request: Request) -> Response:
        """``GET /v1/clock``."""
        return await self._queried(request, answer(ClockReading(now=self._clock.now())))

    async def put_offer(self, request: Request) -> Response:
        """``PUT /v1/offers/{offer_id}``; the gate is judged by the instant of receipt."""
        now = self._clock.now()
        payload = await request.body()
        submission = Submission(
            request.path_params["offer_id"], read(OfferBody, payload), sha256(payload).hexdigest(), now
        )
        entry = self._venue.submit(submission)
        return await self._deliver(request, offer_answer(entry), entry.reply)

    async def get_offer(self, request: Request) -> Response:
        """``GET /v1/offers/{offer_id}``."""
        offer_id = request.path_params["offer_id"]
        receipt = self._venue.book.receipt(offer_id)
        if receipt is None:
            problem = Problem(error="unknown_offer", detail=f"no offer {offer_id}")
            return await self._queried(request, answer(problem, NOT_FOUND))
        return await self._queried(request, answer(receipt))

    async def awards(self, request: Request) -> Response:
        """``GET /v1/awards``."""
        now = self._clock.now()
        found = self._venue.awards(resource_of(request), now)
        document = Awards(awards=found, cleared_until=self._venue.rules.decided_until(now))
        return await self._queried(request, answer(document))

    async def dispatches(self, request: Request) -> Response:
        """``GET /v1/dispatches``."""
        found = self._venue.dispatches(resource_of(request), self._clock.now())
        return await self._queried(request, answer(Dispatches(dispatches=found)))

    async def prices(self, request: Request) -> Response:
        """``GET /v1/prices``."""
        count = request.query_params.get("count", "60")
        if not count.isdecimal() or not 1 <= int(count) <= MAX_PRICES:
            raise Refusal(UNPROCESSABLE, "malformed", f"count must be 1 to {MAX_PRICES}, got {count!r}")
        found = self._venue.prices(int(count), self._clock.now())
        return await self._queried(request, answer(Prices(prices=found)))

    async def put_meter(self, request: Request) -> Response:
        """``PUT /v1/meter/{resource}/{batch_id}``."""
        now = self._clock.now()
        payload = await request.body()
        body = read(MeterBody, payload)
        if broken := "; ".join(meter_violations(body.readings, self._venue.rules)):
            raise Refusal(UNPROCESSABLE, "rejected", broken)
        resource, batch_id = request.path_params["resource"], request.path_params["batch_id"]
        entry = self._venue.take_meter(resource, batch_id, body, sha256(payload).hexdigest(), now)
        return await self._deliver(request, self._meter_answer(resource, batch_id), entry.reply)

    async def get_meter(self, request: Request) -> Response:
        """``GET /v1/meter/{resource}/{batch_id}``."""
        held = self._meter_answer(request.path_params["resource"], request.path_params["batch_id"])
        return await self._queried(request, held)

    def _meter_answer(self, resource: str, batch_id: str) -> Response:
        status = self._venue.meter_status(resource, batch_id)
        if status is None:
            return answer(Problem(error="unknown_batch", detail=f"no batch {batch_id} of {resource}"), NOT_FOUND)
        return answer(status)

    async def statements(self, request: Request) -> Response:
        """``GET /v1/statements``."""
        return await self._queried(request, answer(self._venue.statement(resource_of(request), self._clock.now())))

    async def audit(self, _: Request) -> Response:
        """``GET /v1/audit``; never faulty."""
        return answer(self._venue.audit(self._query_replies[Reply.LOST], self._query_replies[Reply.LATE]))

    async def post_faults(self, request: Request) -> Response:
        """``POST /v1/faults``; never faulty."""
        change = read(FaultChange, await request.body())
        self._venue.faults = self._venue.faults.changed(change)
        return answer(self._venue.faults.shares)

    async def _queried(self, request: Request, response: Response) -> Response:
        """Answer a query: faulty only where queries are."""
        self._queries += 1
        if not self._venue.faults.shares.fault_queries:
            return response
        fate = self._venue.faults.reply(f"query|{self._queries}")
        self._query_replies[fate] += 1
        return await self._deliver(request, response, fate)

    async def _deliver(self, request: Request, response: Response, fate: Reply) -> Response:
        """Return *response* now, later, or hang up instead."""
        if fate is Reply.LATE:
            await asyncio.sleep(self._venue.faults.shares.late_s)
        if fate is Reply.LOST:
            hang_up: Callable[[], None] = request.state.hang_up
            hang_up()
            while (await request.receive())["type"] != "http.disconnect":
                pass
        return response


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)  # noqa: S101 - what the handler is registered for
    return answer(error.problem, error.status)


async def _not_found(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - the same
    return answer(Problem(error="no_such_request", detail=error.detail), error.status_code)


async def _unavailable(_: Request, error: Exception) -> Response:
    return answer(Problem(error="unavailable", detail=f"nothing was applied: {error}"), UNAVAILABLE)


def build(venue: Venue, clock: Clock) -> Starlette:
    """Return the application; `hang_up` must be in the connection's state (see `bidding.sandbox.serve`)."""
    api = Api(venue, clock)
    return Starlette(
        routes=[
            Route("/v1/rules", api.rules),
            Route("/v1/clock", api.clock),
            Route("/v1/offers/{offer_id}", api.put_offer, methods=["PUT"]),
            Route("/v1/offers/{offer_id}", api.get_offer),
            Route("/v1/awards", api.awards),
            Route("/v1/dispatches", api.dispatches),
            Route("/v1/prices", api.prices),
            Route("/v1/meter/{resource}/{batch_id}", api.put_meter, methods=["PUT"]),
            Route("/v1/meter/{resource}/{batch_id}", api.get_meter),
            Route("/v1/statements", api.statements),
            Route("/v1/audit", api.audit),
            Route("/v1/faults", api.post_faults, methods=["POST"]),
        ],
        exception_handlers={
            Refusal: _refused,
            HTTPException: _not_found,
            EnvironmentProblem: _unavailable,
        },
    )
