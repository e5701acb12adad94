"""
One event of one resource, as the market desk asks for it. Pure; the Polars engine computes.

*history* holds one row per metering interval before the event's end: `start` (Datetime, UTC) and `load_kw` (Float64,
consumption positive), on a regular grid that divides the hour. What is missing is missing: a row without a number or no
row at all is a gap. The caller has cut it at what was known (`pipeline.store.interval_history`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import methods, polars_engine
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import LOADS, ONE, Request, days_of, one_event
from pipeline.cbl.rule import DayMatching, Rule, in_force
from pipeline.errors import ConfigError, InsufficientDataError
from pipeline.interval import EPOCH, Interval


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
    """Event day ÷ baseline over the adjustment hours; None where the baseline is zero there, or no ratio is made."""
    ratio: float
    """What was applied, after the cap; of an adjustment in kW what it comes to over the event."""
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


Method = Callable[[pl.DataFrame, Event, Calendar, timedelta], Baseline]
"""The baseline of one event on a metering grid; raises `InsufficientDataError` when history cannot carry it."""


@dataclass(frozen=True)
class ByRule:
    """A method by its rules, one a version."""

    rules: tuple[Rule, ...]

    @property
    def look_back(self) -> timedelta:
        """How long before the event's own day *history* has to begin."""
        return timedelta(days=max(_matching(rule).look_back_days for rule in self.rules))

    @property
    def reach(self) -> timedelta:
        """How long before the event's start, on each of these days."""
        return timedelta(hours=max(_matching(rule).adjust_from_hours for rule in self.rules))

    def __call__(
        self, history: pl.DataFrame, event: Event, calendar: Calendar, grid: timedelta | None = None
    ) -> Baseline:
        """
        Return the baseline of *event* on the metering *grid*; left out, it is that of *history*.

        Raise `InsufficientDataError` when days or adjustment hours are short, `ConfigError` for an event that crosses
        local midnight (a trading day ends there: settle it as two) or does not lie on the metering grid.
        """
        grid = grid or grid_of(history)
        _check(event.interval, grid, calendar)
        rule = in_force(self.rules, calendar.day_of(event.interval.start))
        loads = history.select(pl.lit(ONE).alias("resource"), "start", "load_kw").cast(LOADS)
        request = Request(
            loads=loads,
            grid=grid,
            events=one_event(event.interval),
            calendar=calendar,
            event_days=days_of(event.event_days),
            outage_days=days_of(event.outage_days),
        )
        return _baseline(rule, polars_engine.answer(rule, request))


def method(name: str) -> ByRule:
    """Return method *name*; a `ConfigError` for one that needs more than the readings of like days."""
    found = ByRule(methods.load(name))
    for rule in found.rules:
        _matching(rule)
    return found


def _matching(rule: Rule) -> DayMatching:
    match rule.parameters:
        case DayMatching(rank_by="event-hours", supply=False) as parameters:
            return parameters
        case _:
            raise ConfigError(
                f"{rule.method} needs more than the load in the hours of the event and before it; "
                "bidding settles by day matching, for instance caiso-10-in-10"
            )


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


def _check(interval: Interval, grid: timedelta, calendar: Calendar) -> None:
    last = interval.end - timedelta(microseconds=1)
    if calendar.day_of(interval.start) != calendar.day_of(last):
        raise ConfigError(f"event {interval.start} to {interval.end} crosses local midnight; settle it as two events")
    if interval.length % grid or (interval.start - EPOCH) % grid:
        raise ConfigError(f"event {interval.start} to {interval.end} is off the metering grid of {grid}")


def _baseline(rule: Rule, answer: Answer) -> Baseline:
    for need, have, what in answer.shortfalls.select("need", "have", "what").iter_rows():
        raise InsufficientDataError(need, have, what)
    intervals = answer.intervals.select(
        "start", unadjusted_kw="baseline_unadjusted_kw", baseline_kw="baseline_kw"
    ).sort("start")
    kind, raw, applied = answer.adjustments.select("kind", "raw", "applied").row(0)
    is_ratio = kind == "ratio"
    before, after = intervals.select(pl.col("unadjusted_kw", "baseline_kw").sum()).row(0)
    days = answer.days.sort("day", descending=True)
    passed = days.filter(~pl.col("used")).select("day", "reason").iter_rows()
    return Baseline(
        method=rule.method,
        version=rule.version,
        intervals=intervals,
        ratio_raw=raw if is_ratio else None,
        ratio=applied if is_ratio else after / before if before else 1.0,
        days_used=tuple(days.filter("used")["day"]),
        days_excluded=tuple(ExcludedDay(day, reason) for day, reason in passed),
    )
