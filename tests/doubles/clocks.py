"""A clock that shows what it is told."""

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
