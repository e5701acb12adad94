"""From a strategy's megawatts to a plan: whole blocks, minimum kept, valued; never more than telemetry shows. Pure."""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal

import numpy as np

from bidding.portfolio.grid import Floats, Grid
from bidding.portfolio.levels import Levels
from bidding.portfolio.limits import TOLERANCE, bounds, broken, runs, spans_of, unbearable
from bidding.portfolio.model import Note, Plan, Planned, PlannedStep, Problem, Step, is_up
from bidding.portfolio.value import money, worth
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW, contract_mw

ALMOST = 1e-6
"""A quantity within this share of a whole block is that block: solvers end a hair beside it."""


def planned_step(step: Step, quantity: Decimal, price: Decimal) -> PlannedStep:
    """Return *quantity* of *step* at *price*."""
    return PlannedStep(
        quantity_mw=quantity,
        price_per_mwh=price,
        tier=step.tier,
        confidence=step.confidence,
        tokens_per_mwh=step.tokens_per_mwh,
        token_cost_per_mwh=step.token_cost_per_mwh,
        service_credit_per_mwh=step.service_credit_per_mwh,
        restart_cost_per_mwh=step.restart_cost_per_mwh,
    )


def whole_blocks(mw: float, block: Decimal) -> Decimal:
    """Return *mw* rounded down to whole blocks: 2.9999999 is 3.0 at a block of 0.1, 2.96 is 2.9."""
    return math.floor(mw / float(block) + ALMOST) * block if mw > 0 else block * 0


def offers_of(mw: Floats, grid: Grid, levels: Levels) -> tuple[Planned, ...]:
    """Return *mw*, P, T, J, K, as offers: each step rounded down by itself, what misses the minimum left out."""
    offers = []
    for p, rules in enumerate(grid.rules):
        for t, interval in enumerate(grid.intervals):
            steps = [
                planned_step(step, quantity, price)
                for k, price in enumerate(levels.price[p][t])
                for j, step in enumerate(grid.room.steps[t])
                if step is not None and (quantity := whole_blocks(float(mw[p, t, j, k]), rules.block_mw)) > 0
            ]
            if steps and sum(step.quantity_mw for step in steps) >= rules.min_mw:
                offers.append(Planned(product=grid.products[p], interval=interval, steps=tuple(steps)))
    return tuple(offers)


def finish(strategy: str, offers: Iterable[Planned], grid: Grid, notes: Sequence[Note] = ()) -> Plan:
    """Return the plan: *offers* no larger than telemetry allows, valued on the problem's scenarios."""
    problem = grid.problem
    not_for_us = ((name, unbearable(grid, p)) for p, name in enumerate(grid.products))
    told = [
        *grid.forecast.notes,
        *(Note(name="not planned", detail=f"{n}: {why}") for n, why in not_for_us if why),
        *notes,
    ]
    kept = tuple(offers)
    actual = grid
    if problem.reference is not None:
        actual = Grid(problem)
        kept = tuple(shrink(kept, actual))
        if kept != tuple(offers):
            told.append(Note(name="shrunk", detail="less is firm than the reference says; what is missing is not sold"))
    if over := broken(kept, actual):
        told.append(Note(name="limits", detail=f"nothing is offered: {over[0].name} would be exceeded", loud=True))
        kept = ()
    found = worth(kept, problem, actual)
    return Plan(
        strategy=strategy,
        offers=kept,
        expected_value=money(found.expected),
        cvar=money(found.cvar),
        scenario_values=tuple(money(amount) for amount in found.by_scenario[: len(problem.prices.scenarios)]),
        bounds=tuple(
            bound for bound in bounds(kept, actual) if bound.used > 0 and bound.slack <= TOLERANCE + 1e-3 * bound.limit
        ),
        notes=tuple(told),
    )


