"""
What a baseline is asked for: loads, events, the calendar, and the days that must not serve. Values, no IO.

Frames hold many resources and many events at once. An event concerns every resource that is asked about.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta

import polars as pl

from pipeline.calendar import Calendar
from pipeline.interval import Interval

INSTANT = pl.Datetime("us", "UTC")
LOADS = pl.Schema({"resource": pl.String(), "start": INSTANT, "load_kw": pl.Float64()})
#: A resource of null is every one.
DAYS = pl.Schema({"resource": pl.String(), "day": pl.Date()})
EVENTS = pl.Schema({"event": pl.Int64(), "start": INSTANT, "end": INSTANT})
TEMPERATURES = pl.Schema({"start": INSTANT, "celsius": pl.Float64()})
NOMINATIONS = pl.Schema({"resource": pl.String(), "start": INSTANT, "load_kw": pl.Float64(), "submitted_at": INSTANT})
CONTROL = pl.Schema({"customer": pl.String(), "start": INSTANT, "load_kw": pl.Float64()})

ONE = ""
"""The resource where there is only one, without a name."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """Everything a rule may look at."""

    loads: pl.DataFrame
    """`LOADS`: mean kW of each metering interval, consumption positive; a reading that is missing is null or no row."""
    grid: timedelta
    """Length of a metering interval; divides the hour."""
    events: pl.DataFrame
    """`EVENTS`, numbered; each within one local day and on the grid (`pipeline.cbl.checks`)."""
    calendar: Calendar
    event_days: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DAYS))
    """`DAYS` on which a resource was called; the day of the event asked about does not count."""
    outage_days: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=DAYS))
    temperatures: pl.DataFrame | None = None
    """`TEMPERATURES`, outdoors."""
    nominations: pl.DataFrame | None = None
    control: pl.DataFrame | None = None
    """`CONTROL`: customers that were not called."""


def one_event(event: Interval) -> pl.DataFrame:
    """Return `EVENTS` of one event, number 0."""
    return pl.DataFrame({"event": [0], "start": [event.start], "end": [event.end]}, schema=EVENTS)


def days_of(days: Iterable[date], resource: str | None = None) -> pl.DataFrame:
    """Return `DAYS` of one resource, or of all."""
    listed = sorted(set(days))
    return pl.DataFrame({"resource": [resource] * len(listed), "day": listed}, schema=DAYS)
