"""The venue itself: every request as a method of (what was asked, now). No HTTP, no clock."""

import logging
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from bidding.sandbox import clearing, settlement
from bidding.sandbox.admission import Submission, decide
from bidding.sandbox.book import Book, ClearingEntry, MeterEntry, OfferEntry, Opened, Outcome
from bidding.sandbox.daytypes import holidays
from bidding.sandbox.faults import Faults, Reply
from bidding.sandbox.journal import Journal
from bidding.sandbox.rules import PublishedRules, Rules
from bidding.sandbox.wire import Audit, Award, Dispatch, MeterBody, MeterStatus, Price, Statement, utc
from pipeline.errors import ConfigError

log = logging.getLogger(__name__)


class Venue:
    """A market operator's book and what may be asked of it."""

    def __init__(self, rules: Rules, faults: Faults, journal: Journal | None = None) -> None:
        self.rules = rules
        self.faults = faults
        self.book = Book()
        self._journal = journal
        self._reopen(Opened(rules=rules, seed=faults.seed))

    def _reopen(self, opened: Opened) -> None:
        """Go on where the journal stopped; raise `ConfigError` when it was kept under other rules."""
        for entry in self._journal.read() if self._journal else ():
            if isinstance(entry, Opened) and entry != opened:
                raise ConfigError("the journal was kept under other rules or another seed; name another --journal")
            self.book.apply(entry)
        if not self.book.entries:
            self._record(opened)

    def _record(self, entry: Opened | OfferEntry | ClearingEntry | MeterEntry) -> None:
        """Put *entry* on disk, then into the book."""
        if self._journal:
            self._journal.append(entry)
        self.book.apply(entry)
        log.info("%s", told(entry))

    def published_rules(self, now: datetime) -> PublishedRules:
        """Return the rules with the holidays of the years around *now*."""
        dates = tuple(day for year in range(now.year - 1, now.year + 3) for day in holidays(year))
        return PublishedRules(**self.rules.model_dump(), holidays=dates)

    def submit(self, submission: Submission) -> OfferEntry:
        """Decide on *submission* and record the outcome."""
        self.clear(submission.at)
        entry = decide(submission, self.book, self.rules, self.faults)
        entry = entry.model_copy(update={"reply": self._fate()})
        self._record(entry)
        return entry

    def _fate(self) -> Reply:
        """Return what becomes of the answer to the request about to be recorded."""
        return self.faults.reply(f"request|{self.book.entries}")

    def take_meter(self, resource: str, batch_id: str, body: MeterBody, digest: str, now: datetime) -> MeterEntry:
        """Take a batch of readings in place of what came under the same id."""
        entry = MeterEntry(
            at=now,
            resource=resource,
            batch_id=batch_id,
            sha256=digest,
            readings=body.readings,
            reply=self._fate(),
        )
        self._record(entry)
        return entry

    def meter_status(self, resource: str, batch_id: str) -> MeterStatus | None:
        """Return what is held of a batch, None when it never came."""
        batch = self.book.meter.get((resource, batch_id))
        if batch is None:
            return None
        return MeterStatus(resource=resource, batch_id=batch_id, readings=len(batch.readings), sha256=batch.sha256)

    def clear(self, now: datetime) -> None:
        """Clear every interval with offers whose gate has closed by *now*."""
        until = self.rules.decided_until(now)
        for start in sorted(start for start in self.book.uncleared if start < until):
            self._record(self._cleared(start))

    def _cleared(self, start: datetime) -> ClearingEntry:
        offers = self.book.standing_offers(start)
        steps = [step for offer in offers for step in _steps(offer)]
        name = start.isoformat()
        demand_mw = clearing.demand(self.faults.seed, name)
        result = clearing.clear([*steps, *clearing.other_bidders(self.faults.seed, name)], demand_mw)
        awards = (self._award(offer, result) for offer in offers)
        return ClearingEntry(
            at=self.rules.gate_closes(start),
            interval_start=start,
            price=result.price,
            demand_mw=demand_mw,
            awards=tuple(award for award in awards if award is not None),
        )

    def _award(self, offer: OfferEntry, result: clearing.Clearing) -> Award | None:
        mw = result.award_mw(offer.offer_id, self.rules.block_mw)
        if result.price is None or not mw:
            return None
        return Award(
            award_id=f"A-{sha256(offer.offer_id.encode()).hexdigest()[:16]}",
            offer_id=offer.offer_id,
            resource=offer.body.resource,
            product=offer.body.product,
            interval_start=offer.body.interval_start,
            interval_end=offer.body.interval_end,
            mw=mw,
            price=result.price,
            currency=self.rules.currency,
            awarded_at=self.rules.gate_closes(offer.body.interval_start),
        )

    def awards(self, resource: str, now: datetime) -> tuple[Award, ...]:
        """Return the awards to *resource* by *now*."""
        self.clear(now)
        return tuple(self.book.awards.get(resource, ()))

    def dispatches(self, resource: str, now: datetime) -> tuple[Dispatch, ...]:
        """Return the instructions given to *resource* by *now*."""
        return tuple(
            Dispatch(
                dispatch_id=f"D-{award.award_id.removeprefix('A-')}",
                award_id=award.award_id,
                resource=resource,
                interval_start=award.interval_start,
                interval_end=award.interval_end,
                reduction_mw=award.mw,
                issued_at=issued_at,
            )
            for award in self.awards(resource, now)
            if (issued_at := self.rules.dispatched_at(award.interval_start)) <= now
        )

    def prices(self, count: int, now: datetime) -> tuple[Price, ...]:
        """Return the newest *count* clearing prices, oldest first."""
        self.clear(now)
        until = self.rules.decided_until(now)
        return tuple(self._price(until - back * self.rules.interval) for back in range(count, 0, -1))

    def _price(self, start: datetime) -> Price:
        cleared = self.book.clearings.get(start) or self._cleared(start)
        return Price(
            interval_start=start,
            interval_end=start + self.rules.interval,
            price=cleared.price,
            demand_mw=cleared.demand_mw,
        )

    def statement(self, resource: str, now: datetime) -> Statement:
        """Return the settlement of *resource* as far as it can be written at *now*."""
        awards = self.awards(resource, now)
        return settlement.statement(resource, awards, self.book.readings(resource), self.rules, now)

    def audit(self, query_replies_lost: int, query_replies_late: int) -> Audit:
        """Return what was counted."""
        counts = self.book.counts
        accepted, partial = counts[Outcome.ACCEPTED], counts[Outcome.PARTLY_ACCEPTED]
        return Audit(
            submissions_applied=accepted + partial + counts[Outcome.REJECTED],
            duplicate_submissions=counts[Outcome.DUPLICATE],
            accepted=accepted,
            partial=partial,
            rejected=counts[Outcome.REJECTED],
            conflicts=counts[Outcome.CONFLICT] + counts[Outcome.STALE_REVISION],
            after_gate=counts[Outcome.GATE_CLOSED],
            before_gate=counts[Outcome.GATE_NOT_OPEN],
            meter_batches=counts["meter"],
            replies_lost=counts["reply_lost"],
            replies_late=counts["reply_late"],
            query_replies_lost=query_replies_lost,
            query_replies_late=query_replies_late,
            journal_entries=self.book.entries,
        )


def _steps(offer: OfferEntry) -> list[clearing.Step]:
    """Return the accepted part of the curve in *offer* as single steps."""
    steps, below = [], offer.body.curve[0].mw * 0
    limit = offer.receipt.accepted_mw if offer.receipt else below
    for point in offer.body.curve:
        upto = min(point.mw, limit)
        if upto > below:
            steps.append(clearing.Step(offer.offer_id, upto - below, point.price))
            below = upto
    return steps


def told(entry: Opened | OfferEntry | ClearingEntry | MeterEntry) -> str:
    """Return *entry* as one line for an operator."""
    if isinstance(entry, OfferEntry):
        return f"offer {entry.offer_id}: {entry.outcome} {entry.detail}".rstrip() + f", reply {entry.reply}"
    if isinstance(entry, ClearingEntry):
        awarded_mw = sum((award.mw for award in entry.awards), Decimal(0))
        return f"interval {utc(entry.interval_start)}: cleared at {entry.price}, {awarded_mw} MW awarded"
    if isinstance(entry, MeterEntry):
        return f"meter {entry.resource}/{entry.batch_id}: {len(entry.readings)} readings, reply {entry.reply}"
    return f"book opened, seed {entry.seed}"
