"""
A portfolio strategy, live: what is due of all products together, planned at once, in a thread of its own.

    due intervals, capacity, forecast, what stands, duties ─▶ Problem ─▶ strategy ─▶ Plan ─▶ offers and their reasons

Products with intervals of one length are planned together. A plan that offers nothing is made anew after `REPLAN`, or
once the forecast changes, so that a solver does not run at every tick.
"""

import asyncio
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bidding.agents.baselines import Baselines
from bidding.agents.due import candidates
from bidding.agents.feed import World
from bidding.agents.gatekeeper import Reference
from bidding.book import Book
from bidding.capacity import Finding, firm_kw
from bidding.entries import Explained
from bidding.forecast import Forecast, Table
from bidding.gate.settings import Effect
from bidding.gate.settings import Obligation as Duty
from bidding.offers import NoOffer, Terms
from bidding.owed import owed
from bidding.portfolio import strategy
from bidding.portfolio.build import Figures, offers
from bidding.portfolio.explain import Explainer
from bidding.portfolio.flexibility import Found, SiteLimits, Telemetry, of_site
from bidding.portfolio.model import Commitment, Flexibility, Obligation, Plan, Problem
from bidding.products import Rules
from bidding.settings import Bidding
from bidding.states import BINDING
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Offer
from pipeline.units import KW_PER_MW

REPLAN = timedelta(seconds=30)
SECONDS_PER_MIN = 60.0

Due = Mapping[str, Sequence[Interval]]
"""By product: intervals that are due and not offered yet."""


@dataclass(frozen=True)
class Planned:
    """When the same was last planned, on which forecast."""

    at: datetime
    table: Table


