"""Metering intervals and local days for the Polars engine. Pure."""

from datetime import date, timedelta

import polars as pl

from pipeline.calendar import SATURDAY
from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching

SUNDAY = 6


def with_wall(frame: pl.DataFrame, request: Request) -> pl.DataFrame:
    """Return *frame* with `wall`, what local clocks show at `start`."""
    local = pl.col("start").dt.convert_time_zone(request.calendar.timezone)
    return frame.with_columns(wall=local.dt.replace_time_zone(None))


def by_local_clock(request: Request) -> pl.DataFrame:
    """Return `resource`, `wall`, `load_kw`: one reading per local clock time, the first of a repeated hour's two."""
    return (
        with_wall(request.loads.filter(pl.col("load_kw").is_finite()).sort("resource", "start"), request)
        .unique(["resource", "wall"], keep="first", maintain_order=True)
        .select("resource", "wall", "load_kw")
    )


def slots(rule: DayMatching, request: Request) -> pl.DataFrame:
    """
    Return the metering intervals that count, of each event.

    `start`, `wall`, `event_day`; `in_event`, `in_adjust` (the window of the adjustment), `in_match` (the hours that
    days are compared by).
    """
    days = _bounds(request)
    gap = timedelta(hours=rule.match_gap_hours)
    before = (pl.col("slot") >= pl.col("day_start")) & (pl.col("slot") < pl.col("start") - gap)
    after = (pl.col("slot") >= pl.col("end") + gap) & (pl.col("slot") < pl.col("day_end"))
    in_match = (
        pl.lit(value=False) if rule.rank_by != "shape" else before if rule.match == "before-event" else before | after
    )
    reach = timedelta(hours=rule.adjust_from_hours)
    window = (pl.col("slot") >= pl.col("start") - reach) & (
        pl.col("slot") < pl.col("start") - timedelta(hours=rule.adjust_to_hours)
    )
    in_adjust = pl.lit(value=False) if rule.adjustment == "none" else window if reach else pl.col("in_match")
    found = (
        request.events.with_columns(event_day=_local_day(pl.col("start"), request))
        .join(days, left_on="event_day", right_on="day")
        .with_columns(
            slot=pl.datetime_ranges(
                pl.min_horizontal(pl.col("start") - reach, "day_start"),
                pl.max_horizontal("end", "day_end"),
                request.grid,
                closed="left",
            )
        )
        .explode("slot")
        .with_columns(
            in_event=(pl.col("slot") >= pl.col("start")) & (pl.col("slot") < pl.col("end")), in_match=in_match
        )
        .with_columns(in_adjust=in_adjust)
        .filter(pl.col("in_event") | pl.col("in_match") | pl.col("in_adjust"))
        .select("event", "event_day", "in_event", "in_adjust", "in_match", start="slot")
    )
    return with_wall(found, request)


def _local_day(instant: pl.Expr, request: Request) -> pl.Expr:
    return instant.dt.convert_time_zone(request.calendar.timezone).dt.date()


def _bounds(request: Request) -> pl.DataFrame:
    """Return `day`, `day_start`, `day_end` of the events' local days."""
    days: list[date] = request.events.select(_local_day(pl.col("start"), request).unique()).to_series().to_list()
    bounds = [request.calendar.bounds(day) for day in days]
    return pl.DataFrame(
        {"day": days, "day_start": [one.start for one in bounds], "day_end": [one.end for one in bounds]},
        schema={"day": pl.Date(), "day_start": pl.Datetime("us", "UTC"), "day_end": pl.Datetime("us", "UTC")},
    )


def loads_on(days: pl.DataFrame, slots_: pl.DataFrame, clocked: pl.DataFrame) -> pl.DataFrame:
    """Return *days* (event, resource, day) × the slots of their event with `load_kw` on that day; null: not metered."""
    return (
        days.select("event", "resource", "day")
        .join(slots_, on="event")
        .with_columns(wall=pl.col("wall") + (pl.col("day") - pl.col("event_day")))
        .join(clocked, on=["resource", "wall"], how="left")
    )


def day_kinds(rule: DayMatching, request: Request) -> pl.DataFrame:
    """Return `day`, `kind` and `business` of every day that an event can reach."""
    ends = request.events.select(
        first=_local_day(pl.col("start").min(), request), last=_local_day(pl.col("start").max(), request)
    )
    first, last = ends.row(0)
    days = pl.date_range(first - timedelta(days=rule.look_back_days), last, eager=True).alias("day")
    business = [request.calendar.is_business_day(day) for day in days]
    return pl.DataFrame({"day": days, "business": business}).with_columns(kind=_kind(rule))


def _kind(rule: DayMatching) -> pl.Expr:
    business, weekday = pl.col("business"), pl.col("day").dt.weekday()
    match rule.day_types:
        case "all":
            return pl.lit(0)
        case "business":
            return business.cast(pl.Int32)
        case "weekday-saturday-sunday":
            saturday = weekday == SATURDAY + 1
            return pl.when(business).then(0).when(saturday & ~business).then(1).otherwise(2)


def day_means(request: Request, clocked: pl.DataFrame) -> pl.DataFrame:
    """Return `resource`, `day`, `mean_kw` of every local day that is metered without a gap."""
    means = clocked.group_by("resource", day=pl.col("wall").dt.date()).agg(
        mean_kw=pl.col("load_kw").mean(), readings=pl.len()
    )
    days: list[date] = means["day"].unique().to_list()
    whole = [min(request.calendar.bounds(day).length, timedelta(hours=24)) // request.grid for day in days]
    return (
        means.join(
            pl.DataFrame({"day": days, "whole": whole}, schema={"day": pl.Date(), "whole": pl.UInt32()}), on="day"
        )
        .filter(pl.col("readings") == pl.col("whole"))
        .select("resource", "day", "mean_kw")
    )


def highest_temperatures(request: Request) -> pl.DataFrame:
    """Return `day` and the highest temperature of each local day there are temperatures of."""
    known = (
        request.temperatures
        if request.temperatures is not None
        else pl.DataFrame(schema={"start": pl.Datetime("us", "UTC"), "celsius": pl.Float64()})
    )
    return with_wall(known, request).group_by(day=pl.col("wall").dt.date()).agg(pl.col("celsius").max())
