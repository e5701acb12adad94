"""
Interval figures of partitions added up to those of a site. Pure.

Sums are taken in the whole numbers of the rollup (mJ, µs, thousandths of a token): neither the order shows, nor whether
some were added up before others came. Exact as long as a partial is below 600 MWh and 70 years of GPU time.
"""

from collections import defaultdict
from collections.abc import Iterable

import msgspec

from pipeline.messages.telemetry import (
    IntervalCorrection,
    IntervalPartial,
    PoolInterval,
    SiteInterval,
    Tier,
    Workload,
)
from pipeline.totals import MILLI, MJ_PER_KWH, US_PER_S


def merged_interval(
    parts: Iterable[IntervalPartial | SiteInterval],
    expected: int,
    revision: int,
    corrections: Iterable[IntervalCorrection] = (),
) -> SiteInterval:
    """
    Return *parts*, at least one, and what *corrections* add to them; *expected* partitions are due.

    `hosts_partial` is an upper bound: nobody tells whose hole a correction has filled, so hosts count as partial until
    every host-second is covered. `covered_share` is zero where there are no hosts.
    """
    figure = added_up(parts, corrections)
    host_s = figure.hosts * figure.interval.length.total_seconds()
    whole = figure.covered_host_s >= host_s - figure.hosts / US_PER_S
    return msgspec.structs.replace(
        figure,
        revision=revision,
        hosts_partial=0 if whole else min(figure.hosts_partial, figure.hosts),
        covered_share=min(1.0, figure.covered_host_s / host_s) if figure.hosts else 0.0,
        partitions_expected=expected,
    )


def added_up(
    parts: Iterable[IntervalPartial | SiteInterval], corrections: Iterable[IntervalCorrection] = ()
) -> SiteInterval:
    """Return the bare sum: no revision, no shares, nothing bounded; what can be added to again."""
    parts, corrections = tuple(parts), tuple(corrections)
    every = (*parts, *corrections)
    return SiteInterval(
        site=parts[0].site,
        interval=parts[0].interval,
        revision=0,
        energy_kwh=_total((figure.energy_kwh for figure in every), MJ_PER_KWH),
        hosts=sum(figure.hosts for figure in every),
        hosts_partial=sum(part.hosts_partial for part in parts) + sum(correction.hosts for correction in corrections),
        covered_share=0.0,
        partitions=sum(part.partitions if isinstance(part, SiteInterval) else 1 for part in parts),
        partitions_expected=0,
        ticks=sum(figure.ticks for figure in every),
        ticks_missing=sum(figure.ticks_missing for figure in every),
        pools=_merged_pools(pool for figure in every for pool in figure.pools),
        simulated=any(figure.simulated for figure in every),
        covered_host_s=_total((figure.covered_host_s for figure in every), US_PER_S),
        corrected=bool(corrections),
    )


def _total(amounts: Iterable[float], parts: float) -> float:
    """Return the sum of *amounts*, each of them a whole number when multiplied by *parts*."""
    return sum(round(amount * parts) for amount in amounts) / parts


def _merged_pools(pools: Iterable[PoolInterval]) -> tuple[PoolInterval, ...]:
    groups: defaultdict[tuple[Tier, Workload, str, str, str], list[PoolInterval]] = defaultdict(list)
    for pool in pools:
        groups[pool.tier, pool.workload, pool.gpu_model, pool.served_model or "", pool.engine or ""].append(pool)
    return tuple(_merged(groups[name]) for name in sorted(groups))


def _merged(group: list[PoolInterval]) -> PoolInterval:
    counted = [pool.tokens for pool in group if pool.tokens is not None]
    return PoolInterval(
        tier=group[0].tier,
        workload=group[0].workload,
        gpu_model=group[0].gpu_model,
        served_model=group[0].served_model,
        engine=group[0].engine,
        gpu_energy_kwh=_total((pool.gpu_energy_kwh for pool in group), MJ_PER_KWH),
        tokens=_total(counted, MILLI) if counted else None,
        gpu_s=_total((pool.gpu_s for pool in group), US_PER_S),
        covered_gpu_s=_total((pool.covered_gpu_s for pool in group), US_PER_S),
    )
