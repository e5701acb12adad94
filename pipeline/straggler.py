"""
Ticks that do not simply follow the one before: one at a time, in the same whole numbers as `pipeline.rows`. Pure.

    seq   … 7 ──────────── 10 …        8 and 9 are missing: what moved from 7 to 10 is shared out over that time
                 9                     then 9 comes: 7→10 is taken back, 7→9 and 9→10 take its place, 8 is still missing

So the figures depend on which ticks there are, not on the order in which they came. A tick whose number is neither new
nor in a hole is a redelivery.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.counters import BRIDGE_US, Moved, moved
from pipeline.frames import NO_64, Layout
from pipeline.rows import Cohort, portion
from pipeline.skew import SKEW

if TYPE_CHECKING:
    from pipeline.rollup import Partition

#: Holes remembered of one host; the oldest is let go, and what would have filled it then counts as a redelivery.
MOST_HOLES = 128
#: Boots remembered of one host that are over. A tick of an earlier one is known by being older than the present boot's.
MOST_BOOTS = 8


@dataclass(frozen=True, eq=False)
class Knot:
    """A tick beside a hole."""

    layout: int
    """By hash."""
    gpus: int
    jobs: int
    value: Any
    """Its numbers."""

    @property
    def seq(self) -> int:
        """Its number."""
        return int(self.value["seq"])

    @property
    def at_us(self) -> int:
        """When it was measured."""
        return int(self.value["at_us"])


@dataclass(frozen=True, eq=False)
class Hole:
    """Ticks that are missing between two that came."""

    boot: str
    begin: int
    """Number of the tick before: 0 at the start of a boot, -1 where nobody knows how many there were."""
    before: Knot | None
    """None at the start of a boot, or of what was ever heard of a host."""
    after: Knot

    @property
    def hashes(self) -> tuple[int, ...]:
        """The layouts it needs."""
        return (self.after.layout,) if self.before is None else (self.before.layout, self.after.layout)

    @property
    def missing(self) -> int:
        """How many ticks are known to be missing."""
        return self.after.seq - self.begin - 1 if self.begin >= 0 else 0

    def holds(self, boot: str, seq: int) -> bool:
        """Tell whether tick *seq* of *boot* belongs here."""
        return boot == self.boot and self.begin < seq < self.after.seq


def take(state: "Partition", cohort: Cohort, number: int, value: Any, *, simulated: bool) -> None:
    """Take in the tick *value* of row *number*."""
    layout, host = cohort.layouts[number], int(cohort.rows["host"][number])
    tick = Knot(cohort.hashes[number], cohort.gpus, cohort.jobs, value.copy())
    if host not in state.current:
        state.first_us[host] = tick.at_us
        _become(state, host, cohort, number, tick, simulated=simulated)
        _count(state, tick, simulated=simulated)
        _open(state, host, Hole(layout.boot, -1, None, tick))
        return
    known, before = _last(state, host)
    if layout.boot != known.boot:
        _restart(state, host, (cohort, number), known, (before, tick), simulated=simulated)
        return
    if tick.seq <= before.seq:
        _fill(state, host, layout, tick, simulated=simulated)
        return
    _pair(state, before, tick, 1)
    _count(state, tick, missing=tick.seq - before.seq - 1, simulated=simulated)
    if tick.seq > before.seq + 1:
        _open(state, host, Hole(layout.boot, before.seq, before, tick))
    _become(state, host, cohort, number, tick, simulated=simulated)


def note_hole(state: "Partition", cohort: Cohort, number: int, earlier: Any, later: Any) -> None:
    """Remember that ticks are missing between two of row *number* that were taken in as columns."""
    shape = cohort.hashes[number], cohort.gpus, cohort.jobs
    before, after = Knot(*shape, earlier.copy()), Knot(*shape, later.copy())
    host = int(cohort.rows["host"][number])
    _open(state, host, Hole(cohort.layouts[number].boot, before.seq, before, after))


def _last(state: "Partition", host: int) -> tuple[Layout, Knot]:
    """Return the layout and the last tick of *host*."""
    cohort, number = state.current[host]
    return cohort.layouts[number], Knot(cohort.hashes[number], cohort.gpus, cohort.jobs, cohort.rows[number].copy())


def _restart(
    state: "Partition",
    host: int,
    place: tuple[Cohort, int],
    known: Layout,
    ticks: tuple[Knot, Knot],
    *,
    simulated: bool,
) -> None:
    """Go over to another boot, unless that is one already over: then the tick is a redelivery."""
    boot, (before, tick) = place[0].layouts[place[1]].boot, ticks
    retired = state.retired.setdefault(host, {})
    if boot in retired or tick.at_us < before.at_us:
        state.counts["redelivered"] += 1
        return
    retired[known.boot] = None
    if len(retired) > MOST_BOOTS:
        del retired[next(iter(retired))]
    state.gaps.pop(host, None)
    _count(state, tick, missing=tick.seq - 1, simulated=simulated)
    if tick.seq > 1:
        _open(state, host, Hole(boot, 0, None, tick))
    _become(state, host, *place, tick, simulated=simulated)


def _fill(state: "Partition", host: int, layout: Layout, tick: Knot, *, simulated: bool) -> None:
    """Put a late tick into its hole; pass over one that has none."""
    gaps = state.gaps.get(host, [])
    hole = next((gap for gap in gaps if gap.holds(layout.boot, tick.seq)), None)
    if hole is None:
        state.counts["redelivered"] += 1
        return
    state.counts["filled"] += 1
    gaps.remove(hole)
    if hole.before is not None:
        _pair(state, hole.before, hole.after, -1)
        _pair(state, hole.before, tick, 1)
    _pair(state, tick, hole.after, 1)
    first = Hole(hole.boot, hole.begin, hole.before, tick)
    second = Hole(hole.boot, tick.seq, tick, hole.after)
    _count(state, tick, missing=first.missing, simulated=simulated)
    _part(state, hole.after)["missing"][_row(state, hole.after)] += second.missing - hole.missing
    for gap in (first, second):
        if gap.begin < 0 or gap.missing:
            _open(state, host, gap)


def _open(state: "Partition", host: int, hole: Hole) -> None:
    gaps = state.gaps.setdefault(host, [])
    gaps.append(hole)
    if len(gaps) > MOST_HOLES:
        del gaps[0]
        state.counts["holes_forgotten"] += 1


def _row(state: "Partition", tick: Knot) -> int:
    return state.row_of[tick.layout]


def _part(state: "Partition", tick: Knot) -> Any:
    return state.cohorts[tick.gpus, tick.jobs].part(tick.at_us // state.base_us)


def _become(state: "Partition", host: int, cohort: Cohort, number: int, tick: Knot, *, simulated: bool) -> None:
    """Make *tick* the host's last."""
    row = cohort.rows[number]
    if host in state.current:
        old, old_number = state.current[host]
        if (old, old_number) != (cohort, number):
            old.rows["current"][old_number] = False
            for name in SKEW:
                row[name] = old.rows[name][old_number]
            row["seq"] = 0
            state.changed.add(host)
    else:
        state.changed.add(host)
    cohort.put(number, tick.value)
    row["current"], row["simulated"] = True, simulated
    state.current[host] = cohort, number


