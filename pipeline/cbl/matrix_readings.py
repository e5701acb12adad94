"""
Readings as vectors, by instant and by the local clock, and events as places in them. Pure.

    by_instant   place = (start − first instant) ÷ grid               what was metered on the event's own day
    by_clock     place = local day × intervals a day + interval       what was metered at that time of another day

A missing reading is NaN. Where a clock time was shown twice the first reading stands, where never there is none. Events
whose metering intervals are at the same local times share a `Shape`, and are computed together.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.cbl.request import INSTANT, Request

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

DAY_US = 86_400_000_000
MOST_PLACES = 5_000_000
"""Of a vector, 40 MB; more are years of minutes between events, which joins pass over."""
MARGIN_DAYS = 2
"""Hours before an event may be on the local day before; those after it on the next."""


@dataclass(frozen=True)
class Axis:
    """The instants and the clock times that vectors are by."""

    grid_us: int
    first_us: int
    first_day: int
    """Of the clock, days since 1970."""
    days: int
    clock_place: Ints
    """Of each instant, its place by the clock."""

    @property
    def per_day(self) -> int:
        """Return how many metering intervals 24 hours have."""
        return DAY_US // self.grid_us

    def places(self, starts_us: Ints) -> Ints:
        """Return the places of instants."""
        found: Ints = (starts_us - self.first_us) // self.grid_us
        return found


@dataclass(frozen=True)
class Readings:
    """One resource's, kW; NaN where there is none."""

    resource: str
    by_instant: Floats
    by_clock: Floats


@dataclass(frozen=True)
class Shape:
    """Events whose intervals are at the same local times."""

    events: Ints
    days: Ints
    """Local day of each event, days since 1970."""
    starts_us: Ints
    """Event × interval."""
    offsets: Ints
    """Of each interval: places from the beginning of the event's local day."""
    in_event: Flags
    in_adjust: Flags
    in_match: Flags


def axis(request: Request, slots: pl.DataFrame, look_back_days: int) -> Axis | None:
    """Return what *request* is laid out by; None where that is no grid common to instants and clock, or too long."""
    grid_us = request.grid // timedelta(microseconds=1)
    starts_us = np.concatenate([_physical(slots["start"]), _physical(request.loads["start"])])
    first_us, last_us = int(starts_us.min()), int(starts_us.max())
    if ((starts_us - first_us) % grid_us).any() or (last_us - first_us) // grid_us >= MOST_PLACES:
        return None
    instants_us = np.arange(first_us, last_us + 1, grid_us)
    clock_us = _clock_us(instants_us, request.calendar.timezone)
    phase_us = int(clock_us[0]) % grid_us
    if ((clock_us - phase_us) % grid_us).any():
        return None
    event_days = _physical(slots["event_day"])
    first_day = min(int(event_days.min()) - look_back_days - MARGIN_DAYS, int(clock_us.min()) // DAY_US)
    last_day = max(int(event_days.max()) + MARGIN_DAYS, int(clock_us.max()) // DAY_US)
    return Axis(
        grid_us, first_us, first_day, last_day - first_day + 1, (clock_us - phase_us - first_day * DAY_US) // grid_us
    )


def _physical(column: pl.Series) -> Ints:
    return column.to_physical().cast(pl.Int64).to_numpy()


def _clock_us(instants_us: Ints, timezone: str) -> Ints:
    local = pl.Series(instants_us).cast(INSTANT).dt.convert_time_zone(timezone)
    return _physical(local.dt.replace_time_zone(None))


def readings(request: Request, on: Axis) -> Iterator[Readings]:
    """Yield each resource's readings, by name; also one of whose readings none is any good."""
    known = request.loads.select("resource", "start", pl.when(pl.col("load_kw").is_finite()).then("load_kw"))
    for frame in known.partition_by("resource", maintain_order=True):
        load_kw = frame["load_kw"].to_numpy()
        there = ~np.isnan(load_kw)
        by_instant = np.full(len(on.clock_place), np.nan)
        by_instant[on.places(_physical(frame["start"]))[there]] = load_kw[there]
        backwards, places = by_instant[::-1], on.clock_place[::-1]
        read = ~np.isnan(backwards)
        by_clock = np.full(on.days * on.per_day, np.nan)
        by_clock[places[read]] = backwards[read]  # of two at one place the last written stands: the first of a day
        yield Readings(frame["resource"][0], by_instant, by_clock)


def shapes(slots: pl.DataFrame, on: Axis) -> list[Shape]:
    """Return the events of *slots* by the local times of their intervals."""
    ordered = slots.sort("event", "start")
    event, day, starts_us = (_physical(ordered[name]) for name in ("event", "event_day", "start"))
    flags = [ordered[name].to_numpy() for name in ("in_event", "in_adjust", "in_match")]
    offsets = on.clock_place[on.places(starts_us)] - (day - on.first_day) * on.per_day
    bounds = np.append(np.flatnonzero(np.diff(event, prepend=event[0] - 1)), len(event))
    alike: defaultdict[bytes, list[slice]] = defaultdict(list)
    for begin, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        own = slice(begin, end)
        alike[b"".join([offsets[own].tobytes(), *(flag[own].tobytes() for flag in flags)])].append(own)
    return [
        Shape(
            np.array([event[own.start] for own in several]),
            np.array([day[own.start] for own in several]),
            np.array([starts_us[own] for own in several]),
            offsets[several[0]],
            *(flag[several[0]] for flag in flags),
        )
        for several in alike.values()
    ]
