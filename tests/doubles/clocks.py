"""Clocks that show what they are told, and one whose time passes by being waited for."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from pipeline.clock import Clock


@dataclass(frozen=True)
class SetClock(Clock):
    """Shows noon of a summer day until it is moved on."""

    shown: list[datetime] = field(default_factory=lambda: [datetime(2026, 7, 23, 12, 0, tzinfo=UTC)])

    def now(self) -> datetime:
        """Return what it was set to."""
        return self.shown[0]

    def move(self, seconds: float) -> None:
        """Let *seconds* pass at once."""
        self.shown[0] += timedelta(seconds=seconds)


class WaitedClock(SetClock):
    """Waiting for a span takes it on by that span, and no longer than a turn of the loop."""

    @classmethod
    def from_(cls, instant: datetime) -> "WaitedClock":
        """Return one that shows *instant*."""
        return cls(shown=[instant])

    async def sleep(self, span: timedelta) -> None:
        """Let *span* pass at once, and others run."""
        self.shown[0] += max(span, timedelta(0))
        await asyncio.sleep(0)
