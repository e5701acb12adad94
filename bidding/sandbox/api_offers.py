"""Requests about offers: sent, asked for, withdrawn, cancelled to order, and notices of shortfall."""

from hashlib import sha256

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bidding.sandbox.admission import Submission
from bidding.sandbox.answers import Notices, Problem
from bidding.sandbox.entries import DocumentEntry, OfferEntry, Outcome
from bidding.sandbox.exchange import (
    CONFLICT,
    NOT_FOUND,
    UNPROCESSABLE,
    Exchange,
    Refusal,
    absent,
    answer,
    malformed,
    queried,
    read,
)
from bidding.sandbox.wire import CancelBody, DocumentBody, DocumentReceipt, OfferBody, ShortfallBody

#: Refusals that leave no trace of the offer; all others carry a receipt.
REFUSALS = frozenset(
    {
        Outcome.CONFLICT,
        Outcome.STALE_REVISION,
        Outcome.GATE_CLOSED,
        Outcome.GATE_NOT_OPEN,
        Outcome.PAUSED,
    }
)


def offer_answer(entry: OfferEntry) -> Response:
    """Return what the sender of an offer is told."""
    if entry.outcome in REFUSALS or entry.receipt is None:
        return answer(Problem(error=entry.outcome.value, detail=entry.detail), CONFLICT)
    if entry.receipt.status == Outcome.REJECTED.value:
        reasons = entry.receipt.reasons
        return answer(Problem(error="rejected", detail="; ".join(reasons), reasons=reasons), UNPROCESSABLE)
    return answer(entry.receipt)


def document_answer(entry: DocumentEntry) -> Response:
    """Return what the sender of a document is told: a refusal only where every offer was refused without a trace."""
    if all(offer.outcome in REFUSALS for offer in entry.offers):
        first = entry.offers[0]
        reasons = tuple(f"{offer.offer_id}: {offer.outcome.value}: {offer.detail}" for offer in entry.offers)
        return answer(Problem(error=first.outcome.value, detail=first.detail, reasons=reasons), CONFLICT)
    results = tuple(offer.result for offer in entry.offers)
    return answer(DocumentReceipt(document_id=entry.document_id, sha256=entry.sha256, results=results))


