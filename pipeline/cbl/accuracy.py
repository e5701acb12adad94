"""
How wrong a baseline is: on placebo event days, where nothing was called and the load itself is the truth. Pure.

    placebo     days without an event, by date alone; several hours of each are taken for an event
    errors      method × resource × interval: load, baseline, and the baseline before its adjustment
    scores      RRMSE, bias, CV(RMSE), NMBE, by method, resource, kind of day and hour
    verdicts    who passes the gate of 20 %, and which method is best

Error is baseline − load: above zero a baseline pays for a reduction that never was. Statistics are shares of the mean
load, and null where that is not above zero.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from importlib.util import find_spec

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import EVENTS, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression, Rule
from pipeline.errors import ConfigError

HOURS_A_DAY = 24
GATE = 0.20
"""Highest RRMSE a baseline may have: AEMO, found in its publications; PJM, general knowledge and not verified."""
GATE_DAYS = 60
"""Days that PJM's test looks at (two months of data for each registration); fewer make a verdict indicative."""
MOST_WITHOUT = 0.2
"""A method without a baseline on a greater share of placebo events is not called the best. Our choice."""

BUSINESS, OTHER, ALL = "business days", "other days", "all days"

PLACEBO = pl.Schema({**EVENTS, "day": pl.Date(), "kind": pl.String(), "hour": pl.Int64()})
ERRORS = pl.Schema(
    {
        "method": pl.String(),
        "resource": pl.String(),
        "event": pl.Int64(),
        "start": EVENTS["start"],
        "load_kw": pl.Float64(),
        "baseline_kw": pl.Float64(),
        "baseline_unadjusted_kw": pl.Float64(),
    }
)

