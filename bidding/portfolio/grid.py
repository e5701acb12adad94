"""
A problem as arrays: what each product pays in each interval and scenario, what power is there to be sold. Pure.

Axes, in this order: P products, T intervals, J steps of power, K price levels, S scenarios. Power is MW, money float.
The last step, J − 1, is load that can be taken on: only products that want it use it, and they use nothing else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from functools import cached_property

import numpy as np
import numpy.typing as npt

from bidding.portfolio.model import Commitment, Flexibility, Note, Problem, Slot, Step, is_energy, is_up
from bidding.products import Rules, Trading
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

WHOLE = 1e-9
"""Probabilities that add up to 1 within this are complete."""
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class Forecast:
    """Prices of the products that can be planned."""

    products: tuple[str, ...]
    """Sorted by name."""
    probability: Floats
    """S; the last is what is missing to 1, where anything is."""
    lost: Bools
    """S; that last one: everything is taken and called, nothing is paid."""
    clearing: Floats
    """P, T, S; what an offer's price is held against."""
    paid: Floats
    """P, T, S."""
    called: Floats
    """P, T, S; share of the MWh that is owed."""
    activation: Floats
    """P, T, S."""
    known: Bools
    """P, T; the price is known in every scenario."""
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class Room:
    """Power that is left for sale, MW, whole blocks on the cumulated curve."""

    mw: Floats
    """T, J."""
    cost: Floats
    """T, J; money per MWh."""
    confidence: Floats
    """T, J."""
    steps: tuple[tuple[Step | None, ...], ...]
    """T, J; None where there is no such step."""
    energy_mwh: dict[tuple[int, Tier], float]
    """By day of the plan and tier: what is left of the day's limit…"""
    called_mwh: tuple[float, ...] | None
    """…and by day, what may be promised in all; None: no limit."""


def unplannable(rules: Rules, interval_s: float) -> str:
    """Return why the product cannot be planned on a grid of *interval_s*, empty when it can."""
    if rules.trading is Trading.SEASON:
        return "is sold by the season, not by the hour"
    if rules.sold:
        return f"is not sold by offers for intervals: {rules.sold}"
    if rules.per not in {"MWh", "MW-h"}:
        return f"is priced per {rules.per}, not per hour"
    if rules.symmetric:
        return "is sold in both directions at once"
    if rules.interval_s > interval_s or interval_s % rules.interval_s:
        return f"trades in intervals of {rules.interval_s} s, the plan's are {interval_s:g} s"
    return ""


def forecast(problem: Problem) -> Forecast:
    """Return the prices of *problem*; a product without a price in some scenario is not known there."""
    intervals, scenarios = problem.prices.intervals, problem.prices.scenarios
    notes = []
    products = []
    for name in sorted(problem.products):
        reason = unplannable(problem.products[name], problem.hours * SECONDS_PER_HOUR)
        if not reason and not all(name in scenario.series for scenario in scenarios):
            reason = "has no forecast in some scenario"
        if reason:
            notes.append(Note(name="not planned", detail=f"{name} {reason}"))
        else:
            products.append(name)
    shape = (len(products), len(intervals), len(scenarios) + 1)
    clearing, called, activation = np.full(shape, np.nan), np.zeros(shape), np.zeros(shape)
    for s, scenario in enumerate(scenarios):
        for p, name in enumerate(products):
            series = scenario.series[name]
            clearing[p, :, s] = [np.nan if price is None else price for price in series.price]
            called[p, :, s] = series.called or float(is_energy(problem.products[name]))
            activation[p, :, s] = series.activation or 0.0
    known = np.isfinite(clearing[:, :, :-1]).all(axis=2) & bool(scenarios)
    paid = np.nan_to_num(clearing)
    clearing[:, :, -1], called[:, :, -1] = np.inf, 1.0
    missing = 1 - sum(scenario.probability for scenario in scenarios)
    probability = np.array([*(scenario.probability for scenario in scenarios), missing])
    keep = slice(None) if missing > WHOLE else slice(0, -1)
    if missing > WHOLE and scenarios:
        notes.append(
            Note(
                name="scenarios",
                detail=f"{missing:.0%} of probability is unaccounted for and counts as loss",
                loud=True,
            )
        )
    lost = np.arange(len(probability)) == len(scenarios)
    return Forecast(
        tuple(products),
        probability[keep],
        lost[keep],
        clearing[:, :, keep],
        paid[:, :, keep],
        called[:, :, keep],
        activation[:, :, keep],
        known,
        tuple(notes),
    )


