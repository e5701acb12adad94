"""
Firm flexible power: what the last half minute of capacity messages proves can be let go. Pure.

    slots        │ 10 │ 9 │ 8 │ … │ 2 │ 1 │   tail    │
                 └──── window, slot_s each ┴─ max_age ─┴ now

A slot is worth what the messages of its span show; a slot without a message is worth nothing. Firm is the
``1 − confidence`` quantile over all slots, the tail included as one more bound. Therefore no message that is removed,
delayed, lowered or made NaN can raise the result: the number of slots is fixed by `now`, not by what arrived. Within
one slot the largest message counts, because any other choice would let the loss of a low message raise the slot.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, SiteCapacity, Tier
from pipeline.tiers import FLOOR_SHARE

#: Tiers in the order in which they are let go: preemptible first, T0 never.
ORDER: tuple[Tier, ...] = (Tier.T3, Tier.T2, Tier.T1)

#: Above this share of silent hosts telemetry proves nothing and the message counts as absent (HALTED).
HALT_STALE_SHARE = 0.5


@dataclass(frozen=True)
class Finding:
    """Something a reader should know about a decision; a value, not an exception."""

    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}"


@dataclass(frozen=True)
class Window:
    """How much evidence a firm figure needs."""

    confidence: float
    """The share of slots that reach the firm figure."""
    length: timedelta
    slot: timedelta
    """At least the spacing of capacity messages plus its jitter: an empty slot counts as nothing to sell."""
    max_age: timedelta
    """Without a message younger than this nothing is offered."""

    @property
    def slots(self) -> int:
        """How many slots the window has, the tail not counted."""
        return math.ceil(self.length / self.slot)


@dataclass(frozen=True)
class Firm:
    """Power that may be promised, kW, cumulated over `tiers`: the last entry is all of it."""

    tiers: tuple[Tier, ...]
    cumulative_kw: tuple[float, ...]

    @property
    def total_kw(self) -> float:
        """All tiers together."""
        return self.cumulative_kw[-1] if self.cumulative_kw else 0.0


def floor_index(tier: Tier) -> int:
    """Return the index in `CAP_SHARES` of the deepest cap that *tier* allows."""
    return max(index for index, share in enumerate(CAP_SHARES) if share >= FLOOR_SHARE[tier])


def pool_relief_kw(pool: PoolLoad) -> float:
    """Return what *pool* lets go at its tier's floor: never negative, never more than it draws, nothing of a NaN."""
    index = floor_index(pool.tier)
    if pool.tier not in ORDER or index >= len(pool.relief_kw):
        return 0.0
    relief_kw = pool.relief_kw[index]
    return min(relief_kw, pool.power_kw) if relief_kw > 0 and pool.power_kw > 0 else 0.0


def trusted_share(message: SiteCapacity) -> float:
    """
    Return the haircut for hosts that are silent, 0 to 1; 0 means that the message proves nothing.

    Silent hosts are without relief already; the haircut on top is for what else their silence may mean. With a
    partition missing the site's load is unknown, and no reduction against a baseline can be promised on it.
    """
    if message.hosts <= 0 or message.partitions < message.partitions_expected or not math.isfinite(message.load_kw):
        return 0.0
    stale_share = message.hosts_stale / message.hosts
    return max(0.0, 1.0 - stale_share) if stale_share <= HALT_STALE_SHARE else 0.0


def deliverable_kw(message: SiteCapacity, baseline_kw: float, tiers: Sequence[Tier]) -> tuple[float, ...]:
    """
    Return what *message* shows could be delivered against the baseline, kW, cumulated over *tiers*.

    Load above the baseline must be shed before the first delivered kW, so it is taken off. Load below the baseline
    adds nothing: only relief that was measured is sold, not workload that happens to be missing.
    """
    excess_kw = max(0.0, message.load_kw - baseline_kw)
    cumulative, relief_kw = [], 0.0
    for tier in tiers:
        relief_kw += sum(pool_relief_kw(pool) for pool in message.pools if pool.tier is tier)
        cumulative.append(max(0.0, min(relief_kw, message.load_kw) * trusted_share(message) - excess_kw))
    return tuple(cumulative) if trusted_share(message) > 0 else (0.0,) * len(tiers)


def slots_of(messages: Iterable[SiteCapacity], window: Window, now: datetime) -> list[list[SiteCapacity]]:
    """Return the tail and then the slots, newest first; a message from after *now* is not known yet."""
    slots: list[list[SiteCapacity]] = [[] for _ in range(1 + window.slots)]
    for message in messages:
        age = now - message.as_of
        if timedelta(0) <= age < window.max_age:
            slots[0].append(message)
        elif age >= window.max_age and (index := 1 + (age - window.max_age) // window.slot) < len(slots):
            slots[index].append(message)
    return slots


def empty_slots(messages: Iterable[SiteCapacity], window: Window, now: datetime) -> int:
    """Return how many slots no message speaks for, the tail not counted."""
    return sum(not slot for slot in slots_of(messages, window, now)[1:])


def firm_kw(
    messages: Iterable[SiteCapacity], window: Window, baseline_kw: float, now: datetime, tiers: Sequence[Tier] = ORDER
) -> Firm:
    """Return the firm deliverable power of *tiers* at *now*; see the module's drawing."""
    worth = [
        [max(column) for column in zip(*(deliverable_kw(m, baseline_kw, tiers) for m in slot), strict=True)]
        if slot
        else [0.0] * len(tiers)
        for slot in slots_of(messages, window, now)
    ]
    tail, slots = worth[0], worth[1:]
    rank = math.floor((1 - window.confidence) * len(slots) + 1e-9)
    return Firm(
        tiers=tuple(tiers),
        cumulative_kw=tuple(
            min(tail[level], sorted(slot[level] for slot in slots)[rank]) for level in range(len(tiers))
        ),
    )
