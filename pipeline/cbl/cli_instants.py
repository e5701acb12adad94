"""Instants as people write them, with an offset or by the local clock, turned into UTC a column at a time. Pure."""

from datetime import UTC, datetime

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.checks import Source

_ISO = r"^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2})(:\d{2}(?:\.\d{1,6})?)?\s?([Zz]|[+-]\d{2}:?\d{2})?$"
_FORM = "%Y-%m-%dT%H:%M:%S%.f"
_HOW = "write 2026-07-23T17:00, or 2026-07-23T17:00-07:00"


def with_instants(
    frame: pl.DataFrame, column: str, calendar: Calendar, source: Source, by: tuple[str, ...] | None
) -> pl.DataFrame:
    """
    Return *frame* with the texts of *column* as instants in UTC; what has no offset is local time.

    The hour that a 25-hour day has twice is told apart where the rows of one of *by* hold both, in order; where *by* is
    None, or only one is there, it is refused, as is an hour that a 23-hour day has not.
    """
    read = frame.with_columns(_parts=pl.col(column).str.extract_groups(_ISO)).with_columns(
        _wall=_wall(), _offset=pl.col("_parts").struct.field("4")
    )
    source.refuse(read.filter(pl.col("_wall").is_null()), f"{column} is no ISO 8601 instant; {_HOW}")
    told = read.with_columns((pl.col("_wall") - _offset()).dt.replace_time_zone("UTC").alias(column))
    if told["_offset"].null_count():
        told = _by_clock(told, column, calendar, source, by)
    return told.drop("_parts", "_wall", "_offset")


def _by_clock(
    told: pl.DataFrame, column: str, calendar: Calendar, source: Source, by: tuple[str, ...] | None
) -> pl.DataFrame:
    """Return *told* with what has no offset read by the local clock."""
    clock = told.with_columns(
        _first=_local("_wall", calendar, "earliest"),
        _second=_local("_wall", calendar, "latest"),
    )
    naive = pl.col("_offset").is_null()
    gone = clock.filter(naive, pl.col("_first").is_null())
    source.refuse(gone, f"{column}: clocks in {calendar.timezone} never showed that time; write it with its offset")
    twice = naive & (pl.col("_first") != pl.col("_second"))
    source.refuse(_untold(clock.filter(twice), by), f"{column}: clocks showed that time twice; {_BOTH}")
    second = twice & (pl.int_range(pl.len()).over(*(by or ()), "_wall") == 1)
    instant = pl.when(~naive).then(column).when(second).then("_second").otherwise("_first")
    return clock.with_columns(instant.alias(column)).drop("_first", "_second")


_BOTH = "give the rows of both hours in order of time, or write the offset"


def _wall() -> pl.Expr:
    part = pl.col("_parts").struct
    seconds = pl.coalesce(part.field("3"), pl.lit(":00"))
    text = pl.concat_str(part.field("1"), pl.lit("T"), part.field("2"), seconds)
    return text.str.to_datetime(_FORM, strict=False, time_unit="us")


def _offset() -> pl.Expr:
    text = pl.col("_offset").str.replace(":", "")
    hours, minutes = (text.str.slice(at, 2).cast(pl.Int64, strict=False) for at in (1, 3))
    size = pl.duration(minutes=(hours * 60 + minutes).fill_null(0))
    return pl.when(text.str.starts_with("-")).then(-size).otherwise(size)


def _local(column: str, calendar: Calendar, which: str) -> pl.Expr:
    clock = pl.col(column).dt.replace_time_zone(calendar.timezone, ambiguous=pl.lit(which), non_existent="null")
    return clock.dt.convert_time_zone("UTC")


def _untold(repeated: pl.DataFrame, by: tuple[str, ...] | None) -> pl.DataFrame:
    """Return the rows of a *repeated* hour whose order does not tell them apart."""
    if by is None:
        return repeated
    nth = pl.int_range(pl.len()).over(*by, "_wall")
    instant = pl.when(nth == 0).then("_first").otherwise("_second")
    placed = repeated.with_columns(_count=pl.len().over(*by, "_wall"), _at=instant)
    backwards = pl.col("_at").diff().dt.total_microseconds() <= 0
    backwards = backwards.over(*by) if by else backwards
    return placed.filter((pl.col("_count") != 2) | backwards)  # noqa: PLR2004 - twice


def instant(text: str, option: str, calendar: Calendar) -> datetime:
    """Return one instant in UTC; what has no offset is local time, and must not be one that clocks showed twice."""
    frame = pl.DataFrame({"it": [text.strip()]})
    found: datetime = with_instants(frame, "it", calendar, Source(f"{option} {text}"), None)["it"].to_list()[0]
    return found.astimezone(UTC)
