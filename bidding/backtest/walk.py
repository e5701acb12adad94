"""
Walk forward: at each day's gate every contestant offers on what had been seen, then the real prices come. Pure.

Strategies are those of the live offer builder, unchanged: a day is a `Problem`, its answer a `Plan`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from bidding.backtest import forecast
from bidding.backtest.calls import dice, draw
from bidding.backtest.cases import Case
from bidding.backtest.day import Outcome, Truth, settle
from bidding.backtest.foresight import bound
from bidding.backtest.hourly import Prices, hours_of
from bidding.portfolio import model
from bidding.portfolio.model import Plan, Problem
from bidding.settlement import CENT
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier

FORESIGHT = "perfect foresight"
MISSED_SHARE, MISSED_KEPT = 0.03, 0.8
"""Assumed: in so many hours so much of what was to be let go is, because hosts do not answer."""


@dataclass(frozen=True)
class Contestant:
    """A strategy with its settings."""

    name: str
    strategy: str
    risk_weight: float = 0.0
    confidence: float = 0.95
    """Steps of lower confidence are not sold."""
    unseen: float = 0.0
    """
    Probability left to days unlike all scenarios. Anything may be taken on them: with any such doubt the limits of the
    day's energy hold whatever is taken, not only in the scenarios.
    """


@dataclass(frozen=True)
class Row:
    """What one contestant's day came to."""

    case: str
    contestant: str
    day: date
    outcome: Outcome
    fell_back: bool = False
    """The strategy could not answer, and another one did in its place."""


DAYS_A_WEEK = 7
Planner = Callable[[Contestant, Problem], Plan]


class BoundBrokenError(AssertionError):
    """A contestant earned more than was possible: the bound or the accounting is wrong."""


def gate_of(case: Case, day: date) -> datetime:
    """Return the instant before which offers for *day* have to be there: the earliest of its products'."""
    first = hours_of(day, case.timezone)[0]
    return min(rules.gate_closes(first) for rules in case.products.values())


def traded(case: Case, day: date) -> tuple[Interval, ...]:
    """Return the hours of *day* that have a real price in every series: the others are left out for everyone."""
    return tuple(
        hour
        for hour in hours_of(day, case.timezone)
        if all(hour.start in prices.by_start for prices in case.series.values())
    )


def known(case: Case, gate: datetime) -> dict[str, Prices]:
    """Return the series without the hours that had not ended by *gate*: a forecast cannot look ahead in them."""
    return {name: prices.known_at(gate) for name, prices in case.series.items()}


def problem(case: Case, day: date, hours: Sequence[Interval], seed: str) -> Problem | None:
    """Return what a desk knows at the gate of *day*; None while there is too little history."""
    gate = gate_of(case, day)
    prices = forecast.prices(known(case, gate), day, hours, calls=case.calls, seed=f"{seed} {case.name} {day}")
    if prices is None:
        return None
    return Problem(
        resource="simulated-site",
        site="simulated-site",
        flexibility=forecast.flexibility(case.site, hours_of(day, case.timezone), gate),
        prices=prices,
        products=case.products,
        timezone=case.timezone,
    )


def truth(case: Case, hours: Sequence[Interval], seed: str) -> Truth:
    """Return how a day turned out: real prices, simulated calls, simulated power less what was missed."""
    calls = draw(case.calls, hours, f"{seed} truth") if case.calls is not None else {}
    return Truth(
        hours=tuple(hours),
        price={name: {hour: prices.by_start[hour.start] for hour in hours} for name, prices in case.series.items()},
        called_h={hour: Decimal(repr(round(forecast.called_h(call.length), 6))) for hour, call in calls.items()},
        available_kw={hour: _there(case.site.kw.get(hour.start, {}), hour, seed) for hour in hours},
        energy_mwh=case.site.energy_mwh,
    )


def _there(kw: Mapping[Tier, float], hour: Interval, seed: str) -> dict[Tier, float]:
    missed = dice(seed, "missed", hour.start.isoformat()).random() < MISSED_SHARE
    return {tier: power * (MISSED_KEPT if missed else 1.0) for tier, power in kw.items()}


def walk(
    case: Case, contestants: Sequence[Contestant], planner: Planner, seed: str, days: Sequence[date] | None = None
) -> Iterator[Row]:
    """
    Yield the rows of every day, all contestants on the same days, perfect foresight last.

    Raise `BoundBrokenError` where one of them earned more than perfect foresight, cents of rounding aside.
    """
    for day in case.days if days is None else days:
        hours = traded(case, day)
        asked = problem(case, day, hours, seed) if hours else None
        if asked is None:
            continue
        came = truth(case, hours, seed)
        rows = [_row(case, day, contestant, planner=planner, asked=asked, came=came) for contestant in contestants]
        best = bound(came, case.products, case.site.costs)
        check(rows, best)
        yield from rows
        yield Row(case.name, FORESIGHT, day, best)


def _row(case: Case, day: date, contestant: Contestant, *, planner: Planner, asked: Problem, came: Truth) -> Row:
    settings = {
        "risk_weight": contestant.risk_weight,
        "confidence": contestant.confidence,
        "prices": doubted(asked.prices, contestant.unseen),
    }
    plan = planner(contestant, asked.model_copy(update=settings))
    outcome = settle(plan.offers, came, case.products, case.site.costs)
    return Row(case.name, contestant.name, day, outcome, fell_back=plan.strategy != contestant.strategy)


def doubted(prices: model.Prices, unseen: float) -> model.Prices:
    """Return *prices* with so much probability left to none of the scenarios: 20 at 0.05 and 0.1 are 20 at 0.045."""
    scenarios = tuple(
        scenario.model_copy(update={"probability": scenario.probability * (1 - unseen)})
        for scenario in prices.scenarios
    )
    return prices.model_copy(update={"scenarios": scenarios}) if unseen else prices


def check(rows: Sequence[Row], best: Outcome) -> None:
    """Raise `BoundBrokenError` if a row is above *best* by more than the cents that its lines are rounded by."""
    for row in rows:
        cents = CENT * 3 * row.outcome.hours_sold * 2
        if row.outcome.value > best.value + cents:
            raise BoundBrokenError(
                f"{row.case} {row.day}: {row.contestant} earned {row.outcome.value}, perfect foresight {best.value}"
            )


def apart(days: Sequence[date], weeks: int) -> tuple[date, ...]:
    """Return the days of every so many ISO weeks, whole weeks, the same ones in every market."""
    return tuple(day for day in days if (day.toordinal() - 1) // DAYS_A_WEEK % weeks == 0)
