"""
Gauges from the hosts' newest ticks: what a partition's part of a site draws now and what it could let go. Pure.

Relief is measured draw minus the draw at the set-point, GPU by GPU. Whatever is missing, old, marked or beyond
belief frees nothing: it can lower the figure, never raise it.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline import skew
from pipeline.counters import Flags, Ints, difference
from pipeline.frames import NO_32, NO_64, Layout, instant, mask_of
from pipeline.messages.telemetry import CAP_SHARES, HostPool, HostRecord, PoolLoad, Quality, SitePartial, Tier, Workload
from pipeline.pools import Pools
from pipeline.rows import Cohort, Records
from pipeline.totals import tokens

if TYPE_CHECKING:
    from pipeline.rollup import Partition

Floats = npt.NDArray[np.float64]

#: A host silent for longer than this (clock time), or whose clock is ahead by more, keeps its load, loses its relief.
STALE_AFTER = timedelta(seconds=5)
STALE_US = STALE_AFTER // timedelta(microseconds=1)
#: A sample with one of these marks frees nothing.
UNBELIEVED = mask_of([Quality.LOST, Quality.IMPLAUSIBLE, Quality.STALE])
#: A host silent for longer than this is no longer shown.
FORGET_US = 3_600_000_000
#: No host draws a gigawatt: such a reading is none.
MOST_MW = 10**12
MW_PER_KW = 1e6
MW_PER_W = 1000.0
US_PER_S = 1e6


@dataclass(eq=False)
class Gauges:
    """What the hosts of a partition draw and could let go, by pool."""

    gpus: Ints
    power_mw: Ints
    max_mw: Ints
    relief_mw: Ints
    """[pool, cap level]."""
    tokens_per_s: list[float | None]


@dataclass(eq=False)
class _Hosts:
    """Of one site."""

    count: int = 0
    stale: int = 0
    gpus: int = 0
    load_mw: int = 0
    age_us: list[Ints] = field(default_factory=list)
    simulated: bool = False


def site_partials(state: "Partition", now_us: int) -> list[SitePartial]:
    """Return one partial for each site, also where this partition has no host of it."""
    flagged, quarantined = (_off(state, limit, now_us) for limit in (skew.FLAG_US, skew.QUARANTINE_US))
    gauges = _gauges(state, now_us, quarantined)
    hosts: dict[str, _Hosts] = {site: _Hosts() for site in state.every_site()}
    for cohort in state.cohorts.values():
        _add_hosts(state, cohort, now_us, hosts, quarantined)
    return [
        SitePartial(
            site=site,
            partition=state.number,
            as_of=instant(now_us),
            hosts=found.count,
            hosts_stale=found.stale,
            gpus=found.gpus,
            load_kw=found.load_mw / MW_PER_KW,
            pools=tuple(_pool_loads(gauges, state.pools, site)),
            ticks_open=state.ticks_open(site),
            age_p50_ms=quantile_ms(found.age_us, 0.50),
            age_p99_ms=quantile_ms(found.age_us, 0.99),
            simulated=found.simulated,
            hosts_skewed=int((flagged & state.of_site(site)).sum()),
            hosts_quarantined=int((quarantined & state.of_site(site)).sum()),
        )
        for site, found in hosts.items()
    ]


def _shown(cohort: Cohort, now_us: int) -> Flags:
    """Tell which rows hold the last tick of a host that is not silent for too long."""
    used = cohort.used
    shown: Flags = used["current"] & (now_us - used["at_us"] <= FORGET_US)
    return shown


def _fresh(cohort: Cohort, now_us: int, quarantined: Flags) -> Flags:
    """
    Tell on which rows something can be sold.

    Not on ticks too old or too far ahead, nor of a clock that is wrong, nor while the host's own meter does not answer:
    then its load is known in part, and a load that seems lower would make the offer higher.
    """
    used = cohort.used
    answers = _chassis(used) | (used["chassis_mj"] != NO_64)
    fresh: Flags = np.abs(now_us - used["at_us"]) <= STALE_US
    fresh &= ~quarantined[used["host"]] & (answers | ~np.array(cohort.metered, dtype=np.bool_))
    return fresh


def _chassis(rows: Records) -> Flags:
    """Tell which draws of whole hosts are numbers that a meter can have shown."""
    shown: Flags = (rows["chassis_mw"] >= 0) & (rows["chassis_mw"] <= MOST_MW)
    return shown


def _measured(rows: Records) -> Flags:
    """Tell which draws are numbers that a meter can have shown."""
    shown: Flags = (rows["power_mw"] != NO_32) & (rows["power_mw"] >= 0)
    return shown


def _add_hosts(state: "Partition", cohort: Cohort, now_us: int, hosts: dict[str, _Hosts], quarantined: Flags) -> None:
    shown = _shown(cohort, now_us)
    rows, fresh = cohort.used[shown], _fresh(cohort, now_us, quarantined)[shown]
    draw = np.where(_measured(rows), rows["power_mw"], 0).astype(np.int64).sum(1)
    load = np.where(_chassis(rows), rows["chassis_mw"], draw)
    for number, site in enumerate(state.sites):
        mine = np.array(state.site_of, dtype=np.int64)[rows["host"]] == number
        found = hosts[site]
        found.count += int(mine.sum())
        found.stale += int((mine & ~fresh).sum())
        found.gpus += int(mine.sum()) * cohort.gpus
        found.load_mw += int(load[mine].sum())
        found.age_us.append(np.maximum(now_us - rows["at_us"][mine & fresh], 0))
        found.simulated |= bool(rows["simulated"][mine].any())


def _off(state: "Partition", limit_us: int, now_us: int) -> Flags:
    """Tell of which hosts the clock is off by more than *limit_us*, whichever of their layouts it was heard with."""
    wrong: Flags = np.zeros(len(state.hosts), dtype=np.bool_)
    for cohort in state.cohorts.values():
        wrong[cohort.used["host"][skew.off(cohort.used, limit_us, now_us)]] = True
    return wrong


def _gauges(state: "Partition", now_us: int, quarantined: Flags) -> Gauges:
    count = len(state.pools)
    gauges = Gauges(
        gpus=np.zeros(count, np.int64),
        power_mw=np.zeros(count, np.int64),
        max_mw=np.zeros(count, np.int64),
        relief_mw=np.zeros((count, len(CAP_SHARES)), np.int64),
        tokens_per_s=[None] * count,
    )
    for cohort in state.cohorts.values():
        rows = cohort.used[_shown(cohort, now_us)]
        measured = _measured(rows)
        gauges.gpus += np.bincount(rows["gauge"].ravel(), minlength=count)
        gauges.power_mw += _by(rows["gauge"], np.where(measured, rows["power_mw"], 0), count)
        np.maximum.at(gauges.max_mw, rows["gauge"].ravel(), rows["max_mw"].ravel())
    for cohort in state.cohorts.values():
        shown, fresh = _shown(cohort, now_us), _fresh(cohort, now_us, quarantined)
        gauges.relief_mw += _relief_mw(cohort.used[shown], gauges.max_mw, fresh[shown])
        _add_tokens(cohort, state.pools, fresh, gauges.tokens_per_s)
    return gauges


def _relief_mw(rows: Records, max_mw: Ints, fresh: Flags) -> Ints:
    """
    Return Σ max(0, draw − cap) by pool and cap level, over the GPUs that may be capped and are believed.

    A cap is a share of the pool's maximum limit, not below what the GPU's own tier and device allow.
    """
    sold = _measured(rows) & rows["yields"] & ((rows["quality"] & UNBELIEVED) == 0) & fresh[:, None]
    pool, draw, floor = rows["gauge"][sold], rows["power_mw"][sold].astype(np.int64), rows["floor_mw"][sold]
    relief = np.empty((len(max_mw), len(CAP_SHARES)), np.int64)
    for level, part in enumerate(CAP_SHARES):
        cap = np.maximum(np.ceil(np.round(part * max_mw, 3)).astype(np.int64)[pool], floor)
        relief[:, level] = _by(pool, np.maximum(draw - cap, 0), len(max_mw))
    return relief


def _by(groups: Any, values: Any, count: int) -> Ints:
    return np.bincount(groups.ravel(), weights=values.ravel(), minlength=count).astype(np.int64)


def _add_tokens(cohort: Cohort, pools: Pools, fresh: Flags, rates: list[float | None]) -> None:
    """Add the tokens a second between each fresh host's last two ticks."""
    used = cohort.used
    if not cohort.jobs or not len(used):
        return
    span_us = np.where(used["before_us"] == NO_64, 0, used["at_us"] - used["before_us"])
    moved, counted = difference(used["before_milli"], used["tokens_milli"], span_us[:, None])
    usable = used["current"] & fresh & (span_us > 0)
    rate = moved * int(US_PER_S) // np.maximum(span_us, 1)[:, None]
    records = {"tokens_milli": np.where(usable[:, None], rate, 0), "counted": counted & usable[:, None]}
    amounts, who = tokens(cohort, records, pools)
    for number in np.flatnonzero(who).tolist():
        gauge = pools.number(pools.names[number].gauge)
        rates[gauge] = (rates[gauge] or 0.0) + int(amounts[number]) / 1000.0


