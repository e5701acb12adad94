"""
Partials to site figures: what all telemetry partitions together say. Pure; the shells are `pipeline.agents`.

State is values, not increments: the newest partial of each partition replaces the one before, so a message that comes
twice, or again after a crash, changes nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from math import fsum

import msgspec

from pipeline.capacity import STALE_AFTER
from pipeline.messages.telemetry import (
    CAP_SHARES,
    Instant,
    IntervalPartial,
    PoolInterval,
    PoolLoad,
    SiteCapacity,
    SiteInterval,
    SitePartial,
    Tier,
    Workload,
)

#: A site's interval is published this long after its end (clock time) even if partitions are missing.
COMPLETE_AFTER = timedelta(seconds=20)
#: An interval nobody has sent anything for is forgotten this long after.
KEEP_INTERVALS = timedelta(hours=1)

MILLISECOND = timedelta(milliseconds=1)


def newer(known: SitePartial | None, partial: SitePartial) -> bool:
    """Tell whether *partial* replaces *known*."""
    return known is None or partial.as_of > known.as_of


def due_second(
    partials: Iterable[SitePartial], expected: int, published: datetime | None, arrived: datetime
) -> datetime | None:
    """
    Return the second that is to be published now, None while it has to wait.

    A second is due once every partition has reported it, and at the latest when *arrived*, the instant of the partial
    just taken in, is a later one. Nothing is due twice.
    """
    seconds = sorted((partial.as_of for partial in partials), reverse=True)
    if not seconds:
        return None
    everyone = seconds[expected - 1] if len(seconds) >= expected else None
    before = max((second for second in seconds if second < arrived), default=None)
    due = max((second for second in (everyone, before) if second is not None), default=None)
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


class OpenInterval(msgspec.Struct, frozen=True, kw_only=True):
    """What the partitions have said of one interval of one site so far, and what was published of it."""

    partials: tuple[IntervalPartial, ...]
    """By partition."""
    first_heard: Instant
    last_heard: Instant
    published: SiteInterval | None = None


def heard(state: OpenInterval | None, partial: IntervalPartial, now: datetime) -> OpenInterval:
    """Put *partial* in the place of its partition's earlier one."""
    others = () if state is None else tuple(old for old in state.partials if old.partition != partial.partition)
    return OpenInterval(
        partials=tuple(sorted((*others, partial), key=lambda one: one.partition)),
        first_heard=now if state is None else state.first_heard,
        last_heard=now,
        published=None if state is None else state.published,
    )


def step(state: OpenInterval, expected: int, now: datetime) -> tuple[OpenInterval, SiteInterval | None]:
    """
    Return the figure to publish, if it is time: every partition is in, or `COMPLETE_AFTER` has passed.

    The time runs from the interval's end, or from the first partial where that came later: after an outage partitions
    catch up one after the other. Once published, whatever changes the figure makes the next revision.
    """
    waited = now >= max(state.first_heard, state.partials[0].interval.end) + COMPLETE_AFTER
    if state.published is None and len(state.partials) < expected and not waited:
        return state, None
    revision = state.published.revision if state.published else 1
    figure = merged_interval(state.partials, expected, revision)
    if figure == state.published:
        return state, None
    if state.published:
        figure = msgspec.structs.replace(figure, revision=revision + 1)
    return msgspec.structs.replace(state, published=figure), figure


def is_over(state: OpenInterval, now: datetime) -> bool:
    """Tell whether the interval can be forgotten."""
    return now - state.last_heard > KEEP_INTERVALS


def merged_interval(partials: tuple[IntervalPartial, ...], expected: int, revision: int) -> SiteInterval:
    """Return the partitions' figures added up; coverage is weighted by hosts, zero where there are none."""
    hosts = sum(partial.hosts for partial in partials)
    covered = fsum(partial.covered_share * partial.hosts for partial in partials)
    return SiteInterval(
        site=partials[0].site,
        interval=partials[0].interval,
        revision=revision,
        energy_kwh=fsum(partial.energy_kwh for partial in partials),
        hosts=hosts,
        hosts_partial=sum(partial.hosts_partial for partial in partials),
        covered_share=covered / hosts if hosts else 0.0,
        partitions=len(partials),
        partitions_expected=expected,
        ticks=sum(partial.ticks for partial in partials),
        ticks_missing=sum(partial.ticks_missing for partial in partials),
        pools=_merged_intervals(pool for partial in partials for pool in partial.pools),
        simulated=any(partial.simulated for partial in partials),
    )


def _merged_intervals(pools: Iterable[PoolInterval]) -> tuple[PoolInterval, ...]:
    groups: defaultdict[tuple[Tier, Workload, str, str], list[PoolInterval]] = defaultdict(list)
    for pool in pools:
        groups[pool.tier, pool.workload, pool.gpu_model, pool.served_model or ""].append(pool)
    return tuple(
        PoolInterval(
            tier=group[0].tier,
            workload=group[0].workload,
            gpu_model=group[0].gpu_model,
            served_model=group[0].served_model,
            gpu_energy_kwh=fsum(pool.gpu_energy_kwh for pool in group),
            tokens=_total(pool.tokens for pool in group),
        )
        for _, group in sorted(groups.items())
    )


def _total(counts: Iterable[float | None]) -> float | None:
    known = [count for count in counts if count is not None]
    return fsum(known) if known else None


def table_key(site: str, part: int | datetime) -> str:
    """Return the table key of a site's partition or interval."""
    return f"{site}|{part.isoformat() if isinstance(part, datetime) else part}"


def keys_of_site(table: Iterable[str], site: str) -> list[str]:
    """Return the keys of *site* in *table*."""
    return [key for key in table if key.rpartition("|")[0] == site]


def of_site(table: Mapping[str, SitePartial], site: str, partitions: int) -> list[SitePartial]:
    """Return the newest partials of *site* in *table*."""
    found = (table.get(table_key(site, partition)) for partition in range(partitions))
    return [partial for partial in found if partial is not None]
