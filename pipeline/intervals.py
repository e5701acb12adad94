"""
Closing intervals: from totals to published figures, once, and what late ticks add to them afterwards. Pure.

    pending   12:04 ├── totals ──┤           closed 5 s after 12:05, then never touched again
    late      11:58 ├─ + ─┤                  all that came after 11:59:05, added up, published again with each change
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from pipeline.counters import Flags, Ints
from pipeline.frames import instant
from pipeline.interval import Interval
from pipeline.messages.telemetry import IntervalCorrection, IntervalPartial
from pipeline.totals import BY_HOST, MJ_PER_KWH, US_PER_S, Totals, pool_intervals

if TYPE_CHECKING:
    from pipeline.rollup import Partition

#: Closed intervals are corrected for so long, and a host is expected in them for so long after it was last heard of: a
#: rack without network goes on drawing power, and must not look like load that went away.
KEEP_US = 72 * 3_600_000_000
EMPTY = Totals().packed()


@dataclass(eq=False, slots=True)
class Late:
    """
    What came after an interval was closed.

    There is one for nearly every interval of three days, for some host is always late: so what is published is kept by
    site and not by host.
    """

    first_us: int
    last_us: int
    packed: bytes = EMPTY
    """What is published: totals by number of the site in place of the host's."""
    fresh: Totals | None = None
    """What is not, by host."""
    hosts: dict[int, int] = field(default_factory=dict)
    """By site: hosts that the closed figure did not expect."""


@dataclass(eq=False)
class Closing:
    """The intervals of one length that are open, and those that were closed not long ago."""

    length_us: int
    open_from_us: int = 0
    """Start of the oldest that is open; 0: nothing was ever read."""
    pending: dict[int, Totals] = field(default_factory=dict)
    """By start."""
    late: dict[int, Late] = field(default_factory=dict)
    expected: dict[int, Flags] = field(default_factory=dict)
    """By start of closed intervals: the hosts in their figures…"""
    sites: dict[int, tuple[str, ...]] = field(default_factory=dict)
    """…and the sites that have a figure."""

    def begin(self, oldest_us: int) -> None:
        """Open the interval that *oldest_us* falls into and all later ones."""
        if not self.open_from_us:
            self.open_from_us = oldest_us // self.length_us * self.length_us

    def has_ended(self, until_us: int) -> bool:
        """Tell whether an open interval ends by *until_us*."""
        return self.open_from_us > 0 and self.open_from_us + self.length_us <= until_us

    def take(self, start_us: int, totals: Totals, measured_us: tuple[int, int] | None) -> None:
        """Add *totals* of the shortest interval from *start_us* on; *measured_us*: its first and last late tick."""
        start_us = start_us // self.length_us * self.length_us
        if start_us >= self.open_from_us:
            self.pending.setdefault(start_us, Totals()).add(totals)
            return
        first, last = measured_us or (start_us, start_us)
        if (late := self.late.get(start_us)) is None:
            late = self.late[start_us] = Late(first, last)
        late.fresh = late.fresh or Totals()
        late.fresh.add(totals)
        late.first_us, late.last_us = min(late.first_us, first), max(late.last_us, last)

    def expect(self, start_us: int, hosts: Flags) -> None:
        """Remember the *hosts* in the figure from *start_us* on; nearly always they are those of the one before."""
        before = self.expected.get(start_us - self.length_us)
        self.expected[start_us] = before if before is not None and np.array_equal(before, hosts) else hosts

    def same_sites(self, start_us: int, sites: tuple[str, ...]) -> tuple[str, ...]:
        """Return *sites*, as the tuple of the interval before *start_us* where that holds the same."""
        before = self.sites.get(start_us - self.length_us)
        return before if before == sites else sites

    def forget(self) -> None:
        """Let go of what is too old to be corrected."""
        oldest = self.open_from_us - KEEP_US
        for known in (self.late, self.expected, self.sites):
            for start in [start for start in known if start < oldest]:
                del known[start]


def closed(state: "Partition", closing: Closing, ended_us: int) -> Iterator[IntervalPartial]:
    """Yield the figures of the intervals that ended by *ended_us*, of every site."""
    while closing.has_ended(ended_us):
        start_us = closing.open_from_us
        totals = closing.pending.pop(start_us, Totals())
        expected = _expected(state, start_us, closing.length_us)
        totals.add(_unmeasured(state, totals, expected, closing.length_us))
        for site in (sites := state.every_site()):
            yield _partial(
                state, Interval(instant(start_us), instant(start_us + closing.length_us)), site, totals, expected
            )
        closing.sites[start_us] = closing.same_sites(start_us, tuple(sites))
        closing.expect(start_us, expected | _active(totals, len(state.hosts)))
        closing.open_from_us += closing.length_us
        closing.forget()


def _expected(state: "Partition", start_us: int, length_us: int) -> Flags:
    """Return the hosts that are owed to an interval: heard of before its end, and in the three days before it."""
    first = np.array(state.first_us, dtype=np.int64)
    there: Flags = (first < start_us + length_us) & (state.last_us() >= start_us - KEEP_US) & (first > 0)
    return there


