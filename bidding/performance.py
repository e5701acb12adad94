"""
What was delivered: baseline by the venue's method, minus metered load. Pure.

    award 1 ├──────┤ award 2 ├──────┤   contiguous, one local day: one event, adjusted by the hours before the first
    award 3                            ├──────┤   after a pause: an event of its own

The baseline is computed from the readings that the venue is sent, digit by digit the same, so that two independent
computations start from one truth.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

import polars as pl

from bidding.markets import MeterReading
from bidding.products import Rules
from pipeline.calendar import Calendar
from pipeline.cbl.single import Baseline, Event, Method
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Award, Performance
from pipeline.units import KW_PER_MW

HISTORY_SCHEMA = pl.Schema([("start", pl.Datetime("us", "UTC")), ("load_kw", pl.Float64())])


@dataclass(frozen=True)
class LookBack:
    """How much history a baseline method rests on; its rule says so."""

    days: int
    reach: timedelta
    """Before the event's start, on every day."""


@dataclass(frozen=True)
class Metered:
    """One interval as metered."""

    interval: Interval
    energy_kwh: float
    covered_share: float
    """Share of the host-seconds that the energy covers; below 1 the energy is too low, and nobody fills it up."""
    simulated: bool


def reading(interval: Interval, energy_kwh: float) -> MeterReading:
    """Return *energy_kwh* with all its digits, as it goes to the venue; rounding is settlement's business."""
    return MeterReading(interval=interval, energy_kwh=Decimal(repr(energy_kwh)))


def history(readings: Iterable[MeterReading]) -> pl.DataFrame:
    """Return *readings* as a baseline method wants them: `start` and `load_kw`."""
    rows = [(r.interval.start, float(r.energy_kwh) / r.interval.hours) for r in readings]
    return pl.DataFrame(rows, schema=HISTORY_SCHEMA, orient="row").sort("start")


def events(intervals: Iterable[Interval], calendar: Calendar) -> list[Interval]:
    """Return the runs of contiguous *intervals* within one local day, each as one interval, in order of time."""
    runs: list[Interval] = []
    for interval in sorted(set(intervals)):
        contiguous = runs and runs[-1].end == interval.start
        if contiguous and calendar.day_of(runs[-1].start) == calendar.day_of(interval.start):
            runs[-1] = Interval(runs[-1].start, interval.end)
        else:
            runs.append(interval)
    return runs


def windows(event: Interval, calendar: Calendar, look_back: LookBack) -> list[Interval]:
    """
    Return the spans of history that *event*'s baseline may rest on, its own day first: the same local hours each.

    Where a clock change lies between, an hour more on either side, so that the local hours are in it whatever they are.
    """
    found = []
    for back in range(look_back.days + 1):
        start, end = (instant - timedelta(days=back) for instant in (event.start - look_back.reach, event.end))
        same = start.astimezone(calendar.zone).utcoffset() == event.start.astimezone(calendar.zone).utcoffset()
        slack = timedelta(0) if same else timedelta(hours=1)
        found.append(Interval(start - slack, end + (slack if back else timedelta(0))))
    return found


def event_days(awards: Iterable[Award], calendar: Calendar, before: Interval) -> frozenset[date]:
    """Return the local days before that of the event *before* on which something was awarded."""
    day = calendar.day_of(before.start)
    return frozenset(d for award in awards if (d := calendar.day_of(award.interval.start)) < day)


def baseline_of(
    event: Interval, readings: Sequence[MeterReading], awards: Iterable[Award], method: Method, calendar: Calendar
) -> Baseline:
    """Return the baseline of *event*; raise `InsufficientDataError` when *readings* cannot carry it."""
    if not readings:
        raise InsufficientDataError(1, 0, "metered intervals before the event")
    called = Event(event, event_days(awards, calendar, event))
    return method(history(readings), called, calendar, readings[0].interval.length)


def perform(award: Award, baseline: Baseline, metered: Metered, site: str) -> Performance:
    """
    Return what was delivered on *award*: the reduction, floored at zero and not above the award.

    1 200 kW baseline, 900 kW load, 250 kW awarded: 300 kW reduction, 250 kW delivered, nothing short.
    """
    unadjusted_kw, baseline_kw = baseline.over(award.interval)
    load_kw = metered.energy_kwh / metered.interval.hours
    awarded_kw = float(award.quantity_mw * KW_PER_MW)
    delivered_kw = min(max(baseline_kw - load_kw, 0.0), awarded_kw)
    return Performance(
        award_id=award.award_id,
        resource=award.resource,
        site=site,
        interval=award.interval,
        baseline_method=baseline.method,
        unadjusted_baseline_kw=unadjusted_kw,
        adjustment_ratio=baseline.ratio,
        baseline_kw=baseline_kw,
        baseline_days=tuple(day.isoformat() for day in baseline.days_used),
        load_kw=load_kw,
        reduction_kw=baseline_kw - load_kw,
        awarded_kw=awarded_kw,
        delivered_kw=delivered_kw,
        shortfall_kw=awarded_kw - delivered_kw,
        covered_share=metered.covered_share,
        simulated=metered.simulated,
    )


def performances(
    awards: Sequence[Award],
    metered: Mapping[Interval, Metered],
    readings: Sequence[MeterReading],
    *,
    method: Method,
    calendar: Calendar,
    site: str,
) -> list[Performance]:
    """
    Return the performance on every one of *awards*, in order of time.

    Raise `InsufficientDataError` when an awarded interval was not metered or the baseline cannot be computed.
    """
    if missing := [award for award in awards if award.interval not in metered]:
        raise InsufficientDataError(len(awards), len(awards) - len(missing), "metered intervals of the event")
    found: list[Performance] = []
    for event in events((award.interval for award in awards), calendar):
        baseline = baseline_of(event, readings, awards, method, calendar)
        inside = sorted((a for a in awards if a.interval.start in event), key=lambda award: award.interval)
        found += [perform(award, baseline, metered[award.interval], site) for award in inside]
    return found


def delivered_ratio(performance: Iterable[Performance]) -> float | None:
    """Return delivered ÷ awarded energy over equal intervals, None where nothing was awarded."""
    lines = list(performance)
    awarded_kw = math.fsum(line.awarded_kw for line in lines)
    return math.fsum(line.delivered_kw for line in lines) / awarded_kw if awarded_kw > 0 else None


def calendar_of(rules: Rules) -> Calendar:
    """Return the venue's calendar: its time zone, its holidays; it knows the years that they lie in."""
    holidays = frozenset(rules.holidays)
    return Calendar(rules.timezone, holidays, frozenset(day.year for day in holidays) or None)
