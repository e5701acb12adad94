"""
Intervals `[start, end)` in UTC, the grid that energy is settled on.

    readings   x   x    x     x | x            the reading at 12:05 belongs to the next interval
    interval   [12:00 ──── 12:05)[12:05 …
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Interval:
    """Half-open and aware; labelled by its start."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        """Refuse naive instants, other zones than UTC and empty intervals."""
        if self.start.utcoffset() != timedelta(0) or self.end.utcoffset() != timedelta(0):
            raise ValueError(f"interval bounds must be UTC, got {self.start!r} and {self.end!r}")
        if self.end <= self.start:
            raise ValueError(f"interval must end after it starts, got {self.start} to {self.end}")

    @classmethod
    def containing(cls, instant: datetime, length: timedelta) -> "Interval":
        """Return the interval of *length*, aligned to the Unix epoch, that *instant* falls into."""
        start = floor(instant, length)
        return cls(start, start + length)

    @property
    def length(self) -> timedelta:
        """How long it lasts."""
        return self.end - self.start

    @property
    def hours(self) -> float:
        """How long it lasts, in hours: what turns kW into kWh."""
        return self.length / timedelta(hours=1)

    def next(self) -> "Interval":
        """Return the interval of equal length that follows."""
        return Interval(self.end, self.end + self.length)

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end

    def split(self, length: timedelta) -> Iterator["Interval"]:
        """Yield consecutive pieces of *length*; the whole must be a multiple of it."""
        if self.length % length:
            raise ValueError(f"{self.length} is not a multiple of {length}")
        start = self.start
        while start < self.end:
            yield Interval(start, start + length)
            start += length


def floor(instant: datetime, length: timedelta) -> datetime:
    """Return the latest multiple of *length* since the Unix epoch that is not after *instant*, in UTC."""
    return EPOCH + (instant - EPOCH) // length * length
