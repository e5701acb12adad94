"""When to offer: every planned interval, before its gate, as soon as capacity and history carry it."""

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta

from bidding.agents.feed import World
from bidding.agents.history import History
from bidding.book import Book
from bidding.capacity import Finding
from bidding.offers import NoOffer, Terms, build
from bidding.performance import baseline_of, calendar_of, events
from bidding.products import Rules
from bidding.rules import check
from bidding.settings import Bidding
from bidding.submit import Submitter
from pipeline.cbl.single import Baseline, Method
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval, floor
from pipeline.messages.market import Offer

log = logging.getLogger("bidding.offer")


def planned(settings: Bidding, rules: Rules) -> list[Interval]:
    """Return the intervals that the settings name, none where every interval is meant."""
    if settings.plan_start is None or not settings.intervals:
        return []
    first = Interval(settings.plan_start, settings.plan_start + rules.interval)
    return list(Interval(first.start, first.start + settings.intervals * rules.interval).split(rules.interval))


def candidates(settings: Bidding, rules: Rules, now: datetime) -> Iterator[Interval]:
    """Yield the intervals that may be offered at *now*: the gate is open, its margin not yet begun."""
    margin, lead = timedelta(seconds=settings.gate_margin_s), timedelta(seconds=settings.offer_lead_s)
    nearest = floor(now + timedelta(seconds=rules.gate_closure_s), rules.interval)
    furthest = nearest + lead + 2 * rules.interval
    upcoming = Interval(nearest, floor(furthest, rules.interval)).split(rules.interval)
    for interval in planned(settings, rules) or upcoming:
        begun = settings.plan_start is None or interval.start >= settings.plan_start
        opens = max(rules.gate_opens(interval), rules.gate_closes(interval) - lead)
        if begun and opens <= now < rules.gate_closes(interval) - margin:
            yield interval


class Offering:
    """Build, check and submit; what prevents an offer is said once and kept as a finding."""

    def __init__(
        self,
        settings: Bidding,
        rules: Rules,
        terms: Terms,
        *,
        book: Book,
        world: World,
        history: History,
        submitter: Submitter,
        method: Method,
    ) -> None:
        self._settings, self._rules, self._terms = settings, rules, terms
        self._book, self._world, self._history, self._submitter = book, world, history, submitter
        self._method = method
        self._calendar = calendar_of(rules)
        self._why_not: dict[Interval, NoOffer] = {}
        self._baselines: dict[Interval, tuple[object, Baseline]] = {}
        self.insufficient: InsufficientDataError | None = None

    @property
    def findings(self) -> list[Finding]:
        """Why planned intervals were not offered."""
        return [finding for refusal in self._why_not.values() for finding in refusal.findings]

    async def tick(self, now: datetime) -> None:
        """Offer what is due at *now*."""
        ledger = self._book.ledger
        for interval in candidates(self._settings, self._rules, now):
            if not ledger.revision_of(self._settings.resource, self._rules.product, interval):
                decision = self._decide(interval, now)
                if isinstance(decision, NoOffer):
                    self._say_why_not(decision)
                else:
                    await self._offer(decision)

    def _decide(self, interval: Interval, now: datetime) -> Offer | NoOffer:
        if self._world.whole_capacity is None:
            return NoOffer(interval, (Finding("halted", "no capacity message yet"),))
        try:
            baseline_kw = self.baseline_kw(interval, now)
        except InsufficientDataError as error:
            self.insufficient = error
            self._history.reload(now)
            return NoOffer(interval, (Finding("baseline", str(error)),))
        self.insufficient = None
        decision = build(
            list(self._world.capacity), baseline_kw, self._rules, interval=interval, terms=self._terms, now=now
        )
        if isinstance(decision, NoOffer):
            return decision
        margin = timedelta(seconds=self._settings.gate_margin_s)
        refusals = check(decision, self._rules, now, self._book.ledger.taken, margin)
        if refusals:
            return NoOffer(interval, tuple(Finding(refusal.rule, refusal.detail) for refusal in refusals))
        return decision

    def baseline_kw(self, interval: Interval, now: datetime) -> float:
        """Return the baseline of *interval* as known at *now*, as part of the event it would belong to."""
        taken = [offer.interval for offer in self._book.ledger.taken]
        event = next(run for run in events([*taken, interval], self._calendar) if interval.start in run)
        return self._baseline(event, now).over(interval)[1]

    def _baseline(self, event: Interval, now: datetime) -> Baseline:
        """Return *event*'s baseline, computed again only when what it rests on has changed: it takes some 50 ms."""
        awards = tuple(self._book.ledger.awards.values())
        rests_on = (self._history.version, len(awards))
        known, baseline = self._baselines.get(event, (None, None))
        if baseline is None or known != rests_on:
            readings = self._history.readings([event], self._calendar, now)
            baseline = baseline_of(event, readings, awards, self._method, self._calendar)
            rests_on = (self._history.version, len(awards))  # the first question reads the archive
            self._baselines[event] = (rests_on, baseline)
        return baseline

    async def _offer(self, offer: Offer) -> None:
        (record,) = await self._submitter.submit([offer])
        self._why_not.pop(offer.interval, None)
        log.info(
            "offer %s for %s: %s of %s MW at up to %s %s/MWh%s",
            offer.offer_id[:8],
            offer.interval.start.isoformat(),
            record.state,
            offer.quantity_mw,
            offer.steps[-1].price_per_mwh,
            offer.currency,
            " (simulated)" if offer.simulated else "",
        )

    def _say_why_not(self, refusal: NoOffer) -> None:
        known = self._why_not.get(refusal.interval)
        names = [finding.name for finding in refusal.findings]
        if known is None or [finding.name for finding in known.findings] != names:
            log.warning("nothing offered yet for %s: %s", refusal.interval.start.isoformat(), refusal)
        self._why_not[refusal.interval] = refusal
