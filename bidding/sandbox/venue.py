"""The venue itself: every request as a method of (what was asked, now). No HTTP, no clock."""

import logging
from collections.abc import Sequence
from datetime import datetime

from bidding.sandbox import statement, withdrawal
from bidding.sandbox.admission import Submission, decide
from bidding.sandbox.answers import (
    Audit,
    Award,
    Dispatch,
    MeterStatus,
    Notice,
    Price,
    Problem,
    Setpoint,
    ShortfallStatus,
    Statement,
)
from bidding.sandbox.audit import audit
from bidding.sandbox.book import Book, Slot
from bidding.sandbox.calls import dispatches
from bidding.sandbox.clearinghouse import cleared
from bidding.sandbox.coclearing import solver
from bidding.sandbox.daytypes import holidays
from bidding.sandbox.entries import (
    AnyEntry,
    CancelEntry,
    ClearingEntry,
    DocumentEntry,
    EpochEntry,
    FencedEntry,
    MeterEntry,
    OfferEntry,
    Opened,
    ResponseEntry,
    ShortfallEntry,
    WithdrawalEntry,
)
from bidding.sandbox.faults import Faults, Reply
from bidding.sandbox.following import scored, setpoints
from bidding.sandbox.journal import Journal
from bidding.sandbox.market import Market
from bidding.sandbox.rules import PublishedRules, Rules
from bidding.sandbox.telling import told
from bidding.sandbox.wire import CancelBody, MeterBody, ResponseBody, ShortfallBody
from pipeline.errors import ConfigError

log = logging.getLogger(__name__)

UNOFFERED_KEPT = 5000
"""Clearings without offers of ours that are remembered, so that prices are not computed for every question."""


