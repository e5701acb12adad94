"""What one reader is to do, and the watch that measures it."""

import time
from collections.abc import Mapping

import msgspec
from bench.stream.node import cpu_s, peak_mb

from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

PARTITIONS = range(HOST_TICKS.partitions)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to read, how."""

    kind: str
    bootstrap: str
    broker: int
    """Process of the broker."""
    skip: int
    """Records of each partition that are read before the watch is started."""
    until: int
    """Records of all partitions, the skipped ones included."""
    group: str
    topic: str = HOST_TICKS.name

    @property
    def kafka(self) -> Kafka:
        """Where the broker is."""
        return Kafka(bootstrap=self.bootstrap)


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What reading took."""

    messages: int
    wall_s: float
    own_cpu_us: float
    """A message, all threads of the reader."""
    broker_cpu_us: float
    """A message."""
    peak_mb: float


class Watch:
    """Knows when to begin and when to stop; measures what is between."""

    def __init__(self, order: Order) -> None:
        self._order, self._count = order, 0
        self._begun: tuple[float, ...] = ()
        self._ended: tuple[float, ...] = ()

    def saw(self, places: Mapping[int, int]) -> bool:
        """Take note of how many records of each partition are read; tell whether those were all."""
        self._count = sum(places.values())
        if not self._begun and len(places) == len(PARTITIONS) and min(places.values()) >= self._order.skip:
            self._begun = self._now()
        if not self._ended and self._count >= self._order.until:
            self._ended = self._now()
        return bool(self._ended)

    def figures(self) -> Figures:
        """Return what it took."""
        count, wall_s, own_s, broker_s = (end - begin for begin, end in zip(self._begun, self._ended, strict=True))
        return Figures(
            messages=int(count),
            wall_s=wall_s,
            own_cpu_us=own_s / count * 1e6,
            broker_cpu_us=broker_s / count * 1e6,
            peak_mb=peak_mb(),
        )

    def _now(self) -> tuple[float, ...]:
        return self._count, time.monotonic(), time.process_time(), cpu_s(self._order.broker)
