"""
From an instruction to power caps, and from measured load to the next correction. Pure.

    load ────────╮                          plan: the shallowest caps whose relief covers load − target,
                 ╰─╮      ╭ above: deepen         T3 first, then T2, then T1, never T0
    target  ┄┄┄┄┄┄┄┄╰──╮┄╭╯┄┄┄┄┄┄┄┄┄┄┄┄
                       ╰─╯ below: relax    correct: every few seconds, outside a deadband
             lead │ interval │ interval │ way back │ lease ends by itself

Relief is what the pools publish: measured draw minus the draw at a cap, at the levels of `CAP_SHARES`, straight lines
between them. During an event the draw is the capped one, so a pool's relief at its present cap is nothing and what is
published is what going deeper would add.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

from bidding.capacity import ORDER, Finding, floor_index
from pipeline.messages.control import RELEASE_S, LeaseCommand, PoolCap
from pipeline.messages.telemetry import CAP_SHARES, HostRecord, PoolLoad, SiteCapacity, Tier
from pipeline.tiers import FLOOR_SHARE

#: Of the estimated relief of an over-delivering cap, give back at most this share per correction: what a GPU would draw
#: above its cap is not known.
RELAX_GAIN = 0.5
RELAX_STEP = 0.25

FULL = 1.0
#: From this share on a cap holds back next to nothing, and giving back a part of it would never come to an end.
NEARLY_FULL = 0.99


@dataclass(frozen=True)
class Cut:
    """One tier's cap, as a share of each GPU's maximum limit, and the relief it was set for."""

    share: float
    relief_kw: float


@dataclass(frozen=True)
class Plan:
    """Caps by tier, the limits of the GPUs they concern, and what cannot be reached with them."""

    cuts: Mapping[Tier, Cut] = field(default_factory=dict)
    max_w: Mapping[tuple[Tier, str], float] = field(default_factory=dict)
    """By (tier, GPU model), watts."""
    missing_kw: float = 0.0
    """Load above target that no cap reaches."""

    @property
    def relief_kw(self) -> float:
        """What all cuts together were set for."""
        return sum(cut.relief_kw for cut in self.cuts.values())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What an operator should know."""
        if self.missing_kw > 0:
            return (Finding("relief exhausted", f"{self.missing_kw:.1f} kW above target, no relief left"),)
        return ()


def target_kw(baseline_kw: float, awarded_kw: float, hold_margin: float) -> float:
    """Return the load to hold: *hold_margin* (a share of the award) below what the award asks for."""
    return baseline_kw - awarded_kw * (1 + hold_margin)


def plan(capacity: SiteCapacity, target_load_kw: float, before: Plan | None = None) -> Plan:
    """
    Return the shallowest caps that bring the load in *capacity* down to *target_load_kw*.

    Caps of *before* stay or go deeper. Without need nothing new is capped.
    """
    before = before or Plan()
    need_kw = capacity.load_kw - target_load_kw
    cuts = dict(before.cuts)
    for tier in ORDER:
        if not need_kw > 0:
            break
        relief = tier_relief(capacity.pools, tier)
        gained_kw = min(need_kw, relief[-1])
        if gained_kw > 0:
            known = cuts.get(tier, Cut(FULL, 0.0))
            cuts[tier] = Cut(share_for(relief, gained_kw, known.share), known.relief_kw + gained_kw)
            need_kw -= gained_kw
    return Plan(cuts, {**before.max_w, **limits(capacity.pools)}, max(0.0, need_kw))


def tier_relief(pools: Iterable[PoolLoad], tier: Tier) -> list[float]:
    """Return *tier*'s relief at each level of `CAP_SHARES` down to its floor, kW, never falling; a NaN is nothing."""
    levels = [0.0] * (floor_index(tier) + 1)
    for pool in pools:
        if pool.tier is tier:
            for index, relief_kw in enumerate(pool.relief_kw[: len(levels)]):
                levels[index] += relief_kw if relief_kw > 0 else 0.0
    return [max(levels[: index + 1]) for index in range(len(levels))]


def share_for(relief: Sequence[float], need_kw: float, present: float = FULL) -> float:
    """
    Return the shallowest share whose relief reaches *need_kw*, straight lines between the levels.

    Relief 0, 0, 10, 30 kW at 1.0, 0.95, 0.90, 0.85 and a need of 20 kW: half way from 0.90 to 0.85. With a cap in force
    at *present* the first line starts there, where relief is nothing, so that any need goes deeper.
    """
    for (share, shallow_kw), (deeper, deep_kw) in pairwise(zip(CAP_SHARES, relief, strict=False)):
        if deep_kw >= need_kw > shallow_kw and deeper < present:
            start = min(share, present)
            return max(deeper, start + (deeper - start) * (need_kw - shallow_kw) / (deep_kw - shallow_kw))
    return min(present, CAP_SHARES[len(relief) - 1]) if need_kw > 0 else present


def limits(pools: Iterable[PoolLoad]) -> dict[tuple[Tier, str], float]:
    """Return the GPUs' maximum limit by (tier, model), watts; of two the lower, which caps deeper."""
    found: dict[tuple[Tier, str], float] = {}
    for pool in pools:
        key = (pool.tier, pool.gpu_model)
        found[key] = min(pool.max_w, found.get(key, pool.max_w))
    return found


