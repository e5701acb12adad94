"""
Price forecasts as the desk's forecaster writes them: one CSV, one row a scenario, product and interval.

    scenario,probability,product,interval_start,price_per_mwh,called,activation_per_mwh
    cold,0.25,energy-da,2026-11-30T06:00:00Z,41.20,,
    cold,0.25,spin,2026-11-30T06:00:00Z,6.10,0.02,38.00

Scenarios keep hours and products correlated. A row that is missing, or a price left empty, is not known: nothing is
sold on it. Replace the file by rename; it is read anew when it changes. Pure, `Forecast` apart.
"""

import csv
import io
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from bidding.portfolio.model import Prices, Scenario, Series
from pipeline.errors import ConfigError
from pipeline.interval import Interval

NEEDED = ("scenario", "probability", "product", "interval_start", "price_per_mwh")
OPTIONAL = ("called", "activation_per_mwh")
EVEN = 1e-6
"""By how much probabilities may miss 1 above it: they are written in decimals."""


@dataclass(frozen=True)
class Point:
    """One product's interval in one scenario."""

    price: float | None
    called: float | None
    activation: float | None


@dataclass(frozen=True)
class Table:
    """A forecast file's content."""

    probability: Mapping[str, float] = field(default_factory=dict)
    """By scenario, in the file's order."""
    points: Mapping[tuple[str, str, datetime], Point] = field(default_factory=dict)
    """By scenario, product and start."""

    def only(self, asked: Collection[tuple[str, datetime]]) -> "Table":
        """Return the forecast of these (product, start of interval) alone: the rest counts as not known."""
        return Table(self.probability, {key: point for key, point in self.points.items() if key[1:] in asked})

    def over(self, intervals: Sequence[Interval], products: Iterable[str], source: str, *, simulated: bool) -> Prices:
        """Return what is forecast for *intervals* of *products*; what the file lacks stays unknown."""
        names = tuple(products)
        scenarios = tuple(
            Scenario(name=name, probability=share, series={p: self._series(name, p, intervals) for p in names})
            for name, share in self.probability.items()
        )
        return Prices(intervals=tuple(intervals), scenarios=scenarios, source=source, simulated=simulated)

    def _series(self, scenario: str, product: str, intervals: Sequence[Interval]) -> Series:
        unknown = Point(None, None, None)
        points = [self.points.get((scenario, product, interval.start), unknown) for interval in intervals]
        called = tuple(_or(point.called, 1.0 if any(p.called is not None for p in points) else 0.0) for point in points)
        return Series(
            price=tuple(point.price for point in points),
            called=called if any(point.called is not None for point in points) else (),
            activation=tuple(_or(point.activation, 0.0) for point in points)
            if any(point.activation is not None for point in points)
            else (),
        )


def _or(given: float | None, otherwise: float) -> float:
    return otherwise if given is None else given


def parse(text: str, name: str) -> Table:
    """Return the forecast in *text*; raise `ConfigError` that names file and line for what cannot be one."""
    rows = csv.DictReader(io.StringIO(text))
    missing = [column for column in NEEDED if column not in (rows.fieldnames or ())]
    if missing:
        raise ConfigError(f"price forecast {name}: no column {', '.join(missing)}; it needs {', '.join(NEEDED)}")
    probability: dict[str, float] = {}
    points: dict[tuple[str, str, datetime], Point] = {}
    for number, row in enumerate(rows, start=2):
        try:
            key, share, point = _row(row)
        except ValueError as error:
            raise ConfigError(f"price forecast {name}, line {number}: {error}") from error
        if probability.setdefault(key[0], share) != share:
            text = f"scenario {key[0]!r} had probability {probability[key[0]]:g} before"
            raise ConfigError(f"price forecast {name}, line {number}: {text}")
        if key in points:
            raise ConfigError(f"price forecast {name}, line {number}: {key[1]} at {key[2].isoformat()} comes twice")
        points[key] = point
    if (total := sum(probability.values())) > 1 + EVEN:
        raise ConfigError(f"price forecast {name}: probabilities add up to {total:g}, more than 1")
    return Table(probability, points)


def _row(row: Mapping[str, str | None]) -> tuple[tuple[str, str, datetime], float, Point]:
    scenario, product = (row["scenario"] or "").strip(), (row["product"] or "").strip()
    if not scenario or not product:
        raise ValueError("scenario and product must not be empty")
    start = datetime.fromisoformat(row["interval_start"] or "")
    if start.tzinfo is None:
        raise ValueError("interval_start needs an offset, such as 2026-11-30T06:00:00Z")
    share = _number(row, "probability")
    if share is None or not 0 <= share <= 1:
        raise ValueError(f"probability must be 0 to 1, got {row['probability']!r}")
    called = _number(row, "called")
    if called is not None and not 0 <= called <= 1:
        raise ValueError(f"called is a share, 0 to 1, got {called:g}")
    point = Point(_number(row, "price_per_mwh"), called, _number(row, "activation_per_mwh"))
    return (scenario, product, start.astimezone(UTC)), share, point


def _number(row: Mapping[str, str | None], column: str) -> float | None:
    text = (row.get(column) or "").strip()
    if not text:
        return None
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{column} must be a finite number, got {text}")
    return number


class Forecast:
    """The file at *path*, read again when it changes; while it is damaged or missing nothing is forecast."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._table = Table()
        self.problem: str | None = None
        """Why there is no forecast, in one line."""

    def table(self) -> Table:
        """Return what the file says now."""
        try:
            stat = self._path.stat()
            if (seen := (stat.st_mtime_ns, stat.st_ino)) != self._seen:
                self._seen, self._table, self.problem = seen, Table(), None
                self._table = parse(self._path.read_text(encoding="utf-8"), str(self._path))
        except OSError as error:
            self._seen, self._table = None, Table()
            self.problem = f"cannot read the price forecast {self._path}: {error.strerror}; set [bidding] forecast"
        except (ConfigError, UnicodeDecodeError) as error:
            self._table, self.problem = Table(), str(error)
        return self._table
