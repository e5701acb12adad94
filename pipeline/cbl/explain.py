"""
What a baseline rests on, reading by reading: which load of which day stands behind which interval. Pure.

A day is read by the local clock, as the engines do: of an hour that clocks showed twice the first reading stands. The
means are taken here once more from the readings alone, beside the engine's figures.
"""

from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from functools import reduce

import polars as pl

from pipeline.cbl import duckdb_engine, duckdb_text
from pipeline.cbl.cli_output import KW_WIDE, Object, block, local, number
from pipeline.cbl.cli_request import Asked
from pipeline.cbl.request import INSTANT, ONE
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Regression
from pipeline.errors import ConfigError
from pipeline.tables import columns

#: More days than that are not laid side by side.
WIDE = 12
#: Readings so long before what a rule looks back to, and after the event, are written out in SQL too.
MARGIN = timedelta(days=8)


def by_clock(asked: Asked, resource: str) -> pl.DataFrame:
    """Return the readings of one resource by the local clock: `day`, `wall` (naive), `load_kw`."""
    zone = asked.request.calendar.timezone
    return (
        asked.request.loads.filter(pl.col("resource") == resource, pl.col("load_kw").is_finite())
        .sort("start")
        .with_columns(wall=pl.col("start").dt.convert_time_zone(zone).dt.replace_time_zone(None))
        .unique("wall", keep="first", maintain_order=True)
        .select("wall", "load_kw", day=pl.col("wall").dt.date())
    )


def window(asked: Asked) -> tuple[datetime, datetime] | None:
    """Return the hours that the adjustment is taken from, where the rule says how long before the event they are."""
    parameters = asked.rule.parameters
    if not isinstance(parameters, DayMatching | Regression) or parameters.adjustment == "none":
        return None
    first, last = (
        asked.event.start - timedelta(hours=hours)
        for hours in (parameters.adjust_from_hours, parameters.adjust_to_hours)
    )
    return (first, last) if first < last else None


def _adjusts_by_match(parameters: DayMatching) -> bool:
    return parameters.adjustment != "none" and not (parameters.adjust_from_hours or parameters.adjust_to_hours)


def compared(asked: Asked) -> list[tuple[datetime, datetime]]:
    """Return the hours, other than the event's and the adjustment's, that a rule averages or compares days by."""
    event, parameters = asked.event, asked.rule.parameters
    match parameters:
        case AroundEvent():
            before = (parameters.before_from_hours, parameters.before_to_hours)
            first, last = (event.start - timedelta(hours=hours) for hours in before)
            after = (parameters.after_from_hours, parameters.after_to_hours)
            spans = [(first, last), tuple(event.end + timedelta(hours=hours) for hours in after)]
        case DayMatching() if parameters.rank_by == "shape" or _adjusts_by_match(parameters):
            day, gap = (
                asked.request.calendar.bounds(asked.request.calendar.day_of(event.start)),
                parameters.match_gap_hours,
            )
            spans = [(day.start, event.start - timedelta(hours=gap)), (event.end + timedelta(hours=gap), day.end)]
            spans = spans[:1] if parameters.match == "before-event" else spans
        case Regression(terms="level"):
            last = event.start - timedelta(hours=parameters.gap_hours)
            spans = [(last - timedelta(hours=parameters.level_hours), last)]
        case _:
            spans = []
    return [(first, last) for first, last in spans if first < last]


def day_loads(asked: Asked, one: Object, *spans: tuple[datetime, datetime]) -> pl.DataFrame:
    """
    Return the metering intervals of *spans* × the days told: `start`, `day`, `used`, `reason`, `load_kw`.

    Load is null in a gap.
    """
    told = [(day, True, None) for day in one["days_used"]]
    told += [(excluded["day"], False, excluded["reason"]) for excluded in one["days_excluded"]]
    days = pl.DataFrame(
        [(date.fromisoformat(day), used, reason) for day, used, reason in told],
        schema={"day": pl.Date(), "used": pl.Boolean(), "reason": pl.String()},
        orient="row",
    )
    calendar = asked.request.calendar
    slots = pl.DataFrame({"start": _starts(asked, spans)}, schema={"start": INSTANT})
    wall = pl.col("start").dt.convert_time_zone(calendar.timezone).dt.replace_time_zone(None)
    clock = by_clock(asked, one.get("resource", ONE)).select("wall", "load_kw")
    return (
        slots.join(days, how="cross")
        .with_columns(wall=wall + (pl.col("day") - pl.lit(calendar.day_of(asked.event.start))))
        .join(clock, on="wall", how="left")
        .sort("start", "day", descending=[False, True])
        .select("start", "day", "used", "reason", "load_kw")
    )