def _count(state: "Partition", tick: Knot, *, simulated: bool, missing: int = 0) -> None:
    records, row = _part(state, tick), _row(state, tick)
    records["ticks"][row] += 1
    records["missing"][row] += missing
    records["simulated"][row] |= simulated


def _pair(state: "Partition", before: Knot, after: Knot, sign: int) -> None:
    """Add (*sign* 1) or take back (-1) what moved between two ticks of one boot."""
    span = after.at_us - before.at_us
    if not 0 < span <= BRIDGE_US:
        return
    cohort, number = state.cohorts[before.gpus, before.jobs], _row(state, before)
    layout, later = cohort.layouts[number], after.value
    metered = bool(layout.chassis_epoch)
    if after.layout != before.layout:
        other = state.cohorts[after.gpus, after.jobs].layouts[_row(state, after)]
        later, metered = _seen_from(layout, before, other, after), metered or bool(other.chassis_epoch)
    what = moved(before.value[None], later[None], np.array([metered]))
    for interval, part in _parts(what, before.at_us, state.base_us):
        records = cohort.part(interval)
        for name, value in part.items():
            records[name][number] += sign * value[0]
        if sign > 0:
            records["counted"][number] |= what.counted[0]


def _parts(what: Moved, from_us: int, length_us: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the intervals that a pair spans, with what falls into each."""
    end_us, start_us = from_us + int(what.span_us[0]), from_us
    before = portion(what, np.array([0]))
    while start_us < end_us:
        interval = start_us // length_us
        stop_us = min(end_us, (interval + 1) * length_us)
        upto = portion(what, np.array([stop_us - from_us]))
        yield interval, {name: upto[name] - before[name] for name in upto}
        before, start_us = upto, stop_us


def _seen_from(layout: Layout, before: Knot, other: Layout, after: Knot) -> Any:
    """Return the numbers of *after* in the places of *layout*: absent where GPU, job or epoch are not the same."""
    seen = np.zeros(1, before.value.dtype)[0]
    seen["at_us"] = after.value["at_us"]
    same_chassis = layout.chassis_epoch == other.chassis_epoch
    seen["chassis_mj"] = after.value["chassis_mj"] if same_chassis else NO_64
    seen["energy_mj"], seen["tokens_milli"] = NO_64, NO_64
    gpus = {(gpu.uuid, gpu.energy_epoch): slot for slot, gpu in enumerate(other.gpus)}
    for slot, gpu in enumerate(layout.gpus):
        if (found := gpus.get((gpu.uuid, gpu.energy_epoch))) is not None:
            seen["energy_mj"][slot] = after.value["energy_mj"][found]
            seen["quality"][slot] = after.value["quality"][found]
    jobs = {(job.job, job.epoch): slot for slot, job in enumerate(other.jobs)}
    for slot, job in enumerate(layout.jobs):
        if (found := jobs.get((job.job, job.epoch))) is not None:
            seen["tokens_milli"][slot] = after.value["tokens_milli"][found]
    return seen
