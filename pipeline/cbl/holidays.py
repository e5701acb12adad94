"""
Lists of holidays: dated data, each with its source and the years it covers.

    us-nerc      NERC's off-peak holidays, six a year
    gb-england   bank holidays of England and Wales
    au-nem       days that every state of the National Electricity Market keeps
    none         no holidays in any year: said, not forgotten
    a file       CSV with a column `date`, one holiday a row

A day in a year that a list does not cover has no answer: taken for no holiday it would put a holiday's load among the
like days of a business day. The lists are data here and not what an installed package says: a package that is brought
up to date must not change a baseline that has been settled. Years end where little was proclaimed yet.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from pipeline.calendar import Calendar, nerc_holidays
from pipeline.errors import ConfigError

ALSO = "or a CSV file with a column date"


@dataclass(frozen=True)
class Holidays:
    """A list of holidays."""

    name: str
    """Its own, or the file's."""
    days: frozenset[date]
    years: frozenset[int] | None
    """Years it speaks of; None: all."""
    source: str
    verified: bool
    """Whether the dates were read where they are published."""

    def require(self, first: date, last: date) -> None:
        """Refuse with `ConfigError` days from *first* to *last* of which a year is not covered."""
        if self.years is None:
            return
        if missing := [year for year in range(first.year, last.year + 1) if year not in self.years]:
            have = f"{min(self.years)} to {max(self.years)}"
            raise ConfigError(
                f"holidays {self.name} cover {have}, not {', '.join(map(str, missing))}; "
                f"give a list with that year: one of {', '.join(names())}, {ALSO}"
            )

    def is_holiday(self, day: date) -> bool:
        """Tell whether *day* is one; raise `ConfigError` for a year that is not covered."""
        self.require(day, day)
        return day in self.days

    def calendar(self, timezone: str) -> Calendar:
        """Return local days in *timezone* with these holidays; it refuses the same years."""
        return Calendar(timezone, self.days, self.years)


def names() -> tuple[str, ...]:
    """Return the lists that need no file."""
    return tuple(_LISTS)


def find(text: str) -> Holidays:
    """Return the list named *text*, or that of the file *text*."""
    if text in _LISTS:
        return _LISTS[text]
    if not Path(text).is_file():
        raise ConfigError(f"no holidays {text!r}; give one of {', '.join(names())}, {ALSO}")
    return read(Path(text))


