"""What the commands of `firmwatt baseline` share: engines by name, days of a file, what is to be said of holidays."""

import importlib
from collections.abc import Callable
from pathlib import Path

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import holidays, loads
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import DAYS, Request
from pipeline.cbl.rule import Rule

#: Engine → module with `answer`.
ENGINES = {"polars": "pipeline.cbl.polars_engine", "duckdb": "pipeline.cbl.duckdb_engine"}
#: The list of holidays that nobody outside America goes by.
US = "us-nerc"


def engine(name: str) -> Callable[[Rule, Request], Answer]:
    """Return the engine that is called *name*; only that one is imported."""
    found: Callable[[Rule, Request], Answer] = importlib.import_module(ENGINES[name]).answer
    return found


def days_of_file(path: Path | None, calendar: Calendar, known: pl.DataFrame) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return `DAYS` of a file of events or outages, none without a file, and what is to be warned of."""
    return (pl.DataFrame(schema=DAYS), ()) if path is None else loads.days(path, calendar, known)


def about_holidays(named: str | None, usual: str, timezone: str) -> tuple[str, ...]:
    """Return what must be said of the list that is *named*, or of the *usual* one; a file is its owner's."""
    found = holidays.find(named or usual)
    american = timezone.startswith(("America/", "US/"))
    abroad = named is None and found.name == US and not american
    listed = found.name in holidays.names()
    return (
        *([f"holidays are {US}, and {timezone} may keep others: say --holidays"] if abroad else []),
        *([f"unverified holidays: {found.name}"] if listed and not found.verified else []),
    )