def shrink(offers: Sequence[Planned], actual: Grid) -> list[Planned]:
    """
    Return *offers* cut to what *actual* has, interval by interval: nothing moves from one to another.

    Within an interval what is worth most per MW is served first. A step is served by power of its tier that is at
    least as firm and costs no more than the step earns at its price; what then misses its product's minimum is left
    out, and so is a run that a hole would break up.
    """
    kept: list[Planned] = []
    for interval in sorted({offer.interval for offer in offers}):
        kept += _served([offer for offer in offers if offer.interval == interval], actual)
    kept = _whole_runs(offers, kept, actual)
    return sorted(kept, key=lambda offer: (offer.product, offer.interval))


def _served(offers: Sequence[Planned], actual: Grid) -> list[Planned]:
    """Return the offers of one interval as far as there is power for them."""
    t = actual.intervals.index(offers[0].interval)
    left_kw = [float(mw) * KW_PER_MW for mw in actual.room.mw[t]]
    by_worth = sorted(
        ((_worth_of(offer, step, actual.problem), offer, step) for offer in offers for step in offer.steps),
        key=lambda item: (-item[0], item[1].product, item[2].price_per_mwh, item[2].tier, -item[2].confidence),
    )
    served: dict[tuple[str, int], Decimal] = {}
    for _, offer, step in by_worth:
        rules = actual.problem.products[offer.product]
        use = _sources(step, actual, t, up=is_up(rules))
        have_kw = sum(left_kw[j] for j in use)
        mw = min(step.quantity_mw, contract_mw(have_kw + ALMOST, rules.block_mw))
        served[offer.product, offer.steps.index(step)] = mw
        need_kw = float(mw) * KW_PER_MW
        for j in use:
            part = min(left_kw[j], need_kw)
            left_kw[j] -= part
            need_kw -= part
    kept = []
    for offer in offers:
        steps = tuple(
            step.model_copy(update={"quantity_mw": mw})
            for at, step in enumerate(offer.steps)
            if (mw := served[offer.product, at]) > 0
        )
        if steps and sum(s.quantity_mw for s in steps) >= actual.problem.products[offer.product].min_mw:
            kept.append(offer.model_copy(update={"steps": steps}))
    return kept


def _worth_of(offer: Planned, step: PlannedStep, problem: Problem) -> float:
    """Return what one MW of the step is worth on its own."""
    one = step.model_copy(update={"quantity_mw": Decimal(1)})
    return worth((offer.model_copy(update={"steps": (one,)}),), problem).expected


def _sources(step: PlannedStep, actual: Grid, t: int, *, up: bool) -> list[int]:
    """Return the steps of power that may serve *step*, least firm first: firm power is left for who needs it."""
    row = actual.room.steps[t]
    if up:
        return [len(row) - 1] if row[-1] is not None else []
    found: list[tuple[float, int]] = []
    for j, have in enumerate(row[:-1]):
        if have is not None and _fits(have, step.tier, step.confidence) and have.cost_per_mwh <= step.cost_per_mwh:
            found.append((have.confidence, j))
    return [j for _, j in sorted(found)]


def _fits(have: Step, tier: Tier, confidence: float) -> bool:
    return have.tier is tier and have.confidence >= confidence


def _whole_runs(offers: Sequence[Planned], kept: list[Planned], actual: Grid) -> list[Planned]:
    """Leave out what lies in a run of which an interval was lost, where runs are limited at all."""
    if not runs(actual).bind:
        return kept
    counts = dict(zip(actual.products, actual.energy.tolist(), strict=True))
    pairs = {(offer.product, offer.interval) for offer in kept}
    lost = {o.interval for o in offers if counts[o.product] and (o.product, o.interval) not in pairs}
    on = np.array([any(o.interval == i and counts[o.product] for o in offers) for i in actual.intervals])
    gone = {
        interval
        for start, end in spans_of(on)
        if lost & set(actual.intervals[start:end])
        for interval in actual.intervals[start:end]
    }
    return [offer for offer in kept if not (counts[offer.product] and offer.interval in gone)]