def _active(totals: Totals, hosts: int) -> Flags:
    active: Flags = (totals.host("ticks", hosts) != 0) | (totals.host("span_us", hosts) != 0)
    return active


def _unmeasured(state: "Partition", totals: Totals, expected: Flags, length_us: int) -> Totals:
    """Return the time that expected hosts were not heard of: their GPUs were there, unmeasured."""
    silent = np.where(expected, np.maximum(length_us - totals.host("span_us", len(expected)), 0), 0)
    present: Ints = np.zeros(len(state.pools), dtype=np.int64)
    for cohort in state.cohorts.values():
        used = cohort.used[cohort.used["current"]]
        if len(used) and cohort.gpus:
            weights = np.repeat(silent[used["host"]], cohort.gpus)
            present += np.bincount(used["pool"].ravel(), weights=weights, minlength=len(present)).astype(np.int64)
    unmeasured = Totals()
    unmeasured.columns["present_us"] = present
    return unmeasured


def _partial(state: "Partition", interval: Interval, site: str, totals: Totals, expected: Flags) -> IntervalPartial:
    hosts = len(state.hosts)
    mine = state.of_site(site)
    length_us = round(interval.hours * 3600 * US_PER_S)
    there = mine & (expected | _active(totals, hosts))
    covered = np.minimum(totals.host("host_us", hosts)[there], length_us)
    count = int(there.sum())
    return IntervalPartial(
        site=site,
        partition=state.number,
        interval=interval,
        energy_kwh=int(totals.host("host_mj", hosts)[mine].sum()) / MJ_PER_KWH,
        hosts=count,
        hosts_partial=int((covered < length_us - 1).sum()),
        covered_share=int(covered.sum()) / (count * length_us) if count else 0.0,
        ticks=int(totals.host("ticks", hosts)[mine].sum()),
        ticks_missing=int(totals.host("missing", hosts)[mine].sum()),
        pools=pool_intervals(totals, state.pools, site),
        simulated=bool(totals.host("simulated", hosts)[mine].any()),
        covered_host_s=int(covered.sum()) / US_PER_S,
        offset=state.offset,
    )


def nothing(state: "Partition", interval: Interval, site: str) -> IntervalPartial:
    """Return the closed figure of a site of which nothing was known."""
    return IntervalPartial(
        site=site,
        partition=state.number,
        interval=interval,
        energy_kwh=0.0,
        hosts=0,
        hosts_partial=0,
        covered_share=0.0,
        ticks=0,
        ticks_missing=0,
        pools=(),
        simulated=False,
        offset=0,  # any closed figure is of a higher one
    )


def corrected(state: "Partition", closing: Closing) -> Iterator[IntervalPartial | IntervalCorrection]:
    """
    Yield what late ticks add to closed intervals, of those that have changed since the last call.

    A site that this partition did not know when the interval was closed has no figure yet: it gets one of nothing
    first, so that there is something to correct.
    """
    hosts, site_of = len(state.hosts), np.array(state.site_of, dtype=np.int64)
    for start_us, late in sorted(closing.late.items()):
        if late.fresh is None:
            continue
        fresh, late.fresh = late.fresh, None
        totals = Totals.unpacked(late.packed)
        totals.add(fresh.grouped(site_of, len(state.sites)))
        late.packed = totals.packed()
        interval = Interval(instant(start_us), instant(start_us + closing.length_us))
        active = _active(fresh, hosts)
        known = closing.expected.get(start_us, np.zeros(0, dtype=np.bool_))
        known = np.concatenate([known, np.zeros(hosts - len(known), dtype=np.bool_)])
        if (active & ~known).any():
            closing.expected[start_us] = known | active
        for number, site in enumerate(state.sites):
            mine = state.of_site(site)
            touched = any((fresh.host(name, hosts)[mine] != 0).any() for name in BY_HOST)
            if not touched and not pool_intervals(fresh, state.pools, site):
                continue
            if site not in closing.sites.get(start_us, ()):
                closing.sites[start_us] = (*closing.sites.get(start_us, ()), site)
                yield nothing(state, interval, site)
            late.hosts[number] = late.hosts.get(number, 0) + int((active & mine & ~known).sum())
            yield _correction(state, interval, number, late, totals)


def _correction(state: "Partition", interval: Interval, number: int, late: Late, totals: Totals) -> IntervalCorrection:
    """Return all that came late of site *number*."""
    sums = {name: int(totals.host(name, len(state.sites))[number]) for name in BY_HOST}
    return IntervalCorrection(
        site=state.sites[number],
        partition=state.number,
        interval=interval,
        energy_kwh=sums["host_mj"] / MJ_PER_KWH,
        covered_host_s=sums["host_us"] / US_PER_S,
        hosts=late.hosts[number],
        ticks=sums["ticks"],
        ticks_missing=sums["missing"],
        pools=pool_intervals(totals, state.pools, state.sites[number]),
        first_late=instant(late.first_us),
        last_late=instant(late.last_us),
        simulated=sums["simulated"] != 0,
        offset=state.offset,
    )
