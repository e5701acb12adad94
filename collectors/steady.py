"""
The shared clock carried on by one that nobody can step.

The host's clock may be set back or forth by an hour while a lease holds, and the lease must end when it should. So a
command is judged once by the host's clock, on arrival, and from then on it is timed by CLOCK_BOOTTIME, which counts
since the machine started, through suspension too, and goes on over a restart of this process (clock_gettime(2)).
"""

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from pipeline.clock import Clock, wall

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Another text after each start of the machine (random(4))."""


def up_s() -> float:
    """Return the seconds since the machine started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """Return what names this run of the machine; empty where the kernel does not tell."""
    try:
        return BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return ""


class SteadyClock:
    """What the shared clock showed when this was made, and what has passed since."""

    def __init__(self, clock: Clock, wall_s: Callable[[], float] = wall, running_s: Callable[[], float] = up_s) -> None:
        self._clock = clock
        self._running_s = running_s
        self._began_wall_s, self._began_s = wall_s(), running_s()

    def now(self) -> datetime:
        """Return the present instant."""
        return self.at(self._running_s())

    def at(self, up_s: float) -> datetime:
        """Return the instant at which the machine has been up for *up_s* seconds."""
        return self._clock.at(self._began_wall_s + (up_s - self._began_s))

    def up_s(self, instant: datetime) -> float:
        """Return for how long the machine has been up at *instant*, in seconds: the inverse of `at`."""
        return self._began_s + self._clock.wall_seconds(instant - self.at(self._began_s))

    def ahead_of(self, shown: datetime) -> timedelta:
        """Return how far it is ahead of what the host's clock shows: about nothing, unless that was set."""
        return self.now() - shown
