"""`firmwatt desk`: run SQL on the desk's views and print the result."""

import argparse
import csv
import io
import json
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError

DEFAULT = Path("runs/latest/desk.duckdb")
#: A file may go, because its rows are in another one, between being listed and being opened: `pipeline.archive_plan`.
ATTEMPTS, GONE = 5, "No such file"
VIEWS_SQL = "SELECT view_name AS view, comment FROM duckdb_views() WHERE schema_name = 'main' AND NOT internal"


def main(argv: list[str]) -> int:
    """Print what the query returns; the file is opened read-only."""
    parser = argparse.ArgumentParser(prog="firmwatt desk", description=__doc__)
    parser.add_argument("sql", nargs="?", default=VIEWS_SQL, help="left out: the list of views")
    parser.add_argument("--desk", type=Path, default=DEFAULT, help=f"default {DEFAULT}, the newest run")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_const", const=as_json, dest="form", help="a list of objects")
    form.add_argument("--csv", action="store_const", const=as_csv, dest="form")
    options = parser.parse_args(argv)
    columns, rows = query(options.desk, options.sql)
    print((options.form or as_table)(columns, rows))  # noqa: T201 - a command line talks
    return 0


def query(desk: Path, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return columns and rows; raise `ConfigError` with DuckDB's reason in one line."""
    import duckdb

    from pipeline.desk import connect

    if not desk.is_file():
        raise ConfigError(f"no desk at {desk}; `make demo` leaves one, or name yours with --desk")
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with connect(desk, read_only=True) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                result = connection.execute(sql)
                return [column[0] for column in result.description or ()], result.fetchall()
        except duckdb.Error as error:
            if attempt == ATTEMPTS or not isinstance(error, duckdb.IOException) or GONE not in str(error):
                raise ConfigError(" ".join(str(error).split())) from error
    raise AssertionError("the last attempt returns or raises")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return json.dumps(value, default=_plain) if isinstance(value, dict | list) else str(value)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def as_table(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Return the rows under their headings."""
    cells = [columns, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    count = f"({len(rows)} row{'' if len(rows) == 1 else 's'})"
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:], count])


def as_json(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Return a list of objects; decimals are strings, instants ISO 8601."""
    return json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2, default=_plain)


def as_csv(columns: list[str], rows: list[tuple[Any, ...]]) -> str:
    """Return comma-separated lines with a heading."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue().rstrip("\n")