Engine = Callable[[Rule, Request], Answer]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Which placebo events there are."""

    start_hours: tuple[int, ...] = (7, 11, 14, 17, 20)
    """Local."""
    hours: int = 2
    days: int = 60
    """Days of each kind, or as many as there are."""
    history_days: int = 90
    """Days at the beginning that only serve as history; of a record of less than twice that, half of its days."""

    def __post_init__(self) -> None:
        """Refuse windows that are none, or that cross midnight."""
        if not self.start_hours or self.days < 1 or self.hours < 1:
            raise ConfigError("a placebo event needs a start hour, an hour or more, and a day or more")
        if late := [hour for hour in self.start_hours if hour < 0 or hour + self.hours > HOURS_A_DAY]:
            raise ConfigError(f"placebo events of {self.hours} h from {late[0]}:00 do not lie within one day")


def placebo(request: Request, plan: Plan) -> pl.DataFrame:
    """
    Return `PLACEBO` events for the loads of *request*, numbered in order of time.

    Days are chosen by a hash of their date, business days and others apart, so that neither the loads nor the weekday
    have a say in it. A day on which anybody was called, or that was an outage, is none. A window that a change of the
    clocks falls into is left out.
    """
    first, last = _span(request)
    length = (last - first).days + 1
    history = min(plan.history_days, length // 2)
    taken = set(request.event_days["day"].to_list()) | set(request.outage_days["day"].to_list())
    days = [first + timedelta(days=number) for number in range(history, length)]
    free = [day for day in days if day not in taken]
    kinds = {day: BUSINESS if request.calendar.is_business_day(day) else OTHER for day in free}
    chosen = [day for kind in (BUSINESS, OTHER) for day in _chosen([d for d in free if kinds[d] == kind], plan.days)]
    rows = [
        (*span, day, kinds[day], hour)
        for day in sorted(chosen)
        for hour in sorted(set(plan.start_hours))
        if (span := _window(day, hour, plan.hours, request.calendar))
    ]
    columns = {name: PLACEBO[name] for name in ("start", "end", "day", "kind", "hour")}
    return pl.DataFrame(rows, schema=columns, orient="row").select(
        pl.int_range(pl.len(), dtype=pl.Int64).alias("event"), pl.all()
    )


def _span(request: Request) -> tuple[date, date]:
    """Return the first and the last local day that has a reading."""
    measured = request.loads.filter(pl.col("load_kw").is_finite())["start"]
    if measured.is_empty():
        raise ConfigError("no reading is a number; accuracy needs metered loads")
    first, last = measured.dt.convert_time_zone(request.calendar.timezone).dt.date().sort().gather([0, -1]).to_list()
    return first, last


def _chosen(days: Sequence[date], count: int) -> list[date]:
    return sorted(days, key=lambda day: hashlib.sha256(day.isoformat().encode()).digest())[:count]


def _window(day: date, hour: int, hours: int, calendar: Calendar) -> tuple[datetime, datetime] | None:
    """Return start and end by the local clock; None where a change of it makes that fewer or more hours."""
    end_day, end_hour = divmod(hour + hours, HOURS_A_DAY)
    start = datetime.combine(day, time(hour), calendar.zone).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=end_day), time(end_hour), calendar.zone).astimezone(UTC)
    return (start, end) if end - start == timedelta(hours=hours) else None


YESTERDAY, HOURS_BEFORE = "same-time-yesterday", "mean-of-hours-before"
#: What anybody could do without a rule book.
REFERENCES: tuple[Rule, ...] = (
    Rule(
        method=YESTERDAY,
        version="1",
        title="Load at the same local time of the day before",
        venue=None,
        valid_from=None,
        citation="persistence, the usual reference of a forecast",
        verified=True,
        parameters=DayMatching(
            look_back_days=1, day_types="all", days=1, other_days=1, minimum_days=1, minimum_other_days=1
        ),
    ),
    Rule(
        method=HOURS_BEFORE,
        version="1",
        title="Flat mean of the 2nd, 3rd and 4th hour before",
        venue=None,
        valid_from=None,
        citation="the hours that most rules adjust by",
        verified=True,
        parameters=AroundEvent(before_from_hours=4, before_to_hours=1),
    ),
)


def unfit(rule: Rule, request: Request) -> str | None:
    """Return why *rule* says nothing of these loads on a placebo day, or None."""
    match rule.parameters:
        case Level():
            reason, lacks = "a level that is agreed on; it estimates no load", True
        case Reference(source="nomination"):
            reason, lacks = "needs nominations", request.nominations is None
        case Reference(source="control"):
            reason, lacks = "needs customers that were not called", request.control is None
        case DayMatching(supply=True):
            reason, lacks = "for what a generator gives, not for a load", True
        case DayMatching(rank_by="temperature") | Regression(terms="degree-days"):
            reason, lacks = "needs temperatures", request.temperatures is None
        case Learned():
            reason, lacks = "needs scikit-learn: pip install 'firmwatt[ml]'", find_spec("sklearn") is None
        case _:
            return None
    return reason if lacks else None


def errors(rules: Iterable[Rule], request: Request, events: pl.DataFrame, engine: Engine) -> pl.DataFrame:
    """
    Return `ERRORS` of *rules* on the placebo *events*, wherever there are a baseline and a reading.

    The event's own load is compared with a baseline that has not seen it, so no day after an event serves for it; later
    placebo days may use earlier ones, on which nothing happened. Resources are computed one after the other, which
    bounds the memory.
    """
    asked = replace(request, events=events.select(EVENTS.names()))
    parts = [
        engine(rule, replace(asked, loads=loads))
        .intervals.filter(pl.col("load_kw").is_finite() & pl.col("baseline_kw").is_finite())
        .select(pl.lit(rule.method).alias("method"), *ERRORS.names()[1:])
        for (_,), loads in request.loads.group_by("resource", maintain_order=True)
        for rule in rules
    ]
    return pl.concat([pl.DataFrame(schema=ERRORS), *parts])


def metered(request: Request, events: pl.DataFrame) -> pl.DataFrame:
    """Return event × resource where the event has a reading, with the event's `day`, `kind`, `hour`."""
    slots = events.with_columns(slot=pl.datetime_ranges("start", "end", request.grid, closed="left")).explode("slot")
    readings = request.loads.filter(pl.col("load_kw").is_finite()).select("resource", slot="start")
    return slots.join(readings, on="slot").select("event", "resource", "day", "kind", "hour").unique()
