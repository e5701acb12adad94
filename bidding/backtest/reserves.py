"""
PJM's real synchronized reserve prices of January to June 2017, and its real events of 2002 to 2015. Shell.

The two do not overlap in time. Monthly reports as PJM published them; `srmcp` is $/MWh of the hour, by subzone.
Source and licence: SOURCE.txt beside the files.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from bidding.backtest.hourly import HOUR, Prices
from bidding.backtest.prices import number_of, put
from pipeline.errors import ConfigError

FOLDER = Path("pjm_sync_reserve")
EVENTS = "synchronized_reserve_events_2002-2015.csv"
TIMEZONE = "America/New_York"
MAD = "PJM Mid Atlantic Dominion (MAD)"
END = "End of Report"
#: Month, then the heads of the columns that are read; the reports have more.
TITLE_ROWS = 2
HEADS = ("EPT Hour Ending", "GMT Hour Ending", "Synch Reserve Zone", "Subzone", "SRMCP ($/MWh)")
SHORTFALL, PENALTY = 17, 18
"""Columns of the MW that were short and of the retroactive penalty charge."""
LONGEST = timedelta(hours=24)


@dataclass(frozen=True)
class Event:
    """One synchronized reserve event, in the local time of PJM as the list gives it (EPT, no zone)."""

    start: datetime
    length: timedelta
    zone: str
    subzone: str


def srmcp(data: Path, subzone: str = MAD) -> Prices:
    """Return the hourly clearing prices of one subzone, all monthly reports together."""
    folder = data / FOLDER / "monthly_raw"
    reports = sorted(folder.glob("*.csv"))
    if not reports:
        raise ConfigError(f"no report in {folder}; set FIRMWATT_SHARED to the folder that holds data/")
    by_start: dict[datetime, Decimal] = {}
    for path in reports:
        with path.open(encoding="utf-8", newline="") as file:
            parse_report(csv.reader(file), path.name, subzone, by_start)
    return Prices(f"PJM SRMCP, {subzone}, 2017", TIMEZONE, by_start)


def parse_report(rows: Iterable[Sequence[str]], name: str, subzone: str, by_start: dict[datetime, Decimal]) -> None:
    """Add one report's hours of *subzone* to *by_start*; a report that breaks off before its last line is refused."""
    lines = enumerate(rows, start=1)
    for _ in range(TITLE_ROWS):
        next(lines, None)
    _, heads = next(lines, (0, ()))
    if tuple(heads[: len(HEADS)]) != HEADS:
        raise ConfigError(f"{name}: row {TITLE_ROWS + 1} must begin with {', '.join(HEADS)}")
    for number, row in lines:
        if row and row[0].startswith(END):
            return
        where = f"{name} row {number}"
        if len(row) != len(heads):
            raise ConfigError(f"{where}: {len(row)} cells, need {len(heads)}")
        if row[3] == subzone:
            put(by_start, hour_ending(row[1], where) - HOUR, number_of(row[4], where), where)
    raise ConfigError(f"{name}: ends without {END!r}; fetch it again")


@dataclass(frozen=True)
class Retroactive:
    """What PJM charged those who missed an event, beside the pay that they lost."""

    events: int
    short_mw: Decimal
    charged: Decimal

    @property
    def per_mw(self) -> Decimal:
        """Dollars for a MW that was missing in an event."""
        return self.charged / self.short_mw if self.short_mw else Decimal(0)


def retroactive(data: Path, subzone: str = MAD) -> Retroactive:
    """Return the charges of all monthly reports; the two subzones report the same ones, so one is read."""
    by_day: dict[str, tuple[Decimal, Decimal]] = {}
    for path in sorted((data / FOLDER / "monthly_raw").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            charges(csv.reader(file), path.name, subzone, by_day)
    return Retroactive(
        len(by_day),
        sum((short for short, _ in by_day.values()), Decimal(0)),
        sum((charged for _, charged in by_day.values()), Decimal(0)),
    )


def charges(rows: Iterable[Sequence[str]], name: str, subzone: str, by_day: dict[str, tuple[Decimal, Decimal]]) -> None:
    """
    Add to *by_day* what was short, MW, and what that cost, by the day of the event.

    33,628.43 $ in each of two hours of a day, 183.728 and 154.329 MW short: 183.728 MW cost 67,256.86 $.
    """
    for number, row in enumerate(rows, start=1):
        if len(row) > PENALTY and row[3] == subzone:
            where = f"{name} row {number}"
            short, charged = number_of(row[SHORTFALL], where), number_of(row[PENALTY], where)
            if charged > 0:
                day = row[0].split(" ")[0]
                before = by_day.get(day, (Decimal(0), Decimal(0)))
                by_day[day] = max(before[0], short), before[1] + charged


def hour_ending(text: str, where: str) -> datetime:
    """Return the end of an hour written like `01/31/2017 24` in GMT; 00 and 24 are midnight."""
    try:
        day, hour = text.split(" ")
        ended = int(hour)
        midnight = datetime.strptime(day, "%m/%d/%Y").replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r} is no hour like 01/31/2017 24") from error
    if not 0 <= ended <= LONGEST // HOUR:
        raise ConfigError(f"{where}: hour {ended} of {text!r} is not 0 to 24")
    return midnight + ended * HOUR


def events(data: Path) -> tuple[Event, ...]:
    """Return the events in order of time."""
    path = data / FOLDER / EVENTS
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return parse_events(csv.DictReader(file), path.name)
    except FileNotFoundError as error:
        raise ConfigError(f"no file {path}; set FIRMWATT_SHARED to the folder that holds data/") from error


def parse_events(rows: Iterable[dict[str, str]], name: str) -> tuple[Event, ...]:
    """Return the events in the rows of a file called *name*; one that does not end after it starts is refused."""
    found = [_event(row, f"{name} row {number}") for number, row in enumerate(rows, start=2)]
    return tuple(sorted(found, key=lambda event: (event.start, event.zone, event.subzone)))


def _event(row: dict[str, str], where: str) -> Event:
    try:
        start, end = (datetime.fromisoformat(row[f"event_{bound}_ept"]) for bound in ("start", "end"))
    except (KeyError, ValueError) as error:
        raise ConfigError(f"{where}: start or end is missing or no time") from error
    if not timedelta(0) < end - start <= LONGEST:
        raise ConfigError(f"{where}: lasts {end - start}; an event is longer than nothing and at most a day")
    return Event(start, end - start, row["zone"], row["subzone"])
