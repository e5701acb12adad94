"""
The rule-based strategy: the reference to beat. No solver, no risk, no look across hours beyond the day's energy.

1. Every step is offered at its least price: cost plus margin, the product's floors, rounded up to the tick. Where the
   curve has fewer steps than that, the cheapest are sold at the price of the next.
2. In each interval one product takes all: the one whose offer is worth most on average over the scenarios.
3. Intervals are served best first until the day's energy is used up: a reserve uses its duration of it, energy its
   hours.
4. What cannot be ramped in the response time, or is above the product's most, is not offered.
5. Where runs, rests or calls are limited, runs of the shortest length are added best first; one that breaks a limit is
   left out.
6. Load that can be taken on goes, in the same way, to the best product that wants more load.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from bidding.portfolio.cells import mean_worth, most_mw
from bidding.portfolio.grid import Floats, Grid
from bidding.portfolio.levels import Levels, levels, max_steps
from bidding.portfolio.limits import TOLERANCE, broken, response_min, runs
from bidding.portfolio.model import Plan, Planned, PlannedStep, Problem
from bidding.portfolio.planning import finish, planned_step, whole_blocks
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW

NAME = "simple"


@dataclass(frozen=True)
class Candidate:
    """One product's offer of an interval: price level of each step that it sells, and what it is worth."""

    p: int
    t: int
    level: dict[int, int]
    """By step: index of its price level."""
    worth: float


@dataclass
class Left:
    """Energy that is left, MWh: by day and tier, and by day for all promises called in full."""

    tier: dict[tuple[int, Tier], float]
    day: list[float]

    def mw(self, d: int, tier: Tier, duration_h: float, hours: float) -> float:
        """Return how much may be sold for *duration_h* of the tier's energy and *hours* of the day's."""
        return min(self.tier.get((d, tier), inf) / duration_h, self.day[d] / hours)

    def take(self, d: int, tier: Tier, of_tier_mwh: float, of_day_mwh: float) -> None:
        """Use up what was sold."""
        if (d, tier) in self.tier:
            self.tier[d, tier] = max(0.0, self.tier[d, tier] - of_tier_mwh)
        self.day[d] = max(0.0, self.day[d] - of_day_mwh)


class Book:
    """Offers as they are added, and the energy of the day that they leave."""

    def __init__(self, grid: Grid, prices: Levels) -> None:
        self.grid, self.prices = grid, prices
        self.most = most_mw(grid, prices)
        self.left = Left(dict(grid.room.energy_mwh), list(grid.room.called_mwh or [inf] * len(grid.days)))
        self.offers: list[Planned] = []

    def add(self, block: Sequence[Candidate]) -> None:
        """Add all of *block*, or nothing where one of them cannot be served or a limit on runs would break."""
        left, added = Left(dict(self.left.tier), list(self.left.day)), []
        for candidate in block:
            offer = self._offer(candidate, left)
            if offer is None:
                return
            added.append(offer)
        if runs(self.grid).bind and broken([*self.offers, *added], self.grid):
            return
        self.offers += added
        self.left = left

    def _offer(self, candidate: Candidate, left: Left) -> Planned | None:
        """Return the offer as far as ramp and energy go, and take its energy from *left*."""
        p, t, grid = candidate.p, candidate.t, self.grid
        rules = grid.rules[p]
        ramp = grid.flexibility.ramp_kw_per_min
        room = float("inf") if ramp is None else ramp * response_min(grid)[p] / KW_PER_MW
        room = min(room, float(rules.max_mw)) if rules.max_mw is not None else room
        steps: list[PlannedStep] = []
        for j, k in sorted(candidate.level.items(), key=lambda item: (item[1], item[0])):
            step = grid.room.steps[t][j]
            if step is None:
                continue
            mw = min(float(self.most[p, t, j, k]), room)
            if not grid.up[p]:
                mw = min(mw, left.mw(int(grid.day[t]), step.tier, float(grid.duration_h[p]), grid.hours))
            quantity = whole_blocks(mw, rules.block_mw)
            if quantity > 0:
                steps.append(planned_step(step, quantity, self.prices.price[p][t][k]))
                room -= float(quantity)
                if not grid.up[p]:
                    left.take(
                        int(grid.day[t]), step.tier, float(quantity) * grid.duration_h[p], float(quantity) * grid.hours
                    )
        if not steps or sum(step.quantity_mw for step in steps) < rules.min_mw:
            return None
        return Planned(product=grid.products[p], interval=grid.intervals[t], steps=tuple(steps))


def level_of(grid: Grid, prices: Levels, p: int, t: int) -> dict[int, int]:
    """Return the price level of each step: its least price, or the next where the curve has too few steps."""
    least = {j: price for j, price in enumerate(prices.least[p][t]) if price is not None}
    allowed = sorted(set(least.values()))[-max_steps(grid.rules[p]) :]
    return {
        j: prices.price[p][t].index(next(candidate for candidate in allowed if candidate >= price))
        for j, price in least.items()
    }


def best(grid: Grid, prices: Levels, most: Floats, mean: Floats, *, up: bool) -> dict[int, Candidate]:
    """Return by interval the product that takes all; none where nothing is worth offering."""
    found: dict[int, Candidate] = {}
    for t in range(len(grid.intervals)):
        for p in range(len(grid.products)):
            if bool(grid.up[p]) != up:
                continue
            level = level_of(grid, prices, p, t)
            worth = sum(float(most[p, t, j, k] * mean[p, t, j, k]) for j, k in level.items())
            if worth > TOLERANCE and (t not in found or worth > found[t].worth):
                found[t] = Candidate(p, t, level, worth)
    return found


def plan(problem: Problem) -> Plan:
    """Return the plan that the rules in this module's docstring make."""
    grid = Grid(problem, problem.reference)
    prices = levels(grid)
    book = Book(grid, prices)
    mean = mean_worth(grid, prices)
    length = runs(grid).shortest
    for up in (False, True):
        choice = best(grid, prices, book.most, mean, up=up)
        size = 1 if up else length
        starts = [t for t in choice if all(t + ahead in choice for ahead in range(size))]
        total = {t: sum(choice[t + ahead].worth for ahead in range(size)) for t in starts}
        used: set[int] = set()
        for t in sorted(starts, key=lambda at: (-total[at], at)):
            if used.isdisjoint(range(t, t + size)):
                before = len(book.offers)
                book.add([choice[t + ahead] for ahead in range(size)])
                used |= set(range(t, t + size)) if len(book.offers) > before else set()
    return finish(NAME, sorted(book.offers, key=lambda offer: (offer.product, offer.interval)), grid)
