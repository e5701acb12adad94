"""
Offers to MISO and what became of them.

    POST schedule ─▶ 200 without errors ─▶ accepted, all
                  ─▶ 200 with errors ────▶ ask the book ─▶ what it says as we do is accepted, the rest rejected
                  ─▶ no answer ──────────▶ unknown

    status: book says the same ─▶ accepted
            it does not ─▶ log of transactions: is there a POST of ours that did?
                no ─▶ never seen     failed ─▶ rejected     pending ─▶ pending
                yes, and we deleted or replaced it since ─▶ withdrawn     yes, and others did ─▶ cancelled

The book is the truth and texts of messages are not: MISO publishes no list of its message ids.
"""

from collections.abc import AsyncIterator, Iterable, Sequence
from http import HTTPStatus

from bidding.markets import Receipt
from bidding.markets.miso.answers import ApiResponse, Message, Payload, Transaction, api_response, transactions
from bidding.markets.miso.client import Absent, Answer, Session
from bidding.markets.miso.codec import Codec
from bidding.markets.miso.day import hour_of, label
from bidding.markets.miso.schedule import Book, flat, withdrawal
from bidding.markets.miso.strict import parse, read, write
from pipeline.clock import Clock
from pipeline.errors import GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Offer

PAGE = 100
"""Transactions asked for at a time."""