class PortfolioOffers:
    """The strategy that the settings name, over every product for sale."""

    def __init__(
        self,
        settings: Bidding,
        products: Mapping[str, Rules],
        terms: Terms,
        *,
        book: Book,
        world: World,
        baselines: Baselines,
    ) -> None:
        self._settings, self._products, self._terms = settings, products, terms
        self._book, self._world, self._baselines = book, world, baselines
        self._strategy = strategy(settings.strategy)
        self._forecast = Forecast(Path(settings.forecast))
        self._planned: dict[frozenset[tuple[str, Interval]], Planned] = {}
        self.insufficient: InsufficientDataError | None = None
        self.reference: Reference = {}
        """Expected prices of what was planned last."""

    async def due(self, now: datetime) -> list[Offer | NoOffer | Explained]:
        """Return what to offer at *now*, why, and why not."""
        table = self._forecast.table()
        by_length: dict[int, dict[str, list[Interval]]] = defaultdict(dict)
        for name, rules in self._products.items():
            if intervals := self._not_offered(rules, now):
                by_length[rules.interval_s][name] = intervals
        return [one for due in by_length.values() for one in await self._plan(due, table, now)]

    def _not_offered(self, rules: Rules, now: datetime) -> list[Interval]:
        resource, ledger = self._settings.resource, self._book.ledger
        return [
            interval
            for interval in candidates(self._settings, rules, now)
            if not ledger.is_offered(resource, rules.product, interval) and not self._barred(rules, interval)
        ]

    def _barred(self, rules: Rules, interval: Interval) -> bool:
        """Tell whether a duty bars this kind of product from sale then; a plan with it would never pass the gate."""
        return any(
            duty.effect is Effect.BARS and rules.family in duty.families and self._binds(duty, rules.venue, interval)
            for duty in self._settings.obligations
        )

    def _binds(self, duty: Duty, venue: str, interval: Interval) -> bool:
        """Tell whether *duty* concerns us at *venue* in *interval*."""
        ours = not duty.resources or self._settings.resource in duty.resources
        begun = duty.begins is None or duty.begins < interval.end
        return ours and (not duty.venues or venue in duty.venues) and begun and _lasts(duty, interval)

    async def _plan(self, due: Due, table: Table, now: datetime) -> list[Offer | NoOffer | Explained]:
        if self._forecast.problem is not None or not table.probability:
            text = self._forecast.problem or f"the price forecast {self._settings.forecast} has no scenario"
            return nothing(due, Finding("forecast", text))
        key = frozenset((name, interval) for name, intervals in due.items() for interval in intervals)
        last = self._planned.get(key)
        if last is not None and last.table is table and now - last.at < REPLAN:
            return []
        self._planned = {known: made for known, made in self._planned.items() if now - made.at < REPLAN}
        self._planned[key] = Planned(now, table)
        try:
            problem, found = self._problem(due, table, now)
        except InsufficientDataError as error:
            self.insufficient = error
            self._baselines.reload(now)
            return nothing(due, Finding("baseline", str(error)))
        self.insufficient = None
        self.reference = expected(problem)
        if found.findings:
            return nothing(due, *found.findings)
        plan = await asyncio.to_thread(self._strategy.plan, problem)
        return list(self._told(plan, problem, due, now))

    def _told(self, plan: Plan, problem: Problem, due: Due, now: datetime) -> Iterator[Offer | NoOffer | Explained]:
        """Yield the plan's offers with their reasons, and for every other due interval that it is not worth it."""
        resource, ledger = self._settings.resource, self._book.ledger
        figures = Figures(
            as_of=now,
            baseline_kw=lambda interval: self._baselines.kw(interval, now),
            revision=lambda product, interval: ledger.revision_of(resource, product, interval) + 1,
            simulated=any(message.simulated for message in self._world.capacity),
        )
        made = offers(plan, problem, figures)
        explainer = Explainer(plan, problem)
        said_of = {(planned.product, planned.interval.start): explainer.of(planned) for planned in plan.offers}
        for offer in made:
            slot = next(i for i in problem.prices.intervals if offer.interval.start in i)
            said = said_of[offer.product, slot.start]
            yield Explained(offer_id=offer.offer_id, lines=said.lines, figures=dict(said.figures))
            yield offer
        offered = {(offer.product, offer.interval) for offer in made}
        notes = tuple(Finding(note.name, note.detail) for note in plan.notes if note.loud)
        for name, intervals in due.items():
            for interval in intervals:
                if (name, interval) not in offered:
                    yield NoOffer(interval, (*notes, Finding("portfolio", f"{name} is not worth offering here")), name)

    def _problem(self, due: Due, table: Table, now: datetime) -> tuple[Problem, Found]:
        intervals = grid(due)
        products = {name: self._products[name] for name in due}
        asked = {(name, interval.start) for name, given in due.items() for interval in given}
        prices = table.only(asked).over(
            intervals, products, f"{self._settings.forecast}", simulated=any(r.simulated for r in products.values())
        )
        telemetry = Telemetry(list(self._world.capacity), lambda interval: self._baselines.kw(interval, now), now)
        found = of_site(telemetry, intervals, self._terms, list(products.values()), self._limits(now))
        problem = Problem(
            resource=self._settings.resource,
            site=self._terms.site,
            flexibility=found.flexibility,
            prices=prices,
            products=products,
            obligations=tuple(self._duties(intervals, found.flexibility)),
            commitments=tuple(self._standing(intervals)),
            timezone=next(iter(products.values())).timezone,
            confidence=self._settings.confidence,
            risk_weight=self._settings.risk_weight,
            tail=self._settings.tail,
            margin=self._terms.margin,
        )
        return problem, found

    def _ramp_kw_per_s(self, now: datetime) -> float:
        """Return how fast load comes down, as the gate counts it."""
        settings = self._settings
        firm = firm_kw(self._world.capacity, self._terms.window, math.inf, now, settings.tiers_for_sale)
        return settings.ramp_kw_per_s or firm.total_kw / max(settings.ramp_lead_s, 1.0)

    def _limits(self, now: datetime) -> SiteLimits:
        settings = self._settings
        return SiteLimits(
            deferrable_mwh=settings.deferrable_mwh,
            ramp_kw_per_min=self._ramp_kw_per_s(now) * SECONDS_PER_MIN,
            recovery_s=settings.recovery_s,
        )

    def _standing(self, intervals: Sequence[Interval]) -> Iterator[Commitment]:
        """Yield what is promised already within the plan."""
        begins, ends = intervals[0].start, intervals[-1].end
        for record in self._book.ledger.offers.values():
            offer = record.offer
            if record.state in BINDING and offer.interval.start < ends and offer.interval.end > begins:
                promised = owed(offer, self._book.ledger.awards.values())
                yield Commitment(product=offer.product, interval=offer.interval, quantity_mw=promised.quantity_mw)

    def _duties(self, intervals: Sequence[Interval], flexibility: Flexibility) -> Iterator[Obligation]:
        """Yield the settings' obligations, by interval; what reduces some products is kept from all of them."""
        firm_kw = {slot.interval: sum(step.power_kw for step in slot.steps) for slot in flexibility.slots}
        for duty in self._settings.obligations:
            if duty.families and duty.effect is Effect.BARS:
                continue
            for interval in intervals:
                if self._binds(duty, next(iter(self._products.values())).venue, interval):
                    share_mw = Decimal(repr((duty.share or 0.0) * firm_kw.get(interval, 0.0))) / KW_PER_MW
                    yield Obligation(
                        interval=interval,
                        reserved_mw=duty.mw if duty.mw is not None else share_mw,
                        source=duty.cited,
                        bars_sale=duty.effect is Effect.BARS,
                    )


def _lasts(duty: Duty, interval: Interval) -> bool:
    return duty.ends is None or duty.ends > interval.start


def grid(due: Due) -> list[Interval]:
    """Return the intervals from the first that is due to the last, without a gap."""
    every = sorted({interval for intervals in due.values() for interval in intervals})
    return list(Interval(every[0].start, every[-1].end).split(every[0].length))


def nothing(due: Due, *findings: Finding) -> list[Offer | NoOffer | Explained]:
    """Return that nothing of *due* is offered, and why."""
    return [NoOffer(interval, findings, name) for name, intervals in due.items() for interval in intervals]


def expected(problem: Problem) -> Reference:
    """Return the mean price over the scenarios that know one, by venue, product and market interval."""
    found: dict[tuple[str, str, Interval], Decimal] = {}
    for name, rules in problem.products.items():
        for place, interval in enumerate(problem.prices.intervals):
            known = [
                (scenario.probability, price)
                for scenario in problem.prices.scenarios
                if (price := scenario.series[name].price[place]) is not None
            ]
            if share := sum(probability for probability, _ in known):
                mean = sum(probability * price for probability, price in known) / share
                found[rules.venue, name, interval] = Decimal(repr(round(mean, 2)))
    return found