class OfferApi:
    """Endpoints of participants, and one of the experimenter."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._venue = exchange.venue

    def routes(self) -> list[Route]:
        """Return the endpoints."""
        return [
            Route("/v1/offers/{offer_id}", self.put_offer, methods=["PUT"]),
            Route("/v1/offers/{offer_id}", self.get_offer),
            Route("/v1/offers/{offer_id}", self.delete_offer, methods=["DELETE"]),
            Route("/v1/documents/{document_id}", self.put_document, methods=["PUT"]),
            Route("/v1/documents/{document_id}", self.get_document),
            Route("/v1/shortfalls/{shortfall_id}", self.put_shortfall, methods=["PUT"]),
            Route("/v1/shortfalls/{shortfall_id}", self.get_shortfall),
            Route("/v1/notices", self.notices),
            Route("/v1/cancel", self.post_cancel, methods=["POST"]),
        ]

    async def put_offer(self, request: Request) -> Response:
        """``PUT /v1/offers/{offer_id}``; the gate is judged at the instant at which all of it was there."""
        now, payload = await self._exchange.received(request)
        body = read(OfferBody, payload)
        submission = Submission(request.path_params["offer_id"], body, sha256(payload).hexdigest(), now)
        entry = self._venue.submit(submission)
        return await self._exchange.deliver(request, offer_answer(entry), entry.reply)

    async def get_offer(self, request: Request) -> Response:
        """``GET /v1/offers/{offer_id}``."""
        offer_id = request.path_params["offer_id"]
        self._venue.clear(self._exchange.clock.now())
        receipt = self._venue.book.receipt(offer_id)
        if receipt is None:
            problem = Problem(error="unknown_offer", detail=f"no offer {offer_id}")
            return await self._exchange.query(request, answer(problem, NOT_FOUND))
        return await self._exchange.query(request, answer(receipt))

    async def delete_offer(self, request: Request) -> Response:
        """``DELETE /v1/offers/{offer_id}``: before the gate."""
        now = self._exchange.admitted(request)
        offer_id = request.path_params["offer_id"]
        if offer_id not in self._venue.book.offers:
            raise absent("unknown_offer", f"no offer {offer_id}")
        entry = self._venue.withdraw(offer_id, now)
        receipt = self._venue.book.receipt(offer_id)
        done = receipt is not None and entry.outcome in {Outcome.WITHDRAWN, Outcome.DUPLICATE}
        told = answer(receipt) if receipt and done else _refused(entry.outcome, entry.detail)
        return await self._exchange.deliver(request, told, entry.reply)

    async def put_document(self, request: Request) -> Response:
        """``PUT /v1/documents/{document_id}``: several offers, each judged by itself."""
        now, payload = await self._exchange.received(request)
        document = read(DocumentBody, payload)
        document_id, digest = request.path_params["document_id"], sha256(payload).hexdigest()
        self._check(document_id, document, payload, digest)
        submissions = [Submission(offer.offer_id, offer.body, digest, now) for offer in document.offers]
        entry = self._venue.submit_document(document_id, digest, submissions, now)
        return await self._exchange.deliver(request, document_answer(entry), entry.reply)

    def _check(self, document_id: str, document: DocumentBody, payload: bytes, digest: str) -> None:
        """Refuse a document that names an offer or a slot twice, is too long, or is another one under a known id."""
        ids = {offer.offer_id for offer in document.offers}
        slots = {(offer.resource, offer.product, offer.interval_start) for offer in document.offers}
        if min(len(ids), len(slots)) < len(document.offers):
            raise malformed("offers: two with one offer_id, or for one resource, product and interval")
        limits = [rules.max_document_bytes for rules in self._venue.market.products if rules.max_document_bytes]
        if limits and len(payload) > min(limits):
            raise Refusal(UNPROCESSABLE, Problem(error="rejected", detail=f"at most {min(limits)} bytes"))
        known = self._venue.book.documents.get(document_id)
        if known is not None and known.sha256 != digest:
            raise Refusal(CONFLICT, Problem(error="conflict", detail=f"{document_id} is known with another content"))

    async def get_document(self, request: Request) -> Response:
        """``GET /v1/documents/{document_id}``: what came of it when it first came."""
        document_id = request.path_params["document_id"]
        entry = self._venue.book.documents.get(document_id)
        if entry is None:
            problem = Problem(error="unknown_document", detail=f"no document {document_id}")
            return await self._exchange.query(request, answer(problem, NOT_FOUND))
        results = tuple(offer.result for offer in entry.offers)
        found = DocumentReceipt(document_id=document_id, sha256=entry.sha256, results=results)
        return await self._exchange.query(request, answer(found))

    async def put_shortfall(self, request: Request) -> Response:
        """``PUT /v1/shortfalls/{shortfall_id}``: after the gate, while there is something to be short of."""
        now, payload = await self._exchange.received(request)
        body = read(ShortfallBody, payload)
        shortfall_id = request.path_params["shortfall_id"]
        entry = self._venue.take_shortfall(shortfall_id, body, sha256(payload).hexdigest(), now)
        held = self._venue.shortfall_status(shortfall_id)
        done = entry.outcome in {Outcome.TAKEN, Outcome.DUPLICATE}
        told = answer(held) if held and done else _refused(entry.outcome, entry.detail)
        return await self._exchange.deliver(request, told, entry.reply)

    async def get_shortfall(self, request: Request) -> Response:
        """``GET /v1/shortfalls/{shortfall_id}``."""
        shortfall_id = request.path_params["shortfall_id"]
        held = self._venue.shortfall_status(shortfall_id)
        if held is None:
            problem = Problem(error="unknown_shortfall", detail=f"no notice of shortfall {shortfall_id}")
            return await self._exchange.query(request, answer(problem, NOT_FOUND))
        return await self._exchange.query(request, answer(held))

    async def notices(self, request: Request) -> Response:
        """``GET /v1/notices``."""
        found = self._venue.notices(queried(request, "resource"), self._exchange.clock.now())
        return await self._exchange.query(request, answer(Notices(notices=found)))

    async def post_cancel(self, request: Request) -> Response:
        """``POST /v1/cancel``; never faulty."""
        body = read(CancelBody, await request.body())
        found = self._venue.cancel(body, self._exchange.clock.now())
        if isinstance(found, Problem):
            return answer(found, NOT_FOUND if found.error == "unknown_offer" else CONFLICT)
        return answer(found)


def _refused(outcome: Outcome, detail: str) -> Response:
    return answer(Problem(error=outcome.value, detail=detail), CONFLICT)
