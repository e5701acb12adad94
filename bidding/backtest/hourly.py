"""
Hourly prices of one venue, by the start of the hour, with gaps as gaps; its local days have 23, 24 or 25 hours. Pure.

    gate ────────────┐
    prices known  ███│                an hour is known once it has ended: stricter than a day-ahead market's
    day offered      │     ████████   publication, whose instants could not be verified
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from zoneinfo import ZoneInfo

from pipeline.interval import Interval

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@lru_cache(maxsize=8192)
def hours_of(day: date, timezone: str) -> tuple[Interval, ...]:
    """Return the hours of a local day: 24, or 23 or 25 where the clocks change."""
    zone = ZoneInfo(timezone)
    start, end = (datetime.combine(at, time(), zone).astimezone(UTC) for at in (day, day + DAY))
    return tuple(Interval(start, end).split(HOUR))


def day_of(instant: datetime, timezone: str) -> date:
    """Return the local date at *instant*."""
    return instant.astimezone(ZoneInfo(timezone)).date()


def label(hour: Interval, timezone: str) -> tuple[int, int]:
    """Return the hour of the local clock, and 1 for the second time it shows it, else 0."""
    local = hour.start.astimezone(ZoneInfo(timezone))
    return local.hour, local.fold


@dataclass(frozen=True)
class Prices:
    """Prices of whole hours, $/MWh, by the start of the hour in UTC; an hour that is not in it has no price."""

    name: str
    timezone: str
    by_start: Mapping[datetime, Decimal] = field(repr=False)

    def known_at(self, instant: datetime) -> "Prices":
        """Return the hours that had ended by *instant*: all that a strategy may see then."""
        last = instant - HOUR
        known = {start: price for start, price in self.by_start.items() if start <= last}
        return Prices(self.name, self.timezone, known)

    def of(self, day: date) -> dict[Interval, Decimal]:
        """Return the prices of a local day; an hour without one is left out."""
        hours = hours_of(day, self.timezone)
        return {hour: self.by_start[hour.start] for hour in hours if hour.start in self.by_start}

    def days(self) -> list[date]:
        """Return the local days with at least one price, in order."""
        return sorted({day_of(start, self.timezone) for start in self.by_start})

    def whole(self, day: date) -> bool:
        """Tell whether every hour of a local day has a price."""
        return all(hour.start in self.by_start for hour in hours_of(day, self.timezone))

    def missing(self) -> int:
        """Return how many hours of the local days from first to last have no price."""
        days = self.days()
        if not days:
            return 0
        span = (days[0] + DAY * number for number in range((days[-1] - days[0]).days + 1))
        return sum(len(hours_of(day, self.timezone)) - len(self.of(day)) for day in span)


def like(day: date, source: Mapping[Interval, Decimal], timezone: str) -> tuple[Decimal, ...]:
    """
    Return the prices that the hours of *day* have if it goes like another local day, whose prices are *source*.

    By the local clock: a second 1:00 takes the other day's second 1:00 or, where there is none, its only one; an hour
    that the other day skipped takes the one before.
    """
    by_label = {label(hour, timezone): price for hour, price in source.items()}
    return tuple(_nearest(by_label, *label(hour, timezone)) for hour in hours_of(day, timezone))


def _nearest(by_label: Mapping[tuple[int, int], Decimal], hour: int, fold: int) -> Decimal:
    if (hour, fold) in by_label:
        return by_label[hour, fold]
    before = [key for key in by_label if key[0] <= hour]
    return by_label[max(before)] if before else by_label[min(by_label)]
