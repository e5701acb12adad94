"""
Send documents so that each is applied once, whatever gets lost on the way.

    intent (fsync) ─▶ sent ─▶ receipts ─▶ pending ─▶ asked for until judged
                        └───▶ unknown ─▶ ask ─┬─▶ receipts
                                 ▲            ├─▶ no answer: ask again
                                 └── sent ◀───┴─▶ absent, twice: send again, before the gate only

An unknown outcome is resolved by asking, never by sending again. Absence is believed when the venue says so twice,
one `in_flight` apart, because the request may still be under way when the first question is answered; what an earlier
process sent, once `in_flight` has passed since that one ended. A newer revision waits until what went before it under
the same key is resolved, so that a late older one cannot overwrite it.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from bidding.book import Book
from bidding.entries import Absent, Intent, Refused, Sent, Unknown, Withdrawal, document_id_of
from bidding.markets import Feature, Market, Receipt
from bidding.products import Rules
from bidding.side_by_side import Locks, all_of
from bidding.standby import Primary
from bidding.states import STATUS, TAKEN, UNRESOLVED, DocumentRecord, OfferRecord, key_of
from pipeline.clock import Clock
from pipeline.errors import RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Offer, OfferState

log = logging.getLogger("bidding.submit")

TOO_LATE = "the gate closed before it could be sent"
IN_THE_WAY = "what became of an earlier revision was not known before its gate closed"
AT_ONCE = 16
"""Requests under way side by side; the rest waits, unsent."""


@dataclass(frozen=True)
class Patience:
    """How long to wait between questions, spans of the clock where nothing else is said."""

    retry: timedelta
    """Between two questions to a venue that does not answer."""
    in_flight: timedelta
    """Between two questions before "never saw it" is believed."""
    gate_margin: timedelta
    """Nothing is sent later than this before gate closure."""
    request_s: float = 30.0
    """The machine's time after which a request is given up; no process before this one has one under way for longer."""
    least_s: float = 0.5
    """
    The machine's time for which a request is under way at least, however fast the clock runs.

    An assumption: one retransmission, which Linux sends after 0.2 s or later (TCP_RTO_MIN), and the way there.
    """


