"""
What the venue holds against what we hold: compared at start and again and again, and put right while there is time.

    same       it holds our newest, as we have it                     nothing
    changed    our newest, judged otherwise since                     its receipt is written
    taken back cancelled, withdrawn or rejected                       its receipt is written
    older      an older revision of ours stands in its place          found, and both bind us; the newest is sent again
                                                                      before the gate
    gone       nothing of ours stands                                 found; the same, once it has said so twice
    unclear    a word for its state that we do not know               said; asked again
    silent     no answer                                              asked again

`compare` is the whole decision; the loop around it asks, writes and lets the submitter send. After the gate a
difference is written down and said aloud, once.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bidding.book import Book
from bidding.entries import Cancelled, Found
from bidding.ledger import Ledger
from bidding.markets import Feature, Market, Notice, Receipt
from bidding.states import CLEARED, STANDING, STATUS, TAKEN, UNRESOLVED, OfferRecord, key_of
from bidding.submit import Submitter
from pipeline.errors import VenueError
from pipeline.messages.market import Offer, OfferState

log = logging.getLogger("bidding.reconcile")

#: What the venue may still hold of ours before the interval starts, its outcome known.
HELD_BY_VENUE = TAKEN | {OfferState.PENDING}


class Verdict(StrEnum):
    """What the comparison of one offer comes to."""

    SAME = "same"
    CHANGED = "changed"
    TAKEN_BACK = "taken back"
    OLDER = "older"
    GONE = "gone"
    UNCLEAR = "unclear"
    SILENT = "silent"


@dataclass(frozen=True)
class Line:
    """One standing offer, what we hold of it and what the venue says."""

    offer: Offer
    ours: str
    theirs: str
    verdict: Verdict
    receipt: Receipt | None = None
    """The venue's of this revision."""
    holds: Receipt | None = None
    """The venue's of the older revision that stands in its place."""

    @property
    def differs(self) -> bool:
        """Whether the venue does not hold what we mean it to."""
        return self.verdict in {Verdict.OLDER, Verdict.GONE}


def compare(record: OfferRecord, earlier: Iterable[Offer], held: Mapping[str, Receipt] | None) -> Line:
    """
    Compare the newest revision, *record*, with what the venue has *held* by id; None when it did not answer.

    *earlier* are the revisions before it that were sent. Pure.
    """
    offer, ours = record.offer, _words(record.state.value, record.receipt, record.offer)
    if held is None:
        return Line(offer, ours, "no answer", Verdict.SILENT)
    receipt = held.get(offer.offer_id)
    if receipt is not None:
        theirs = _words(receipt.status, receipt, offer)
        state = STATUS.get(receipt.status)
        if state is None:
            return Line(offer, ours, theirs, Verdict.UNCLEAR)
        if state is record.state and (record.receipt is None or receipt.accepted_mw == record.receipt.accepted_mw):
            return Line(offer, ours, theirs, Verdict.SAME, receipt)
        verdict = Verdict.CHANGED if state in HELD_BY_VENUE else Verdict.TAKEN_BACK
        return Line(offer, ours, theirs, verdict, receipt)
    standing = [old for old in earlier if (told := held.get(old.offer_id)) and STATUS.get(told.status) in HELD_BY_VENUE]
    if standing:
        old = max(standing, key=lambda other: other.revision)
        told = held[old.offer_id]
        return Line(offer, ours, _words(told.status, told, old), Verdict.OLDER, holds=told)
    return Line(offer, ours, "nothing", Verdict.GONE)


def _words(state: str, receipt: Receipt | None, offer: Offer) -> str:
    accepted = f", {receipt.accepted_mw} MW" if receipt else ""
    return f"revision {offer.revision} {state}{accepted}"


async def report(market: Market, ledger: Ledger, now: datetime) -> list[Line]:
    """Return every offer that stands and whose interval has not begun, against the venue; send and write nothing."""
    records = [r for r in ledger.offers.values() if r.state in STANDING and r.offer.interval.start > now]
    return await _compared(market, ledger, records)


