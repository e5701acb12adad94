"""
How often reserve is called, learned from PJM's real events, and calls drawn from it: simulated, by seed. Pure.

    calls in an hour of month m at local hour h  =  calls a year × share of m × share of h ÷ days of m

The level is that of the last years of the list for the whole RTO and the subzone that is sold in; the shapes are those
of all events, several zones at one instant counted once. Month and hour are taken as independent of each other.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from bidding.backtest.reserves import TIMEZONE, Event
from pipeline.interval import Interval

MONTHS, HOURS = range(1, 13), range(24)
#: Mean days of each month, February's with its leap day every fourth year.
DAYS = dict(zip(MONTHS, (31, 28.25, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31), strict=True))
LEVEL_YEARS = (2013, 2014, 2015)
LEVEL_ZONE, LEVEL_SUBZONES = "RTO", ("", "MidAtlantic-Dominion (MAD)")


@dataclass(frozen=True)
class Call:
    """One instruction to deliver reserve: when it starts and for how long."""

    start: datetime
    length: timedelta


@dataclass(frozen=True)
class CallModel:
    """What was learned of events."""

    per_year: float
    month_share: Mapping[int, float]
    hour_share: Mapping[int, float]
    lengths: tuple[timedelta, ...]
    """Of the events that the level counts."""
    listed: int
    """Events in the list that the shapes come from, zones at one instant counted once."""

    def chance(self, hour: Interval) -> float:
        """Return the probability of a call in *hour*; two in one hour are taken as one."""
        local = hour.start.astimezone(ZoneInfo(TIMEZONE))
        a_day = self.per_year * self.month_share[local.month] / DAYS[local.month]
        return min(1.0, a_day * self.hour_share[local.hour])

    @property
    def mean_hours(self) -> float:
        """Mean length of a call, hours."""
        return sum((length / timedelta(hours=1) for length in self.lengths), 0.0) / len(self.lengths)


def learn(events: Sequence[Event], years: Sequence[int] = LEVEL_YEARS) -> CallModel:
    """
    Return the model of *events*.

    76 events in three years are 25.3 a year; 78 of 621 in January are a share of 0.126 for it.
    """
    level = [
        event
        for event in events
        if event.start.year in years and event.zone == LEVEL_ZONE and event.subzone in LEVEL_SUBZONES
    ]
    starts = {event.start for event in events}
    return CallModel(
        per_year=len({event.start for event in level}) / len(years),
        month_share=_shares((start.month for start in starts), MONTHS),
        hour_share=_shares((start.hour for start in starts), HOURS),
        lengths=tuple(sorted(event.length for event in level)),
        listed=len(starts),
    )


def _shares(values: Iterable[int], keys: Iterable[int]) -> dict[int, float]:
    counted = Counter(values)
    return {key: counted[key] / counted.total() for key in keys}


def draw(model: CallModel, hours: Iterable[Interval], seed: str) -> dict[Interval, Call]:
    """
    Return the calls in *hours*: simulated.

    Each hour is drawn by itself from *seed* and its start, so that which other hours are asked changes nothing.
    """
    drawn = ((hour, dice(seed, hour.start.isoformat())) for hour in hours)
    return {
        hour: Call(hour.start + timedelta(minutes=chance.randrange(60)), chance.choice(model.lengths))
        for hour, chance in drawn
        if chance.random() < model.chance(hour)
    }


def dice(*parts: str | date) -> random.Random:
    """Return a random source that is the same wherever and whenever the same *parts* are named."""
    key = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return random.Random(key)  # noqa: S311 - a simulation, no secret
