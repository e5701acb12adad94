"""
How a deployment is, from what Kafka knows of it: who works, how far behind, how old the newest figures are. Pure.

`pipeline.status_cli` asks. Nothing here needs a worker that answers: a deployment whose workers are all dead is just
what this must be able to describe.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import msgspec

from pipeline.groups import GroupFacts, Place
from pipeline.messages.telemetry import SiteCapacity, SiteInterval
from pipeline.tables import columns
from pipeline.topics import HOST_TICKS

SECOND = timedelta(seconds=1)
#: A site's figure older than this, by the shared clock, is no longer the present one.
FIGURE_STALE_S = 10.0
#: An interval is closed 5 s after its end, published at the latest 20 s later (`pipeline.site`); then it is overdue.
CLOSED_WITHIN_S = 40.0


@dataclass(frozen=True)
class Group:
    """A consumer group of the workers."""

    name: str
    topics: frozenset[str]
    """What it reads; empty: what it has committed."""
    limit_s: float
    """A record that waits for longer, machine time, is too late: how often the group commits, and as much again."""


@dataclass(frozen=True)
class Seen:
    """What was asked of Kafka."""

    now: datetime
    """By the shared clock…"""
    machine_s: float
    """…and by the machine's, seconds since 1970."""
    groups: tuple[Group, ...]
    places: Mapping[str, frozenset[Place]]
    """By group: the partitions it reads."""
    known: Mapping[str, GroupFacts]
    """By group."""
    begins: Mapping[Place, int]
    ends: Mapping[Place, int]
    waiting: Mapping[str, Mapping[Place, float]]
    """By group: when the first record that waits was written, machine time."""
    states: Mapping[int, float]
    """By telemetry partition: when the state that was committed last was written, machine time."""
    capacities: tuple[SiteCapacity, ...] = ()
    intervals: tuple[SiteInterval, ...] = ()
    missing: tuple[str, ...] = field(default=())
    """Topics that are not there."""


class GroupRow(msgspec.Struct, frozen=True):
    """How a group does."""

    group: str
    members: int
    partitions: int
    """That it reads…"""
    held: int
    """…and that somebody holds."""
    lag: int
    """Records, of all partitions."""
    behind_s: float
    """How long the oldest record has waited."""
    furthest: str | None
    """Where that is."""


class PartitionRow(msgspec.Struct, frozen=True):
    """A telemetry partition."""

    partition: int
    held_by: str | None
    offset: int
    """Committed; the worker itself is up to ten seconds ahead."""
    end: int
    lag: int
    behind_s: float
    state_age_s: float | None
    """Age of the state committed with the offset."""


class SiteRow(msgspec.Struct, frozen=True):
    """A site's newest figure and interval."""

    site: str
    load_kw: float
    hosts: int
    hosts_stale: int
    partitions: int
    partitions_expected: int
    age_s: float
    """Of the figure, by the shared clock."""
    tick_age_p99_s: float | None
    intervals: dict[int, datetime]
    """By length in seconds: end of the last closed interval."""


class Report(msgspec.Struct, frozen=True):
    """All of it."""

    healthy: bool
    problems: tuple[str, ...]
    groups: tuple[GroupRow, ...]
    partitions: tuple[PartitionRow, ...]
    sites: tuple[SiteRow, ...]


def report(seen: Seen) -> Report:
    """Return how the deployment is, and what is wrong with it."""
    groups = tuple(_group(seen, group) for group in seen.groups)
    partitions = tuple(_partitions(seen))
    sites = tuple(_sites(seen))
    problems = (
        *(f"topic {name} does not exist: `firmwatt pipeline doctor` says what to do" for name in seen.missing),
        *(problem for group, row in zip(seen.groups, groups, strict=True) for problem in _wrong(group, row)),
        *(_wrong_sites(seen, sites)),
    )
    return Report(not problems, problems, groups, partitions, sites)


def _next(seen: Seen, group: str, place: Place) -> int:
    """Return the next record of *place* that *group* reads, as far as Kafka knows."""
    known = seen.known[group].committed.get(place)
    begin = seen.begins.get(place, 0)
    return max(begin, known.offset) if known else begin


def _lag(seen: Seen, group: str, place: Place) -> int:
    return max(0, seen.ends.get(place, 0) - _next(seen, group, place))


def _behind_s(seen: Seen, group: str, place: Place) -> float:
    since = seen.waiting.get(group, {}).get(place)
    return max(0.0, seen.machine_s - since) if since is not None else 0.0


def _group(seen: Seen, group: Group) -> GroupRow:
    reads, members = seen.places[group.name], seen.known[group.name].members
    held = frozenset[Place]().union(*(member.places for member in members))
    furthest = max(sorted(reads), key=lambda place: _behind_s(seen, group.name, place), default=None)
    behind_s = _behind_s(seen, group.name, furthest) if furthest else 0.0
    return GroupRow(
        group=group.name,
        members=len(members),
        partitions=len(reads),
        held=len(held & reads),
        lag=sum(_lag(seen, group.name, place) for place in reads),
        behind_s=round(behind_s, 1),
        furthest=f"{furthest.topic}:{furthest.partition}" if furthest and behind_s > 0 else None,
    )


