"""
The last tick of every host, and what its counters moved in the intervals that are not closed: columns, not objects.

A *row* is one layout of one host (`pipeline.frames`): who its GPUs are, in which pools. A host whose job ends gets
another row; the figures of the old one stay where they are until their intervals are closed. Rows with equally many
GPUs and jobs form a `Cohort`, an array that is worked on at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline import tiers
from pipeline.bulk import Ticks
from pipeline.counters import BRIDGE_US, Flags, Ints, Moved, moved, share
from pipeline.frames import NO_64, Layout
from pipeline.messages.telemetry import Tier

NO_POOL = -1
#: Watts of one GPU. Far above any there is; what is beyond it, or no number, is noise.
MOST_W = 1e5

Records = npt.NDArray[Any]


@lru_cache(maxsize=64)
def row(gpus: int, jobs: int) -> np.dtype[Any]:
    """Return a row's record."""
    return np.dtype(
        [
            ("layout", "u8"),  # by hash
            ("host", "i4"),
            ("current", "?"),  # of several rows of a host, the one its last tick is in
            ("pool", "i4", (gpus,)),
            ("gauge", "i4", (gpus,)),
            ("job_pool", "i4", (jobs,)),  # NO_POOL: its GPUs are in several
            ("floor_mw", "i8", (gpus,)),
            ("max_mw", "i8", (gpus,)),
            ("yields", "?", (gpus,)),  # its tier lets go of power, and its limits are known
            ("seq", "i8"),
            ("at_us", "i8"),
            ("before_us", "i8"),
            ("chassis_mj", "i8"),
            ("chassis_mw", "i8"),
            ("energy_mj", "i8", (gpus,)),
            ("tokens_milli", "i8", (jobs,)),
            ("before_milli", "i8", (jobs,)),
            ("power_mw", "i4", (gpus,)),
            ("quality", "u1", (gpus,)),
            ("simulated", "?"),
            ("heard_us", "i8"),  # when Kafka received its last tick, and how far its clock was ahead then
            ("skew_us", "i8"),
            ("skew_from_us", "i8"),
            ("steady_since_us", "i8"),
        ]
    )


@lru_cache(maxsize=64)
def part(gpus: int, jobs: int) -> np.dtype[Any]:
    """Return the record of what a row moved in one interval."""
    return np.dtype(
        [
            ("energy_mj", "i8", (gpus,)),
            ("covered_us", "i8", (gpus,)),
            ("tokens_milli", "i8", (jobs,)),
            ("counted", "?", (jobs,)),
            ("host_mj", "i8"),
            ("host_us", "i8"),
            ("span_us", "i8"),
            ("ticks", "i8"),
            ("missing", "i8"),
            ("simulated", "?"),
        ]
    )


@dataclass(eq=False)
class Cohort:
    """Rows of hosts with *gpus* GPUs and *jobs* jobs."""

    gpus: int
    jobs: int
    layouts: list[Layout] = field(default_factory=list)
    packed: list[bytes] = field(default_factory=list)
    """The layouts as they came."""
    hashes: list[int] = field(default_factory=list)
    metered: list[bool] = field(default_factory=list)
    """Whether a host of each layout has a chassis meter."""
    rows: Records = field(init=False)
    """The first `len(layouts)` are in use."""
    parts: dict[int, Records] = field(default_factory=dict)
    """By number of the interval, as long as `rows`."""

    def __post_init__(self) -> None:
        self.rows = np.zeros(8, row(self.gpus, self.jobs))

    def __len__(self) -> int:
        return len(self.layouts)

    @property
    def used(self) -> Records:
        """The rows in use."""
        return self.rows[: len(self)]

    def append(self, layout: Layout, packed: bytes, key: int) -> int:
        """Make a row for *layout* and return its number; nothing has been heard from it yet."""
        number = len(self)
        if number == len(self.rows):
            self.rows = _doubled(self.rows)
            self.parts = {index: _doubled(records) for index, records in self.parts.items()}
        self.layouts.append(layout)
        self.packed.append(packed)
        self.hashes.append(key)
        self.metered.append(bool(layout.chassis_epoch))
        new = self.rows[number]
        new["layout"] = key
        for slot, gpu in enumerate(layout.gpus):
            lowest_w, highest_w = _limit(gpu.min_w), _limit(gpu.max_w)
            new["max_mw"][slot] = round(1000 * (highest_w or 0.0)) if lowest_w is not None else 0
            new["floor_mw"][slot] = round(1000 * tiers.floor_w(gpu.tier, lowest_w or 0.0, highest_w or 0.0))
            new["yields"][slot] = None not in {lowest_w, highest_w} and gpu.tier is not Tier.T0
        new["before_us"] = NO_64
        new["before_milli"] = NO_64
        return number

    def part(self, interval: int) -> Records:
        """Return the records of *interval*, made where there are none."""
        if (found := self.parts.get(interval)) is None:
            found = self.parts[interval] = np.zeros(len(self.rows), part(self.gpus, self.jobs))
        return found

    def keep(self, alive: Flags) -> None:
        """Drop the rows that are not *alive*; the others move up."""
        size = len(self)
        self.rows = _shrunk(self.rows[:size][alive])
        self.parts = {index: _shrunk(records[:size][alive], len(self.rows)) for index, records in self.parts.items()}
        self.layouts = list(compress(self.layouts, alive))
        self.packed = list(compress(self.packed, alive))
        self.hashes = list(compress(self.hashes, alive))
        self.metered = list(compress(self.metered, alive))

    def put(self, number: int, tick: Any) -> None:
        """Make *tick* the last of row *number*."""
        self.rows["before_us"][number] = self.rows["at_us"][number] if self.rows["seq"][number] else NO_64
        self.rows["before_milli"][number] = self.rows["tokens_milli"][number]
        for name in LAST:
            self.rows[name][number] = tick[name]


