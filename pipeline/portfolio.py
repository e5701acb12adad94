"""
Site figures to portfolio figures. Pure; the shell is `pipeline.agents.portfolio`.

State is the newest figure of each site, a gauge: a figure that comes twice, late or again after a link was away changes
nothing. A site that is silent or unreadable drops out whole and is named as missing; whatever is missing can lower a
figure, never raise it.
"""

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timedelta
from math import fsum

import msgspec

from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, PortfolioCapacity, SiteCapacity
from pipeline.site import merged_loads

#: A site whose figure is older than this (clock time), or further ahead, is missing: `capacity.STALE_AFTER` for the
#: slowest of its own partitions, which `as_of` is as old as, and as much again for the way here.
SITE_STALE_AFTER = timedelta(seconds=10)
#: Sites publish every second of the clock; one that lags holds up the others no longer than that.
SECOND = timedelta(seconds=1)


def replaces(known: SiteCapacity | None, figure: SiteCapacity, now: datetime) -> bool:
    """Tell whether *figure* takes the place of *known*: it is newer, or *known* counts for nothing at *now*."""
    return known is None or figure.as_of > known.as_of or not counts(known, now)


def counts(figure: SiteCapacity, now: datetime) -> bool:
    """Tell whether *figure* says something about *now*, in cap levels that we know."""
    fresh = -SITE_STALE_AFTER <= now - figure.as_of <= SITE_STALE_AFTER
    return fresh and all(len(pool.relief_kw) == len(CAP_SHARES) for pool in figure.pools)


def due_second(newest: Mapping[str, SiteCapacity], published: datetime | None, now: datetime) -> datetime | None:
    """
    Return the second that is to be published now, None while it has to wait.

    A second is due once every site that is not missing has reported it, and at the latest when the first of them
    reports the next one. Nothing is due twice.
    """
    seconds = [figure.as_of for figure in newest.values() if counts(figure, now)]
    if not seconds:
        return None
    due = max(min(seconds), max(seconds) - SECOND)
    return due if published is None or due > published else None


def capacity(
    newest: Mapping[str, SiteCapacity], expected: Collection[str], portfolio: str, now: datetime
) -> PortfolioCapacity | None:
    """
    Return what the *expected* sites, by name in *newest*, amount to at *now*; None where none of them counts.

    Sites that are not expected add nothing.
    """
    known = {site: newest[site] for site in sorted(expected) if site in newest}
    present = {site: figure for site, figure in known.items() if counts(figure, now)}
    if not present:
        return None
    missing = [figure for site, figure in known.items() if site not in present]
    figures = present.values()
    return PortfolioCapacity(
        portfolio=portfolio,
        as_of=min(figure.as_of for figure in figures),
        known_at=now,
        sites=tuple(present),
        sites_missing=tuple(sorted(set(expected) - set(present))),
        hosts=sum(figure.hosts for figure in figures),
        hosts_stale=sum(figure.hosts_stale for figure in figures),
        gpus=sum(figure.gpus for figure in figures),
        load_kw=fsum(figure.load_kw for figure in figures),
        pools=_pools(figures, missing),
        simulated=any(figure.simulated for figure in figures),
    )


def _pools(present: Collection[SiteCapacity], missing: Collection[SiteCapacity]) -> tuple[PoolLoad, ...]:
    """
    Return the pools of *present*, at the highest limits of all.

    A level of relief is a share of a pool's highest limit. Were the limits of *missing* forgotten, the same share would
    become a deeper cap for the others and free more: a site's silence would raise the figure.
    """
    here = [pool for figure in present for pool in figure.pools]
    merged = merged_loads([*here, *(pool for figure in missing for pool in _limits(figure))])
    return tuple(pool for pool in merged if pool.gpus)


def _limits(figure: SiteCapacity) -> Iterator[PoolLoad]:
    """Yield the pools of *figure* with nothing left but their limits."""
    for pool in figure.pools:
        yield msgspec.structs.replace(pool, gpus=0, power_kw=0.0, relief_kw=(0.0,) * len(CAP_SHARES), tokens_per_s=None)
