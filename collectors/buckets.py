"""Latency histograms that can be added up and subtracted. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, pairwise

from pipeline.messages.telemetry import LatencyBuckets

INFINITE_S = 1e308
"""How the last bound is written: JSON has no infinity."""


def from_cumulative(histograms: Iterable[Mapping[float, float]]) -> LatencyBuckets | None:
    """
    Return the sum of *histograms*, each the count at or below each bound, as Prometheus has them.

    Where their bounds differ the common ones remain, at which every count is known; None if there are none.
    """
    known = [histogram for histogram in histograms if histogram]
    if not known:
        return None
    le_s = sorted(set.intersection(*(set(histogram) for histogram in known)))
    if not le_s:
        return None
    below = [sum(histogram[bound] for histogram in known) for bound in le_s]
    return LatencyBuckets(
        le_s=tuple(min(bound, INFINITE_S) for bound in le_s),
        counts=tuple(max(0.0, above - beneath) for beneath, above in pairwise([0.0, *below])),
    )


def merged(parts: Sequence[LatencyBuckets]) -> LatencyBuckets | None:
    """Return the sum of *parts*; None of none."""
    if len(parts) == 1:
        return parts[0]
    return from_cumulative(dict(zip(part.le_s, accumulate(part.counts), strict=True)) for part in parts)


def since(before: LatencyBuckets, now: LatencyBuckets) -> LatencyBuckets | None:
    """Return what was counted from *before* to *now*; None if that cannot be told: other bounds, or lower counts."""
    if before.le_s != now.le_s:
        return None
    moved = tuple(later - earlier for earlier, later in zip(before.counts, now.counts, strict=True))
    return None if min(moved) < 0 else LatencyBuckets(le_s=now.le_s, counts=moved)
