"""
The only place that reads the machine's wall clock.

Market code takes `now` as an argument; processes take a `Clock`. A clock that runs fast or starts on another day is
the same code: firmwatt's instant is `origin + speed × (machine time − started)`. A clock travels between processes as
one word, `ORIGIN@STARTED@SPEED`, so that all of them agree on what time it is.
"""

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.errors import ConfigError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wall() -> float:
    """Return the machine's Unix time in seconds."""
    return time.time()  # noqa: TID251 - the one reader


@dataclass(frozen=True)
class Clock:
    """Real time unless told otherwise."""

    origin: datetime = datetime(1970, 1, 1, tzinfo=UTC)
    """What firmwatt's clock showed…"""
    started: float = 0.0
    """…when the machine's clock showed this many seconds since 1970."""
    speed: float = 1.0

    def now(self) -> datetime:
        """Return the current instant, UTC."""
        return self.at(wall())

    def at(self, machine_time: float) -> datetime:
        """Return the instant that belongs to *machine_time* (Unix seconds). Pure."""
        return self.origin + timedelta(seconds=(machine_time - self.started) * self.speed)

    def micros_at(self, machine_ms: Any) -> Any:
        """Return the instants, µs since 1970, that belong to an array of machine times in ms. Pure."""
        since = machine_ms * 1000 - round(self.started * 1e6)
        begin = round((self.origin - EPOCH) / timedelta(microseconds=1))
        return begin + (since if self.speed == 1.0 else (since * self.speed).astype(since.dtype))

    def span(self, machine_s: float) -> timedelta:
        """Return what passes of this clock in *machine_s* seconds of the machine."""
        return timedelta(seconds=machine_s * self.speed)

    def wall_seconds(self, span: timedelta) -> float:
        """Return how long *span* of this clock takes on the machine's clock."""
        return span.total_seconds() / self.speed

    async def sleep_until(self, instant: datetime) -> None:
        """Return once this clock shows *instant*, at once if it already does."""
        await self.sleep(instant - self.now())

    async def sleep(self, span: timedelta) -> None:
        """Return after *span* of this clock."""
        await asyncio.sleep(max(0.0, self.wall_seconds(span)))

    def __str__(self) -> str:
        return f"{self.origin.isoformat()}@{self.started!r}@{self.speed!r}"

    @classmethod
    def parse(cls, text: str | None) -> "Clock":
        """Read what `str` wrote; nothing or an empty text is real time. Raise `ConfigError` on anything else."""
        if not text:
            return cls()
        try:
            origin, started, speed = text.split("@")
            clock = cls(datetime.fromisoformat(origin).astimezone(UTC), float(started), float(speed))
        except ValueError as error:
            raise ConfigError(f"clock {text!r} is not ORIGIN@STARTED@SPEED: {error}") from error
        if not clock.speed > 0:
            raise ConfigError(f"clock speed must be positive, got {clock.speed}")
        return clock


def real_clock_from(origin: datetime, speed: float) -> Clock:
    """Return a clock that shows *origin* now and runs at *speed*."""
    return Clock(origin.astimezone(UTC), wall(), speed)
