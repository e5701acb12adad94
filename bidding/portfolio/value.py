"""What offers are worth on a problem's scenarios: the money rules of `model`, one place for all. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import numpy as np

from bidding.portfolio.grid import Floats, Grid
from bidding.portfolio.model import Planned, PlannedStep, Problem, is_energy, is_up

CENT = Decimal("0.01")


@dataclass(frozen=True)
class Worth:
    """What a set of offers brings. Money is float here: a statistic, not a statement."""

    expected: float
    cvar: float
    by_scenario: tuple[float, ...]
    """Mean over what may be there that day; S, what is missing to probability 1 as the last."""
    revenue: float
    """Expected: awards, standing ready and calls paid."""
    cost: float
    """Expected: tokens, credits, restarts."""
    penalty: float
    """Expected: what is owed and missing."""
    tokens: float
    """Expected tokens forgone."""
    delivered_mwh: float
    shortfall_mwh: float
    taken_mwh: float
    """Expected MW and hours taken by venues, energy and reserves alike."""


def states(confidences: Iterable[float]) -> tuple[Floats, Floats]:
    """
    Return what may be there on a day as (threshold, probability): a step is there if its confidence reaches it.

    Confidences 0.95 and 0.8: everything on 80 % of days, only the 0.95 steps on 15 %, nothing on 5 %.
    """
    levels = sorted(set(confidences), reverse=True)
    thresholds = [2.0, *levels]
    reached = [1.0, *levels, 0.0]
    # A day is drawn from 0 to 1, and a step is there when the draw is not above its confidence.
    shares = [high - low for high, low in pairwise(reached)]
    return np.array(thresholds), np.array(shares)


def cvar(values: Floats, probability: Floats, tail: float) -> float:
    """
    Return the mean of the worst 1 − *tail* of *values*.

    −10 with 2 %, 0 with 3 %, 5 with 95 %: the worst 5 % average (−10 × 2 + 0 × 3) ÷ 5 = −4.
    """
    return float(values @ tail_weights(values, probability, tail))


def tail_weights(values: Floats, probability: Floats, tail: float) -> Floats:
    """Return how much of the worst 1 − *tail* each outcome is; the weights add up to 1."""
    order = np.argsort(values, kind="stable")
    upto = np.minimum(np.cumsum(probability[order]), 1 - tail)
    weights = np.zeros(len(values))
    weights[order] = np.diff(upto, prepend=0.0) / (1 - tail)
    return weights


@dataclass(frozen=True)
class _Line:
    """One step over all scenarios, S each, as if its power were there and as if it were missing."""

    there: Floats
    missing: Floats
    confidence: float
    amounts: dict[str, tuple[Floats, Floats]]


def _line(grid: Grid, offer: Planned, step: PlannedStep) -> _Line:
    """Return what *step* brings in each scenario."""
    p, t = grid.products.index(offer.product), grid.intervals.index(offer.interval)
    f, rules = grid.forecast, grid.rules[p]
    mw = float(step.quantity_mw) * (f.clearing[p, t] >= float(step.price_per_mwh) - 1e-9)
    owed = mw * f.called[p, t] * grid.hours
    cost = float(step.cost_per_mwh)
    energy = is_energy(rules)
    paid, penalised = f.paid[p, t], float(rules.shortfall_factor) * np.maximum(f.paid[p, t], 0.0)
    standing = np.zeros_like(mw) if energy else mw * grid.hours * paid
    income = standing + owed * (f.activation[p, t] + (paid if energy else 0.0))
    unpaid = np.where(owed > 0, 0.0, standing)
    zero = np.zeros_like(mw)
    missed = np.where(f.lost, 0.0, owed)
    tokens = zero if is_up(rules) else owed * float(step.tokens_per_mwh)
    delivered = np.where(f.lost, owed, 0.0)
    amounts = {
        "revenue": (income, unpaid),
        "cost": (owed * cost, delivered * cost),
        "penalty": (zero, missed * penalised),
        "tokens": (tokens, np.where(f.lost, tokens, 0.0)),
        "delivered_mwh": (owed, delivered),
        "shortfall_mwh": (zero, missed),
        "taken_mwh": (mw * grid.hours, mw * grid.hours),
    }
    worth = [amounts["revenue"][i] - amounts["cost"][i] - amounts["penalty"][i] for i in (0, 1)]
    return _Line(worth[0], worth[1], step.confidence, amounts)


def outcomes(offers: Iterable[Planned], grid: Grid, thresholds: Floats) -> Floats:
    """Return what *offers* bring in each scenario with each of the days that *thresholds* tell apart: S × days."""
    values = np.zeros((len(grid.forecast.probability), len(thresholds)))
    for line in (_line(grid, offer, step) for offer in offers for step in offer.steps):
        there = thresholds <= line.confidence
        values += np.where(there[None, :], line.there[:, None], line.missing[:, None])
    return values


def worth(offers: Iterable[Planned], problem: Problem, grid: Grid | None = None) -> Worth:
    """
    Return what *offers* bring on the scenarios of *problem*.

    10 MW at 40 $/MWh, cost 20, confidence 0.95, factor 1.5, price 100 for one hour: 0.95 × 800 − 0.05 × 1500 = 685 $.
    """
    grid = grid or Grid(problem)
    lines = [_line(grid, offer, step) for offer in offers for step in offer.steps]
    thresholds, shares = states(line.confidence for line in lines)
    chance = grid.forecast.probability
    values = np.zeros((len(chance), len(shares)))
    sums = dict.fromkeys(("revenue", "cost", "penalty", "tokens", "delivered_mwh", "shortfall_mwh", "taken_mwh"), 0.0)
    for line in lines:
        there = thresholds <= line.confidence
        values += np.where(there[None, :], line.there[:, None], line.missing[:, None])
        for name, (if_there, if_missing) in line.amounts.items():
            sums[name] += float(chance @ (if_there * line.confidence + if_missing * (1 - line.confidence)))
    joint = chance[:, None] * shares[None, :]
    return Worth(
        expected=float((values * joint).sum()),
        cvar=cvar(values.ravel(), joint.ravel(), problem.tail),
        by_scenario=tuple(float(value) for value in values @ shares),
        **sums,
    )


def money(amount: float) -> Decimal:
    """Return *amount* to the cent."""
    return Decimal(repr(round(amount, 6))).quantize(CENT)
