"""
What users ask of the inference pools, as a share of what the engines could do.

A demand is a function of POSIX time alone, so that back-filled days and the live fleet see the same users.
"""

from dataclasses import dataclass
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np

from deploy.fleet.variation import DAY_S, HOUR_S, Floats, local_s

#: The busiest hour of the synthetic day, its quietest level and what a weekend day is of a weekday: assumptions, in
#: the range of published diurnal inference traffic, which peaks in working hours and keeps a third overnight.
PEAK_HOUR, NIGHT_LEVEL, WEEKEND_SHARE = 15.0, 0.30, 0.80
#: 1970-01-01 was a Thursday, day 3 of a week that starts on Monday.
_EPOCH_WEEKDAY, _SATURDAY = 3, 5


class Demand(Protocol):
    """How busy users keep the inference engines."""

    def utilisation(self, at: Floats) -> Floats:
        """Return the demand at each of the POSIX seconds in *at*, 0 to 1."""
        ...

    def describe(self) -> str:
        """Return one sentence for the report that says what is simulated and what is replayed."""
        ...


@dataclass(frozen=True)
class Synthetic:
    """A smooth working day in local time, quieter at the weekend. Made up, and says so."""

    zone: ZoneInfo

    def utilisation(self, at: Floats) -> Floats:
        """Return a cosine between night level and 1 with its peak in the afternoon."""
        local = local_s(at, self.zone)
        hour = local % DAY_S / HOUR_S
        wave = 0.5 * (1.0 + np.cos(2.0 * np.pi * (hour - PEAK_HOUR) / 24.0))
        weekday = (np.floor(local / DAY_S).astype(np.int64) + _EPOCH_WEEKDAY) % 7
        level = np.where(weekday >= _SATURDAY, WEEKEND_SHARE, 1.0)
        return np.asarray((NIGHT_LEVEL + (1.0 - NIGHT_LEVEL) * wave) * level)

    def describe(self) -> str:
        """Return the sentence shown with every figure of this fleet."""
        return "SIMULATED fleet; inference demand is a synthetic daily curve, not a measurement"
