"""
Baselines: what a site would have drawn had it not been called. One method a file; the file name is the method's name.

| member | purpose |
|---|---|
| `baseline(history, event, calendar)` | pure: the baseline of one event |
| `LOOK_BACK_DAYS` | how many days before the event's own *history* has to cover |
| `REACH` | how long before the event's start, on each of these days; a timedelta |

*history* holds one row per metering interval before the end of the adjustment hours: `start` (Datetime, UTC) and
`load_kw` (Float64, consumption positive), on a regular grid that divides the hour. What is missing is missing: a row
without a number or no row at all is a gap, and a day with a gap in the hours a method needs is not used. The caller has
cut *history* at what was known (`pipeline.store.interval_history`); a method never looks at or after the event's start.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

import polars as pl

from pipeline.calendar import Calendar
from pipeline.interval import Interval


@dataclass(frozen=True)
class Event:
    """One call for load reduction, and the days that must not serve as its baseline."""

    interval: Interval
    event_days: frozenset[date] = frozenset()
    """Local dates on which the resource was called before."""
    outage_days: frozenset[date] = frozenset()


@dataclass(frozen=True)
class ExcludedDay:
    """A day that was looked at and not used."""

    day: date
    reason: str


@dataclass(frozen=True)
class Baseline:
    """A baseline with everything needed to compute it again by hand."""

    method: str
    version: str
    intervals: pl.DataFrame
    """`start` (UTC), `unadjusted_kw`, `baseline_kw`: one row per metering interval of the event."""
    ratio_raw: float | None
    """Event day ÷ baseline over the adjustment hours; None where the baseline is zero there."""
    ratio: float
    """What was applied, after the cap."""
    days_used: tuple[date, ...]
    """Newest first."""
    days_excluded: tuple[ExcludedDay, ...]

    @property
    def unadjusted_kw(self) -> float:
        """Mean over the event before the same-day adjustment."""
        return float(self.intervals.select(pl.col("unadjusted_kw").mean()).item())

    @property
    def baseline_kw(self) -> float:
        """Mean over the event."""
        return float(self.intervals.select(pl.col("baseline_kw").mean()).item())

    def over(self, interval: Interval) -> tuple[float, float]:
        """Return the mean unadjusted and adjusted baseline, kW, over the part of the event inside *interval*."""
        part = self.intervals.filter(pl.col("start") >= interval.start, pl.col("start") < interval.end)
        means = part.select(pl.col("unadjusted_kw", "baseline_kw").mean()).row(0)
        return float(means[0]), float(means[1])


class Method(Protocol):
    """What a plug-in module exposes as `baseline`."""

    def __call__(self, history: pl.DataFrame, event: Event, calendar: Calendar) -> Baseline:
        """Return the baseline; raise `InsufficientDataError` when history cannot carry it."""
        ...


def grid_of(history: pl.DataFrame) -> timedelta:
    """
    Return the length of *history*'s metering interval: the smallest distance between two starts.

    An hour where there are fewer than two rows. A distance that does not divide the hour is a `ValueError`.
    """
    steps = history["start"].unique().sort().diff().drop_nulls()
    length = steps.min() if len(steps) else timedelta(hours=1)
    if not isinstance(length, timedelta) or timedelta(hours=1) % length:
        raise ValueError(f"metering intervals of {length!s} do not divide the hour")
    return length


def walk_back(day: date, days: int) -> Iterable[date]:
    """Yield the *days* calendar days before *day*, newest first."""
    return (day - timedelta(days=back) for back in range(1, days + 1))