async def _compared(market: Market, ledger: Ledger, records: Sequence[OfferRecord]) -> list[Line]:
    """Compare *records* in one question a document; older revisions are asked for where one is missing."""
    by_id = {record.offer.offer_id: record for record in records}
    lines: list[Line] = []
    for document in market.documents(record.offer for record in records):
        held = await _ask(market, document)
        for offer in document:
            earlier = _sent_before(ledger, offer) if held is not None and offer.offer_id not in held else []
            more = await _ask(market, earlier) if earlier else {}
            known = None if held is None or more is None else {**held, **more}
            lines.append(compare(by_id[offer.offer_id], earlier, known))
    return lines


def _sent_before(ledger: Ledger, offer: Offer) -> list[Offer]:
    revisions = ledger.revisions(key_of(offer))
    return [r.offer for r in revisions if r.offer.revision < offer.revision and r.attempts]


async def _ask(market: Market, offers: Sequence[Offer]) -> Mapping[str, Receipt] | None:
    try:
        return await market.status(offers)
    except VenueError as error:
        log.debug("no answer to the question what the venue holds: %s", error)
        return None


class Reconciler:
    """The loop: compare, write what was found, send the newest again while its gate is open."""

    def __init__(self, market: Market, book: Book, submitter: Submitter) -> None:
        self._market, self._book, self._submitter = market, book, submitter

    async def tick(self, now: datetime) -> list[Line]:
        """Return the comparison of every offer whose outcome was known; what differs has been put right, or said."""
        await self._notices(now)
        records = [r for r in self._book.ledger.offers.values() if self._is_due(r, now)]
        lines: list[Line] = []
        for document in self._market.documents(record.offer for record in records):
            async with self._submitter.alone_with(document):
                known = (self._book.ledger.offers[offer.offer_id] for offer in document)
                still = [record for record in known if self._is_due(record, now)]
                found = await _compared(self._market, self._book.ledger, still)
                for line in found:
                    self._note(line)
                await self._put_right([line for line in found if line.differs])
                lines += found
        return lines

    def _is_due(self, record: OfferRecord, now: datetime) -> bool:
        return record.state in HELD_BY_VENUE and record.offer.interval.start > now

    def _note(self, line: Line) -> None:
        """Write what the venue says otherwise, once."""
        if line.receipt is not None and line.verdict is not Verdict.SAME:
            self._book.write(line.receipt)
        elif line.differs or line.verdict is Verdict.UNCLEAR:
            name, holds = line.offer.offer_id, line.holds
            found = Found(offer_id=name, verdict=line.verdict, ours=line.ours, theirs=line.theirs, holds=holds)
            forgotten = holds and self._book.ledger.offers[holds.offer_id].state is OfferState.SUPERSEDED
            if forgotten or self._book.ledger.found.get(name) != found:
                self._book.write(found)
                log.error("offer %s: ours is %s, the venue's is %s", line.offer.offer_id[:8], line.ours, line.theirs)

    async def _put_right(self, lines: Sequence[Line]) -> None:
        """Send again what the venue does not hold."""
        for document in self._market.documents(line.offer for line in lines):
            await self._submitter.send_again(document)

    async def _notices(self, now: datetime) -> None:
        """Take in what the venue took back, each notice once; which offer it means is asked of the venue."""
        if Feature.NOTICES not in self._market.features:
            return
        offers = (record.offer for record in self._book.ledger.offers.values())
        for resource in sorted({offer.resource for offer in offers if offer.interval.end > now}):
            try:
                told = await self._market.notices(resource)
            except VenueError as error:
                log.debug("no answer to the question for notices: %s", error)
                continue
            for notice in told:
                if notice.notice_id not in self._book.ledger.notices:
                    await self._take(notice)

    async def _take(self, notice: Notice) -> None:
        ledger = self._book.ledger
        newest = ledger.newest(key_of(notice), STANDING | CLEARED)
        if newest is None:
            self._book.write(Cancelled(notice=notice, offer_id=""))
            return
        async with self._submitter.alone_with([newest.offer]):
            record = ledger.offers[newest.offer.offer_id]
            if record.state in UNRESOLVED:
                return  # first it has to be known whether the venue has it
            held = await _ask(self._market, [record.offer])
            if held is None:
                return
            receipt = held.get(record.offer.offer_id)
            stands = receipt is not None and STATUS.get(receipt.status) in HELD_BY_VENUE
            self._book.write(Cancelled(notice=notice, offer_id="" if stands else record.offer.offer_id))
            if not stands:
                log.error("offer %s was cancelled by the venue: %s", record.offer.offer_id[:8], notice.reason)