#: What a row remembers of its last tick.
LAST = ("seq", "at_us", "chassis_mj", "chassis_mw", "energy_mj", "tokens_milli", "power_mw", "quality")


def _limit(watts: float | None) -> float | None:
    """Return a power limit; None where there is none, or one that no GPU can have."""
    return watts if watts is not None and 0.0 <= watts <= MOST_W else None


def _doubled(records: Records) -> Records:
    grown = np.zeros(2 * len(records), records.dtype)
    grown[: len(records)] = records
    return grown


def _shrunk(records: Records, length: int = 0) -> Records:
    kept = np.zeros(length or max(8, len(records)), records.dtype)
    kept[: len(records)] = records
    return kept


@dataclass(frozen=True, eq=False)
class Run:
    """Ticks sorted by row, in the order they came, each beside the one before it."""

    number: Ints
    """[N] the row of each."""
    later: Records
    earlier: Records
    first: Flags
    """[N] whether a tick is its row's first here: the one before it is what the row remembers."""
    simulated: Flags
    place: Ints

    @property
    def ends(self) -> Ints:
        """The place of each row's last tick."""
        last = np.append(self.first[1:], True)
        return np.flatnonzero(last)

    def at(self, chosen: Flags) -> "Run":
        """Return the rows of which all ticks are *chosen*."""
        return Run(
            self.number[chosen],
            self.later.compress(chosen),
            self.earlier.compress(chosen),
            self.first[chosen],
            self.simulated[chosen],
            self.place[chosen],
        )


def run(cohort: Cohort, number: Ints, ticks: Ticks) -> Run:
    """Sort *ticks*, whose rows are *number*, and put each beside the one before it."""
    order = np.argsort(number, kind="stable")
    number, later = number[order], ticks.values.take(order)
    first = np.empty(len(number), dtype=np.bool_)
    first[0], first[1:] = True, number[1:] != number[:-1]
    earlier = np.empty(len(number), later.dtype)
    begins = number[first]
    for name in ("seq", "at_us", "chassis_mj", "energy_mj", "tokens_milli"):
        column = earlier[name]
        column[1:] = later[name][:-1]
        column[first] = cohort.rows[name][begins]
    return Run(number, later, earlier, first, ticks.simulated[order], ticks.place[order])


def regular(cohort: Cohort, ran: Run, length_us: int) -> Flags:
    """
    Tell which ticks may be taken at once: those of rows all of whose ticks follow each other.

    Each later than the one before by number and time, at most `BRIDGE_US` and one boundary of an interval after it.
    """
    span = ran.later["at_us"] - ran.earlier["at_us"]
    crossed = ran.later["at_us"] // length_us - ran.earlier["at_us"] // length_us
    fine = (ran.later["seq"] > ran.earlier["seq"]) & (span > 0) & (span <= BRIDGE_US) & (crossed <= 1)
    fine &= cohort.rows["current"][ran.number]
    begins = np.flatnonzero(ran.first)
    whole = np.logical_and.reduceat(fine, begins)
    counts = np.diff(np.append(begins, len(fine)))
    chosen: Flags = np.repeat(whole, counts)
    return chosen


