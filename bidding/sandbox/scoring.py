"""
How well a regulation signal was followed: accuracy, delay and precision, each from 0 to 1, and their mean.

The historical three-component score, after an independent public implementation (GMLC-1-4-2/battery_interface,
`reg_service.py`, which cites PJM Manuals 11, 12 and 28; the manuals themselves were not read). An hour of 10-second
samples, block by block of five minutes; the response is looked at for another five, so that a late one is found:

    signal    x  ├─ block, 30 samples ─┤
    response  y      ├─ shifted by j × 10 s, j = 0 … 30 ─┤      the best correlation, and how late it was
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK, BLOCKS, SHIFTS = 30, 12, 30
SIGNALS = BLOCK * BLOCKS
RESPONSES = SIGNALS + SHIFTS
"""65 minutes of 10-second samples."""
STILL, FLAT = 0.01, 1e-5
"""Standard deviations below which a signal does not move, and a response does not."""
LEAST_SCORE = 0.25
"""Below this nothing is earned."""


@dataclass(frozen=True)
class Components:
    """One block's parts, or their means over an hour."""

    accuracy: float
    delay: float
    precision: float

    @property
    def score(self) -> float:
        """The mean of the three."""
        return (self.accuracy + self.delay + self.precision) / 3


def score(signal: Sequence[float], response: Sequence[float]) -> Components:
    """
    Return the components of an hour: 360 or more samples of *signal*, 390 of *response*, in one unit.

    Blocks in which nothing was asked for are left out; an hour of them is followed perfectly by doing nothing.
    """
    found = [
        block(signal[first : first + BLOCK], response[first : first + BLOCK + SHIFTS])
        for first in range(0, SIGNALS, BLOCK)
        if any(signal[first : first + BLOCK])
    ]
    if not found:
        quiet = 0.0 if any(response[:SIGNALS]) else 1.0
        return Components(quiet, quiet, quiet)
    return Components(
        _mean([each.accuracy for each in found]),
        _mean([each.delay for each in found]),
        _mean([each.precision for each in found]),
    )


def block(asked: Sequence[float], done: Sequence[float]) -> Components:
    """Return the components of five minutes: 30 samples of signal, 60 of response."""
    asked_mean = _mean([abs(each) for each in asked])
    off = _mean([abs(y - x) for x, y in zip(asked, done, strict=False)])
    precision = max(0.0, 1 - off / asked_mean) if asked_mean else 0.0
    if _deviation(asked) < STILL:
        accuracy = max(0.0, 1 - abs(_slope(asked) - _slope(done[:BLOCK])))
        return Components(accuracy, 1.0, precision)
    fits = [_correlation(asked, done[shift : shift + BLOCK]) for shift in range(SHIFTS + 1)]
    best = max(range(SHIFTS + 1), key=fits.__getitem__) if sum(fits) else SHIFTS
    return Components(max(0.0, fits[best]), abs(10 * best - 300) / 300, precision)


def _mean(figures: Sequence[float]) -> float:
    return math.fsum(figures) / len(figures)


def _deviation(figures: Sequence[float]) -> float:
    mean = _mean(figures)
    return math.sqrt(_mean([(each - mean) ** 2 for each in figures]))


def _correlation(asked: Sequence[float], done: Sequence[float]) -> float:
    """Return Pearson's correlation, 0 where the response does not move."""
    spread = _deviation(done)
    if spread < FLAT:
        return 0.0
    asked_mean, done_mean = _mean(asked), _mean(done)
    together = _mean([(x - asked_mean) * (y - done_mean) for x, y in zip(asked, done, strict=True)])
    return together / (_deviation(asked) * spread)


def _slope(figures: Sequence[float]) -> float:
    """Return the slope of the least-squares line, per sample."""
    middle = (len(figures) - 1) / 2
    mean = _mean(figures)
    rise = math.fsum((number - middle) * (each - mean) for number, each in enumerate(figures))
    return rise / math.fsum((number - middle) ** 2 for number in range(len(figures)))
