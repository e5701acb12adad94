"""
SQL as text with its values filled in as literals: what DuckDB executes is what an auditor reads. Pure.

Numbers are written so that DuckDB reads the same double back; a text is quoted. Values come from a rule or a request,
which are typed; nothing a user typed is put into a statement without quotes.
"""

from collections.abc import Iterable
from datetime import date, datetime, timedelta
from string import Template

import polars as pl

SECOND, MICROSECOND = timedelta(seconds=1), timedelta(microseconds=1)
SQL_TYPES = {
    pl.Int64(): "BIGINT",
    pl.String(): "VARCHAR",
    pl.Date(): "DATE",
    pl.Float64(): "DOUBLE",
    pl.Datetime("us", "UTC"): "TIMESTAMPTZ",
}
Value = bool | int | float | str | datetime | date | timedelta | None


class Fragment(str):
    """SQL, not a text: put in as it is."""

    __slots__ = ()


def hours(figure: float) -> timedelta:
    """Return so many hours."""
    return timedelta(hours=figure)


def literal(value: Value) -> str:
    """Return *value* as DuckDB writes it."""
    match value:
        case Fragment():
            text = str(value)
        case None:
            text = "NULL"
        case bool() | int():
            text = str(value).lower()
        case float():
            text = _double(value)
        case timedelta():
            text = f"to_microseconds({value // MICROSECOND})" if value % SECOND else f"to_seconds({value // SECOND})"
        case datetime():
            text = f"TIMESTAMPTZ '{value.isoformat(sep=' ')}'"
        case date():
            text = f"DATE '{value}'"
        case str():
            text = "'" + value.replace("'", "''") + "'"
    return text


def filled(text: str, **values: Value) -> str:
    """Return *text* with every `$name` replaced by the literal of that value."""
    return Template(text).substitute({name: literal(value) for name, value in values.items()})


def table(name: str, frame: pl.DataFrame) -> str:
    """Return the statement that makes *frame*, whose columns are of `SQL_TYPES`, a temporary table."""
    columns = ", ".join(f'CAST("{column}" AS {SQL_TYPES[kind]}) AS "{column}"' for column, kind in frame.schema.items())
    names = ", ".join(f'"{column}"' for column in frame.columns)
    return filled(
        "CREATE OR REPLACE TEMP TABLE $name AS\nSELECT $columns FROM (VALUES\n$rows\n) AS given($names)$none;\n",
        name=Fragment(name),
        columns=Fragment(columns),
        rows=Fragment(_rows(frame.rows() or [(None,) * frame.width])),
        names=Fragment(names),
        none=Fragment("" if frame.height else " WHERE false"),
    )


def _rows(rows: Iterable[tuple[Value, ...]]) -> str:
    return ",\n".join(f"    ({', '.join(map(literal, row))})" for row in rows)


def _double(value: float) -> str:
    """With an exponent: without one DuckDB reads a decimal, and computes with it as one."""
    text = repr(value)
    if text.lstrip("-").isalpha():
        return f"CAST('{text}' AS DOUBLE)"
    return text if "e" in text else f"{text}e0"
