"""
Forecasts that a day-ahead desk could have made: days that were, as they were. Pure, no look-ahead.

Prices are those of the last days of the same kind (business day or not), whole, so that hours stay correlated and
energy keeps its reserve price; each is equally likely. Calls are drawn into them. What can be let go is the quantiles
of the same local hour over the last days. Series are cut at the gate before they come here: see `walk`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import numpy as np

from bidding.backtest.calls import CallModel, draw
from bidding.backtest.day import Cost
from bidding.backtest.hourly import DAY, HOUR, Prices, hours_of, label, like
from bidding.backtest.rules import RESERVE
from bidding.portfolio import model
from pipeline.calendar import Calendar, nerc_holidays
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier

LIKE_DAYS, LEAST_LIKE_DAYS, LOOK_BACK = 20, 8, 70
"""Scenarios at most and at least, and how many days back they are looked for."""
CONFIDENCES = (0.95, 0.80, 0.65, 0.50)
"""Steps of what can be let go. A rule-based desk sells the first only."""
HISTORY_DAYS = 28
"""Days that the quantiles of what can be let go are taken over."""


@dataclass(frozen=True)
class Site:
    """What the simulated site could let go, kW, by hour and tier; known once the hour has ended."""

    timezone: str
    kw: Mapping[datetime, Mapping[Tier, float]]
    costs: Mapping[Tier, Cost]
    """Cheapest first."""
    energy_mwh: Mapping[Tier, Decimal]


def business(day: date) -> bool:
    """Tell whether *day* is Monday to Friday and no NERC holiday."""
    return Calendar("UTC", frozenset(nerc_holidays(day.year))).is_business_day(day)


def like_days(series: Sequence[Prices], day: date) -> list[date]:
    """Return the newest days of the kind of *day* of which *series* know every hour, newest first."""
    back = (day - DAY * number for number in range(1, LOOK_BACK + 1))
    return [
        found for found in back if business(found) == business(day) and all(prices.whole(found) for prices in series)
    ][:LIKE_DAYS]


def prices(
    series: Mapping[str, Prices],
    day: date,
    hours: Sequence[Interval],
    *,
    calls: CallModel | None,
    seed: str,
) -> model.Prices | None:
    """
    Return the scenarios of *day* by product from what *series* know; None where there were too few days like it.

    An hour that is not in *hours* is not traded: its price is not known, so that nothing is offered for it.
    """
    days = like_days(tuple(series.values()), day)
    days_of = next(iter(series.values())).timezone
    if len(days) < LEAST_LIKE_DAYS:
        return None
    scenarios = tuple(
        model.Scenario(
            name=f"as {source}",
            probability=1 / len(days),
            series={
                name: _series(name, of, day, source, hours=hours, calls=calls, seed=seed) for name, of in series.items()
            },
        )
        for source in days
    )
    return model.Prices(
        intervals=hours_of(day, days_of),
        scenarios=scenarios,
        source=f"the {len(days)} newest days of its kind that had ended, calls drawn",
    )


def _series(
    name: str,
    of: Prices,
    day: date,
    source: date,
    *,
    hours: Sequence[Interval],
    calls: CallModel | None,
    seed: str,
) -> model.Series:
    timezone = of.timezone
    alike = dict(zip(hours_of(day, timezone), like(day, of.of(source), timezone), strict=True))
    traded = frozenset(hours)
    price = tuple(float(found) if hour in traded else None for hour, found in alike.items())
    if name != RESERVE or calls is None:
        return model.Series(price=price)
    drawn = draw(calls, alike, f"{seed} scenario {source}")
    share = tuple(min(1.0, called_h(drawn[hour].length)) if hour in drawn else 0.0 for hour in alike)
    return model.Series(price=price, called=share)


def called_h(length: timedelta, longest: timedelta = timedelta(minutes=30)) -> float:
    """Return how long a call is answered, hours: a synchronized reserve event ends after 30 minutes at most."""
    return min(length, longest) / HOUR


def flexibility(site: Site, hours: Sequence[Interval], gate: datetime) -> model.Flexibility:
    """
    Return the steps of each hour: quantiles of the same local hour over the last days.

    Of 28 days, 0.95 is between the second and the third lowest: what was there on 95 % of them.
    """
    day = hours[0].start.astimezone(Calendar(site.timezone).zone).date()
    last = _last_days(site, day, gate)
    slots = tuple(model.Slot(interval=hour, steps=tuple(_steps(site, hour, last))) for hour in hours)
    energy = {tier: float(limit) for tier, limit in site.energy_mwh.items()}
    return model.Flexibility(slots=slots, energy_mwh=energy, assumptions=("simulated",))


def _last_days(site: Site, day: date, gate: datetime) -> list[dict[tuple[int, int], Mapping[Tier, float]]]:
    back = [day - DAY * number for number in range(1, HISTORY_DAYS + 3)]
    ended = [past for past in back if hours_of(past, site.timezone)[-1].end <= gate][:HISTORY_DAYS]
    return [
        {
            label(hour, site.timezone): site.kw[hour.start]
            for hour in hours_of(past, site.timezone)
            if hour.start in site.kw
        }
        for past in ended
    ]


def _steps(
    site: Site, hour: Interval, last: Sequence[Mapping[tuple[int, int], Mapping[Tier, float]]]
) -> Iterator[model.Step]:
    at, _ = label(hour, site.timezone)
    known = [past[at, 0] for past in last if (at, 0) in past]
    if not known:
        return
    for tier, cost in site.costs.items():
        kw = [past[tier] for past in known]
        before = 0.0
        for confidence in CONFIDENCES:
            there = float(np.quantile(kw, 1 - confidence))
            if there > before:
                yield model.Step(
                    tier=tier,
                    confidence=confidence,
                    firm_kw=there - before,
                    tokens_per_mwh=cost.tokens_per_mwh,
                    token_cost_per_mwh=cost.per_mwh,
                )
            before = max(before, there)
