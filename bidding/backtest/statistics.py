"""
What a row of daily results amounts to: risk figures, and how sure a difference is. Pure; floats, dollars a day.

Days next to each other are alike, so an interval comes from resampling whole weeks, not days.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

TAIL = 0.05
RESAMPLED = 2000
LEVEL = 0.95


def cvar(daily: Sequence[float], tail: float = TAIL) -> float:
    """
    Return the mean of the worst *tail* of the days; the day at the edge counts in part.

    Of 1, 2, …, 20 the worst 5 % are one day: 1; of 1, 2, …, 30 one and a half: (1 + 2 × ½) ÷ 1.5 = 1.33.
    """
    if not daily:
        return 0.0
    worst = np.sort(np.asarray(daily, np.float64))
    weight = np.clip(tail * len(worst) - np.arange(len(worst)), 0.0, 1.0)
    return float(worst @ weight / weight.sum())


def deviation(daily: Sequence[float]) -> float:
    """Return the standard deviation of the days, divisor n − 1; of a single day 0."""
    return float(np.std(np.asarray(daily, np.float64), ddof=1)) if len(daily) > 1 else 0.0


@dataclass(frozen=True)
class Gain:
    """One contestant over another on the same days, with the bounds of 95 % of the resampled weeks."""

    difference: float
    low: float
    high: float
    ratio: float | None
    """None where the other earned nothing or less."""
    ratio_low: float | None
    ratio_high: float | None
    weeks: int

    @property
    def certain(self) -> bool:
        """Whether the interval of the difference leaves out nothing at all."""
        return self.low > 0 or self.high < 0


def gain(ours: Mapping[date, float], other: Mapping[date, float], seed: int) -> Gain:
    """Return what *ours* earned over *other*, day by day the same days; ISO weeks are resampled *seed*ed."""
    mine, theirs = (_weekly(of) for of in (ours, other))
    picks = np.random.default_rng(seed).integers(0, len(mine), size=(RESAMPLED, len(mine)))
    totals, others = mine[picks].sum(axis=1), theirs[picks].sum(axis=1)
    low, high = _bounds(totals - others)
    sound = others > 0
    ratio = float(mine.sum() / theirs.sum()) if theirs.sum() > 0 else None
    ratios = _bounds(totals[sound] / others[sound]) if ratio is not None and sound.all() else (None, None)
    return Gain(float((mine - theirs).sum()), low, high, ratio, ratios[0], ratios[1], len(mine))


def _weekly(daily: Mapping[date, float]) -> NDArray[np.float64]:
    weeks: dict[tuple[int, int], float] = {}
    for day in sorted(daily):
        year, week, _ = day.isocalendar()
        weeks[year, week] = weeks.get((year, week), 0.0) + daily[day]
    return np.asarray(list(weeks.values()), np.float64)


def _bounds(resampled: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(resampled, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
