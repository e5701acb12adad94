"""
What is wrong with the readings and the event that a baseline is asked for: refused, or told as a warning. Pure.

Refused is what has two readings and no telling which is meant: a duplicate, an overlap, lengths that are mixed, a level
that jumps a thousandfold. Warned of is what the rules have an answer to: a hole is a missing reading, and never zero.

Frames hold `resource`, `start`, `load_kw` and, where they come from a file, its `line`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, timedelta
from itertools import groupby, islice

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.request import ONE
from pipeline.errors import ConfigError
from pipeline.interval import EPOCH, Interval

HOUR = timedelta(hours=1)
NAMED = 5
"""So many spans of rows are named; the others are counted."""
RUN = 4
"""So many longer steps in a row are another interval length and no holes."""
WRONG_UNIT = (500.0, 2000.0)
"""A factor of 1,000 between the levels of two days, each of which may differ from its usual one by 2."""

LONGEST_SPIKE = timedelta(hours=12)
"""Rows a thousandfold off their day's level for no longer may be what was drawn."""


@dataclass(frozen=True)
class Source:
    """Where rows come from, and how some of them are named."""

    name: str

    def rows(self, frame: pl.DataFrame) -> str:
        """Return the file and its lines; where there is no file, the instants."""
        if "line" in frame.columns:
            return f"{self.name}, {lines(frame['line'].to_list())}"
        if "start" not in frame.columns:
            return self.name
        starts = frame["start"].sort().head(NAMED).to_list()
        more = f" and {len(frame) - NAMED} more" if len(frame) > NAMED else ""
        return f"{self.name}, {', '.join(f'{start:%Y-%m-%dT%H:%MZ}' for start in starts)}{more}"

    def refuse(self, frame: pl.DataFrame, problem: str) -> None:
        """Raise `ConfigError` naming the rows of *frame*, if there are any."""
        if len(frame):
            raise ConfigError(f"{self.rows(frame)}: {problem}")


def lines(numbers: Iterable[int]) -> str:
    """Return line numbers as spans: "lines 4–6, 9"."""
    placed = enumerate(sorted(set(numbers)))
    spans = [[number for _, number in run] for _, run in groupby(placed, key=lambda one: one[1] - one[0])]
    shown = [f"{span[0]}" if len(span) == 1 else f"{span[0]}–{span[-1]}" for span in islice(spans, NAMED)]
    left = sum(map(len, spans[NAMED:]))
    count = sum(map(len, spans))
    return f"line{'' if count == 1 else 's'} {', '.join(shown)}{f' and {left:,} more' if left else ''}"


def distinct(frame: pl.DataFrame, source: Source, keys: tuple[str, ...] = ("resource", "start")) -> None:
    """Refuse two rows of one interval, also where they say the same."""
    source.refuse(frame.filter(pl.struct(keys).is_duplicated()), "the same interval twice; keep one row of each")


def on_grid(frame: pl.DataFrame, source: Source, of: tuple[str, ...], grid: timedelta) -> None:
    """Refuse rows that lie closer than the load's intervals: of several in one interval only the first would count."""
    steps = frame.sort(*of, "start").with_columns(step=pl.col("start").diff().over(of))
    closer = steps.filter(pl.col("step") < grid)
    source.refuse(closer, f"closer than the load's intervals of {spell(grid)}; give one row for each of those")


def interval_length(frame: pl.DataFrame, source: Source, stated: timedelta | None) -> timedelta:
    """
    Return the length of *frame*'s metering intervals: as *stated*, or the most frequent step that divides the hour.

    Refuse rows that lie closer (they overlap) or off that grid; where it was not stated, also rows that are steadily as
    far apart as longer intervals would be. A length that does not divide the hour is refused.
    """
    steps = frame.sort("resource", "start").with_columns(step=pl.col("start").diff().over("resource"))
    length = stated or _most_frequent(steps)
    if length is None:
        raise ConfigError(f"{source.name}: its rows do not tell how long an interval is; say --interval 60min")
    if HOUR % length:
        raise ConfigError(f"{source.name}: metering intervals of {spell(length)} do not divide the hour")
    closer = steps.filter(pl.col("step") < length)
    source.refuse(closer, f"{_steps(closer)} after the row before, among intervals of {spell(length)}: {_OVERLAP}")
    uneven = steps.filter(pl.col("step").dt.total_microseconds() % _us(length) != 0)
    source.refuse(uneven, f"not a whole number of {spell(length)} after the row before")
    longer = _runs(steps, length) if stated is None else steps.clear()
    source.refuse(longer, f"{_steps(longer)} from row to row, among intervals of {spell(length)}: {_MIXED}")
    return length


