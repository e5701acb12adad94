"""Which local days there are for the Polars engine: alike, called, out, metered without a gap, how warm. Pure."""

from datetime import date, timedelta
from typing import Literal

import polars as pl

from pipeline.calendar import SATURDAY
from pipeline.cbl import polars_slots
from pipeline.cbl.request import TEMPERATURES, Request

DayTypes = Literal["all", "business", "weekday-saturday-sunday"]
HOUR = timedelta(hours=1)


def days_before(request: Request, first: int, last: int, day_types: DayTypes) -> pl.DataFrame:
    """
    Return event × resource × the days from *first* to *last* calendar days before the event's.

    `event_day`, `business` (the event's day), `alike`, `was_event`, `was_outage`.
    """
    kinds = day_kinds(request, last, day_types)
    backs = pl.DataFrame({"back": range(first, last + 1)}, schema={"back": pl.Int64()})
    days = (
        pairs(request, last, day_types)
        .join(backs, how="cross")
        .with_columns(day=pl.col("event_day") - pl.duration(days=pl.col("back")))
        .join(kinds.select("day", "kind"), on="day")
        .with_columns(alike=pl.col("kind") == pl.col("event_kind"))
        .select("event", "resource", "day", "event_day", "business", "alike")
    )
    return _marked(_marked(days, request.event_days, "was_event"), request.outage_days, "was_outage")


def pairs(request: Request, look_back_days: int, day_types: DayTypes) -> pl.DataFrame:
    """Return event × resource, each of them that is asked about: `event_day`, `event_kind`, `business`."""
    kinds = day_kinds(request, look_back_days, day_types)
    return (
        request.events.select("event", event_day=polars_slots.local_day(pl.col("start"), request))
        .join(polars_slots.resources(request), how="cross")
        .join(kinds.select(event_day="day", business="business", event_kind="kind"), on="event_day")
    )


def not_excluded(*, events: bool, outages: bool) -> pl.Expr:
    """Return whether a day serves, where event days and outage days do not."""
    return ~(pl.col("was_event") & events) & ~(pl.col("was_outage") & outages)


def _marked(pairs: pl.DataFrame, days: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return *pairs* with a column *name*: whether the day is one of *days*, of this resource or of all."""
    for_all = days.filter(pl.col("resource").is_null()).select("day").unique()
    for_one = days.filter(pl.col("resource").is_not_null()).unique()
    return (
        pairs.join(for_all.with_columns(_all=True), on="day", how="left")
        .join(for_one.with_columns(_one=True), on=["resource", "day"], how="left")
        .with_columns((pl.col("_all").fill_null(value=False) | pl.col("_one").fill_null(value=False)).alias(name))
        .drop("_all", "_one")
    )


def day_kinds(request: Request, look_back_days: int, day_types: DayTypes) -> pl.DataFrame:
    """Return `day`, `kind` and `business` of every day that an event can reach."""
    ends = request.events.select(
        first=polars_slots.local_day(pl.col("start").min(), request),
        last=polars_slots.local_day(pl.col("start").max(), request),
    )
    first, last = ends.row(0)
    days = pl.date_range(first - timedelta(days=look_back_days), last, eager=True).alias("day")
    business = [request.calendar.is_business_day(day) for day in days]
    holiday = [day in request.calendar.holidays for day in days]
    known = pl.DataFrame({"day": days, "business": business, "holiday": holiday})
    return known.select("day", "business", kind=_kind(day_types))


def _kind(day_types: DayTypes) -> pl.Expr:
    business, is_saturday = pl.col("business"), pl.col("day").dt.weekday() == SATURDAY + 1
    match day_types:
        case "all":
            return pl.lit(0)
        case "business":
            return business.cast(pl.Int32)
        case "weekday-saturday-sunday":
            return pl.when(business).then(0).when(is_saturday & ~pl.col("holiday")).then(1).otherwise(2)


def day_means(request: Request) -> pl.DataFrame:
    """
    Return `resource`, `day`, `mean_kw` of every local day that is metered without a gap.

    Of all its instants: a day of 25 hours has 25, the repeated one twice.
    """
    metered = polars_slots.with_wall(request.loads.filter(pl.col("load_kw").is_finite()), request)
    means = metered.group_by("resource", day=pl.col("wall").dt.date()).agg(
        mean_kw=pl.col("load_kw").mean(), readings=pl.len()
    )
    listed: list[date] = means["day"].unique().to_list()
    steps = [request.calendar.bounds(day).length // request.grid for day in listed]
    whole = pl.DataFrame({"day": listed, "steps": steps}, schema={"day": pl.Date(), "steps": pl.Int64()})
    return (
        means.join(whole, on="day").filter(pl.col("readings") >= pl.col("steps")).select("resource", "day", "mean_kw")
    )


def _local_hours(request: Request, days: pl.DataFrame) -> pl.DataFrame:
    """Return `day` and `steps`, the hours it has: 23, 24 or 25."""
    listed: list[date] = days["day"].unique().to_list()
    steps = [request.calendar.bounds(day).length // HOUR for day in listed]
    return pl.DataFrame({"day": listed, "steps": steps}, schema={"day": pl.Date(), "steps": pl.Int64()})


def _temperatures(request: Request) -> pl.DataFrame:
    known = request.temperatures if request.temperatures is not None else pl.DataFrame(schema=TEMPERATURES)
    walled = polars_slots.with_wall(known.filter(pl.col("celsius").is_finite()), request)
    past_the_hour = pl.col("wall") - pl.col("wall").dt.truncate("1h")
    return walled.select("celsius", day=pl.col("wall").dt.date(), hour=pl.col("start") - past_the_hour)


def _hours_told() -> pl.Expr:
    """Return how many of a day's hours have a temperature; the two that clocks show alike are two."""
    return pl.col("hour").n_unique().cast(pl.Int64).alias("hours")


def highest_temperatures(request: Request) -> pl.DataFrame:
    """Return `day` and its highest temperature, `celsius`, of each local day with a temperature in every hour."""
    found = _temperatures(request).group_by("day").agg(pl.col("celsius").max(), _hours_told())
    whole = found.join(_local_hours(request, found), on="day").filter(pl.col("hours") >= pl.col("steps"))
    return whole.select("day", "celsius")


def mean_temperatures(request: Request, days: pl.DataFrame) -> pl.DataFrame:
    """Return `day`, mean `celsius`, `hours` with a temperature and the `steps` hours there are, of each of *days*."""
    found = _temperatures(request).group_by("day").agg(pl.col("celsius").mean(), _hours_told())
    return _local_hours(request, days).join(found, on="day", how="left").with_columns(pl.col("hours").fill_null(0))
