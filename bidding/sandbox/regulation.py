"""
The regulation signal. Simulated: no operator ever sent it.

One signal for all, between −1 and 1: an autoregressive process that leans back towards zero energy, drawn by seed anew
each hour. Above zero it asks for less load (reg-up), below for more (reg-down).
"""

import math
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise

from bidding.sandbox.draws import uniform

S_PER_HOUR = 3600
KEPT = 0.97
"""Of a set-point, from one to the next 4 s on: a time constant of about two minutes."""
SPREAD = 0.12
"""Standard deviation of the shock every 4 s."""
LEAN = 0.004
"""Of the energy so far, in set-points of 4 s, taken back each time."""
STEP_S = 4
SCORE_STEP_S = 10
HOURS_KEPT = 64


@lru_cache(maxsize=HOURS_KEPT)
def hour_signal(seed: int, hour: datetime, signal_s: int) -> tuple[float, ...]:
    """Return the set-points from the full *hour* on, one every *signal_s* (2 or 4): its share of the award, −1 to 1."""
    part = signal_s / STEP_S
    kept, spread = KEPT**part, SPREAD * math.sqrt(part)
    share, energy, shares = 0.0, 0.0, []
    for number in range(S_PER_HOUR // signal_s):
        shock = spread * _normal(seed, f"regulation|{hour.isoformat()}|{number}")
        share = round(max(-1.0, min(1.0, kept * share - LEAN * part * energy + shock)), 6)
        energy += share * part
        shares.append(share)
    return tuple(shares)


def _normal(seed: int, name: str) -> float:
    """Return a standard normal draw (Box and Muller)."""
    radius = math.sqrt(-2 * math.log(1 - uniform(seed, f"{name}|radius")))
    return radius * math.cos(2 * math.pi * uniform(seed, f"{name}|angle"))


def share_at(seed: int, at: datetime, signal_s: int, direction: int) -> float:
    """Return the part of an award that is asked for at *at*, 0 to 1; *direction* is 1 for less load, −1 for more."""
    hour = at.replace(minute=0, second=0, microsecond=0)
    number = int((at - hour) / timedelta(seconds=signal_s))
    return max(0.0, direction * hour_signal(seed, hour, signal_s)[number]) + 0.0


def shares(seed: int, start: datetime, end: datetime, signal_s: int, direction: int) -> tuple[float, ...]:
    """Return the parts asked for in [*start*, *end*), one every *signal_s*."""
    step = timedelta(seconds=signal_s)
    return tuple(share_at(seed, start + step * each, signal_s, direction) for each in range(int((end - start) / step)))


def mileage(seed: int, start: datetime, end: datetime, signal_s: int, direction: int) -> float:
    """Return how far the signal went in [*start*, *end*): the sum of its moves, the one into *start* among them."""
    before = start - timedelta(seconds=signal_s)
    asked = shares(seed, before, end, signal_s, direction)
    return sum(abs(later - earlier) for earlier, later in pairwise(asked))
