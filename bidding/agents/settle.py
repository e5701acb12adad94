"""After the event: meter data to the venue, performance, both statements, and where they differ."""

import logging
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal

from bidding import performance, settlement
from bidding.agents.history import History
from bidding.book import Book
from bidding.entries import MeterReport
from bidding.ledger import OURS
from bidding.markets import Market, MeterReading
from bidding.products import Rules
from bidding.settings import Bidding
from bidding.settlement import Difference
from pipeline.cbl.single import Method
from pipeline.errors import InsufficientDataError, VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Award, OfferState, Statement

log = logging.getLogger("bidding.settle")


class Settling:
    """Settle whole events, once their last interval is over and metered."""

    def __init__(
        self,
        settings: Bidding,
        market: Market,
        rules: Rules,
        *,
        book: Book,
        history: History,
        method: Method,
        site: str,
    ) -> None:
        self._settings, self._market, self._book, self._history = settings, market, book, history
        self._method, self._site = method, site
        self._rules = rules
        self._calendar = performance.calendar_of(rules)
        self._said = ""
        self.differences: list[Difference] = []
        self.problem: InsufficientDataError | VenueError | None = None

    async def tick(self, now: datetime) -> None:
        """Settle what can be settled at *now*; what cannot is tried again."""
        due = self.due(now)
        if not due:
            return
        try:
            await self._settle(due, now)
        except (InsufficientDataError, VenueError) as error:
            self.problem = error
            self._say(f"not settled yet: {error}")

    def due(self, now: datetime) -> list[Award]:
        """Return the unsettled awards of the events that are over and metered, or have been waited for."""
        awards = [award for award in self._book.ledger.awards.values() if not self._settled(award)]
        wait = timedelta(seconds=self._settings.meter_wait_s)
        over = [
            run
            for run in performance.events((award.interval for award in awards), self._calendar)
            if run.end <= now
            and all(self._history.whole(a.interval) or now >= run.end + wait for a in awards if a.interval.start in run)
        ]
        return [award for award in awards if any(award.interval.start in run for run in over)]

    def _settled(self, award: Award) -> bool:
        record = self._book.ledger.offers.get(award.offer_id)
        return record is None or record.state is OfferState.SETTLED

    async def _settle(self, due: Sequence[Award], now: datetime) -> None:
        ledger = self._book.ledger
        batches = {day: self._history.readings(events, self._calendar, now) for day, events in self._days(due).items()}
        for day, readings in batches.items():
            self._perform([award for award in due if self._is_energy(award) and self._day(award) == day], readings)
        ours = settlement.settle(
            [award for award in ledger.awards.values() if self._is_energy(award)],
            list(ledger.performance.values()),
            self._rules,
            self._settings.resource,
            now,
        )
        if ours.lines and (OURS not in ledger.statements or ours.lines != ledger.statements[OURS].lines):
            self._book.write(ours)
        for day, readings in batches.items():
            await self._report(day.isoformat(), readings)
        theirs = await self._market.statement(self._settings.resource)
        lines = {line.award_id for line in theirs.lines} if theirs else set()
        if theirs is None or not lines >= {award.award_id for award in due}:
            self._say("the venue has not settled every award yet; asking again")
            return
        self._book.write(theirs)
        self.problem = None
        if ours.lines:
            self._compare(ledger.statements[OURS], self._energy_of(theirs))

    async def _report(self, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        report = MeterReport(batch_id=batch_id, readings=readings)
        if self._book.ledger.reports.get(batch_id) != report:
            self._book.write(report)
        await self._market.report_meter(self._settings.resource, batch_id, readings)

    def _is_energy(self, award: Award) -> bool:
        """Tell whether *award* is of the product that is held against a baseline here; reserves the venue settles."""
        return award.product == self._rules.product

    def _energy_of(self, theirs: Statement) -> Statement:
        """Return what the venue says of the awards that we settle too."""
        awards = self._book.ledger.awards
        lines = tuple(x for x in theirs.lines if x.award_id not in awards or self._is_energy(awards[x.award_id]))
        return theirs.model_copy(update={"lines": lines, "total": sum((x.total for x in lines), Decimal(0))})

    def _day(self, of: Award) -> date:
        return self._calendar.day_of(of.interval.start)

    def _days(self, due: Sequence[Award]) -> dict[date, list[Interval]]:
        """Return every event on the local days of *due*, by day: a day's meter data goes to the venue as one batch."""
        days: dict[date, list[Interval]] = {day: [] for day in sorted({self._day(award) for award in due})}
        for run in performance.events((a.interval for a in self._book.ledger.awards.values()), self._calendar):
            if (day := self._calendar.day_of(run.start)) in days:
                days[day].append(run)
        return days

    def _perform(self, due: Sequence[Award], readings: Sequence[MeterReading]) -> None:
        """Journal the performance on *due*; say it where metering has holes."""
        metered = {m.interval: m for award in due if (m := self._history.metered(award.interval))}
        known = [award for award in self._book.ledger.awards.values() if self._is_energy(award)]
        awards = [award for award in known if award.interval in metered or award in due]
        for figure in performance.performances(
            awards, metered, readings, method=self._method, calendar=self._calendar, site=self._site
        ):
            if self._book.ledger.performance.get(figure.award_id) != figure:
                self._book.write(figure)
            if not self._history.whole(figure.interval):
                self._say(f"metering of {figure.interval.start.isoformat()} covers {figure.covered_share:.1%}")

    def _compare(self, ours: Statement, theirs: Statement) -> None:
        self.differences = settlement.compare(ours, theirs)
        word = "agree" if not self.differences else "; ".join(map(str, self.differences))
        simulated = " (simulated)" if ours.simulated or theirs.simulated else ""
        log.info(
            "settled: %s %s ours, %s %s %s: %s%s",
            ours.total,
            ours.currency,
            theirs.total,
            theirs.currency,
            theirs.issuer,
            word,
            simulated,
        )

    def _say(self, text: str) -> None:
        if text != self._said:
            log.info("%s", text)
        self._said = text