def _pool_loads(gauges: Gauges, pools: Pools, site: str) -> Iterator[PoolLoad]:
    there = [number for number in np.flatnonzero(gauges.gpus).tolist() if pools.names[number].site == site]
    for number in sorted(there, key=lambda one: pools.names[one].order):
        pool = pools.names[number]
        yield PoolLoad(
            tier=pool.tier,
            workload=pool.workload,
            gpu_model=pool.gpu_model,
            gpus=int(gauges.gpus[number]),
            power_kw=int(gauges.power_mw[number]) / MW_PER_KW,
            relief_kw=tuple(int(relief) / MW_PER_KW for relief in gauges.relief_mw[number]),
            max_w=int(gauges.max_mw[number]) / MW_PER_W,
            tokens_per_s=gauges.tokens_per_s[number],
        )


def quantile_ms(age_us: Sequence[Ints], share: float) -> float | None:
    """Return the nearest-rank quantile of ages, milliseconds; None of nothing."""
    return quantile(np.sort(np.concatenate(age_us)) / 1000.0, share) if any(map(len, age_us)) else None


def quantile(ordered: Sequence[float] | Floats, share: float) -> float | None:
    """Return the nearest-rank quantile of *ordered*, None of nothing."""
    return float(ordered[max(0, ceil(share * len(ordered)) - 1)]) if len(ordered) else None


def host_record(layout: Layout, seen_at: datetime) -> HostRecord:
    """Return which pools live on the host of *layout*."""
    counts: defaultdict[tuple[Tier, Workload, str], int] = defaultdict(int)
    for gpu in layout.gpus:
        counts[gpu.tier, gpu.workload, gpu.model] += 1
    return HostRecord(host=layout.host, site=layout.site, pools=tuple(_host_pools(counts.items())), seen_at=seen_at)


def _host_pools(counts: Iterable[tuple[tuple[Tier, Workload, str], int]]) -> Iterator[HostPool]:
    for (tier, workload, model), gpus in sorted(counts):
        yield HostPool(tier=tier, workload=workload, gpu_model=model, gpus=gpus)