def advance(cohort: Cohort, ran: Run, length_us: int) -> None:
    """Add what the counters of regular ticks moved to their intervals and remember each row's last tick."""
    what = moved(ran.earlier, ran.later, np.array(cohort.metered)[ran.number])
    interval = ran.later["at_us"] // length_us
    before = ran.earlier["at_us"] // length_us
    crossing = np.flatnonzero(interval != before)
    here = _split(cohort, ran, what, crossing, length_us) if len(crossing) else _whole(what)
    here["missing"] = ran.later["seq"] - ran.earlier["seq"] - 1
    here["ticks"] = np.ones_like(interval)
    marks = {"counted": what.counted, "simulated": ran.simulated}
    begins = np.flatnonzero(ran.first | (interval != before))
    if len(begins) < len(interval):  # several ticks of a row in one interval
        here = {name: np.add.reduceat(values, begins, axis=0) for name, values in here.items()}
        marks = {name: np.logical_or.reduceat(flags, begins, axis=0) for name, flags in marks.items()}
    number, interval = ran.number[begins], interval[begins]
    for one in np.unique(interval).tolist():
        chosen = np.flatnonzero(interval == one)
        rows, records = number[chosen], cohort.part(one)
        for name, values in here.items():
            records[name][rows] += values.take(chosen, axis=0)
        for name, flags in marks.items():
            records[name][rows] |= flags.take(chosen, axis=0)
    _remember(cohort, ran)


def _whole(what: Moved) -> dict[str, Ints]:
    return {
        "energy_mj": what.energy_mj,
        "covered_us": np.where(what.valid, what.span_us[:, None], 0),
        "tokens_milli": what.tokens_milli,
        "host_mj": what.host_mj,
        "host_us": what.covered_us(what.span_us),
        "span_us": what.span_us,
    }


def _split(cohort: Cohort, ran: Run, what: Moved, crossing: Ints, length_us: int) -> dict[str, Ints]:
    """Give the intervals before a boundary their part; return what is left for the intervals of the later ticks."""
    here = {name: values.copy() for name, values in _whole(what).items()}
    span = what.span_us[crossing]
    interval = ran.later["at_us"][crossing] // length_us
    early_us = interval * length_us - ran.earlier["at_us"][crossing]
    chosen = Moved(
        span_us=span,
        energy_mj=what.energy_mj[crossing],
        valid=what.valid[crossing],
        host_mj=what.host_mj[crossing],
        held=what.held[crossing],
        of=what.of,
        tokens_milli=what.tokens_milli[crossing],
        counted=what.counted[crossing],
    )
    early = portion(chosen, early_us)
    for name, values in early.items():
        here[name][crossing] -= values
    number = ran.number[crossing]
    for one in np.unique(interval).tolist():
        mine = interval == one
        records, rows = cohort.part(one - 1), number[mine]
        for name, values in early.items():
            records[name][rows] += values[mine]
        records["counted"][rows] |= chosen.counted[mine]
    return here


def portion(what: Moved, early_us: Ints) -> dict[str, Ints]:
    """Return what falls into the first *early_us* of each pair."""
    each, span = early_us[:, None], what.span_us[:, None]
    return {
        "energy_mj": share(what.energy_mj, each, span),
        "covered_us": np.where(what.valid, each, 0),
        "tokens_milli": share(what.tokens_milli, each, span),
        "host_mj": share(what.host_mj, early_us, what.span_us),
        "host_us": what.covered_us(early_us),
        "span_us": early_us,
    }


def _remember(cohort: Cohort, ran: Run) -> None:
    ends = ran.ends
    rows, later, earlier = ran.number[ends], ran.later.take(ends), ran.earlier.take(ends)
    for name in LAST:
        cohort.rows[name][rows] = later[name]
    cohort.rows["before_us"][rows] = earlier["at_us"]
    cohort.rows["before_milli"][rows] = earlier["tokens_milli"]
    cohort.rows["simulated"][rows] = ran.simulated[ends]


def holes(ran: Run) -> Iterator[int]:
    """Yield the places in *ran* of ticks before which others are missing."""
    yield from np.flatnonzero(ran.later["seq"] > ran.earlier["seq"] + 1).tolist()