class Submitter:
    """One venue's outbox; the journal remembers, this only drives."""

    def __init__(
        self,
        market: Market,
        book: Book,
        clock: Clock,
        patience: Patience,
        primary: Primary | None = None,
        *,
        closed: Callable[[], str] = lambda: "",
    ) -> None:
        """Take *closed* to say why nothing may leave, empty where it may; withdrawals always may."""
        self._market = market
        self._book = book
        self._clock = clock
        self._patience = patience
        self._primary = primary
        self._closed = closed
        self._locks = Locks()
        self._sent_here: set[str] = set()
        """Documents that this process has sent, and no earlier one since."""
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def submit(self, offers: Iterable[Offer]) -> list[OfferRecord]:
        """
        Return what became of *offers*, documents side by side; one that is in the journal already is not repeated.

        A state is unresolved only when the venue did not answer until the gate closed. An offer that the venue has no
        document for is not in the journal, and not in what is returned; it is logged.
        """
        given = list(offers)
        await all_of(self._submit(document) for document in self._market.documents(given))
        return self._records(offer.offer_id for offer in given)

    async def withdraw(self, offer_ids: Iterable[str], reason: str) -> list[OfferRecord]:
        """
        Return what became of accepted offers that are to be taken back; at a venue that cannot, they stay.

        Nothing is asked for those whose gate has closed; ids that the journal does not know are logged.
        """
        known = self._records(offer_ids)
        offers = [record.offer for record in known if record.state in TAKEN | {OfferState.PENDING}]
        if Feature.WITHDRAW in self._market.features:
            await all_of(self._withdraw(document, reason) for document in self._market.documents(offers))
        return [self._record(record.offer.offer_id) for record in known]

    async def recover(self) -> bool:
        """Resolve what an earlier run, or a silent venue, left open; return whether everything is resolved."""
        await all_of(self._recover(document) for document in self._book.ledger.open_documents)
        return not self._book.ledger.open_documents

    async def send_again(self, offers: Sequence[Offer]) -> None:
        """
        Send one document's *offers*, which the venue had accepted and holds no more, while their gates are open.

        Whoever calls holds their keys. Nothing is sent unless the venue, asked twice more, does not know them, and
        nothing is meant while nothing may leave. A revision after which a newer one was sent is let go instead.
        """
        open_still = [offer for offer in offers if not self._gate_closed(offer)]
        replaced = [offer for offer in open_still if self._was_replaced(offer)]
        if replaced:
            await self._let_go(replaced)
        meant = [offer for offer in open_still if offer not in replaced]
        if meant and not self._closed():
            await self._resolve(self._meant(meant))

    async def _let_go(self, offers: Sequence[Offer]) -> None:
        """Write that *offers* are not the venue's any more, once it has said so again."""
        await self._clock.sleep(self._in_flight)
        answer = await self._ask(offers)
        if answer is not None:
            gone = (offer.offer_id for offer in offers if offer.offer_id not in answer)
            self._take({**answer, **{offer_id: _no_longer_held(offer_id) for offer_id in gone}})

    async def poll(self) -> None:
        """Ask once what the venue has judged of the offers that are pending before their interval starts."""
        now = self._clock.now()
        pending = [
            record.offer
            for record in self._book.ledger.offers.values()
            if record.state is OfferState.PENDING and record.offer.interval.start > now
        ]
        for document in self._market.documents(pending):
            self._take(await self._ask(document) or {})

    async def _submit(self, offers: Sequence[Offer]) -> None:
        async with self.alone_with(offers):
            states = {offer.offer_id: self._book.ledger.offers.get(offer.offer_id) for offer in offers}
            new = [o for o in offers if (known := states[o.offer_id]) is None or known.state is OfferState.HELD]
            if new and await self._clear_the_way(new):
                await self._send(self._meant(new))
            elif new:
                self._book.write(Refused(document_id=self._meant(new).document_id, reason=IN_THE_WAY))
            await self._resolve_all(offers)

    async def _withdraw(self, offers: Sequence[Offer], reason: str) -> None:
        async with self.alone_with(offers):
            if not await self._clear_the_way(offers):
                return
            standing = [o for o in offers if self._record(o.offer_id).state in TAKEN | {OfferState.PENDING}]
            in_time = [offer for offer in standing if not self._gate_closed(offer)]
            if in_time:
                await self._send(self._meant_back(in_time, reason))
                await self._resolve_all(offers)

    async def _recover(self, document: DocumentRecord) -> None:
        offers = [self._record(name).offer for name in document.offer_ids]
        async with self.alone_with(offers):
            await self._resolve_all(offers)

    def alone_with(self, offers: Iterable[Offer]) -> AbstractAsyncContextManager[None]:
        """Hold the keys of *offers*: one document under way for each."""
        return self._locks.hold(sorted({key_of(offer) for offer in offers}))

    def _open_with(self, offers: Iterable[Offer]) -> list[DocumentRecord]:
        """Return the open documents that have an offer under the key of one of *offers*."""
        keys = {key_of(offer) for offer in offers}
        ledger = self._book.ledger
        return [d for d in ledger.open_documents if any(key_of(ledger.offers[n].offer) in keys for n in d.offer_ids)]

    async def _clear_the_way(self, offers: Sequence[Offer]) -> bool:
        """Resolve what is open under the keys of *offers*; return whether it is, refusing them where it is not."""
        await self._resolve_all(offers)
        return not self._open_with(offers)

    async def _resolve_all(self, offers: Sequence[Offer]) -> None:
        while documents := self._open_with(offers):
            for document in documents:
                if not await self._resolve(document):
                    return

    async def _resolve(self, document: DocumentRecord) -> bool:
        """Ask until *document* is judged, or its gate has closed, then once; return whether it is judged."""
        name = document.document_id
        async with self._locks.hold([name]):  # it may carry keys that others wait for
            while waiting := self._waiting(self._book.ledger.documents[name]):
                absent = await self._ask_about(name, waiting)
                if absent and await self._still_absent(name, absent):
                    await self._again(name, absent)
                elif not absent and self._late(waiting) == waiting and self._waiting(self._book.ledger.documents[name]):
                    return False
                elif not absent:
                    await self._clock.sleep(self._patience.retry)
        return True

    def _waiting(self, document: DocumentRecord) -> list[Offer]:
        return [record.offer for record in self._book.ledger.waiting_for(document)]

    async def _ask_about(self, name: str, offers: Sequence[Offer]) -> list[Offer]:
        """Write what the venue answers; return those of *offers* of which it never saw document *name*."""
        answer = await self._ask(offers)
        if answer is None:
            return []
        document = self._book.ledger.documents[name]
        if document.withdraws:
            gone = (offer.offer_id for offer in offers if offer.offer_id not in answer)
            answer = {**answer, **{offer_id: _no_longer_held(offer_id) for offer_id in gone}}
        self._take(answer)
        waiting = self._waiting(document)
        return [offer for offer in waiting if document.withdraws or offer.offer_id not in answer]

    async def _still_absent(self, name: str, offers: Sequence[Offer]) -> bool:
        """Return whether the venue says so again, once nothing that was sent before can still be under way."""
        await self._clock.sleep(self._under_way_for(name))
        return await self._ask_about(name, offers) == offers

    def _under_way_for(self, name: str) -> timedelta:
        """Return how much longer a request with document *name* may be under way."""
        in_flight = self._in_flight
        if self._primary is None or name in self._sent_here:
            return in_flight
        in_flight_s = self._clock.wall_seconds(in_flight)
        return self._clock.span(self._primary.earlier_requests_end_in(self._patience.request_s, in_flight_s))

    @property
    def _in_flight(self) -> timedelta:
        """The span of the clock after which nothing that was sent is under way any more."""
        return max(self._patience.in_flight, self._clock.span(self._patience.least_s))

    async def _again(self, name: str, absent: Sequence[Offer]) -> None:
        """Send what the venue never saw; only that, where it saw the rest."""
        document = self._book.ledger.documents[name]
        self._book.write(Absent(document_id=name))
        if document.withdraws or len(absent) == len(document.offer_ids):
            await self._send(self._book.ledger.documents[name])
        else:
            await self._send(self._meant(absent))

    def _meant(self, offers: Sequence[Offer]) -> DocumentRecord:
        intent = Intent.of(offers, self._market.encode(offers))
        self._book.write(intent)
        return self._book.ledger.documents[intent.document_id]

    def _meant_back(self, offers: Sequence[Offer], reason: str) -> DocumentRecord:
        names = tuple(offer.offer_id for offer in offers)
        name = document_id_of("withdraw", names)
        self._book.write(Withdrawal(document_id=name, offer_ids=names, reason=reason))
        return self._book.ledger.documents[name]

    def _take(self, answer: Mapping[str, Receipt]) -> None:
        """Write the receipts that say something new."""
        for name, receipt in answer.items():
            record = self._book.ledger.offers.get(name)
            if record is None:
                continue
            is_open, is_word = record.state in UNRESOLVED, receipt.status in STATUS
            if (is_open and is_word) or (record.receipt != receipt and (is_open or is_word)):
                self._book.write(receipt)

    async def _ask(self, offers: Sequence[Offer]) -> Mapping[str, Receipt] | None:
        """Return what the venue holds of *offers*, None when it did not answer."""
        try:
            return await self._market.status(offers)
        except VenueError as error:
            log.debug("no answer to the question what became of %d offers: %s", len(offers), error)
            return None

    async def _send(self, document: DocumentRecord) -> None:
        offers = self._waiting(document)
        await self._pause(offers)
        late = self._late(offers) or self._outdated(document, offers)
        if late:
            await self._send_without(late, document, offers)
        elif offers and not document.withdraws and (why := self._closed()):
            self._book.write(Refused(document_id=document.document_id, reason=why))
        elif offers:
            async with self._slots:
                late = await self._send_now(document, offers)
            if late:
                await self._send_without(late, document, offers)

    async def _send_without(self, late: Sequence[Offer], document: DocumentRecord, offers: Sequence[Offer]) -> None:
        """Refuse *late* of the *document*'s *offers*, and send the rest as a document of its own."""
        rest = [offer for offer in offers if offer not in late]
        if document.withdraws:
            self._book.write(Refused(document_id=document.document_id, reason=TOO_LATE))
        else:
            for offer in late:
                reason = TOO_LATE if self._gate_closed(offer) else "a newer revision has been sent"
                self._book.write(Refused(offer_id=offer.offer_id, reason=reason))
        if rest:
            await self._send(self._meant_back(rest, document.reason) if document.withdraws else self._meant(rest))

    async def _send_now(self, document: DocumentRecord, offers: Sequence[Offer]) -> list[Offer]:
        """
        Say on disk that the document goes out, then send it: once, and only while we are the primary.

        Return those of *offers* whose gate has closed meanwhile: where there are any, nothing has been sent.
        """
        name = document.document_id
        self._book.write(Sent(document_id=name, attempt=document.attempts + 1))
        self._sent_here.add(name)
        if self._primary:
            self._primary.check()
        if late := self._late(offers):  # the append may have taken long, or the machine have slept
            return late
        try:
            receipts = await self._request(document, offers)
        except RejectedError as error:
            self._book.write(Refused(document_id=name, reason=str(error)))
        except VenueError as error:
            log.info("document %s: outcome unknown, asking the venue (%s)", name, error)
            self._book.write(Unknown(document_id=name, detail=str(error)))
        else:
            self._take({receipt.offer_id: receipt for receipt in receipts})
            if self._waiting(self._book.ledger.documents[name]):
                self._book.write(Unknown(document_id=name, detail="the answer did not speak of every offer"))
        return []

    async def _request(self, document: DocumentRecord, offers: Sequence[Offer]) -> tuple[Receipt, ...]:
        epoch = self._book.epoch
        try:
            async with asyncio.timeout(self._patience.request_s):
                if document.withdraws:
                    return await self._market.withdraw(offers, epoch)
                return await self._market.submit(document.content, offers, epoch)
        except TimeoutError as error:
            raise UnknownOutcomeError(f"no answer within {self._patience.request_s:g} s") from error

    async def _pause(self, offers: Sequence[Offer]) -> None:
        """Wait while one of the venue's pauses holds, or until a gate closes over it."""
        while not self._late(offers) and any(
            pause.holds(self._clock.now(), rules.timezone)
            for rules in map(self._rules, offers)
            for pause in rules.pauses
        ):
            await self._clock.sleep(self._patience.retry)

    def _late(self, offers: Iterable[Offer]) -> list[Offer]:
        return [offer for offer in offers if self._gate_closed(offer)]

    def _outdated(self, document: DocumentRecord, offers: Iterable[Offer]) -> list[Offer]:
        """Return those of *offers* of which a newer revision has been sent: it must not be overwritten."""
        return [] if document.withdraws else [offer for offer in offers if self._has_newer(offer)]

    def _has_newer(self, offer: Offer) -> bool:
        later = (r for r in self._book.ledger.revisions(key_of(offer)) if r.offer.revision > offer.revision)
        return any(record.attempts and record.state is not OfferState.REJECTED for record in later)

    def _was_replaced(self, offer: Offer) -> bool:
        """Tell whether a newer revision than *offer* was ever sent: this one is not meant any more."""
        later = (r for r in self._book.ledger.revisions(key_of(offer)) if r.offer.revision > offer.revision)
        return any(record.attempts for record in later)

    def _gate_closed(self, offer: Offer) -> bool:
        return self._clock.now() >= self._rules(offer).gate_closes(offer.interval) - self._patience.gate_margin

    def _rules(self, offer: Offer) -> Rules:
        return self._market.products[offer.product]

    def _records(self, offer_ids: Iterable[str]) -> list[OfferRecord]:
        """Return the records of those of *offer_ids* that are in the journal, and log the rest."""
        names = list(offer_ids)
        if missing := [name for name in names if name not in self._book.ledger.offers]:
            log.error("offers that are not in the journal, so not at the venue: %s", ", ".join(missing))
        return [self._record(name) for name in names if name not in missing]

    def _record(self, offer_id: str) -> OfferRecord:
        return self._book.ledger.offers[offer_id]


def _no_longer_held(offer_id: str) -> Receipt:
    """Return what it means that the venue does not know an offer that we want it to hold no more."""
    reasons = ("the venue no longer holds it",)
    return Receipt(offer_id=offer_id, receipt="", status="withdrawn", accepted_mw=Decimal(0), reasons=reasons)
