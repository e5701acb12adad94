"""
Host ticks to site figures, for one telemetry partition. Pure; the shell is `pipeline.agents.rollup`.

A host's newest tick is a gauge; energy and tokens are differences of the devices' own counters between two neighbouring
ticks, shared out over the intervals they span:

    ticks      a ──────── b ────┊───── c ──────── d          b→c crosses the boundary: its joules are
    interval   [ 12:00 ─────────)[ 12:01 ───────── )         split there in proportion to time

A pair whose counter restarted (another boot or epoch, or a smaller value) is a hole: it covers and adds nothing.
Ticks count once, by (boot, seq). A tick that overtook its neighbours waits in a small buffer until they come or until
`REORDER_SPAN` of the host's own time has passed; then those still out are counted as missing. So every figure is a
function of which ticks there are, not of how often or in which order they came.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import fsum

from pipeline.capacity import LastTwo, site_partial
from pipeline.energy import MICROSECOND, HostShare, PoolKey, delta, parts_between
from pipeline.interval import EPOCH, Interval, floor
from pipeline.messages.telemetry import (
    HostPool,
    HostRecord,
    HostTick,
    IntervalPartial,
    PoolInterval,
    SitePartial,
    Tier,
    Workload,
)
from pipeline.units import J_PER_KWH

#: An interval's first figure is published this long after its end, clock time: ticks on their way still count.
LATENESS = timedelta(seconds=5)
#: A tick waits this long, by its host's own clock, for those it overtook; if its host says no more, `CORRECTION_SPAN`
#: by ours, because a worker that was itself away (a rebalance, a stalled broker) must not take its own silence for
#: the host's.
REORDER_SPAN = timedelta(seconds=5)
#: A published interval is corrected while one of its hosts has not been heard of past its end, at most this long.
CORRECTION_SPAN = timedelta(seconds=120)
#: Replay starts this long before the oldest open interval, so that the ticks around its start are there.
REPLAY_MARGIN = timedelta(seconds=10)
#: A host silent for longer than this is no longer expected.
FORGET_AFTER = timedelta(hours=1)


@dataclass
class Host:
    """What is remembered of one host."""

    site: str
    boot: str
    first_seen: datetime
    newest: HostTick | None = None
    """The newest of those in order."""
    before: HostTick | None = None
    early: list[HostTick] = field(default_factory=list)
    """Ticks that overtook others, by seq."""
    expected: int = 1
    retired: set[str] = field(default_factory=set)
    """Boots that are over: a tick of theirs is a redelivery."""

    @property
    def latest(self) -> HostTick:
        """The newest tick, in order or not: the gauge."""
        tick = self.early[-1] if self.early else self.newest
        assert tick is not None  # noqa: S101 - a host is made of a tick
        return tick

    @property
    def last_two(self) -> LastTwo:
        """What the gauges see."""
        return LastTwo(self.latest, self.newest if self.early else self.before)


@dataclass
class Partition:
    """The state of one telemetry partition; rebuilt from Kafka, never stored."""

    number: int
    length: timedelta
    """Of the settlement interval."""
    open_from: datetime | None = None
    """Start of the oldest interval that is not settled; what is before it is history. None: nothing settled yet."""
    hosts: dict[str, Host] = field(default_factory=dict)
    shares: dict[datetime, dict[str, HostShare]] = field(default_factory=dict)
    """By start of interval and host: the intervals that are not settled."""
    published: dict[tuple[datetime, str], IntervalPartial] = field(default_factory=dict)
    changed: set[datetime] = field(default_factory=set)
    """Intervals that took in something since they were last published."""
    first_offsets: dict[datetime, int] = field(default_factory=dict)
    """By replay bucket (see `low_water`): the first record in it."""
    records: dict[str, HostRecord] = field(default_factory=dict)
    _window: tuple[datetime, datetime] = (EPOCH, EPOCH)

    def add(self, tick: HostTick, offset: int) -> None:
        """Take in one tick; a redelivered one changes nothing."""
        self.first_offsets.setdefault(self._start_of(tick.measured_at + REPLAY_MARGIN), offset)
        host = self.hosts.get(tick.host)
        if host is None:
            host = self.hosts[tick.host] = Host(tick.site, tick.boot, tick.measured_at)
        if tick.boot != host.boot and not self._restarted(host, tick):
            return
        if tick.seq == host.expected and not host.early:
            self._advance(host, tick)
        elif tick.seq >= host.expected:
            self._hold(host, tick)

    def _restarted(self, host: Host, tick: HostTick) -> bool:
        """Go over to the boot of *tick*, unless that is one already over."""
        if tick.boot in host.retired or tick.measured_at < host.latest.measured_at:
            return False
        self._release(host)
        host.retired.add(host.boot)
        host.boot, host.site, host.expected = tick.boot, tick.site, 1
        return True

    def _hold(self, host: Host, tick: HostTick) -> None:
        """Keep an early tick back; go on with those whose turn has come or whose time is up."""
        if any(tick.seq == other.seq for other in host.early):
            return
        host.early.append(tick)
        host.early.sort(key=lambda other: other.seq)
        while host.early:
            first, last = host.early[0], host.early[-1]
            if first.seq != host.expected and last.measured_at - first.measured_at < REORDER_SPAN:
                return
            self._advance(host, host.early.pop(0))

    def _release(self, host: Host) -> None:
        """Stop waiting for ticks that were overtaken."""
        while host.early:
            self._advance(host, host.early.pop(0))

    def _advance(self, host: Host, tick: HostTick) -> None:
        """Make *tick* the newest, count it, share out the energy since the one before."""
        previous, host.before, host.newest = host.newest, host.newest, tick
        start = self._start_of(tick.measured_at)
        own = self._share(start, tick)
        own.ticks += 1
        own.ticks_missing += tick.seq - host.expected if previous else 0
        own.simulated |= tick.simulated
        host.expected = tick.seq + 1
        if previous is None or (difference := delta(previous, tick)) is None:
            return
        if previous.measured_at >= start:
            own.add(difference, 1.0)
            return
        for earlier_start, part in parts_between(previous.measured_at, tick.measured_at, self.length):
            self._share(earlier_start, tick).add(difference, part)

    def _start_of(self, instant: datetime) -> datetime:
        """Return the start of the interval *instant* falls into; one lookup, as a tick is seldom far from the last."""
        start, end = self._window
        if not start <= instant < end:
            start = floor(instant, self.length)
            self._window = start, start + self.length
        return start

    def _share(self, start: datetime, tick: HostTick) -> HostShare:
        """Return the open share of the host of *tick*; one to throw away where the interval is history."""
        if self.open_from is not None and start < self.open_from:
            return HostShare(tick.site)
        self.changed.add(start)
        hosts = self.shares.setdefault(start, {})
        if (share := hosts.get(tick.host)) is None:
            share = hosts[tick.host] = HostShare(tick.site)
        return share

    def due(self, sites: Iterable[str], now: datetime) -> tuple[list[IntervalPartial], list[SitePartial]]:
        """
        Return what one round publishes.

        Intervals are closed before the gauges are taken, so that no tick is in a figure and in `ticks_open` at once.
        """
        sites = tuple(sites)
        return self.closed(sites, now), self.gauges(sites, now)

    def gauges(self, sites: Iterable[str], as_of: datetime) -> list[SitePartial]:
        """Return one partial for each of *sites*, also where this partition has no host of it."""
        self._forget(as_of)
        by_site: defaultdict[str, list[LastTwo]] = defaultdict(list)
        for host in self.hosts.values():
            by_site[host.site].append(host.last_two)
        return [
            site_partial(site, self.number, as_of, by_site[site], self._ticks_open(site))
            for site in sorted({*sites, *by_site})
        ]

    def _forget(self, now: datetime) -> None:
        gone = [name for name, host in self.hosts.items() if now - host.latest.measured_at > FORGET_AFTER]
        for name in gone:
            del self.hosts[name]

    def _ticks_open(self, site: str) -> int:
        """Count the ticks that no published interval holds yet."""
        return sum(
            share.ticks
            for start, hosts in self.shares.items()
            if (start, site) not in self.published
            for share in hosts.values()
            if share.site == site
        ) + sum(len(host.early) for host in self.hosts.values() if host.site == site)

    def closed(self, sites: Iterable[str], now: datetime) -> list[IntervalPartial]:
        """Return the figures of ended intervals that are new or have changed since the last call."""
        for host in self.hosts.values():
            if host.early and now - host.early[-1].measured_at >= CORRECTION_SPAN:
                self._release(host)
        open_from = self.open_from or self._begin(now)
        sites = sorted({*sites, *(host.site for host in self.hosts.values())})
        news = []
        interval = Interval(open_from, open_from + self.length)
        while interval.end + LATENESS <= now:
            for site in sites:
                partial = self._published_before(interval, site) or self._partial(interval, site)
                if partial != self.published.get((interval.start, site)):
                    news.append(partial)
                    self.published[interval.start, site] = partial
            self.changed.discard(interval.start)
            interval = interval.next()
        return news

    def _begin(self, now: datetime) -> datetime:
        """
        Open the first interval of a group that has never committed: the oldest with ticks, an hour back at most.

        Without the bound one tick of a host whose clock stands at 1970 would make us publish every interval since.
        """
        oldest = floor(now - FORGET_AFTER, self.length)
        self.open_from = max(oldest, min(self.shares, default=floor(now, self.length)))
        self.shares = {start: hosts for start, hosts in self.shares.items() if start >= self.open_from}
        return self.open_from

    def _published_before(self, interval: Interval, site: str) -> IntervalPartial | None:
        return None if interval.start in self.changed else self.published.get((interval.start, site))

    def _partial(self, interval: Interval, site: str) -> IntervalPartial:
        shares = {name: share for name, share in self.shares.get(interval.start, {}).items() if share.site == site}
        silent = sum(
            name not in shares
            and host.site == site
            and host.first_seen < interval.end
            and host.latest.measured_at < interval.start
            for name, host in self.hosts.items()
        )
        length_us = interval.length / MICROSECOND
        covered = [min(1.0, share.covered_us / length_us) for share in shares.values()]
        hosts = len(shares) + silent
        return IntervalPartial(
            site=site,
            partition=self.number,
            interval=interval,
            energy_kwh=fsum(share.energy_j for share in shares.values()) / J_PER_KWH,
            hosts=hosts,
            hosts_partial=silent + sum(share.covered_us < length_us - 1 for share in shares.values()),
            covered_share=fsum(covered) / hosts if hosts else 0.0,
            ticks=sum(share.ticks for share in shares.values()),
            ticks_missing=sum(share.ticks_missing for share in shares.values()),
            pools=pool_intervals(shares.values()),
            simulated=any(share.simulated for share in shares.values()),
        )

    def settle(self, now: datetime) -> datetime | None:
        """Let go of published intervals that nothing can change any more; return the start of the oldest open one."""
        if self.open_from is None:
            return None
        while self._settled(self.open_from, now):
            self.shares.pop(self.open_from, None)
            self.published = {key: partial for key, partial in self.published.items() if key[0] != self.open_from}
            self.open_from += self.length
        self.first_offsets = {start: offset for start, offset in self.first_offsets.items() if start >= self.open_from}
        return self.open_from

    def _settled(self, start: datetime, now: datetime) -> bool:
        end = start + self.length
        if end + LATENESS > now or start in self.changed:
            return False
        expected = (host for host in self.hosts.values() if host.first_seen < end)
        complete = all(host.newest is not None and host.newest.measured_at >= end for host in expected)
        return complete or now >= end + CORRECTION_SPAN

    def low_water(self, position: int) -> int:
        """
        Return the offset to replay from after a crash: the first record at or after `open_from` − `REPLAY_MARGIN`.

        Records fall into buckets by measured time plus margin; *position*, the next record, where none qualifies.
        """
        return min(self.first_offsets.values(), default=position)

    def host_records(self) -> list[HostRecord]:
        """Return the records of hosts whose pools changed since the last call; at first, of all."""
        news = []
        for name, host in self.hosts.items():
            record = host_record(host.latest)
            known = self.records.get(name)
            if known is None or (known.site, known.pools) != (record.site, record.pools):
                self.records[name] = record
                news.append(record)
        return news


def pool_intervals(shares: Iterable[HostShare]) -> tuple[PoolInterval, ...]:
    """Return the pools of *shares* together, in a fixed order; the sums do not depend on the order of the hosts."""
    joules: defaultdict[PoolKey, list[float]] = defaultdict(list)
    tokens: defaultdict[PoolKey, list[float]] = defaultdict(list)
    for share in shares:
        for key, pool in share.pools.items():
            joules[key].append(pool.energy_j)
            if pool.tokens is not None:
                tokens[key].append(pool.tokens)
    return tuple(
        PoolInterval(
            tier=key[0],
            workload=key[1],
            gpu_model=key[2],
            served_model=key[3],
            gpu_energy_kwh=fsum(joules[key]) / J_PER_KWH,
            tokens=fsum(tokens[key]) if key in tokens else None,
        )
        for key in sorted(joules, key=lambda key: (*key[:3], key[3] or ""))
    )


def host_record(tick: HostTick) -> HostRecord:
    """Return which pools live on the host of *tick*."""
    counts: defaultdict[tuple[Tier, Workload, str], int] = defaultdict(int)
    for gpu in tick.gpus:
        counts[gpu.tier, gpu.workload, gpu.model] += 1
    return HostRecord(
        host=tick.host,
        site=tick.site,
        pools=tuple(
            HostPool(tier=tier, workload=workload, gpu_model=model, gpus=gpus)
            for (tier, workload, model), gpus in sorted(counts.items())
        ),
        seen_at=tick.measured_at,
    )