_OVERLAP = "they overlap, or lengths are mixed; bring all to one length"
_MIXED = "lengths are mixed; bring all to one, compute them apart, or say --interval if these are holes"


def _us(length: timedelta) -> int:
    return length // timedelta(microseconds=1)


def _could_be_intervals(step: pl.Expr) -> pl.Expr:
    """Tell whether as many steps make an hour."""
    return _us(HOUR) % step.dt.total_microseconds() == 0


def _most_frequent(steps: pl.DataFrame) -> timedelta | None:
    counted = steps.filter(_could_be_intervals(pl.col("step"))).group_by("step").len()
    ordered: list[timedelta] = counted.sort("len", "step", descending=[True, False])["step"].to_list()
    return ordered[0] if ordered else None


def _runs(steps: pl.DataFrame, length: timedelta) -> pl.DataFrame:
    """Return the rows where the same step, of a longer interval, comes `RUN` times or more."""
    turned = (pl.col("step") != pl.col("step").shift()).fill_null(value=True).cum_sum().over("resource")
    numbered = steps.with_columns(_run=turned)
    longer = (pl.col("step") > length) & _could_be_intervals(pl.col("step"))
    return numbered.filter(longer, pl.len().over("resource", "_run") >= RUN).drop("_run")


def _steps(frame: pl.DataFrame) -> str:
    return ", ".join(map(spell, frame["step"].unique().sort().head(NAMED).to_list()))


def spell(length: timedelta) -> str:
    """Return a length as `--interval` takes it: "60min", "30s"."""
    seconds = length.total_seconds()
    return f"{seconds:g}s" if seconds % 60 else f"{seconds / 60:g}min"


def negative(frame: pl.DataFrame, source: Source) -> None:
    """Refuse load below zero: consumption is positive here."""
    problem = "load below zero; consumption is positive: turn the sign, or say --allow-negative where it is export"
    source.refuse(frame.filter(pl.col("load_kw") < 0), problem)


def holes(frame: pl.DataFrame, source: Source, length: timedelta, calendar: Calendar) -> list[str]:
    """Return a warning of rows without a number and one of intervals without a row."""
    empty = frame.filter(~pl.col("load_kw").is_finite().fill_null(value=False))
    ordered = frame.sort("resource", "start").with_columns(
        before=pl.col("start").shift().over("resource") + length, step=pl.col("start").diff().over("resource")
    )
    behind = ordered.filter(pl.col("step") > length)
    absent = behind.select(missing=(pl.col("step").dt.total_seconds() / length.total_seconds()).round() - 1)
    count = int(absent["missing"].sum())
    local = behind.with_columns(
        pl.col("before", "start").dt.convert_time_zone(calendar.timezone).dt.strftime("%Y-%m-%dT%H:%M%:z")
    )
    spans = [
        f"{resource + ' ' if resource != ONE else ''}{first} to {last}"
        for resource, first, last in local.select("resource", "before", "start").head(NAMED).iter_rows()
    ]
    more = f" and {len(behind) - NAMED} more" if len(behind) > NAMED else ""
    return [
        *([f"{source.rows(empty)}: no number; a missing reading, not zero"] if len(empty) else []),
        *(
            [f"{source.name}: {count:,} intervals without a row, missing, not zero: {', '.join(spans)}{more}"]
            * (count > 0)
        ),
    ]


def units(
    frame: pl.DataFrame, source: Source, calendar: Calendar, grid: timedelta, maximum_kw: float | None
) -> list[str]:
    """
    Refuse readings that look like another unit: W or MW for kW, by a factor of some 1,000.

    Without *maximum_kw* two days that follow each other at levels (medians) a thousandfold apart are refused: which of
    them is wrong cannot be told, and one of them would be paid for. So are rows in a row, over more than half a day, a
    thousandfold off the level of their own days; fewer may be a spike or a standstill, and are a warning. Stating the
    most that can be drawn settles it, and all of this is a warning. Readings above that maximum are refused, and a
    series that never reaches a 500th of it.
    """
    measured = frame.filter(pl.col("load_kw").is_finite())
    if maximum_kw is not None:
        above = measured.filter(pl.col("load_kw") > maximum_kw)
        source.refuse(above, f"above --maximum-kw {maximum_kw:,g}{_thousandfold(above, maximum_kw)}")
        highest = measured.group_by("resource").agg(pl.col("load_kw").abs().max()).filter(pl.col("load_kw") > 0)
        low = highest.filter(pl.col("load_kw") < maximum_kw / WRONG_UNIT[0])
        source.refuse(
            measured.join(low, on="resource", how="semi"), f"never above a 500th of --maximum-kw {maximum_kw:,g}; MW?"
        )
    levels = _levels(measured, calendar)
    rows = _off_level(measured, levels, calendar)
    jumps, long = _jumps(levels), rows.filter(pl.col("run") * grid > LONGEST_SPIKE)
    if maximum_kw is None:
        source.refuse(jumps, f"{_JUMP}; {_WHICH_UNIT}")
        source.refuse(long, f"{_OFF}, for more than half a day; {_WHICH_UNIT}")
    within = "" if maximum_kw is None else f", within --maximum-kw {maximum_kw:,g}"
    return [
        f"{source.rows(found)}: {problem}{within}" for found, problem in ((jumps, _JUMP), (rows, _OFF)) if len(found)
    ]


