"""
CSV files into the frames of `pipeline.cbl.request`. Shell: it reads files, and names the lines that are wrong.

A cell that is empty or NaN is a reading that is missing; any other cell that is no number is refused.
"""

import csv
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import checks
from pipeline.cbl.checks import Source
from pipeline.cbl.cli_instants import with_instants
from pipeline.cbl.request import CONTROL, DAYS, LOADS, NOMINATIONS, ONE, TEMPERATURES
from pipeline.errors import ConfigError

#: The number of the line while the file's own columns are still there.
_LINE = "number of the line"


@dataclass(frozen=True)
class Loads:
    """Readings as a request wants them, and what is to be said of them."""

    frame: pl.DataFrame
    """`LOADS`."""
    grid: timedelta
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What a reader of load data is told about it."""

    interval: timedelta | None = None
    """None: inferred."""
    maximum_kw: float | None = None
    negative: bool = False
    """Whether load below zero is in order: export, or a generator's meter."""


def loads(path: Path, calendar: Calendar, expected: Expected) -> Loads:
    """Return the readings of a file with `interval_start`, `load_kw` or `energy_kwh`, and maybe `resource`."""
    source = Source(path.name)
    rows = _rows(path, source, ("interval_start",), ("load_kw", "energy_kwh"))
    if rows.is_empty():
        raise ConfigError(f"{source.name} has no rows")
    quantity = "load_kw" if "load_kw" in rows.columns else "energy_kwh"
    read = _numbers(
        with_instants(_with_resource(rows, source), "interval_start", calendar, source, ("resource",)), quantity, source
    )
    found = read.select("resource", "line", start="interval_start", load_kw=quantity)
    checks.distinct(found, source)
    grid = checks.interval_length(found, source, expected.interval)
    if quantity == "energy_kwh":
        found = found.with_columns(pl.col("load_kw") / (grid / timedelta(hours=1)))
    return checked(found, source, calendar, grid, expected)


def checked(frame: pl.DataFrame, source: Source, calendar: Calendar, grid: timedelta, expected: Expected) -> Loads:
    """Return *frame* (`LOADS`, maybe with `line`) with what is to be warned of; refuse what cannot be used."""
    if not expected.negative:
        checks.negative(frame, source)
    warnings = (
        *checks.holes(frame, source, grid, calendar),
        *checks.units(frame, source, calendar, grid, expected.maximum_kw),
    )
    return Loads(frame.select(LOADS.names()).cast(LOADS), grid, warnings)


