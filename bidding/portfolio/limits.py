"""
What a plan may not exceed and how much of it a set of offers uses: one list for strategies, tests, explanation. Pure.

Every limit holds in every scenario, the one in which everything offered is taken included where one is missing.
Power is counted by tier, firmest first: a step may be served by firmer power of its own tier, by no other tier's.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from bidding.portfolio.grid import SECONDS_PER_HOUR, Bools, Floats, Grid
from bidding.portfolio.model import Bound, Planned
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW

SECONDS_PER_MINUTE = 60.0
TOLERANCE = 1e-6


@dataclass(frozen=True)
class Runs:
    """Limits on when reductions may happen, in intervals of the plan."""

    shortest: int
    longest: int | None
    rest: int
    calls: int | None

    @property
    def bind(self) -> bool:
        """Whether any of them can bind."""
        return self.shortest > 1 or self.longest is not None or self.rest > 0 or self.calls is not None


def runs(grid: Grid) -> Runs:
    """Return the limits of the resource, rounded to the safe side."""
    flexibility, length_s = grid.flexibility, grid.hours * SECONDS_PER_HOUR
    longest = None if flexibility.max_run_s is None else math.floor(flexibility.max_run_s / length_s + TOLERANCE)
    return Runs(
        shortest=max(1, math.ceil(flexibility.min_run_s / length_s - TOLERANCE)),
        longest=longest,
        rest=math.ceil(flexibility.recovery_s / length_s - TOLERANCE),
        calls=flexibility.max_calls_per_day,
    )


def unbearable(grid: Grid, p: int) -> str:
    """
    Return why the product is not for this resource at all, empty when it is.

    Energy is taken or not by price, which the plan can foresee by scenario. A reserve is called when the venue wants:
    it is only sold where the venue's own rules leave the resource its rest, its number of calls and its longest run.
    """
    flexibility, rules = grid.flexibility, grid.rules[p]
    longest_s = flexibility.max_run_s
    if grid.up[p]:
        return ""
    if longest_s is not None and grid.duration_h[p] * SECONDS_PER_HOUR > longest_s + TOLERANCE:
        return f"a call may last {grid.duration_h[p]:g} h, the resource {longest_s / SECONDS_PER_HOUR:g} h"
    if grid.energy[p]:
        return ""
    if (rules.recovery_s or 0.0) < flexibility.recovery_s:
        return f"the venue leaves {rules.recovery_s or 0:g} s of rest, the resource needs {flexibility.recovery_s:g} s"
    most = flexibility.max_calls_per_day
    if most is not None and (rules.max_calls_per_day is None or rules.max_calls_per_day > most):
        return f"the venue may call more often than {most} times a day"
    return ""


def promised_runs(grid: Grid) -> Bools:
    """Return in which intervals, T, energy is already promised."""
    return np.asarray((grid.promised & grid.energy[:, None]).any(axis=0))


def response_min(grid: Grid) -> Floats:
    """Return the minutes, P, within which a product wants all of its power; energy has its interval."""
    spans = [rules.response_s if rules.response_s is not None else rules.interval_s for rules in grid.rules]
    return np.array(spans, dtype=np.float64) / SECONDS_PER_MINUTE


@dataclass(frozen=True)
class Use:
    """A set of offers as arrays."""

    mw: Floats
    """P, T, J."""
    taken: Floats
    """P, T, J, S; MW taken in each scenario."""


def use_of(offers: Iterable[Planned], grid: Grid) -> Use:
    """Return *offers* as arrays; a step that the room does not know counts against the cheapest of its tier."""
    steps = grid.room.mw.shape[1]
    shape = (len(grid.products), len(grid.intervals), steps)
    mw, taken = np.zeros(shape), np.zeros((*shape, len(grid.forecast.probability)))
    where = {interval: t for t, interval in enumerate(grid.intervals)}
    for offer in offers:
        p, t = grid.products.index(offer.product), where[offer.interval]
        for step in offer.steps:
            j = steps - 1 if grid.up[p] else _index(grid, t, step.tier, step.confidence)
            mw[p, t, j] += float(step.quantity_mw)
            taken[p, t, j] += float(step.quantity_mw) * (
                grid.forecast.clearing[p, t] >= float(step.price_per_mwh) - TOLERANCE
            )
    return Use(mw, taken)


def _index(grid: Grid, t: int, tier: Tier, confidence: float) -> int:
    """Return the step of that tier and confidence, else the first: nothing can hide behind a wrong label."""
    for j, step in enumerate(grid.room.steps[t][:-1]):
        if step is not None and step.tier is tier and step.confidence == confidence:
            return j
    return 0


def bounds(offers: Iterable[Planned], grid: Grid) -> tuple[Bound, ...]:
    """Return every limit and how much of it *offers* use, in a fixed order."""
    use = use_of(offers, grid)
    return tuple(
        (*_power(use, grid), *_energy(use, grid), *_ramp(use, grid), *_runs(use, grid))
        if len(grid.products) and len(grid.intervals)
        else ()
    )


def broken(offers: Iterable[Planned], grid: Grid) -> list[Bound]:
    """Return the limits that *offers* exceed."""
    return [bound for bound in bounds(offers, grid) if bound.used > bound.limit + TOLERANCE]


def _power(use: Use, grid: Grid) -> Iterator[Bound]:
    down = use.mw[~grid.up].sum(axis=0)
    for t, interval in enumerate(grid.intervals):
        start = interval.start.isoformat()
        steps = [(step, j) for j, step in enumerate(grid.room.steps[t][:-1]) if step is not None]
        for tier in sorted({step.tier for step, _ in steps}):
            for least in sorted({step.confidence for step, _ in steps if step.tier is tier}, reverse=True):
                firm = [j for step, j in steps if step.tier is tier and step.confidence >= least]
                used, limit = float(down[t, firm].sum()), float(grid.room.mw[t, firm].sum())
                yield Bound(
                    name=f"firm power of {tier.value} at {least:.0%}", where=start, used=used, limit=limit, unit="MW"
                )
        if not grid.room.steps[t][:-1]:
            yield Bound(name="firm power", where=start, used=float(down[t].sum()), limit=0.0, unit="MW")
        if grid.up.any():
            taken_on = float(use.mw[grid.up, t, -1].sum())
            yield Bound(
                name="load that can be taken on",
                where=start,
                used=taken_on,
                limit=float(grid.room.mw[t, -1]),
                unit="MW",
            )


def tier_steps(grid: Grid, tier: Tier) -> Floats:
    """Return 1.0 for the steps, T and J, that let power of *tier* go, else 0.0."""
    return np.array(
        [[float(step is not None and step.tier is tier) for step in row[:-1]] + [0.0] for row in grid.room.steps]
    ).reshape(grid.room.mw.shape)


def _energy(use: Use, grid: Grid) -> Iterator[Bound]:
    """Energy of the day: what any scenario takes of energy products plus the worst of the day's reserves."""
    f = grid.forecast
    down = ~grid.up
    for d, limit in enumerate(grid.room.called_mwh or ()):
        promised = float(use.mw[down][:, grid.day == d].sum()) * grid.hours
        name, where = "all promises of the day called", grid.days[d].isoformat()
        yield Bound(name=name, where=where, used=promised, limit=limit, unit="MWh")
    for (d, tier), limit in sorted(grid.room.energy_mwh.items(), key=lambda item: (item[0][0], item[0][1].value)):
        of_tier = tier_steps(grid, tier) * (grid.day == d)[:, None]
        sold = (use.taken * of_tier[None, :, :, None]).sum(axis=2)
        owed = (sold * f.called * grid.hours)[down].sum(axis=(0, 1))
        energy = (sold * f.called * grid.hours)[down & grid.energy].sum(axis=(0, 1))
        reserve = down & ~grid.energy
        held = (use.mw * of_tier[None]).sum(axis=2)
        ready = float((held[reserve] * grid.duration_h[reserve, None]).sum(axis=0).max(initial=0.0))
        used = max(float(owed.max(initial=0.0)), float(energy.max(initial=0.0)) + ready)
        where = grid.days[d].isoformat()
        yield Bound(name=f"energy of the day, {tier.value}", where=where, used=used, limit=limit, unit="MWh")


