"""
Prices at which a step may be offered: its cost, and prices that pick the better hours. Pure.

An offer is taken or not by scenario, so only the scenarios' own prices make a difference: candidates are each step's
least price and, above it, scenario prices at even ranks, rounded down to the tick.
"""

from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal

import numpy as np

from bidding.portfolio.grid import Bools, Floats, Grid
from bidding.portfolio.limits import unbearable
from bidding.portfolio.model import Step
from bidding.pricing import round_up
from bidding.products import Rules, Shape

BINS = 4
"""Scenario prices considered beside the steps' least prices. More of them find little: see tests/bench."""


@dataclass(frozen=True)
class Levels:
    """Candidate prices, lowest first."""

    price: tuple[tuple[tuple[Decimal, ...], ...], ...]
    """P, T, then as many as there are."""
    usable: Bools
    """P, T, J, K; the step may be offered at that price: room, rules and cost allow it."""
    taken: Bools
    """P, T, K, S."""
    least: tuple[tuple[tuple[Decimal | None, ...], ...], ...]
    """P, T, J; the least price of each step, None where it cannot be sold."""


def max_steps(rules: Rules) -> int:
    """Return how many steps a curve of the product may have, by its own count and by the venue's count of points."""
    if rules.shape is Shape.SINGLE:
        return 1
    points = rules.max_steps if rules.max_points is None else rules.max_points - rules.first_quantity_zero
    return max(1, min(rules.max_steps, points))


def least_price(rules: Rules, cost: Decimal, margin: Decimal) -> Decimal | None:
    """
    Return the lowest price at which a step of *cost* is offered, None where the venue's cap is below it.

    Cost 20 with a margin of 10 %, net benefits floor 25, tick 0.01: 25.00.
    """
    floor = max(
        rules.price_floor, rules.net_benefits_floor if rules.net_benefits_floor is not None else rules.price_floor
    )
    price = round_up(max(cost * (1 + margin) if cost > 0 else cost, floor), rules.price_tick).quantize(rules.price_tick)
    return price if price <= rules.price_cap else None


def standing_cost(grid: Grid, p: int, t: int, step: Step) -> Decimal:
    """Return what a MW of *step* has to earn: its cost where all is owed, what calls lose where it stands ready."""
    if grid.energy[p]:
        return step.cost_per_mwh
    f = grid.forecast
    loss = f.called[p, t] * (float(step.cost_per_mwh) - f.activation[p, t])
    return max(Decimal(0), Decimal(repr(round(float(f.probability @ loss), 6))))


def bins(prices: Floats, least: Decimal, rules: Rules, count: int) -> set[Decimal]:
    """Return up to *count* of *prices* above *least*, at even ranks, in whole ticks not above them."""
    above = np.unique(prices[np.isfinite(prices) & (prices > float(least))])
    if not len(above):
        return set()
    ranks = np.unique(np.linspace(0, len(above) - 1, min(count, len(above))).round().astype(int))
    ticks = {
        (Decimal(repr(float(above[rank]))) / rules.price_tick).to_integral_value(ROUND_DOWN) * rules.price_tick
        for rank in ranks
    }
    return {price.quantize(rules.price_tick) for price in ticks if least < price <= rules.price_cap}


def levels(grid: Grid) -> Levels:
    """Return the candidate prices of every product and interval."""
    room, f = grid.room, grid.forecast
    products, intervals, steps = len(grid.products), len(grid.intervals), room.mw.shape[1]
    least: list[list[tuple[Decimal | None, ...]]] = []
    price: list[list[tuple[Decimal, ...]]] = []
    for p, rules in enumerate(grid.rules):
        least.append([tuple(_least(grid, p, t, j) for j in range(steps)) for t in range(intervals)])
        price.append([_candidates(f.clearing[p, t], found, rules) for t, found in enumerate(least[p])])
    most = max((len(found) for row in price for found in row), default=0)
    value = np.full((products, intervals, most), np.inf)
    lowest = np.full((products, intervals, steps), np.inf)
    for p in range(products):
        for t in range(intervals):
            value[p, t, : len(price[p][t])] = [float(candidate) for candidate in price[p][t]]
            lowest[p, t] = [np.inf if found is None else float(found) for found in least[p][t]]
    offered = np.isfinite(value)
    usable = (value[:, :, None, :] >= lowest[:, :, :, None] - 1e-9) & offered[:, :, None, :]
    taken = offered[..., None] & (value[..., None] <= f.clearing[:, :, None, :] + 1e-9)
    return Levels(price=tuple(map(tuple, price)), usable=usable, taken=taken, least=tuple(tuple(row) for row in least))


def _least(grid: Grid, p: int, t: int, j: int) -> Decimal | None:
    """Return the least price of step *j* in product *p*, None where it is not for sale there."""
    step = grid.room.steps[t][j]
    wrong_way = grid.up[p] != (j == grid.room.mw.shape[1] - 1)
    gone = not grid.forecast.known[p, t] or grid.promised[p, t]
    if step is None or wrong_way or gone or unbearable(grid, p) or not grid.room.mw[t, j] > 0:
        return None
    return least_price(grid.rules[p], standing_cost(grid, p, t, step), grid.problem.margin)


def _candidates(clearing: Floats, least: tuple[Decimal | None, ...], rules: Rules) -> tuple[Decimal, ...]:
    """Return the prices to choose from, lowest first: as many as the curve has steps, more only where it has one."""
    floors = {price for price in least if price is not None}
    if not floors:
        return ()
    spare = max_steps(rules) - len(floors)
    count = BINS if max_steps(rules) == 1 else max(1, min(BINS, spare))
    return tuple(sorted(floors | bins(clearing, min(floors), rules, count)))
