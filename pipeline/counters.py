"""
What counters moved between two neighbouring ticks of a host, in whole millijoules, milli-tokens and microseconds. Pure.

    tick a ─────────┊──────── tick c      c − a, split at the boundary in proportion to time
                    ┊                     ⌊(c − a) · p / span⌋ before it, the rest after

Whole numbers, because their sums do not depend on order or grouping: a worker that was killed, a rebalance or ticks
that came in another order change no figure by even one millijoule. Never negative and never invented: where a counter
restarted, was absent or is under suspicion, the span is not covered.

Arrays have one line a pair of ticks; `[…, n]` are GPUs, `[…, m]` jobs.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.frames import NO_64, mask_of
from pipeline.messages.telemetry import Quality

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

#: Two ticks further apart than this are a hole: what happened between them is known in sum but not when. `share` is
#: exact up to 50 minutes.
BRIDGE_US = 45 * 60_000_000
#: What a counter can move in a microsecond, thousandths: 320 kW, or 320,000 tokens a second, are no host's. More is a
#: fault of the counter.
FASTEST = 320
SUSPECT = mask_of([Quality.ENERGY_SUSPECT])


@dataclass(frozen=True, eq=False)
class Moved:
    """What happened between pairs of ticks."""

    span_us: Ints
    """[N], positive."""
    energy_mj: Ints
    """[N, n] by GPU."""
    valid: Flags
    """[N, n]: the GPU's counter holds over the pair."""
    host_mj: Ints
    """[N], by the chassis meter where it counts, else the GPUs together."""
    held: Ints
    """[N], of `of`: how many parts of the host are covered."""
    of: int
    tokens_milli: Ints
    """[N, m] by job."""
    counted: Flags
    """[N, m]: somebody counted."""

    def covered_us(self, part_us: Ints) -> Ints:
        """Return how much of the first *part_us* of each span is covered, host by host, rounded down."""
        covered: Ints = part_us * self.held // self.of
        return covered


def moved(earlier: Any, later: Any, metered: Flags) -> Moved:
    """
    Return what moved between ticks with one layout.

    *earlier* and *later* are records with `at_us`, `energy_mj`, `chassis_mj`, `tokens_milli` and `quality`; *metered*
    tells which hosts have a chassis meter. While that does not answer, what their GPUs used is a part of the host's
    energy, and nothing of the host is covered.
    """
    span = later["at_us"] - earlier["at_us"]
    energy, valid = difference(earlier["energy_mj"], later["energy_mj"], span[..., None])
    valid &= (later["quality"] & SUSPECT) == 0
    energy = np.where(valid, energy, 0)
    chassis, by_chassis = difference(earlier["chassis_mj"], later["chassis_mj"], span)
    tokens, counted = difference(earlier["tokens_milli"], later["tokens_milli"], span[..., None])
    gpus = valid.shape[-1]
    return Moved(
        span_us=span,
        energy_mj=energy,
        valid=valid,
        host_mj=np.where(by_chassis, chassis, energy.sum(-1)),
        held=np.where(by_chassis, max(gpus, 1), np.where(metered, 0, valid.sum(-1))),
        of=max(gpus, 1),
        tokens_milli=tokens,
        counted=counted,
    )


def difference(earlier: Ints, later: Ints, span_us: Ints) -> tuple[Ints, Flags]:
    """Return what counters moved, 0 where they were absent, ran backwards or cannot have moved so far; and who held."""
    held = (earlier != NO_64) & (later >= earlier)  # an absent later reading is the smallest number there is
    change = np.where(held, later - np.where(held, earlier, 0), 0)
    held &= change <= FASTEST * span_us
    return np.where(held, change, 0), held


def share(amount: Ints, part_us: Ints, span_us: Ints) -> Ints:
    """Return ⌊amount · part / span⌋, what falls into the first *part_us* of *span_us*; no product leaves 64 bits."""
    whole, rest = amount // span_us, amount % span_us
    first: Ints = whole * part_us + rest * part_us // span_us
    return first
