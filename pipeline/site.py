"""
Partials to site capacity: what all telemetry partitions together say now. Pure; the shell is `pipeline.agents.site`.

State is values, not increments: the newest partial of each partition replaces the one before, so a message that comes
twice, or again after a crash, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from math import fsum

from pipeline.capacity import STALE_AFTER
from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, SiteCapacity, SitePartial, Tier, Workload

MILLISECOND = timedelta(milliseconds=1)


#: A site whose figure waits for so long has partitions that say nothing.
SILENCE = timedelta(seconds=3)


def newer(known: SitePartial | None, partial: SitePartial) -> bool:
    """Tell whether *partial* replaces *known*."""
    return known is None or partial.as_of > known.as_of


def due_second(
    partials: Iterable[SitePartial], expected: int, published: datetime | None, arrived: datetime
) -> datetime | None:
    """
    Return the second that is to be published now, None while it has to wait.

    A second is due once every partition has reported it, and at the latest when *arrived*, the instant of the partial
    just taken in, is a later one, or when nothing was for `SILENCE`: one partition alone has nobody to wait for.
    Nothing is due twice.
    """
    seconds = sorted((partial.as_of for partial in partials), reverse=True)
    if not seconds:
        return None
    everyone = seconds[expected - 1] if len(seconds) >= expected else None
    before = max((second for second in seconds if second < arrived), default=None)
    alone = arrived if published is not None and arrived - published >= SILENCE else None
    due = max((second for second in (everyone, before, alone) if second is not None), default=None)
    return due if due is not None and (published is None or due > published) else None


def capacity(partials: Iterable[SitePartial], expected: int, now: datetime) -> SiteCapacity | None:
    """
    Return the site's capacity as known at *now*, None where no partition has spoken for `STALE_AFTER`.

    A partition whose partial is older drops out with all its load and relief, and is missing from `partitions`.
    """
    present = [partial for partial in partials if now - partial.as_of <= STALE_AFTER]
    if not present:
        return None
    as_of = min(partial.as_of for partial in present)
    return SiteCapacity(
        site=present[0].site,
        as_of=as_of,
        known_at=now,
        partitions=len(present),
        partitions_expected=expected,
        hosts=sum(partial.hosts for partial in present),
        hosts_stale=sum(partial.hosts_stale for partial in present),
        gpus=sum(partial.gpus for partial in present),
        load_kw=fsum(partial.load_kw for partial in present),
        pools=merged_loads(pool for partial in present for pool in partial.pools),
        ticks_open=sum(partial.ticks_open for partial in present),
        age_p50_ms=_worst([(partial, partial.age_p50_ms) for partial in present], now),
        age_p99_ms=_worst([(partial, partial.age_p99_ms) for partial in present], now),
        simulated=any(partial.simulated for partial in present),
        hosts_skewed=sum(partial.hosts_skewed for partial in present),
        hosts_quarantined=sum(partial.hosts_quarantined for partial in present),
    )


def _worst(ages_ms: list[tuple[SitePartial, float | None]], now: datetime) -> float | None:
    """Return the highest age, the way from partial to *now* included."""
    return max((age + (now - partial.as_of) / MILLISECOND for partial, age in ages_ms if age is not None), default=None)


def merged_loads(pools: Iterable[PoolLoad]) -> tuple[PoolLoad, ...]:
    """Return *pools* added up by tier, workload and GPU model, in a fixed order."""
    groups: defaultdict[tuple[Tier, Workload, str], list[PoolLoad]] = defaultdict(list)
    for pool in pools:
        groups[pool.tier, pool.workload, pool.gpu_model].append(pool)
    return tuple(_merged(groups[name]) for name in sorted(groups))


def _merged(pools: list[PoolLoad]) -> PoolLoad:
    max_w = max(pool.max_w for pool in pools)
    rates = [pool.tokens_per_s for pool in pools if pool.tokens_per_s is not None]
    return PoolLoad(
        tier=pools[0].tier,
        workload=pools[0].workload,
        gpu_model=pools[0].gpu_model,
        gpus=sum(pool.gpus for pool in pools),
        power_kw=fsum(pool.power_kw for pool in pools),
        relief_kw=tuple(map(fsum, zip(*(relief_at(pool, max_w) for pool in pools), strict=True))),
        max_w=max_w,
        tokens_per_s=fsum(rates) if rates else None,
    )


def relief_at(pool: PoolLoad, max_w: float) -> tuple[float, ...]:
    """
    Return the pool's relief at the shares of another, higher maximum.

    A share of a higher maximum is a higher cap for these GPUs: the relief of the next higher level that was published
    holds, none above their own maximum. What is not known is rounded towards less.
    """
    if max_w == pool.max_w:
        return pool.relief_kw
    own = [(share * pool.max_w, relief) for share, relief in zip(CAP_SHARES, pool.relief_kw, strict=True)]
    return tuple(max((relief for cap, relief in own if cap >= share * max_w), default=0.0) for share in CAP_SHARES)