def _starts(asked: Asked, spans: Iterable[tuple[datetime, datetime]]) -> list[datetime]:
    """Return the metering intervals that begin within *spans*, counted from the event's start."""
    grid, origin = asked.request.grid, asked.event.start
    numbers = (range(-((origin - first) // grid), -((origin - last) // grid)) for first, last in spans)
    return [origin + number * grid for span in numbers for number in span]


def with_days(asked: Asked, one: Object) -> Object:
    """Return *one* with `days` in each interval (day, used, reason, that day's load), and so in `comparison`."""
    days = _days_of(asked, one, (asked.event.start, asked.event.end))
    starts = _starts(asked, [(asked.event.start, asked.event.end)])[: len(one["intervals"])]
    intervals = [
        {**interval, "days": days.get(start, [])} for interval, start in zip(one["intervals"], starts, strict=True)
    ]
    hours = _days_of(asked, one, *compared(asked))
    comparison = [{"start": local(asked, start), "days": told} for start, told in sorted(hours.items())]
    return {**one, "intervals": intervals, **({"comparison": comparison} if comparison else {})}


def _days_of(asked: Asked, one: Object, *spans: tuple[datetime, datetime]) -> dict[datetime, list[Object]]:
    loads = day_loads(asked, one, *spans).with_columns(pl.col("day").cast(pl.String))
    parts = loads.partition_by("start", as_dict=True, include_key=False)
    return {start: part.to_dicts() for (start,), part in parts.items()}


def sql(asked: Asked) -> str:
    """Return a script for any DuckDB session, readings included, that ends in the intervals of the event."""
    loads = asked.request.loads
    parameters = asked.rule.parameters
    if isinstance(parameters, Learned):
        raise ConfigError(f"{asked.rule.method} has no SQL: it is learned, by the Polars engine alone; leave --sql out")
    if isinstance(parameters, DayMatching | Regression):
        back = timedelta(days=2 * parameters.look_back_days) + MARGIN
        loads = loads.filter(pl.col("start").is_between(asked.event.start - back, asked.event.end + MARGIN))
    return (
        f"{duckdb_text.table('loads', loads.sort('resource', 'start'))}\n{duckdb_engine.sql(asked.rule, asked.request)}"
    )


def text(asked: Asked, found: list[Object]) -> str:
    """Return the rule, then figures and the loads behind them, a block a resource."""
    return "\n".join([*_rule(asked), *(line for one in found for line in ("", *_explained(asked, one)))])


def _rule(asked: Asked) -> Iterator[str]:
    rule = asked.rule
    yield f"{rule.method} version {rule.version} ({rule.venue or 'our own'}): {rule.title}"
    yield f"citation       {rule.citation}"
    if rule.notes:
        yield f"notes          {rule.notes}"
    yield f"event          {local(asked, asked.event.start)} to {local(asked, asked.event.end)}, engine {asked.engine}"


def _explained(asked: Asked, one: Object) -> Iterator[str]:
    yield from block(one, asked.request.grid / timedelta(hours=1))
    event = day_loads(asked, one, (asked.event.start, asked.event.end))
    yield from _matrix(asked, one, event.filter("used"), "days used, event hours")
    if (hours := window(asked)) is not None:
        before = day_loads(asked, one, hours)
        yield from _matrix(asked, one, before.filter("used"), "days used, adjustment hours")
    if spans := compared(asked):
        yield from _matrix(asked, one, day_loads(asked, one, *spans).filter("used"), "days used, comparison hours")
    yield from _matrix(asked, one, event.filter(~pl.col("used")), "days not used, event hours")


def _average(asked: Asked, names: list[str]) -> pl.Expr:
    """Return the average of a row over days by *names*, newest first, as the rule takes it."""
    match asked.rule.parameters:
        case DayMatching(average="exponential", weight=weight):
            first, *rest = (pl.col(name) for name in reversed(names))
            return reduce(lambda old, newer: (1 - weight) * old + weight * newer, rest, first)
        case _:
            return pl.mean_horizontal(names)


def _matrix(asked: Asked, one: Object, days: pl.DataFrame, head: str) -> Iterator[str]:
    """Return a table of loads: a line an interval, a column a day; what was not metered is a dash."""
    names = days["day"].unique().sort(descending=True).cast(pl.String).to_list()
    if not names:
        return
    if len(names) > WIDE:
        yield from ("", f"{head}: {len(names)} days, too many to lay side by side; --json has the load of each")
        return
    own = asked.request.loads.filter(pl.col("resource") == one.get("resource", ONE))
    wide = (
        days.pivot("day", index="start", values="load_kw", maintain_order=True)
        .with_columns(_mean=_average(asked, names))
        .join(own.select("start", _own="load_kw"), on="start", how="left", maintain_order="left")
    )
    rows = [
        [local(asked, start), *(number(load).rjust(KW_WIDE) for load in loads)]
        for start, *loads in wide.select("start", "_own", "_mean", *names).iter_rows()
    ]
    heads = (name.rjust(KW_WIDE) for name in ("event's day", "mean of these", *names))
    yield from ("", f"{head}, kW", *columns(("start", *heads), *rows))