def _partitions(seen: Seen) -> Iterator[PartitionRow]:
    """Yield a row for each telemetry partition."""
    rollup = next(group for group in seen.groups if HOST_TICKS.name in group.topics).name
    holders = {place: member.client for member in seen.known[rollup].members for place in member.places}
    for place in sorted(seen.places[rollup]):
        saved_s = seen.states.get(place.partition)
        yield PartitionRow(
            partition=place.partition,
            held_by=holders.get(place),
            offset=_next(seen, rollup, place),
            end=seen.ends.get(place, 0),
            lag=_lag(seen, rollup, place),
            behind_s=round(_behind_s(seen, rollup, place), 1),
            state_age_s=round(max(0.0, seen.machine_s - saved_s), 1) if saved_s is not None else None,
        )


def _sites(seen: Seen) -> Iterator[SiteRow]:
    newest = {figure.site: figure for figure in sorted(seen.capacities, key=lambda figure: figure.known_at)}
    for site, figure in sorted(newest.items()):
        closed: dict[int, datetime] = {}
        for interval in seen.intervals:
            if interval.site == site and interval.source == "metered":
                length_s = interval.interval.length // SECOND
                closed[length_s] = max(interval.interval.end, closed.get(length_s, interval.interval.end))
        yield SiteRow(
            site=site,
            load_kw=figure.load_kw,
            hosts=figure.hosts,
            hosts_stale=figure.hosts_stale,
            partitions=figure.partitions,
            partitions_expected=figure.partitions_expected,
            age_s=round((seen.now - figure.known_at).total_seconds(), 1),
            tick_age_p99_s=figure.age_p99_ms / 1000 if figure.age_p99_ms is not None else None,
            intervals=dict(sorted(closed.items())),
        )


def _wrong(group: Group, row: GroupRow) -> Iterator[str]:
    """Yield what is wrong with a group, and what to do."""
    if not row.members:
        yield f"{row.group}: nobody works in it: start `firmwatt pipeline run`"
    elif HOST_TICKS.name in group.topics and row.held < row.partitions:
        yield (
            f"{row.group}: nobody holds {row.partitions - row.held} of {row.partitions} partitions: a rebalance takes "
            "seconds; longer, and workers have another telemetry_partitions than the topic"
        )
    if row.behind_s > group.limit_s:
        yield (
            f"{row.group}: a record on {row.furthest} has waited for {row.behind_s:.0f} s: a worker that stands still "
            "ends by itself, one that is too slow needs another beside it"
        )


def _wrong_sites(seen: Seen, sites: tuple[SiteRow, ...]) -> Iterator[str]:
    if not sites:
        yield "no site has a figure: is a worker running, and ready?"
    for row in sites:
        if row.age_s > FIGURE_STALE_S:
            yield f"{row.site}: its newest figure is {row.age_s:.0f} s old: look at the groups above"
        elif row.partitions < row.partitions_expected:
            yield (
                f"{row.site}: its figure has {row.partitions} of {row.partitions_expected} partitions: a rebalance "
                "takes seconds; a site whose ticks are mirrored here belongs in [pipeline] telemetry_sites"
            )
        for length_s, end in row.intervals.items():
            overdue_s = (seen.now - end).total_seconds() - length_s - CLOSED_WITHIN_S
            if overdue_s > 0:
                yield f"{row.site}: no interval of {length_s} s was closed after {end.isoformat()}"


def lines(found: Report) -> Iterator[str]:
    """Yield *found* as tables a person reads."""
    yield from columns(
        ("group", "members", "held", "lag", "behind s", "furthest"),
        *(
            (row.group, row.members, f"{row.held}/{row.partitions}", row.lag, row.behind_s, row.furthest or "")
            for row in found.groups
        ),
    )
    yield ""
    yield from columns(
        ("partition", "committed", "end", "lag", "behind s", "state age s", "held by"),
        *(
            (
                row.partition,
                row.offset,
                row.end,
                row.lag,
                row.behind_s,
                "" if row.state_age_s is None else row.state_age_s,
                row.held_by or "nobody",
            )
            for row in found.partitions
        ),
    )
    yield ""
    yield from columns(
        ("site", "load kW", "hosts", "stale", "partitions", "age s", "last closed"),
        *(
            (
                row.site,
                f"{row.load_kw:,.1f}",
                row.hosts,
                row.hosts_stale,
                f"{row.partitions}/{row.partitions_expected}",
                row.age_s,
                ", ".join(f"{length_s} s: {end.isoformat()}" for length_s, end in row.intervals.items()),
            )
            for row in found.sites
        ),
    )
    yield ""
    yield from (f"wrong: {problem}" for problem in found.problems)
    if found.healthy:
        yield "healthy"
