"""
What a rollup has done since its process began, for the metrics page. Pure.

Written by the rollup's thread, read by the page's: every count is replaced or added to in one step, and whoever reads
copies. Counts are of this process: a partition's own (`Partition.counts`) travel with its state, and would go back
with a replay, which Prometheus takes for a restart.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pipeline.messages.telemetry import SitePartial
from pipeline.rollup import News, Partition

#: Of `Partition.counts`: ticks that changed nothing, or not in the ordinary way, and holes.
IRREGULAR = ("redelivered", "filled", "quarantined", "too_late", "refused", "holes_forgotten")
SECOND = timedelta(seconds=1)


@dataclass(eq=False)
class Tally:
    """Counts since the start, and the newest of what is a gauge."""

    irregular: Counter[tuple[int, str]] = field(default_factory=Counter)
    """By partition and reason, one of `IRREGULAR`."""
    intervals: Counter[int] = field(default_factory=Counter)
    """Closed intervals published, by length in seconds."""
    ticks_missing: Counter[int] = field(default_factory=Counter)
    """Holes in them, ticks, by length of the interval in seconds."""
    corrections: Counter[int] = field(default_factory=Counter)
    """Corrections published, by length of the interval in seconds."""
    rebalances: Counter[str] = field(default_factory=Counter)
    """Partitions `assigned`, `revoked`, `lost`."""
    gauges: dict[tuple[int, str], SitePartial] = field(default_factory=dict)
    """The newest partial, by partition and site."""
    open_intervals: dict[int, int] = field(default_factory=dict)
    """Of the shortest length, by partition."""
    published_at: dict[int, float] = field(default_factory=dict)
    """When figures of a partition were last acknowledged, machine time (Unix seconds)."""
    saved: dict[int, tuple[int, float]] = field(default_factory=dict)
    """Size in bytes of a partition's state and when it was committed, machine time (Unix seconds)."""

    def took(self, number: int, before: Mapping[str, int], after: Mapping[str, int]) -> None:
        """Count what came of records of partition *number*, whose own counts were *before* and are *after*."""
        for reason in IRREGULAR:
            if more := after.get(reason, 0) - before.get(reason, 0):
                self.irregular[number, reason] += more

    def told(self, state: Partition, news: News) -> None:
        """Take down what is about to be published of a partition."""
        for partial in news.gauges:
            self.gauges[state.number, partial.site] = partial
        for closed in news.partials:
            length_s = closed.interval.length // SECOND
            self.intervals[length_s] += 1
            self.ticks_missing[length_s] += closed.ticks_missing
        for correction in news.corrections:
            self.corrections[correction.interval.length // SECOND] += 1
        self.open_intervals[state.number] = len({one for cohort in state.cohorts.values() for one in cohort.parts})

    def acknowledged(self, numbers: list[int], at: float) -> None:
        """Take down that Kafka has acknowledged the figures of partitions *numbers*."""
        self.published_at |= dict.fromkeys(numbers, at)
