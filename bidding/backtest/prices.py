"""
The real hub prices of 2020 to 2022: reads one file, refuses a row that it cannot take by its name. Shell.

Three series are day-ahead, PJM's is real-time. Source and licence: SOURCE.txt beside the file.
"""

import csv
import gzip
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from bidding.backtest.hourly import Prices
from pipeline.errors import ConfigError

FILE = Path("us_hub_prices") / "us_hub_prices_hourly_2020-2022.csv.gz"
COLUMNS = ("market", "datetime_utc", "price_usd_per_mwh")
STAMP = "%Y-%m-%dT%H:%M:%SZ"

#: The clock that a venue's local days follow.
TIMEZONES: Mapping[str, str] = {
    "CAISO_NP15_DAM": "America/Los_Angeles",
    "ERCOT_HB_HUBAVG_DAM": "America/Chicago",
    "NYISO_CAPITL_DAM": "America/New_York",
    "PJM_DOM_RT": "America/New_York",
}


def load(data: Path) -> dict[str, Prices]:
    """Return the series of the data folder by their names."""
    path = data / FILE
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            return parse(csv.reader(file), path.name)
    except FileNotFoundError as error:
        raise ConfigError(f"no file {path}; set FIRMWATT_SHARED to the folder that holds data/") from error


def parse(rows: Iterable[list[str]], name: str) -> dict[str, Prices]:
    """Return the series in the rows of a file called *name*; raise `ConfigError` with the row's number."""
    lines = iter(rows)
    if tuple(next(lines, ())) != COLUMNS:
        raise ConfigError(f"{name}: the columns must be {', '.join(COLUMNS)}")
    found: dict[str, dict[datetime, Decimal]] = {}
    for number, row in enumerate(lines, start=2):
        where = f"{name} row {number}"
        if len(row) != len(COLUMNS):
            raise ConfigError(f"{where}: {len(row)} cells, need {len(COLUMNS)}")
        market, text, price = row
        if market not in TIMEZONES:
            raise ConfigError(f"{where}: unknown market {market!r}; have {', '.join(TIMEZONES)}")
        put(found.setdefault(market, {}), hour_start(text, where), number_of(price, where), where)
    return {market: Prices(market, TIMEZONES[market], by_start) for market, by_start in found.items()}


def put(by_start: dict[datetime, Decimal], start: datetime, price: Decimal, where: str) -> None:
    """Add one hour; the same hour twice is refused, with whatever price."""
    if start in by_start:
        raise ConfigError(f"{where}: a second price for {start:%Y-%m-%d %H:%M} UTC; leave one of them")
    by_start[start] = price


def hour_start(text: str, where: str, stamp: str = STAMP) -> datetime:
    """Return the instant that *text* names in UTC; only whole hours are taken."""
    try:
        start = datetime.strptime(text, stamp).replace(tzinfo=UTC)
    except ValueError as error:
        raise ConfigError(f"{where}: {text!r} is no time like {stamp}") from error
    if start.replace(minute=0, second=0) != start:
        raise ConfigError(f"{where}: {text!r} is no whole hour")
    return start


def number_of(text: str, where: str) -> Decimal:
    """Return a finite number."""
    try:
        value = Decimal(text)
    except InvalidOperation as error:
        raise ConfigError(f"{where}: {text!r} is no number") from error
    if not value.is_finite():
        raise ConfigError(f"{where}: {text!r} is not finite")
    return value
