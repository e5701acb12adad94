"""What the commands of `firmwatt baseline` share: days of a file, what is to be said of holidays."""

from pathlib import Path

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import holidays, loads
from pipeline.cbl.request import DAYS

#: The list of holidays that nobody outside America goes by.
US = "us-nerc"


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
