"""
How long a site is without a figure after a fault. Pure.

    fresh figures   │││││││││││││             │││││││││││       with all partitions, and newer than any before
    faults                      ✗      ✗
                                └─────────────┘ recovery of the first, machine time
                                       └──────┘ of the second
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

from pipeline.clock import Clock
from pipeline.messages.telemetry import SiteCapacity


def fresh(figures: Iterable[SiteCapacity], clock: Clock) -> list[float]:
    """Return when, Unix seconds of the machine, a figure of all partitions came that was newer than those before."""
    newest, instants = None, []
    for figure in sorted(figures, key=lambda one: one.known_at):
        whole = figure.partitions == figure.partitions_expected
        if whole and (newest is None or figure.as_of > newest):
            newest = figure.as_of
            instants.append(clock.started + (figure.known_at - clock.origin).total_seconds() / clock.speed)
    return instants


def recoveries(faults: Sequence[float], ended: float, instants: Sequence[float]) -> list[float]:
    """
    Return for each of *faults* the longest time without a fresh figure that began between it and the next.

    All in Unix seconds; *instants* are those of `fresh`. One that had begun before the fault counts from the fault on.
    """
    times = sorted(instants)
    gaps = [*pairwise([float("-inf"), *times, ended])]
    return [
        max(
            (later - max(earlier, at) for earlier, later in gaps if earlier < until and later > at),
            default=0.0,
        )
        for at, until in zip(faults, [*faults[1:], ended], strict=False)
    ]


def quantile(values: Iterable[float], share: float) -> float | None:
    """Return the nearest-rank quantile, None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-round(share * 1000) * len(ordered) // 1000) - 1)] if ordered else None