def slot_of(flexibility: Flexibility, interval: Interval) -> Slot | None:
    """Return the slot that *interval* lies in, None where nothing is known of it."""
    for slot in flexibility.slots:
        if slot.interval.start <= interval.start and interval.end <= slot.interval.end:
            return slot
    return None


def up_step(flexibility: Flexibility, slot: Slot) -> Step:
    """Return load that can be taken on as a step: T3's work, if anybody's."""
    return Step(
        tier=Tier.T3,
        confidence=slot.up_confidence,
        firm_kw=slot.up_kw,
        tokens_per_mwh=Decimal(0),
        token_cost_per_mwh=flexibility.up_cost_per_mwh,
    )


class Grid:
    """A problem as arrays; *flexibility* in place of the problem's own where one plans against the reference."""

    def __init__(self, problem: Problem, flexibility: Flexibility | None = None) -> None:
        self.problem = problem
        self.flexibility = flexibility or problem.flexibility
        self.intervals = problem.prices.intervals
        self.hours = problem.hours
        self.forecast = forecast(problem)
        self.products = self.forecast.products
        self.rules: Sequence[Rules] = [problem.products[name] for name in self.products]
        dates = [problem.day(interval) for interval in self.intervals]
        self.days = sorted(set(dates))
        self.day = np.array([self.days.index(date) for date in dates], dtype=np.int64)

    @cached_property
    def energy(self) -> Bools:
        """P; paid per MWh let go."""
        return np.array([is_energy(rules) for rules in self.rules], dtype=np.bool_)

    @cached_property
    def up(self) -> Bools:
        """P; wants more load."""
        return np.array([is_up(rules) for rules in self.rules], dtype=np.bool_)

    @cached_property
    def block_mw(self) -> Decimal:
        """The smallest block of any product: power is cut to it before anything is decided."""
        return min((rules.block_mw for rules in self.rules), default=Decimal("0.001"))

    @cached_property
    def duration_h(self) -> Floats:
        """P; for how long a call may have to be held, hours; of energy: the interval."""
        spans = [
            self.hours if is_energy(r) or r.duration_s is None else r.duration_s / SECONDS_PER_HOUR for r in self.rules
        ]
        return np.array(spans, dtype=np.float64)

    @cached_property
    def room(self) -> Room:
        """What obligations and promises leave: they take the cheapest power first, so that what is sold is dearer."""
        rows = [self._row(interval) for interval in self.intervals]
        width = max((len(row) for row in rows), default=0)
        steps = tuple((*row[:-1], *[None] * (width - len(row)), row[-1]) for row in rows)
        mw = np.zeros((len(rows), width))
        spent = dict.fromkeys(((d, tier) for d in range(len(self.days)) for tier in Tier), 0.0)
        for t, row in enumerate(steps):
            self._fill(t, row, mw[t], spent)
        limits, most = self.flexibility.energy_mwh, self.flexibility.all_called_mwh
        promised = [sum(spent[d, tier] for tier in Tier) for d in range(len(self.days))]
        energy = {(d, tier): limits[tier] - spent[d, tier] for d, tier in spent if tier in limits}
        return Room(
            mw=mw,
            cost=np.array([[float(step.cost_per_mwh) if step else 0.0 for step in row] for row in steps]).reshape(
                mw.shape
            ),
            confidence=np.array([[step.confidence if step else 1.0 for step in row] for row in steps]).reshape(
                mw.shape
            ),
            steps=steps,
            energy_mwh={key: max(0.0, left) for key, left in energy.items()},
            called_mwh=None if most is None else tuple(max(0.0, most - sold) for sold in promised),
        )

    def _row(self, interval: Interval) -> list[Step | None]:
        """Return the steps of one interval that are firm enough, and the load that can be taken on as the last."""
        slot = slot_of(self.flexibility, interval)
        if slot is None:
            return [None]
        steps: list[Step | None] = [step for step in slot.steps if step.confidence >= self.problem.confidence]
        firm_enough = slot.up_confidence >= self.problem.confidence
        return [*steps, up_step(self.flexibility, slot) if firm_enough else None]

    def _fill(self, t: int, row: Sequence[Step | None], mw: Floats, spent: dict[tuple[int, Tier], float]) -> None:
        """Write into *mw* what is left of each step, and into *spent* the energy that promises take from the day."""
        taken, up, energy_h = self._taken(t)
        barred = any(o.bars_sale and overlaps(o.interval, self.intervals[t]) for o in self.problem.obligations)
        there, sold = Decimal(0), Decimal(0)
        for j, step in enumerate(row[:-1]):
            if step is None:
                continue
            power = exact_mw(step)
            first = max(Decimal(0), min(power, taken - there))
            spent[int(self.day[t]), step.tier] += float(first) * energy_h
            there += power
            left = whole(max(Decimal(0), there - taken), self.block_mw)
            mw[j] = 0.0 if barred else float(left - sold)
            sold = left
        if (last := row[-1]) is not None and not barred:
            mw[-1] = float(whole(max(Decimal(0), exact_mw(last) - up), self.block_mw))

    def _taken(self, t: int) -> tuple[Decimal, Decimal, float]:
        """Return power and load that are spoken for, MW, and for how many hours a day's energy goes with it at most."""
        interval = self.intervals[t]
        duties = sum((o.reserved_mw for o in self.problem.obligations if overlaps(o.interval, interval)), Decimal(0))
        promises = [promise for promise in self.problem.commitments if overlaps(promise.interval, interval)]
        up = [promise for promise in promises if self._wants_more(promise)]
        down = [promise for promise in promises if not self._wants_more(promise)]
        return duties + peak(down), peak(up), self.hours if down else 0.0

    def _wants_more(self, promise: Commitment) -> bool:
        """Tell whether *promise* is of a product that wants more load; one that is not known takes power."""
        rules = self.problem.products.get(promise.product)
        return rules is not None and is_up(rules)

    @cached_property
    def promised(self) -> Bools:
        """P, T; stands already and is not offered again."""
        stands = np.zeros((len(self.products), len(self.intervals)), dtype=np.bool_)
        for promise in self.problem.commitments:
            if promise.product in self.products:
                stands[self.products.index(promise.product)] |= [overlaps(promise.interval, i) for i in self.intervals]
        return stands

    @cached_property
    def worth(self) -> tuple[Floats, Floats]:
        """P, T, J, S twice: what a MW that is taken is worth if its power is there, and if it is missing."""
        f = self.forecast
        owed_h = (f.called * self.hours)[:, :, None, :]
        paid, activation = f.paid[:, :, None, :], f.activation[:, :, None, :]
        energy = self.energy[:, None, None, None]
        standing = np.where(energy, 0.0, paid * self.hours)
        there = standing + owed_h * (np.where(energy, paid, 0.0) + activation - self.room.cost[None, :, :, None])
        factor = np.array([float(rules.shortfall_factor) for rules in self.rules])[:, None, None, None]
        missing = np.where(owed_h > 0, -owed_h * factor * np.maximum(paid, 0.0), standing)
        return there, np.where(f.lost, there, np.broadcast_to(missing, there.shape))


def exact_mw(step: Step) -> Decimal:
    """Return the step's power digit by digit: sums of floats may end a hair above what is there."""
    return Decimal(repr(step.power_kw)) / KW_PER_MW


def whole(mw: Decimal, block: Decimal) -> Decimal:
    """Return *mw* rounded down to whole blocks."""
    return (mw / block).to_integral_value(ROUND_DOWN) * block


def peak(promises: Sequence[Commitment]) -> Decimal:
    """Return the most that *promises* add up to at any instant: twelve of five minutes are not the sum of an hour."""
    starts = {promise.interval.start for promise in promises}
    sums = (sum((p.quantity_mw for p in promises if start in p.interval), Decimal(0)) for start in starts)
    return max(sums, default=Decimal(0))


def overlaps(one: Interval, other: Interval) -> bool:
    """Tell whether the two share an instant."""
    return one.start < other.end and other.start < one.end