_JUMP = "the level changes about a thousandfold from the day before"
_OFF = "about a thousand times the level of the day, or a thousandth of it: W or MW among kW, a spike, or a standstill"
_WHICH_UNIT = "W, kW or MW? Correct it, or state the most that can be drawn: --maximum-kw"


def _thousandfold(above: pl.DataFrame, maximum_kw: float) -> str:
    typical = above.select(pl.col("load_kw").median()).to_series().to_list()[0] if len(above) else 0.0
    return f", {typical / maximum_kw:,.0f} times as much; W?" if typical / maximum_kw > WRONG_UNIT[0] / 10 else ""


def _with_day(measured: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    local = pl.col("start").dt.convert_time_zone(calendar.timezone)
    return measured.with_columns(day=local.dt.date()).sort("resource", "start")


def _levels(measured: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return the first row of each day that draws something, with the median of its amounts, `level`."""
    return (
        _with_day(measured, calendar)
        .group_by("resource", "day", maintain_order=True)
        .agg(pl.col("load_kw").abs().quantile(0.5, "lower").alias("level"), pl.exclude("load_kw").first())
        .filter(pl.col("level") > 0)
    )


def _is_thousandfold(factor: pl.Expr) -> pl.Expr:
    return pl.max_horizontal(factor, 1 / factor).is_between(*WRONG_UNIT)


def _jumps(levels: pl.DataFrame) -> pl.DataFrame:
    """Return the first row of each day whose level is some thousandfold of the day's before it, or a thousandth."""
    return levels.filter(_is_thousandfold(pl.col("level") / pl.col("level").shift().over("resource")))


def _off_level(measured: pl.DataFrame, levels: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """
    Return the rows some thousandfold off the level of their day, or a thousandth, with `run`: how many in a row.

    A day that mostly draws nothing is held against the median of the others' levels.
    """
    usual = levels.group_by("resource").agg(usual=pl.col("level").median())
    off = _is_thousandfold(pl.col("load_kw").abs() / pl.coalesce("level", "usual")).fill_null(value=False)
    flagged = (
        _with_day(measured, calendar)
        .join(levels.select("resource", "day", "level"), on=["resource", "day"], how="left", maintain_order="left")
        .join(usual, on="resource", how="left", maintain_order="left")
        .with_columns(off=off)
    )
    turns = (pl.col("off") != pl.col("off").shift()).fill_null(value=True)
    turned = flagged.with_columns(turn=turns.cum_sum().over("resource"))
    return turned.with_columns(run=pl.len().cast(pl.Int64).over("resource", "turn")).filter("off")


def event(asked: Interval, calendar: Calendar, grid: timedelta, loads: pl.DataFrame) -> list[str]:
    """
    Refuse an event across local midnight or off the metering grid; warn of one across a change of the clocks.

    A trading day ends at midnight, so such an event is two. Across a change of the clocks the rules have an answer.
    """
    bounds = calendar.bounds(calendar.day_of(asked.start))
    if asked.end > bounds.end:
        at = bounds.end.astimezone(calendar.zone).isoformat()
        raise ConfigError(f"the event crosses local midnight; ask for two events, up to {at} and from it")
    if asked.length % grid or (len(loads) and _phases(loads, asked, calendar, grid)):
        raise ConfigError(f"the event does not begin and end where metering intervals of {spell(grid)} do")
    first, last = (moment.astimezone(calendar.zone) for moment in (asked.start, asked.end - timedelta(microseconds=1)))
    if first.utcoffset() == last.utcoffset():
        return []
    return ["the event crosses a change of the clocks: its intervals are compared with other days' by what clocks show"]


def _phases(loads: pl.DataFrame, asked: Interval, calendar: Calendar, grid: timedelta) -> bool:
    """Tell whether readings begin at other times of the clock, modulo *grid*, than the event does."""
    whole = _us(grid)
    clocks = loads["start"].dt.convert_time_zone(calendar.timezone).dt.replace_time_zone(None)
    naive = asked.start.astimezone(calendar.zone).replace(tzinfo=None)
    wanted = _us(naive.replace(tzinfo=UTC) - EPOCH) % whole
    return bool((clocks.dt.epoch("us") % whole != wanted).any())