class Venue:
    """A market operator's book and what may be asked of it."""

    def __init__(self, market: Market, faults: Faults, journal: Journal | None = None) -> None:
        if market.co_clears:
            solver()
        self.market = market
        self.faults = faults
        self.book = Book()
        self._journal = journal
        self._unoffered: dict[Slot, ClearingEntry] = {}
        self._reopen(Opened(market=market, seed=faults.seed))

    def _reopen(self, opened: Opened) -> None:
        """Go on where the journal stopped; raise `ConfigError` when it was kept under other rules."""
        for entry in self._journal.read() if self._journal else ():
            if isinstance(entry, Opened) and entry != opened:
                raise ConfigError("the journal was kept under other rules or another seed; name another --journal")
            self.book.apply(entry)
        if not self.book.entries:
            self._record(opened)

    def _record(self, entry: AnyEntry) -> None:
        """Put *entry* on disk, then into the book."""
        if self._journal:
            self._journal.append(entry)
        self.book.apply(entry)
        log.info("%s", told(entry))

    def _fate(self) -> Reply:
        """Return what becomes of the answer to the request about to be recorded."""
        return self.faults.reply(f"request|{self.book.entries}")

    # ------------------------------------------------------------------------------------------ who is heard

    def hear(self, epoch: int, now: datetime) -> None:
        """Take note of a sender's *epoch*: from then on a lower one is refused."""
        if epoch > self.book.epoch:
            self._record(EpochEntry(at=now, epoch=epoch))

    def fence(self, epoch: int, request: str, now: datetime) -> Problem | None:
        """Refuse the *request* of a sender whose *epoch* is lower than the highest heard, and count it."""
        if epoch >= self.book.epoch:
            return None
        self._record(FencedEntry(at=now, epoch=epoch, request=request))
        return Problem(error="fenced", detail=f"epoch {self.book.epoch} was heard, this is epoch {epoch}")

    # ------------------------------------------------------------------------------------------------ offers

    def submit(self, submission: Submission) -> OfferEntry:
        """Decide on *submission* and record the outcome."""
        self.clear(submission.at)
        entry = decide(submission, self.book, self.market, self.faults, f"offer|{self.book.entries}")
        entry = entry.model_copy(update={"reply": self._fate()})
        self._record(entry)
        return entry

    def submit_document(
        self, document_id: str, digest: str, submissions: Sequence[Submission], now: datetime
    ) -> DocumentEntry:
        """Decide on each of *submissions* by itself and record all outcomes at once."""
        self.clear(now)
        request = f"offer|{self.book.entries}"
        entry = DocumentEntry(
            at=now,
            document_id=document_id,
            sha256=digest,
            offers=tuple(
                decide(submission, self.book, self.market, self.faults, f"{request}|{number}")
                for number, submission in enumerate(submissions)
            ),
            reply=self._fate(),
        )
        self._record(entry)
        return entry

    def withdraw(self, offer_id: str, now: datetime) -> WithdrawalEntry:
        """Take back *offer_id*, which the venue knows, or say why not."""
        self.clear(now)
        entry = withdrawal.withdraw(offer_id, self.book, self.market, now)
        entry = entry.model_copy(update={"reply": self._fate()})
        self._record(entry)
        return entry

    def cancel(self, body: CancelBody, now: datetime) -> Notice | Problem:
        """Take back an accepted offer on the venue's side, to order."""
        self.clear(now)
        entry = withdrawal.cancel(body.offer_id, body.reason, self.book, self.market, now)
        if isinstance(entry, Problem):
            return entry
        self._record(entry)
        return self.book.notices[self.book.offers[body.offer_id].body.resource][-1]

    def take_shortfall(self, shortfall_id: str, body: ShortfallBody, digest: str, now: datetime) -> ShortfallEntry:
        """Take a notice of shortfall, or say why not."""
        self.clear(now)
        entry = withdrawal.shortfall(shortfall_id, body, digest, self.book, self.market, now=now)
        entry = entry.model_copy(update={"reply": self._fate()})
        self._record(entry)
        return entry

    def shortfall_status(self, shortfall_id: str) -> ShortfallStatus | None:
        """Return what is held of a notice, None when it never came."""
        entry = self.book.shortfalls.get(shortfall_id)
        if entry is None:
            return None
        return ShortfallStatus(
            shortfall_id=shortfall_id,
            sha256=entry.sha256,
            awarded_mw=entry.awarded_mw,
            available_mw=entry.body.available_mw,
        )

    # ----------------------------------------------------------------------------------------------- reports

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

    def take_response(
        self, resource: str, rules: Rules, hour: datetime, body: ResponseBody, digest: str, *, now: datetime
    ) -> ResponseEntry | Problem:
        """Score an hour of regulation, in place of what was reported of it before."""
        own = self._awards_of(resource, rules.product, now)
        found = scored(own, rules, hour, body, digest, seed=self.faults.seed, now=now)
        if isinstance(found, Problem):
            return found
        entry = ResponseEntry(at=now, score=found, reply=self._fate())
        self._record(entry)
        return entry

    # ---------------------------------------------------------------------------------------------- clearing

    def clear(self, now: datetime) -> None:
        """Do what has become due by *now*, in order: take back what was to be, clear what has offers and no gate."""
        for at, offer_id in self.book.due_cancels(now):
            self._record(CancelEntry(at=at, offer_id=offer_id, reason="simulated: the venue's later validation"))
        until = {rules.product: rules.decided_until(now) for rules in self.market.products}
        due = [slot for slot in self.book.uncleared if slot[1] < until[slot[0]]]
        for product, start in sorted(due, key=lambda slot: (slot[1], slot[0])):
            if (product, start) in self.book.uncleared:  # not cleared together with another
                self._record(self._cleared(product, start))

    def _cleared(self, product: str, start: datetime) -> ClearingEntry:
        session = self.market.session(product)
        offers = {rules.product: self.book.standing_offers((rules.product, start)) for rules in session}
        return cleared(session, offers, self.market, self.faults.seed, start)

    def prices(self, product: str, count: int, now: datetime) -> tuple[Price, ...]:
        """Return the newest *count* clearing prices of *product*, oldest first; none for a product not sold."""
        self.clear(now)
        rules = self.market.rules(product)
        if rules is None:
            return ()
        until = rules.decided_until(now)
        return tuple(self._price(rules, until - back * rules.interval) for back in range(count, 0, -1))

    def _price(self, rules: Rules, start: datetime) -> Price:
        together = self.market.session(rules.product)[0].product, start
        found = self.book.clearings.get((rules.product, start)) or self._unoffered.get(together)
        if found is None:
            if len(self._unoffered) >= UNOFFERED_KEPT:
                self._unoffered.clear()
            found = self._unoffered[together] = self._cleared(*together)
        return Price(
            product=rules.product,
            interval_start=start,
            interval_end=start + rules.interval,
            price=found.prices[rules.product],
            demand_mw=found.demand_mw[rules.product],
        )

    # ----------------------------------------------------------------------------------------------- queries

    def published_rules(self, rules: Rules, now: datetime) -> PublishedRules:
        """Return *rules* with the holidays of the years around *now*."""
        dates = tuple(day for year in range(now.year - 1, now.year + 3) for day in holidays(year))
        return PublishedRules(**rules.model_dump(), holidays=dates)

    def awards(self, resource: str, now: datetime) -> tuple[Award, ...]:
        """Return the awards to *resource* by *now*."""
        self.clear(now)
        return tuple(self.book.awards.get(resource, ()))

    def _awards_of(self, resource: str, product: str, now: datetime) -> list[Award]:
        return [award for award in self.awards(resource, now) if award.product == product]

    def dispatches(self, resource: str, now: datetime) -> tuple[Dispatch, ...]:
        """Return the instructions given to *resource* by *now*."""
        awards = self.awards(resource, now)
        return tuple(dispatches(awards, self.book, self.market, self.faults.seed, now))

    def notices(self, resource: str, now: datetime) -> tuple[Notice, ...]:
        """Return what was taken back of *resource* by *now*."""
        self.clear(now)
        return tuple(self.book.notices.get(resource, ()))

    def setpoints(self, resource: str, rules: Rules, since: datetime, now: datetime) -> tuple[Setpoint, ...]:
        """Return what the signal asked of *resource* after *since*, up to *now*."""
        own = self._awards_of(resource, rules.product, now)
        return tuple(setpoints(own, rules, self.faults.seed, since, now))

    def statement(self, resource: str, now: datetime) -> Statement:
        """Return the settlement of *resource* as far as it can be written at *now*."""
        awards = self.awards(resource, now)
        meter, scores = self.book.readings(resource), self.book.scores
        return statement.statement(resource, awards, meter, scores, self.market, seed=self.faults.seed, now=now)

    def audit(self, query_replies_lost: int, query_replies_late: int) -> Audit:
        """Return what was counted."""
        return audit(self.book, query_replies_lost, query_replies_late)
