"""
Are the rollup and the Faust agents getting on? Pure; the worker asks once a second.

A consumer that has silently stopped fetching (faust-streaming #175, #629, #640) looks healthy from outside. So progress
is judged by offsets: a partition with records waiting and none taken in for `STUCK_AFTER_S` ends the process, and
whoever supervises it starts another. Faust does stop fetching a partition now and then after a rebalance (seen here
with faust-streaming 0.15.3 when the other worker was killed), and its agents only merge a few messages a second: they
get `FAUST_STUCK_AFTER_S`. But partitions are served one after the other: one that waits while others are being caught
up with stands still for a good reason, and is given longer.
"""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P", bound=Hashable)

#: Machine time, seconds.
STUCK_AFTER_S = 30.0
WAITING_AFTER_S = 120.0
FAUST_STUCK_AFTER_S = 10.0
FAUST_WAITING_AFTER_S = 60.0
#: So many records behind, an agent is catching up; it handles as many in some seconds.
CATCHING_UP = 1000
GONE_AFTER_S = 10.0
#: What has moved within this time is moving: Faust commits once a second, and is asked once a second.
ASKED_S = 3.0


@dataclass(frozen=True)
class Progress(Generic[P]):
    """Where each partition stood, and since when."""

    standing: Mapping[P, tuple[int, float]] = field(default_factory=dict)
    answered_at: float | None = None
    """When Kafka last told where partitions end."""

    def seen(self, positions: Mapping[P, int], ends: Mapping[P, int], at: float) -> "Progress[P]":
        """Return what is known after Kafka has answered at *at*; a partition without lag counts as moving."""
        standing = {
            partition: self.standing[partition]
            if partition in self.standing
            and self.standing[partition][0] == position
            and ends.get(partition, position) > position
            else (position, at)
            for partition, position in positions.items()
        }
        return Progress(standing, at)

    def stuck(self, at: float, after_s: float = STUCK_AFTER_S) -> list[P]:
        """Return the partitions that have not moved for *after_s* seconds."""
        return [partition for partition, (_, since) in self.standing.items() if at - since >= after_s]

    def agents_stuck(self, ends: Mapping[P, int], at: float) -> list[P]:
        """Return the partitions that Faust's agents have left for too long; *ends* as last seen."""
        moving = {place: position for place, (position, since) in self.standing.items() if at - since < ASKED_S}
        behind = sum(max(0, ends.get(place, position) - position) for place, position in moving.items())
        return self.stuck(at, FAUST_WAITING_AFTER_S if behind > CATCHING_UP else FAUST_STUCK_AFTER_S)

    def is_gone(self, started_at: float, at: float) -> bool:
        """Tell whether Kafka has not answered for `GONE_AFTER_S`."""
        return at - (self.answered_at or started_at) > GONE_AFTER_S
