"""Reports and money: metered energy, responses to the regulation signal, statements; and what the experimenter asks."""

from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bidding.sandbox.answers import Problem
from bidding.sandbox.checks import meter_violations
from bidding.sandbox.exchange import (
    CONFLICT,
    NOT_FOUND,
    UNPROCESSABLE,
    Exchange,
    Refusal,
    absent,
    answer,
    instant,
    queried,
    read,
)
from bidding.sandbox.faults import FaultChange, Reply
from bidding.sandbox.following import regulation_rules
from bidding.sandbox.wire import MeterBody, ResponseBody


class ReportApi:
    """Endpoints that take what participants report, and tell what follows from it."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._venue = exchange.venue

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("/v1/meter/{resource}/{batch_id}", self.put_meter, methods=["PUT"]),
            Route("/v1/meter/{resource}/{batch_id}", self.get_meter),
            Route("/v1/regulation/{resource}/{product}/{hour}", self.put_response, methods=["PUT"]),
            Route("/v1/regulation/{resource}/{product}/{hour}", self.get_score),
            Route("/v1/statements", self.statements),
            Route("/v1/audit", self.audit),
            Route("/v1/faults", self.post_faults, methods=["POST"]),
        ]

    async def put_meter(self, request: Request) -> Response:
        """``PUT /v1/meter/{resource}/{batch_id}``."""
        now, payload = await self._exchange.received(request)
        body = read(MeterBody, payload)
        if broken := "; ".join(meter_violations(body.readings, self._venue.market)):
            raise Refusal(UNPROCESSABLE, Problem(error="rejected", detail=broken))
        resource, batch_id = request.path_params["resource"], request.path_params["batch_id"]
        entry = self._venue.take_meter(resource, batch_id, body, sha256(payload).hexdigest(), now)
        return await self._exchange.deliver(request, self._meter_answer(resource, batch_id), entry.reply)

    async def get_meter(self, request: Request) -> Response:
        """``GET /v1/meter/{resource}/{batch_id}``."""
        held = self._meter_answer(request.path_params["resource"], request.path_params["batch_id"])
        return await self._exchange.query(request, held)

    def _meter_answer(self, resource: str, batch_id: str) -> Response:
        status = self._venue.meter_status(resource, batch_id)
        if status is None:
            return answer(Problem(error="unknown_batch", detail=f"no batch {batch_id} of {resource}"), NOT_FOUND)
        return answer(status)

    async def put_response(self, request: Request) -> Response:
        """``PUT /v1/regulation/{resource}/{product}/{hour}``: what was done, to be scored."""
        now, payload = await self._exchange.received(request)
        body = read(ResponseBody, payload)
        resource, product = request.path_params["resource"], request.path_params["product"]
        hour = instant("hour", request.path_params["hour"])
        rules = regulation_rules(self._venue.market, product)
        if rules is None:
            raise absent("no_signal", f"{product} follows no signal here")
        entry = self._venue.take_response(resource, rules, hour, body, sha256(payload).hexdigest(), now=now)
        if isinstance(entry, Problem):
            raise Refusal(UNPROCESSABLE if entry.error == "malformed" else CONFLICT, entry)
        return await self._exchange.deliver(request, answer(entry.score), entry.reply)

    async def get_score(self, request: Request) -> Response:
        """``GET /v1/regulation/{resource}/{product}/{hour}``."""
        hour = instant("hour", request.path_params["hour"])
        key = request.path_params["resource"], request.path_params["product"], hour
        score = self._venue.book.scores.get(key)
        if score is None:
            problem = Problem(error="unknown_response", detail=f"no response of {key[0]} in {key[1]} was reported")
            return await self._exchange.query(request, answer(problem, NOT_FOUND))
        return await self._exchange.query(request, answer(score))

    async def statements(self, request: Request) -> Response:
        """``GET /v1/statements``."""
        found = self._venue.statement(queried(request, "resource"), self._exchange.clock.now())
        return await self._exchange.query(request, answer(found))

    async def audit(self, _: Request) -> Response:
        """``GET /v1/audit``; never faulty."""
        replies = self._exchange.query_replies
        return answer(self._venue.audit(replies[Reply.LOST], replies[Reply.LATE]))

    async def post_faults(self, request: Request) -> Response:
        """``POST /v1/faults``; never faulty."""
        change = read(FaultChange, await request.body())
        self._venue.faults = self._venue.faults.changed(change)
        return answer(self._venue.faults.shares)
