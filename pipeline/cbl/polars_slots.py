"""Metering intervals of events and of other days for the Polars engine: by instant, and by the local clock. Pure."""

from datetime import date, timedelta

import polars as pl

from pipeline.cbl.request import INSTANT, Request
from pipeline.cbl.rule import DayMatching, Regression

DAY = timedelta(hours=25)
"""No local day is longer."""


def with_wall(frame: pl.DataFrame, request: Request) -> pl.DataFrame:
    """Return *frame* with `wall`, what local clocks show at `start`."""
    local = pl.col("start").dt.convert_time_zone(request.calendar.timezone)
    return frame.with_columns(wall=local.dt.replace_time_zone(None))


def metered(request: Request) -> pl.DataFrame:
    """Return `resource`, `start`, `load_kw` of every reading that is one: not null, not NaN, not infinite."""
    return request.loads.filter(pl.col("load_kw").is_finite()).select("resource", "start", "load_kw")


def by_local_clock(request: Request) -> pl.DataFrame:
    """Return `resource`, `wall`, `load_kw`: one reading per local clock time, the first of a repeated hour's two."""
    return (
        with_wall(metered(request).sort("resource", "start"), request)
        .unique(["resource", "wall"], keep="first", maintain_order=True)
        .select("resource", "wall", "load_kw")
    )


def resources(request: Request) -> pl.DataFrame:
    """Return `resource`, each once, also one of whose readings none is any good."""
    return request.loads.select("resource").unique()


def grid_around(request: Request, before: timedelta, after: timedelta) -> pl.DataFrame:
    """
    Return the metering intervals of every event and, counted from there, at least those of *before* and *after* it.

    `event`, `event_start`, `event_end`, `event_day`, `start`. The grid is the event's own, so that it is right
    too where local midnight or the edge of a window does not lie on it.
    """
    early, late = (-(-reach // request.grid) * request.grid for reach in (before, after))
    return request.events.select(
        "event",
        event_start="start",
        event_end="end",
        event_day=local_day(pl.col("start"), request),
        start=pl.datetime_ranges(pl.col("start") - early, pl.col("end") + late, request.grid, closed="left"),
    ).explode("start")


def event_slots(request: Request) -> pl.DataFrame:
    """Return the events' own metering intervals."""
    return grid_around(request, timedelta(), timedelta())


def hours_before(request: Request, from_hours: float, to_hours: float) -> pl.DataFrame:
    """Return the metering intervals from *from_hours* to *to_hours* before each event's start, and their `wall`."""
    lead = pl.col("event_start") - pl.col("start")
    around = grid_around(request, timedelta(hours=max(from_hours, 0.0)), timedelta())
    return with_wall(around.filter(lead <= timedelta(hours=from_hours), lead > timedelta(hours=to_hours)), request)


def slots(rule: DayMatching | Regression, request: Request) -> pl.DataFrame:
    """
    Return the metering intervals that count, of each event.

    `start`, `wall`, `event_day`; `in_event`, `in_adjust` (the window of the adjustment), `in_match` (the hours that
    days are compared by).
    """
    by_shape = isinstance(rule, DayMatching) and rule.rank_by == "shape"
    adjusts_by_match = rule.adjustment != "none" and rule.adjust_from_hours == rule.adjust_to_hours == 0
    reach = timedelta(hours=max(rule.adjust_from_hours, 0.0))
    all_day = DAY if by_shape or adjusts_by_match else timedelta()
    start, nothing = pl.col("start"), pl.lit(value=False)
    match = _match_hours(rule) if isinstance(rule, DayMatching) else nothing
    window = (start >= pl.col("event_start") - timedelta(hours=rule.adjust_from_hours)) & (
        start < pl.col("event_start") - timedelta(hours=rule.adjust_to_hours)
    )
    in_adjust = nothing if rule.adjustment == "none" else match if adjusts_by_match else window
    found = (
        grid_around(request, max(reach, all_day), all_day)
        .join(_bounds(request), left_on="event_day", right_on="day")
        .with_columns(
            in_event=(start >= pl.col("event_start")) & (start < pl.col("event_end")),
            in_adjust=in_adjust,
            in_match=match if by_shape else nothing,
        )
        .filter(pl.col("in_event") | pl.col("in_match") | pl.col("in_adjust"))
        .select("event", "event_day", "in_event", "in_adjust", "in_match", "start")
    )
    return with_wall(found, request)


def _match_hours(rule: DayMatching) -> pl.Expr:
    start, gap = pl.col("start"), timedelta(hours=rule.match_gap_hours)
    before = (start >= pl.col("day_start")) & (start < pl.col("event_start") - gap)
    after = (start >= pl.col("event_end") + gap) & (start < pl.col("day_end"))
    return before if rule.match == "before-event" else before | after


def local_day(instant: pl.Expr, request: Request) -> pl.Expr:
    """Return the local date at *instant*."""
    return instant.dt.convert_time_zone(request.calendar.timezone).dt.date()


def _bounds(request: Request) -> pl.DataFrame:
    """Return `day`, `day_start`, `day_end` of the events' local days."""
    days: list[date] = request.events.select(local_day(pl.col("start"), request).unique()).to_series().to_list()
    bounds = [request.calendar.bounds(day) for day in days]
    return pl.DataFrame(
        {"day": days, "day_start": [one.start for one in bounds], "day_end": [one.end for one in bounds]},
        schema={"day": pl.Date(), "day_start": INSTANT, "day_end": INSTANT},
    )


def loads_on(days: pl.DataFrame, slots_: pl.DataFrame, clocked: pl.DataFrame) -> pl.DataFrame:
    """Return *days* (event, resource, day) × the slots of their event with `load_kw` on that day; null: not metered."""
    return (
        days.select("event", "resource", "day")
        .join(slots_, on="event")
        .with_columns(wall=pl.col("wall") + (pl.col("day") - pl.col("event_day")))
        .join(clocked, on=["resource", "wall"], how="left")
    )