def read(path: Path) -> Holidays:
    """
    Return the holidays of a CSV file with a column `date` (YYYY-MM-DD); other columns are for people.

    It covers the years it has a row of. A row that is no date or is there twice, and a year left out between others,
    which is a slip of the pen or a list cut in two, are a `ConfigError` that names file and line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = tuple(_dates(file, path.name))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError(f"{path.name} cannot be read as CSV in UTF-8: {error}") from error
    if not rows:
        raise ConfigError(f"{path.name} has no rows; for no holidays say none")
    _refuse_twice(rows, path.name)
    _refuse_gaps(rows, path.name)
    days = frozenset(day for _, day in rows)
    return Holidays(path.name, days, frozenset(day.year for day in days), source=str(path), verified=False)


def _dates(lines: Iterable[str], name: str) -> Iterator[tuple[int, date]]:
    """Yield line and date of every row."""
    reader = csv.DictReader(lines)
    columns = [column.strip().lower() for column in reader.fieldnames or ()]
    if "date" not in columns:
        raise ConfigError(f"{name} has no column date; it has {', '.join(columns) or 'none'}")
    reader.fieldnames = columns
    for row in reader:
        yield reader.line_num, _date((row["date"] or "").strip(), f"{name}, line {reader.line_num}")


def _date(text: str, where: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    if day is None or day.isoformat() != text:
        raise ConfigError(f"{where}: {text!r} is no date; write YYYY-MM-DD")
    return day


def _refuse_twice(rows: tuple[tuple[int, date], ...], name: str) -> None:
    first: dict[date, int] = {}
    for line, day in rows:
        if day in first:
            raise ConfigError(f"{name}, line {line}: {day} is in line {first[day]} already; give each day once")
        first[day] = line


def _refuse_gaps(rows: tuple[tuple[int, date], ...], name: str) -> None:
    years = {day.year for _, day in rows}
    for year in range(min(years), max(years)):
        if year not in years:
            after, line = min((day, line) for line, day in rows if day.year > year)
            raise ConfigError(f"{name}, line {line}: {after}, but no row of {year}; correct it or add {year}")


def _listed(by_year: dict[int, str]) -> frozenset[date]:
    return frozenset(date.fromisoformat(f"{year}-{day}") for year, days in by_year.items() for day in days.split())


_NERC_YEARS = range(2010, 2036)
#: Weekdays only; a holiday on a weekend is its substitute day.
_GB_ENGLAND = {
    2015: "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28",
    2016: "01-01 03-25 03-28 05-02 05-30 08-29 12-26 12-27",
    2017: "01-02 04-14 04-17 05-01 05-29 08-28 12-25 12-26",
    2018: "01-01 03-30 04-02 05-07 05-28 08-27 12-25 12-26",
    2019: "01-01 04-19 04-22 05-06 05-27 08-26 12-25 12-26",
    2020: "01-01 04-10 04-13 05-08 05-25 08-31 12-25 12-28",  # early May moved to VE Day
    2021: "01-01 04-02 04-05 05-03 05-31 08-30 12-27 12-28",
    2022: "01-03 04-15 04-18 05-02 06-02 06-03 08-29 09-19 12-26 12-27",  # jubilee, state funeral
    2023: "01-02 04-07 04-10 05-01 05-08 05-29 08-28 12-25 12-26",  # coronation
    2024: "01-01 03-29 04-01 05-06 05-27 08-26 12-25 12-26",
    2025: "01-01 04-18 04-21 05-05 05-26 08-25 12-25 12-26",
    2026: "01-01 04-03 04-06 05-04 05-25 08-31 12-25 12-28",
    2027: "01-01 03-26 03-29 05-03 05-31 08-30 12-27 12-28",
    2028: "01-03 04-14 04-17 05-01 05-29 08-28 12-25 12-26",
}
#: Weekdays only.
_AU_NEM = {
    2015: "01-01 01-26 04-03 04-06 06-08 12-25 12-28",
    2016: "01-01 01-26 03-25 03-28 04-25 12-26 12-27",
    2017: "01-02 01-26 04-14 04-17 04-25 12-25 12-26",
    2018: "01-01 01-26 03-30 04-02 04-25 12-25 12-26",
    2019: "01-01 01-28 04-19 04-22 04-25 12-25 12-26",
    2020: "01-01 01-27 04-10 04-13 12-25 12-28",
    2021: "01-01 01-26 04-02 04-05 12-27 12-28",
    2022: "01-03 01-26 04-15 04-18 04-25 09-22 12-26 12-27",  # day of mourning
    2023: "01-02 01-26 04-07 04-10 04-25 12-25 12-26",
    2024: "01-01 01-26 03-29 04-01 04-25 12-25 12-26",
    2025: "01-01 01-27 04-18 04-21 04-25 12-25 12-26",
    2026: "01-01 01-26 04-03 04-06 12-25 12-28",
    2027: "01-01 01-26 03-26 03-29 12-27 12-28",
    2028: "01-03 01-26 04-14 04-17 04-25 12-25 12-26",
}
_PACKAGE = "dates as the Python package holidays 0.109 has them in November 2026, not read where they are proclaimed"

_LISTS = {
    held.name: held
    for held in (
        Holidays(
            "us-nerc",
            frozenset(day for year in _NERC_YEARS for day in nerc_holidays(year)),
            frozenset(_NERC_YEARS),
            source=(
                "NERC, Additional Off-peak Days, as kept at docstoc.com 52814626: the six days, Sunday to Monday, "
                "Saturday stays. Said of 2010 to 2015, and that there is no exact formula; UNVERIFIED for later years"
            ),
            verified=False,
        ),
        Holidays(
            "gb-england",
            _listed(_GB_ENGLAND),
            frozenset(_GB_ENGLAND),
            source=f"bank holidays of England and Wales; {_PACKAGE}. UNVERIFIED",
            verified=False,
        ),
        Holidays(
            "au-nem",
            _listed(_AU_NEM),
            frozenset(_AU_NEM),
            source=(
                "National Electricity Rules, business day (AEMC rule change of 21 April 2011): only a day that every "
                f"participating jurisdiction keeps is none; their {_PACKAGE}. UNVERIFIED"
            ),
            verified=False,
        ),
        Holidays("none", frozenset(), None, source="no day is a holiday", verified=True),
    )
}