class Desk:
    """One participant's offers."""

    def __init__(self, session: Session, words: Codec, clock: Clock) -> None:
        self._session = session
        self._codec = words
        self._clock = clock

    async def submit(self, body: bytes, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        """Send *body* once; raise as `bidding.markets.Market.submit` says."""
        answer = await self._post(offers, body)
        if not answer.errors:
            return tuple(_receipt(offer, "accepted", answer.transaction_id, answer.remarks) for offer in offers)
        book = await self._book(offers)
        return tuple(self._judged(offer, book, answer) for offer in offers)

    async def withdraw(self, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        """Take *offers* back; where MISO found errors, its book says which still stand."""
        market, day = self._codec.one_key(offers)
        answer = await self._post(offers, write(withdrawal(day, market, offers, self._codec.resources)))
        book = await self._book(offers) if answer.errors else None
        return tuple(
            _receipt(offer, "withdrawn", answer.transaction_id, answer.remarks)
            if book is None or book.gone(offer, self._codec.key(offer)[0])
            else _receipt(offer, "accepted", answer.transaction_id, _texts(answer.errors))
            for offer in offers
        )

    async def status(self, offers: Sequence[Offer]) -> dict[str, Receipt]:
        """Return what MISO knows of *offers*; raise `UnknownOutcomeError` when there is no answer."""
        try:
            market = self._codec.key(offers[0])[0]
        except ValueError as error:
            raise UnknownOutcomeError(f"what became of {len(offers)} offers cannot be asked: {error}") from error
        book = await self._book(offers)
        found = {offer.offer_id: _receipt(offer, "accepted", "book") for offer in offers if book.says(offer, market)}
        missing = {offer.offer_id: offer for offer in offers if offer.offer_id not in found}
        newer: list[tuple[Transaction, Book]] = []
        try:
            async for transaction, document in self._posts(missing.values()):
                for offer in list(missing.values()):
                    if document.says(offer, market):
                        del missing[offer.offer_id]
                        found[offer.offer_id] = await self._since(
                            offer, transaction, book, _replaced(offer, market, newer)
                        )
                newer.append((transaction, document))
                if not missing:
                    break
        except VenueError as error:
            raise UnknownOutcomeError(f"what became of {len(missing)} offers is not known: {error}") from error
        return found

    async def close(self) -> None:
        """Let go of connections."""
        await self._session.close()

    async def _post(self, offers: Sequence[Offer], body: bytes) -> ApiResponse:
        """Send *body*; return an answer that says that something was done."""
        answer = await self._session.post(self._url(offers), body)
        if answer.refused:
            raise self._refusal(offers, answer)
        if answer.status != HTTPStatus.OK:
            raise UnknownOutcomeError(f"MISO failed, and may have applied it: {answer.told(self._session.largest)}")
        try:
            said = answer.said(self._session.largest)
        except VenueError as error:
            raise UnknownOutcomeError(f"MISO's answer was not understood: {error}") from error
        if said.failed and not said.errors:
            raise UnknownOutcomeError(f"MISO says {said.action} and 200: only its book can tell")
        return said.model_copy(update={"transaction_id": said.transaction_id or answer.transaction})

    def _refusal(self, offers: Sequence[Offer], answer: Answer) -> RejectedError:
        """Return what a definite no means: too late if MISO's own time of receipt is behind the gate of every offer."""
        told = answer.told(self._session.largest)
        if answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
            return RejectedError(f"MISO does not let us, check certificate and participant: {told}")
        try:
            received = answer.said(self._session.largest).transaction_time or self._clock.now()
        except VenueError:
            received = self._clock.now()
        gates = (self._codec.products[offer.product].gate_closes(offer.interval) for offer in offers)
        if all(gate <= received for gate in gates):
            return GateClosedError(f"MISO refused, the gate is closed: {told}")
        return RejectedError(f"MISO refused: {told}")

    def _judged(self, offer: Offer, book: Book, answer: ApiResponse) -> Receipt:
        if book.says(offer, self._codec.key(offer)[0]):
            return _receipt(offer, "accepted", answer.transaction_id, answer.remarks)
        return _receipt(offer, "rejected", answer.transaction_id, _about(offer, answer.errors))

    def _url(self, offers: Sequence[Offer]) -> str:
        market, day = self._codec.key(offers[0])
        return self._session.path(
            "markets", market, day.isoformat(), "offer", "schedule", "participants", "{participant}"
        )

    async def _book(self, offers: Sequence[Offer]) -> Book:
        """Return MISO's book of the market and day of *offers*."""
        try:
            return flat(await self._session.get(self._url(offers)))
        except VenueError as error:
            raise UnknownOutcomeError(f"what became of {len(offers)} offers is not known: {error}") from error

    async def _posts(self, offers: Iterable[Offer]) -> AsyncIterator[tuple[Transaction, Book]]:
        """Yield the POSTs to the schedule of *offers* since the first of them was made, the newest first."""
        wanted = list(offers)
        if not wanted:
            return
        path = self._url(wanted).removeprefix(self._session.settings.url.rstrip("/"))
        since = label(min(offer.as_of for offer in wanted))
        async for transaction in self._transactions(since):
            if transaction.operation_type == "POST" and (transaction.url_path or "").endswith(path):
                document = await self._payload(transaction, "INCOMING")
                if document is not None:
                    yield transaction, document

    async def _transactions(self, since: str) -> AsyncIterator[Transaction]:
        url = self._session.path("mgms", "transactions", "events", "participants", "name", "{participant}")
        for page in range(-(-self._session.settings.max_transactions // PAGE)):
            found = transactions(
                await self._session.get(
                    url,
                    startDateTime=since,
                    operationTypes="POST",
                    sort="eventTime:desc",
                    page=str(page),
                    pagesize=str(PAGE),
                )
            )
            for transaction in found:
                yield transaction
            if len(found) < PAGE:
                return

    async def _payload(self, transaction: Transaction, kind: str) -> Book | None:
        """Return the schedule that came in with *transaction*, None where it was none."""
        content = await self._content(transaction, kind)
        try:
            return flat(read(content, self._session.largest))
        except VenueError:
            return None

    async def _content(self, transaction: Transaction, kind: str) -> bytes:
        url = self._session.path(
            "mgms", "transactions", "events", "mrid", transaction.mrid, "payloads", "payload-type", kind
        )
        try:
            found = parse(Payload, await self._session.get(url))
        except Absent:
            return b""
        return (found.payload_document or "").encode(errors="replace")

    async def _since(self, offer: Offer, transaction: Transaction, book: Book, replaced: str) -> Receipt:
        """Return what became of *offer*, which came in with *transaction* and which the book does not say any more."""
        name = transaction.transaction_id or transaction.mrid
        if transaction.transaction_state == "PENDING":
            return _receipt(offer, "pending", name)
        errors = await self._errors(transaction)
        if transaction.transaction_state == "FAILED":
            return _receipt(offer, "rejected", name, _texts(errors) or (f"transaction {name} failed",))
        if reasons := _texts(error for error in errors if _names(offer, error)):
            return _receipt(offer, "rejected", name, reasons)
        if book.gone(offer, self._codec.key(offer)[0]):
            return _receipt(offer, "withdrawn", name)
        if replaced:
            return _receipt(offer, "withdrawn", name, (f"replaced in transaction {replaced}",))
        return _receipt(offer, "cancelled", name, (f"taken in transaction {name}, the book says otherwise now",))

    async def _errors(self, transaction: Transaction) -> tuple[Message, ...]:
        try:
            return api_response(read(await self._content(transaction, "OUTGOING"), self._session.largest)).errors
        except VenueError:
            return ()


def _receipt(offer: Offer, status: str, transaction: str | None, reasons: Iterable[str] = ()) -> Receipt:
    accepted_mw = offer.quantity_mw if status == "accepted" else offer.quantity_mw * 0
    return Receipt(
        offer_id=offer.offer_id,
        receipt=transaction or "none",
        status=status,
        accepted_mw=accepted_mw,
        reasons=tuple(reasons),
    )


def _replaced(offer: Offer, market: str, newer: Iterable[tuple[Transaction, Book]]) -> str:
    """Return the transaction of ours that said something else of *offer* since, empty for none."""
    done = (one for one, document in newer if one.transaction_state == "SUCCESS" and document.names(offer, market))
    return next((one.transaction_id or one.mrid for one in done), "")


def _names(offer: Offer, error: Message) -> bool:
    return error.names(offer.resource, hour_of(offer.interval)[1])


def _about(offer: Offer, errors: Sequence[Message]) -> tuple[str, ...]:
    """Return the errors that name *offer*, all of them where none does."""
    return _texts(error for error in errors if _names(offer, error)) or _texts(errors)


def _texts(errors: Iterable[Message]) -> tuple[str, ...]:
    return tuple(error.text for error in errors)
