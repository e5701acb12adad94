"""Ticks through a partition of the rollup, for tests that ask what became of them."""

from collections.abc import Iterable
from datetime import datetime, timedelta

import numpy as np
from unit.pipeline.ticks import NOON, at

from pipeline import frames
from pipeline.messages.telemetry import HostTick, IntervalCorrection, IntervalPartial
from pipeline.rollup import LATENESS, Partition
from pipeline.units import J_PER_KWH

MINUTE = timedelta(minutes=1)
LATER = at(600)


def fresh(number: int = 0, *lengths: timedelta, site: str = "site-1") -> Partition:
    """Return an empty partition with intervals of a minute, or of *lengths*."""
    return Partition(number, lengths or (MINUTE,), site)


def feed(partition: Partition, ticks: Iterable[HostTick], delay_s: float = 0.0) -> Partition:
    """Let *partition* take in *ticks*, each received *delay_s* after it was measured, and return it."""
    payloads = [(frames.encode(tick), frames.micros(tick.measured_at)) for tick in ticks]
    received_us = np.array([measured for _, measured in payloads], dtype=np.int64) + round(delay_s * 1e6)
    partition.add([payload for payload, _ in payloads], received_us, partition.offset + len(payloads))
    return partition


def rolled(ticks: Iterable[HostTick], number: int = 0) -> Partition:
    """Return a partition that has taken in *ticks*, each when it was measured."""
    return feed(fresh(number), sorted(ticks, key=lambda tick: tick.measured_at))


def close(partition: Partition, seconds: float) -> tuple[list[IntervalPartial], list[IntervalCorrection]]:
    """Return what *partition* publishes once Kafka's clock shows *seconds* after noon."""
    return close_at(partition, at(seconds))


def close_at(partition: Partition, instant: datetime) -> tuple[list[IntervalPartial], list[IntervalCorrection]]:
    """Return what *partition* publishes once Kafka's clock shows *instant*."""
    partition.close(frames.micros(instant))
    return partition.published()


def figures(ticks: Iterable[HostTick]) -> dict[int, IntervalPartial]:
    """Return the closed figures of *ticks*, all of them in time, by minute after noon."""
    closed, _ = close(rolled(ticks), 600)
    return {(figure.interval.start - NOON) // MINUTE: figure for figure in closed}


def counted(ticks: Iterable[HostTick]) -> float:
    """Return the tokens that the figures of *ticks* hold, all intervals together."""
    closed, _ = close_at(feed(fresh(), ticks := list(ticks)), ticks[-1].measured_at + MINUTE + LATENESS)
    return sum(pool.tokens or 0.0 for figure in closed for pool in figure.pools)


def energy_j(ticks: Iterable[HostTick]) -> float:
    """Return the joules that the figures of *ticks* hold, all intervals together."""
    closed, _ = close_at(feed(fresh(), ticks := list(ticks)), ticks[-1].measured_at + MINUTE + LATENESS)
    return round(sum(figure.energy_kwh for figure in closed) * J_PER_KWH, 3)