def _ramp(use: Use, grid: Grid) -> Iterator[Bound]:
    ramp = grid.flexibility.ramp_kw_per_min
    if ramp is None:
        return
    minutes = response_min(grid)
    for t, interval in enumerate(grid.intervals):
        for within in sorted(set(minutes.tolist())):
            for up in (False, True):
                due = (minutes <= within) & (grid.up == up)
                if due.any():
                    yield Bound(
                        name=f"ramp within {within:g} min" + (" upwards" if up else ""),
                        where=interval.start.isoformat(),
                        used=float(use.mw[due, t].sum()),
                        limit=ramp * within / KW_PER_MW,
                        unit="MW",
                    )


def patterns(use: Use, grid: Grid) -> Bools:
    """Return in which intervals load is reduced, one row for each different scenario."""
    on = (use.taken[grid.energy].sum(axis=(0, 2)) > 0).T | promised_runs(grid)[None, :]
    return np.unique(on, axis=0)


def _runs(use: Use, grid: Grid) -> Iterator[Bound]:
    limit = runs(grid)
    if not limit.bind:
        return
    spans = [spans_of(row) for row in patterns(use, grid)]
    of_day = [max((sum(grid.day[a] == d for a, _ in row) for row in spans), default=0) for d in range(len(grid.days))]
    if limit.calls is not None:
        for d, calls in enumerate(of_day):
            where = grid.days[d].isoformat()
            yield Bound(name="calls of the day", where=where, used=calls, limit=limit.calls, unit="calls")
    lengths = [b - a for row in spans for a, b in row]
    rests = [later[0] - earlier[1] for row in spans for earlier, later in pairwise(row)]
    day = grid.days[0].isoformat()
    if limit.longest is not None:
        yield Bound(name="longest run", where=day, used=max(lengths, default=0), limit=limit.longest, unit="intervals")
    short = max((limit.shortest - length for length in lengths), default=0)
    yield Bound(name="shortest run missed by", where=day, used=max(0, short), limit=0, unit="intervals")
    hurry = max((limit.rest - rest for rest in rests), default=0)
    yield Bound(name="recovery missed by", where=day, used=max(0, hurry), limit=0, unit="intervals")


def spans_of(on: Bools) -> list[tuple[int, int]]:
    """Return the runs of True in *on* as [start, end)."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], on, [False]))))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