def days(path: Path, calendar: Calendar, known: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return `DAYS`, the local days that spans of a file (`start`, `end`, maybe `resource`) touch, and warnings."""
    source = Source(path.name)
    rows = _rows(path, source, ("start", "end"), ())
    for column in ("start", "end"):
        rows = with_instants(rows, column, calendar, source, None)
    source.refuse(rows.filter(pl.col("end") <= pl.col("start")), "end is not after start")
    rows, warnings = _resources(rows, source, known)
    first, last = (
        moment.dt.convert_time_zone(calendar.timezone).dt.date()
        for moment in (pl.col("start"), pl.col("end") - timedelta(microseconds=1))
    )
    touched = rows.select("resource", day=pl.date_ranges(first, last)).explode("day").unique()
    return touched.cast(DAYS), warnings


def temperatures(path: Path, calendar: Calendar) -> pl.DataFrame:
    """Return `TEMPERATURES` of a file with `interval_start` and `celsius`, `temperature_c` or `fahrenheit`."""
    source = Source(path.name)
    rows = _rows(path, source, ("interval_start",), ("celsius", "temperature_c", "fahrenheit"))
    unit = next(name for name in ("celsius", "temperature_c", "fahrenheit") if name in rows.columns)
    read = _numbers(with_instants(rows, "interval_start", calendar, source, ()), unit, source)
    celsius = (pl.col(unit) - 32) / 1.8 if unit == "fahrenheit" else pl.col(unit)
    found = read.select("line", start="interval_start", celsius=celsius)
    checks.distinct(found, source, ("start",))
    return found.filter(pl.col("celsius").is_finite()).select(TEMPERATURES.names()).cast(TEMPERATURES)


def control(path: Path, calendar: Calendar, grid: timedelta, *, negative: bool = False) -> pl.DataFrame:
    """Return `CONTROL` of a file with `interval_start`, `load_kw`, `customer`, one row an interval of *grid*."""
    source = Source(path.name)
    rows = _rows(path, source, ("interval_start", "load_kw", "customer"), ())
    source.refuse(rows.filter(pl.col("customer").is_null()), "no customer")
    read = _numbers(with_instants(rows, "interval_start", calendar, source, ("customer",)), "load_kw", source)
    found = read.rename({"interval_start": "start"})
    checks.distinct(found, source, ("customer", "start"))
    checks.on_grid(found, source, ("customer",), grid)
    if not negative:
        checks.negative(found, source)
    return found.select(CONTROL.names()).cast(CONTROL)


def nominations(
    path: Path, calendar: Calendar, known: pl.DataFrame, grid: timedelta, *, negative: bool = False
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """
    Return `NOMINATIONS` of a file (`interval_start`, `load_kw`, `submitted_at`, maybe `resource`), and warnings.

    One row an interval of *grid* and submission.
    """
    source = Source(path.name)
    rows, warnings = _resources(_rows(path, source, ("interval_start", "load_kw", "submitted_at"), ()), source, known)
    rows = with_instants(rows, "submitted_at", calendar, source, None)
    by = ("resource", "submitted_at")
    read = _numbers(with_instants(rows, "interval_start", calendar, source, by), "load_kw", source)
    found = read.rename({"interval_start": "start"})
    checks.distinct(found, source, ("resource", "start", "submitted_at"))
    checks.on_grid(found, source, ("resource", "submitted_at"), grid)
    if not negative:
        checks.negative(found, source)
    return found.select(NOMINATIONS.names()).cast(NOMINATIONS), warnings


def _rows(path: Path, source: Source, columns: tuple[str, ...], one_of: tuple[str, ...]) -> pl.DataFrame:
    """Return the file's rows as text, stripped, null where empty, with `line`; refuse it without its *columns*."""
    try:
        read = pl.read_csv(path, infer_schema=False, row_index_name=_LINE, row_index_offset=2)
    except FileNotFoundError as error:
        raise ConfigError(f"no file {path}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ConfigError(f"{source.name}{_wide_row(path) or f': {str(error).splitlines()[0]}'}") from error
    have = [name.strip().lower() for name in read.columns if name != _LINE]
    if twice := [name for place, name in enumerate(have) if name in have[:place] or name.endswith("_duplicated_0")]:
        raise ConfigError(f"{source.name} has two columns {twice[0].removesuffix('_duplicated_0')}")
    named = read.rename(dict(zip(read.columns, ("line", *(_other(name) for name in have)), strict=True)))
    have = named.columns[1:]
    if missing := [name for name in columns if name not in have]:
        raise ConfigError(f"{source.name} has no column {missing[0]}; it has {', '.join(have)}")
    if one_of and len(set(one_of) & set(have)) != 1:
        raise ConfigError(f"{source.name} needs one column of {', '.join(one_of)}; it has {', '.join(have)}")
    text = named.with_columns(pl.col(have).str.strip_chars())
    stripped = text.with_columns(pl.when(pl.col(have) != "").then(pl.col(have)))
    return stripped.filter(~pl.all_horizontal(pl.col(have).is_null()))


def _other(name: str) -> str:
    """Return *name*, another one where it is the one that the number of the line has here."""
    return f"{name}_of_file" if name == "line" else name


def _wide_row(path: Path) -> str:
    """Tell of the first row with more cells than the heading; return nothing where there is none."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.reader(file)
        width = len(next(reader, []))
        found = next((reader.line_num for row in reader if len(row) > width), None)
    wide = "more cells than the heading; a comma within a number? Write 1234.5"
    return "" if found is None else f", {checks.lines([found])}: {wide}"


def _numbers(rows: pl.DataFrame, column: str, source: Source) -> pl.DataFrame:
    """Return *rows* with the texts of *column* as numbers; NaN and infinity are null."""
    number = pl.col(column).cast(pl.Float64, strict=False)
    bad = rows.filter(pl.col(column).is_not_null(), number.is_null())
    source.refuse(bad, f"{column} is no number; write 1234.5, and nothing where it is missing")
    return rows.with_columns(pl.when(number.is_finite()).then(number).alias(column))


def _with_resource(rows: pl.DataFrame, source: Source) -> pl.DataFrame:
    if "resource" not in rows.columns:
        return rows.with_columns(resource=pl.lit(ONE))
    source.refuse(rows.filter(pl.col("resource").is_null()), "no resource")
    return rows


def _resources(rows: pl.DataFrame, source: Source, known: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """
    Return *rows* with `resource`, null for all, and a warning of those that the load data (*known*) has not.

    Refuse resources where the load data names none.
    """
    if "resource" not in rows.columns:
        return rows.with_columns(resource=pl.lit(None, pl.String)), ()
    have = known["resource"].unique()
    named = rows.filter(pl.col("resource").is_not_null())
    if have.to_list() == [ONE]:
        source.refuse(named, "a resource, and the load data has no column resource; give it one")
    strange = named.filter(~pl.col("resource").is_in(have.implode()))
    return rows, (f"{source.rows(strange)}: a resource that the load data has not",) if len(strange) else ()
