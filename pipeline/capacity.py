"""
Gauges from the hosts' newest ticks: what a partition's part of a site draws now and what it could let go. Pure.

Relief is measured draw minus the draw at the set-point, GPU by GPU. Whatever is missing, old, marked or beyond
belief frees nothing: it can lower the figure, never raise it.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import accumulate
from math import ceil, fsum, isfinite
from typing import TypeAlias

from pipeline import tiers
from pipeline.energy import tokens_between
from pipeline.messages.telemetry import CAP_SHARES, GpuSample, HostTick, PoolLoad, Quality, SitePartial, Tier, Workload
from pipeline.units import W_PER_KW

#: A host silent for longer than this (clock time), or whose clock is ahead by more, keeps its load, loses its relief.
STALE_AFTER = timedelta(seconds=5)
#: A sample with one of these marks frees nothing.
UNBELIEVED = frozenset({Quality.LOST, Quality.IMPLAUSIBLE, Quality.STALE})

PoolName: TypeAlias = tuple[Tier, Workload, str]


@dataclass(frozen=True)
class LastTwo:
    """A host's newest tick, and the one before it for rates."""

    tick: HostTick
    before: HostTick | None = None

    def is_stale(self, now: datetime) -> bool:
        """Tell whether the tick is too old, or too far ahead, to sell anything on."""
        return not -STALE_AFTER <= now - self.tick.measured_at <= STALE_AFTER


@dataclass
class _Pool:
    gpus: int = 0
    power_w: list[float] = field(default_factory=list)
    max_w: float = 0.0
    draws_w: dict[float, list[float]] = field(default_factory=lambda: defaultdict(list))
    """Draw of the GPUs that may be capped, by their floor in watts."""
    tokens_per_s: list[float] = field(default_factory=list)


def site_partial(site: str, partition: int, as_of: datetime, hosts: Sequence[LastTwo], ticks_open: int) -> SitePartial:
    """Return what *hosts*, the hosts of *site* in *partition*, amount to at *as_of*."""
    ages_ms = sorted(max(0.0, (as_of - host.tick.measured_at) / timedelta(milliseconds=1)) for host in hosts)
    return SitePartial(
        site=site,
        partition=partition,
        as_of=as_of,
        hosts=len(hosts),
        hosts_stale=sum(host.is_stale(as_of) for host in hosts),
        gpus=sum(len(host.tick.gpus) for host in hosts),
        load_kw=fsum(load_w(host.tick) for host in hosts) / W_PER_KW,
        pools=pool_loads(hosts, as_of),
        ticks_open=ticks_open,
        age_p50_ms=quantile(ages_ms, 0.50),
        age_p99_ms=quantile(ages_ms, 0.99),
        simulated=any(host.tick.simulated for host in hosts),
    )


def load_w(tick: HostTick) -> float:
    """Return the host's draw: its chassis meter, or what its GPUs report."""
    if tick.chassis_w is not None and isfinite(tick.chassis_w):
        return tick.chassis_w
    return fsum(draw for gpu in tick.gpus if (draw := draw_w(gpu)) is not None)


def draw_w(gpu: GpuSample) -> float | None:
    """Return the measured draw, None where there is no number that a meter can have shown."""
    power = gpu.power_w
    return power if power is not None and isfinite(power) and power >= 0 else None


def pool_loads(hosts: Sequence[LastTwo], as_of: datetime) -> tuple[PoolLoad, ...]:
    """Return the pools of *hosts* in a fixed order."""
    pools: defaultdict[PoolName, _Pool] = defaultdict(_Pool)
    for host in hosts:
        fresh = not host.is_stale(as_of)
        for gpu in host.tick.gpus:
            _add_gpu(pools[gpu.tier, gpu.workload, gpu.model], gpu, fresh=fresh)
        if fresh and host.before is not None:
            _add_tokens(pools, host.before, host.tick)
    return tuple(_pool_load(name, pools[name]) for name in sorted(pools) if pools[name].gpus)


def _add_gpu(pool: _Pool, gpu: GpuSample, *, fresh: bool) -> None:
    pool.gpus += 1
    if (draw := draw_w(gpu)) is None:
        return
    pool.power_w.append(draw)
    if gpu.max_w is None or gpu.min_w is None:
        return
    pool.max_w = max(pool.max_w, gpu.max_w)
    if fresh and gpu.tier is not Tier.T0 and UNBELIEVED.isdisjoint(gpu.quality):
        pool.draws_w[tiers.floor_w(gpu.tier, gpu.min_w, gpu.max_w)].append(draw)


def _add_tokens(pools: dict[PoolName, _Pool], before: HostTick, tick: HostTick) -> None:
    seconds = (tick.measured_at - before.measured_at).total_seconds()
    if seconds > 0:
        for (tier, workload, model, _), tokens in tokens_between(before, tick):
            pools[tier, workload, model].tokens_per_s.append(tokens / seconds)


def _pool_load(name: PoolName, pool: _Pool) -> PoolLoad:
    by_floor = [
        relief_w(draws, [max(share * pool.max_w, floor) for share in CAP_SHARES])
        for floor, draws in pool.draws_w.items()
    ]
    tier, workload, model = name
    return PoolLoad(
        tier=tier,
        workload=workload,
        gpu_model=model,
        gpus=pool.gpus,
        power_kw=fsum(pool.power_w) / W_PER_KW,
        relief_kw=tuple(fsum(reliefs) / W_PER_KW for reliefs in zip(*by_floor, strict=True))
        or (0.0,) * len(CAP_SHARES),
        max_w=pool.max_w,
        tokens_per_s=fsum(pool.tokens_per_s) if pool.tokens_per_s else None,
    )


def relief_w(draws_w: list[float], caps_w: Sequence[float]) -> list[float]:
    """
    Return Σ max(0, draw − cap) over *draws_w* for each of *caps_w*.

    Sorted once, then a suffix sum per cap: 10 000 GPUs at 15 caps are 10 000 additions, not 150 000.
    """
    ordered = sorted(draws_w)
    above = [*accumulate(reversed(ordered), initial=0.0)]  # above[n]: sum of the n largest
    counts = [len(ordered) - bisect_right(ordered, cap) for cap in caps_w]
    return [max(0.0, above[count] - count * cap) for count, cap in zip(counts, caps_w, strict=True)]


def quantile(ordered: Sequence[float], share: float) -> float | None:
    """Return the nearest-rank quantile of *ordered*, None of nothing."""
    return ordered[max(0, ceil(share * len(ordered)) - 1)] if ordered else None
