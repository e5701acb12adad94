"""
Host ticks to site figures, for one telemetry partition. Pure; the shell is `pipeline.agents.rollup`.

A host's newest tick is a gauge; energy and tokens are differences of the devices' own counters between two neighbouring
ticks, shared out over the intervals they span:

    ticks      a ──────── b ────┊───── c ──────── d          b→c crosses the boundary: its joules are
    interval   [ 12:00 ─────────)[ 12:01 ───────── )         split there in proportion to time

An interval is closed by the first record that Kafka received `LATENESS` after its end, or, when there is none left to
read, once that instant has passed. What comes later is a correction: what it adds is published beside the closed figure
and makes a new revision of it. Which ticks are late is therefore a property of the log, not of when or in which batches
a worker read it: one that takes over publishes the very same figures.

Ticks that follow each other are taken together, as columns (`pipeline.rows`). Everything else, a new layout, a restart,
a hole or a tick that fills one, goes tick by tick (`pipeline.straggler`), in the same whole numbers.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import gcd
from typing import Any

import numpy as np

from pipeline import bulk, capacity, forget, intervals, rows, skew, straggler
from pipeline.bulk import Batch, Ticks
from pipeline.counters import Flags, Ints
from pipeline.frames import Layout, instant, micros
from pipeline.intervals import Closing
from pipeline.messages.telemetry import HostRecord, IntervalCorrection, IntervalPartial, SitePartial
from pipeline.pools import Pools
from pipeline.rows import NO_POOL, Cohort
from pipeline.straggler import Hole
from pipeline.totals import padded, summed

MICROSECOND = timedelta(microseconds=1)
#: An interval is closed this long after its end, clock time: ticks on their way still count.
LATENESS = timedelta(seconds=5)
#: A tick that Kafka received later than this after it was measured is history.
KEEP = timedelta(hours=72)
#: A group that has never read a partition owes the intervals from its first tick on, an hour back at most.
FIRST_BACK = timedelta(hours=1)


@dataclass(frozen=True)
class News:
    """What one round publishes."""

    gauges: list[SitePartial]
    partials: list[IntervalPartial]
    corrections: list[IntervalCorrection]
    records: list[HostRecord]


@dataclass(eq=False)
class Partition:
    """The state of one telemetry partition; with the offset it holds up to it can be written down and read back."""

    number: int
    lengths: tuple[timedelta, ...]
    """Of the intervals, ascending; each a multiple of the greatest common divisor."""
    site: str
    """Reported on even while it has no host here…"""
    also: tuple[str, ...] = ()
    """…and so are these: a site is whole once every partition has spoken of it."""
    offset: int = 0
    """The next record."""
    unknown_before_us: int = 0
    """
    What was measured before is refused as too late: its intervals were published by a predecessor whose state is lost.

    A correction made of what is still known would replace the predecessor's, which held more.
    """
    received_us: int = 0
    """When Kafka received the newest record taken in, microseconds since 1970 by the clock."""
    pools: Pools = field(default_factory=Pools)
    hosts: list[str] = field(default_factory=list)
    first_us: list[int] = field(default_factory=list)
    """When each host was first heard of."""
    heard_us: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    """When Kafka's clock stood at most when a tick of each host was taken in; shorter where that was never."""
    sites: list[str] = field(default_factory=list)
    site_of: list[int] = field(default_factory=list)
    """The site of each host, a number in `sites`."""
    cohorts: dict[tuple[int, int], Cohort] = field(default_factory=dict)
    row_of: dict[int, int] = field(default_factory=dict)
    """The row, in its cohort, of each layout by hash."""
    current: dict[int, tuple[Cohort, int]] = field(default_factory=dict)
    """Cohort and row of each host's last tick."""
    retired: dict[int, dict[str, None]] = field(default_factory=dict)
    """Boots of each host that are over, oldest first; the last few of them."""
    gaps: dict[int, list[Hole]] = field(default_factory=dict)
    """Where ticks of a host are missing."""
    closings: dict[int, Closing] = field(default_factory=dict)
    """By length in microseconds."""
    counts: Counter[str] = field(default_factory=Counter)
    """What was passed over, and why: for operators."""
    changed: set[int] = field(default_factory=set)
    """Hosts whose record is to be published."""
    closed: list[IntervalPartial] = field(default_factory=list)
    """Figures that are not published yet."""
    renumbered_us: int = 0
    """When the numbers of hosts and pools were last looked through, by `received_us`."""
    late_us: dict[int, tuple[int, int]] = field(default_factory=dict)
    """By number of the interval: when the first and last of the ticks not yet added up were measured."""

    def __post_init__(self) -> None:
        lengths = [length // MICROSECOND for length in self.lengths]
        self.base_us = gcd(*lengths)
        self.closings = self.closings or {length: Closing(length) for length in lengths}

    def add(self, payloads: Sequence[bytes | None], received_us: Ints, offset: int) -> Batch:
        """
        Take in records, which Kafka received at *received_us* (by the clock); *offset* is the next one's.

        Redelivered ticks change nothing. Return what was decoded, for those who count.
        """
        batch = bulk.decode(payloads, self.row_of)
        for key, (layout, packed) in batch.layouts.items():
            self._learn(layout, packed, key)
        self._begin(batch, received_us)
        known_us = np.maximum(np.maximum.accumulate(received_us), self.received_us)
        begin, count = 0, len(payloads)
        while begin < count:
            self.close(int(known_us[begin]))
            end = max(begin + 1, int(np.searchsorted(known_us, self._closes_us())))
            whole = (begin, end) == (0, count)
            several = batch.ticks if whole else [ticks.between(begin, end) for ticks in batch.ticks]
            self._take(several, received_us, known_us)
            self.offset, self.received_us = offset - (count - end), int(known_us[end - 1])
            begin = end
        self.counts["ticks"] += sum(map(len, batch.ticks))
        self.counts["refused"] += len(batch.refused)
        return batch

    def _closes_us(self) -> int:
        """Return when the next interval closes, by the instant Kafka received a record."""
        ends = [closing.open_from_us + closing.length_us for closing in self.closings.values()]
        return min(ends) + LATENESS // MICROSECOND

    def _take(self, several: list[Ticks], received_us: Ints, known_us: Ints) -> None:
        """Take in ticks between which no interval closes: those that follow each other at once, the others in order."""
        self.heard_us = padded(self.heard_us, len(self.hosts))
        others = [rest for ticks in several if len(ticks) for rest in self._columns(ticks, received_us, known_us)]
        for place, cohort, number, value, simulated in sorted(others, key=lambda one: one[0]):
            forget.note(self, int(cohort.rows["host"][number]), int(known_us[place]))
            straggler.take(self, cohort, number, value, simulated=simulated)

    def _columns(self, ticks: Ticks, received_us: Ints, known_us: Ints) -> Iterable[tuple[int, Cohort, int, Any, bool]]:
        """Take what is regular of *ticks* at once; yield the others: place, cohort, row, numbers, simulated."""
        cohort = self.cohorts.setdefault((ticks.gpus, ticks.jobs), Cohort(ticks.gpus, ticks.jobs))
        keys = ticks.values["layout"].tolist()
        number = np.fromiter(map(self.row_of.__getitem__, keys), np.int64, len(keys))
        known = (number < len(cohort)) & (cohort.rows["layout"].take(number, mode="clip") == ticks.values["layout"])
        if not known.all():  # a head that names a layout with other numbers of GPUs or jobs
            self.counts["refused"] += len(known) - int(known.sum())
            ticks, number = ticks.at(known), number[known]
        received = received_us[ticks.place]
        fine = skew.judge(cohort, number, ticks.values["at_us"], received, self.counts)
        late = received - ticks.values["at_us"] > KEEP // MICROSECOND
        late |= ticks.values["at_us"] < self.unknown_before_us
        self.counts["too_late"] += int(late.sum())
        fine &= ~late
        if not fine.all():
            ticks, number = ticks.at(fine), number[fine]
        if not len(ticks):
            return
        ran = rows.run(cohort, number, ticks)
        chosen = rows.regular(cohort, ran, self.base_us)
        if chosen.any():
            whole = ran if chosen.all() else ran.at(chosen)
            self._note_late(whole.later["at_us"])
            rows.advance(cohort, whole, self.base_us)
            np.maximum.at(self.heard_us, cohort.rows["host"][whole.number], known_us[whole.place])
            for place in rows.holes(whole):
                straggler.note_hole(self, cohort, int(whole.number[place]), whole.earlier[place], whole.later[place])
        for place in np.flatnonzero(~chosen).tolist():
            self._note_late(ran.later["at_us"][place : place + 1])
            yield (
                int(ran.place[place]),
                cohort,
                int(ran.number[place]),
                ran.later[place],
                bool(ran.simulated[place]),
            )

    def _note_late(self, at_us: Ints) -> None:
        """Remember when the ticks that fall into closed intervals were measured."""
        numbers = at_us // self.base_us
        if int(numbers.min()) >= self._oldest_open():
            return
        for one in np.unique(numbers).tolist():
            mine = at_us[numbers == one]
            first, last = self.late_us.get(one, (int(mine[0]), int(mine[0])))
            self.late_us[one] = min(first, int(mine.min())), max(last, int(mine.max()))

    @property
    def open_from_us(self) -> int:
        """When the oldest of the shortest open intervals begins; 0: nothing was ever read."""
        return self.closings[min(self.closings)].open_from_us

    def _oldest_open(self) -> int:
        return self.open_from_us // self.base_us

    def _begin(self, batch: Batch, received_us: Ints) -> None:
        """
        Open the first intervals of a group that has never read this partition: from its first tick on.

        An hour back at most, and not ahead: one host whose clock stands at 1970 must not make us publish every interval
        since, and with one that is in the year 2100 nothing would be closed until then.
        """
        if all(closing.open_from_us for closing in self.closings.values()) or not batch.ticks:
            return
        first = min(batch.ticks, key=lambda ticks: int(ticks.place[0]))
        received = int(received_us[first.place[0]])
        for closing in self.closings.values():
            closing.begin(min(max(int(first.values["at_us"][0]), received - FIRST_BACK // MICROSECOND), received))

    def _learn(self, layout: Layout, packed: bytes, key: int) -> None:
        shape = len(layout.gpus), len(layout.jobs)
        cohort = self.cohorts.setdefault(shape, Cohort(*shape))
        number = self.row_of[key] = cohort.append(layout, packed, key)
        row = cohort.rows[number]
        row["host"] = self.host_number(layout)
        row["pool"] = list(self.pools.of_gpus(layout))
        row["gauge"] = [self.pools.number(self.pools.names[pool].gauge) for pool in row["pool"]]
        for job, own in enumerate(self.pools.of_jobs(layout)):
            for pool in own:
                self.pools.number(self.pools.names[pool].gauge)  # a job's pool may have none of the GPUs
            row["job_pool"][job] = own[0] if len(set(own)) == 1 else NO_POOL

    def host_number(self, layout: Layout) -> int:
        """Return the number of the layout's host, a new one where it was never heard of."""
        if (number := self._numbers.get(layout.host)) is None:
            number = self._numbers[layout.host] = len(self.hosts)
            self.hosts.append(layout.host)
            self.first_us.append(0)
            self.site_of.append(0)
        if layout.site not in self.sites:
            self.sites.append(layout.site)
        self.site_of[number] = self.sites.index(layout.site)
        return number

    @property
    def _numbers(self) -> dict[str, int]:
        if self._by_name is None or len(self._by_name) != len(self.hosts):
            self._by_name = {name: number for number, name in enumerate(self.hosts)}
        return self._by_name

    _by_name: dict[str, int] | None = field(default=None, init=False, repr=False)

    def tidy(self) -> None:
        """Let go of what nothing can need any more; no figure changes by it."""
        forget.tidy(self)
        self._by_name = None

    def due(self, now: datetime, quiet_until: datetime | None = None) -> News:
        """
        Return what one round publishes at *now*.

        Intervals are closed before the gauges are taken, so that no tick is in a figure and in `ticks_open` at once.
        *quiet_until*: there is no record left to read that Kafka received before that instant.
        """
        if quiet_until is not None:
            for closing in self.closings.values():  # those of a partition without any record
                closing.begin(micros(quiet_until))
            self.close(max(self.received_us, micros(quiet_until)))
        partials, corrections = self.published()
        return News(capacity.site_partials(self, micros(now)), partials, corrections, list(self._records()))

    def published(self) -> tuple[list[IntervalPartial], list[IntervalCorrection]]:
        """Return the figures closed since the last call, and what late ticks have added to others since then."""
        self._add_up_late()
        partials, self.closed = self.closed, []
        late = [one for closing in self.closings.values() for one in intervals.corrected(self, closing)]
        partials += [one for one in late if isinstance(one, IntervalPartial)]
        return partials, [one for one in late if isinstance(one, IntervalCorrection)]

    def close(self, until_us: int) -> None:
        """Close the intervals that ended `LATENESS` before *until_us*, when Kafka received a record or would have."""
        ended_us = until_us - LATENESS // MICROSECOND
        ending = [closing for closing in self.closings.values() if closing.has_ended(ended_us)]
        if ending:
            self._add_up(lambda number: (number + 1) * self.base_us <= ended_us or number < self._oldest_open())
        for closing in ending:
            self.closed += intervals.closed(self, closing, ended_us)

    def _add_up_late(self) -> None:
        oldest = self._oldest_open()
        self._add_up(lambda number: number < oldest)

    def _add_up(self, chosen: Callable[[int], bool]) -> None:
        """Add up what the rows moved in the *chosen* of the shortest intervals, for those of every length."""
        there = {number for cohort in self.cohorts.values() for number in cohort.parts}
        for number in sorted(filter(chosen, there)):
            totals = summed(self.cohorts.values(), number, self.pools, len(self.hosts))
            for cohort in self.cohorts.values():
                cohort.parts.pop(number, None)
            for closing in self.closings.values():
                closing.take(number * self.base_us, totals, self.late_us.get(number))
            self.late_us.pop(number, None)

    def ticks_open(self, site: str) -> int:
        """Count the ticks of *site* that no published figure holds yet."""
        count = 0
        shortest = self.closings[self.base_us] if self.base_us in self.closings else next(iter(self.closings.values()))
        for cohort in self.cohorts.values():
            mine = self.of_site(site)[cohort.used["host"]]
            for records in cohort.parts.values():
                count += int(records["ticks"][: len(cohort)][mine].sum())
        for totals in shortest.pending.values():
            ticks = totals.host("ticks", len(self.hosts))
            count += int(ticks[self.of_site(site)].sum())
        return count

    def of_site(self, site: str) -> Flags:
        """Return which hosts are of *site*."""
        wanted = self.sites.index(site) if site in self.sites else -1
        mine: Flags = np.array(self.site_of, dtype=np.int64) == wanted
        return mine

    def last_us(self) -> Ints:
        """Return when each host's last tick was measured."""
        last = np.zeros(len(self.hosts), dtype=np.int64)
        for cohort in self.cohorts.values():
            used = cohort.used[cohort.used["current"]]
            last[used["host"]] = used["at_us"]
        return last

    def every_site(self) -> list[str]:
        """Return the sites to report on."""
        return sorted({self.site, *self.also, *self.sites})

    def _records(self) -> Iterable[HostRecord]:
        for host in sorted(self.changed):
            if host in self.current:
                cohort, number = self.current[host]
                yield capacity.host_record(cohort.layouts[number], instant(int(cohort.rows["at_us"][number])))
        self.changed.clear()