def correct(now_plan: Plan, capacity: SiteCapacity, target_load_kw: float, deadband_kw: float) -> Plan:
    """
    Return the plan for what was measured: deeper above the deadband, a little shallower below it, else the same.

    The dearest tier in use is relaxed first, in proportion: 100 kW too little load on a cut set for 400 kW gives back
    an eighth (`RELAX_GAIN` × 100 ÷ 400) of the way to no cap, never more than `RELAX_STEP`. A cut set for less than the
    surplus is given back whole, and the next cheaper tier answers for the rest. A tier given back stays in the plan at
    its full limit: hosts must hear of it.
    """
    surplus_kw = target_load_kw - capacity.load_kw
    if surplus_kw < -deadband_kw:
        return plan(capacity, target_load_kw, now_plan)
    cuts = dict(now_plan.cuts)
    if surplus_kw > deadband_kw:
        cuts |= relaxed({tier: cut for tier, cut in cuts.items() if cut.share < FULL}, surplus_kw)
    return replace(now_plan, cuts=cuts, missing_kw=0.0)


def relaxed(used: Mapping[Tier, Cut], surplus_kw: float) -> dict[Tier, Cut]:
    """Return the cuts of *used* that change when *surplus_kw* is given back, dearest tier first."""
    changed: dict[Tier, Cut] = {}
    for tier in (tier for tier in reversed(ORDER) if tier in used):
        if not surplus_kw > 0:
            break
        cut = used[tier]
        if surplus_kw <= cut.relief_kw and cut.share < NEARLY_FULL:
            back = min(RELAX_STEP, RELAX_GAIN * surplus_kw / cut.relief_kw)
            changed[tier] = Cut(cut.share + (FULL - cut.share) * back, cut.relief_kw * (1 - back))
            break
        changed[tier] = Cut(FULL, 0.0)
        surplus_kw -= cut.relief_kw
    return changed


@dataclass(frozen=True)
class Lease:
    """What all commands of one round have in common."""

    award_id: str
    dispatch_id: str
    issued_at: datetime
    expires_at: datetime
    seq: int
    release_s: float = RELEASE_S
    """How long the hosts' way back takes, the last part of the lease; seconds of the clock."""


def commands(current: Plan, directory: Iterable[HostRecord], lease: Lease) -> list[LeaseCommand]:
    """
    Return one command for every host that holds GPUs under a cap, in order of host name.

    Every GPU of a tier and model gets the same cap: one capped GPU slows a whole training job anyway.
    """
    by_host = {record.host: caps_of(current, record) for record in directory}
    return [_command(host, caps, lease) for host, caps in sorted(by_host.items()) if caps]


def releases(current: Plan, directory: Iterable[HostRecord], lease: Lease) -> list[LeaseCommand]:
    """Return the command to let go now for every host that *current* caps, in order of host name."""
    hosts = {
        record.host for record in directory for pool in record.pools if pool.gpus > 0 and pool.tier in current.cuts
    }
    return [_command(host, (), lease) for host in sorted(hosts)]


def _command(host: str, caps: tuple[PoolCap, ...], lease: Lease) -> LeaseCommand:
    return LeaseCommand(
        command_id=f"{host}-{lease.seq}",
        host=host,
        seq=lease.seq,
        kind="economic",
        award_id=lease.award_id,
        dispatch_id=lease.dispatch_id,
        issued_at=lease.issued_at,
        not_before=lease.issued_at,
        expires_at=lease.expires_at,
        caps=caps,
        release_s=lease.release_s,
    )


def caps_of(current: Plan, record: HostRecord) -> tuple[PoolCap, ...]:
    """Return the caps that *current* means for the GPUs of one host."""
    groups = sorted({(pool.tier, pool.gpu_model) for pool in record.pools if pool.gpus > 0})
    return tuple(
        PoolCap(tier=tier, gpu_model=model, cap_w=watts(tier, current.cuts[tier].share, current.max_w[tier, model]))
        for tier, model in groups
        if tier in current.cuts and (tier, model) in current.max_w
    )


def watts(tier: Tier, share: float, max_w: float) -> float:
    """Return the cap of *share* of *max_w*, rounded down to a tenth of a watt but not below *tier*'s floor."""
    return max(math.floor(round(share * max_w * 10, 6)) / 10, FLOOR_SHARE[tier] * max_w)


def next_seq(now: datetime, highest: int) -> int:
    """
    Return a sequence above *highest*: the clock's microseconds, which also grow over a restart.

    A clock that was set back is no matter: the journal remembers the highest sequence that was sent.
    """
    return max(int(now.timestamp() * 1e6), highest + 1)


def lease_end(now: datetime, event_end: datetime, longest: timedelta, release: timedelta) -> datetime:
    """
    Return when a lease issued *now* ends: a way back after the event, or earlier where leases must be renewed.

    Hosts begin their way back *release* before a lease ends, so that nothing is left of it when it has.
    """
    return min(event_end + release, now + longest)
