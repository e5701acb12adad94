"""
Are the rollup and the Faust agents getting on? Pure; the worker asks once a second.

A consumer that has silently stopped fetching (faust-streaming #175, #629, #640) looks healthy from outside. So progress
is judged by offsets: a partition with records waiting and none taken in for `STUCK_AFTER_S` ends the process, and
whoever supervises it starts another.

The one cause found for Faust (0.15.3, after a recovery) is closed in `pipeline.faust_transport`; this is for those that
were not found. Its agents only merge a few messages a second: what they have not taken in for `FAUST_STUCK_AFTER_S`
they never will. On a starved machine, though, a rebalance or a commit takes longer than that, and while others are
being caught up with a partition waits its turn: all of that is given `FAUST_WAITING_AFTER_S`.
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
#: What has moved within this time is moving: Faust is asked once a second.
MOVING_S = 3.0


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

    def is_gone(self, started_at: float, at: float) -> bool:
        """Tell whether Kafka has not answered for `GONE_AFTER_S`."""
        return at - (self.answered_at or started_at) > GONE_AFTER_S


@dataclass(frozen=True)
class AgentsProgress(Generic[P]):
    """Where Faust's agents stood in each partition they hold, and since when."""

    taken: Progress[P] = field(default_factory=Progress)
    """What they have taken in since the last rebalance."""
    committed: Progress[P] = field(default_factory=Progress)
    ends: Mapping[P, int] = field(default_factory=dict)

    def seen(
        self,
        taken: Mapping[P, int],
        committed: Mapping[P, int],
        ends: Mapping[P, int],
        at: float,
        *,
        rebalancing: bool = False,
    ) -> "AgentsProgress[P]":
        """Return what is known after all was asked for at *at*; nothing is taken in while *rebalancing*."""
        so_far = Progress[P]() if rebalancing else self.taken.seen(taken, ends, at)
        return AgentsProgress(so_far, self.committed.seen(committed, ends, at), ends)

    def stuck(self, at: float) -> list[P]:
        """Return the partitions that the agents have left for too long."""
        patience_s = FAUST_WAITING_AFTER_S if self._behind(at) > CATCHING_UP else FAUST_STUCK_AFTER_S
        left = {*self.taken.stuck(at, patience_s), *self.committed.stuck(at, FAUST_WAITING_AFTER_S)}
        return [partition for partition in self.committed.standing if partition in left]

    def _behind(self, at: float) -> int:
        moving = {place: position for place, (position, since) in self.taken.standing.items() if at - since < MOVING_S}
        return sum(max(0, self.ends.get(place, position) - position) for place, position in moving.items())
