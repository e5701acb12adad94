"""
What a partition lets go of, so that it holds no more hosts, rows and pools than three days can need. Pure.

    last tick received ───── 72 h and a bridge ────▶ the host is gone: its row goes, what it sends now is a new host's
    last interval it was expected in ───── 72 h ───▶ corrected no more: its number goes, too

Whether a host is gone is told by the log alone, by the instants at which Kafka received its ticks; so it changes no
figure when, how often or by which worker this is done. An interval that expected a silent host remembers it by number:
ticks of that interval which come after all must not count it twice.
"""

from itertools import compress
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.counters import BRIDGE_US, Flags, Ints
from pipeline.intervals import KEEP_US, Closing
from pipeline.pools import Pools
from pipeline.rows import NO_POOL, Cohort
from pipeline.totals import BY_HOST, BY_POOL, Totals

if TYPE_CHECKING:
    from pipeline.rollup import Partition

#: More than a clock may be ahead and a closed interval waits, together.
MARGIN_US = 60_000_000
#: Rows without a host that are let be, and so are an eighth of those with one: moving rows together costs their number.
LEFTOVERS = 8
#: How often all is looked through, by the time at which Kafka received records.
EVERY_US = 3_600_000_000


def silence_us(state: "Partition") -> int:
    """
    Return how long a host has to have sent nothing to be gone.

    By then no open interval expects it, and no tick that is accepted can be joined to its last one by `BRIDGE_US`.
    """
    return KEEP_US + max(BRIDGE_US, *state.closings) + MARGIN_US


def is_gone(state: "Partition", host: int, received_us: int) -> bool:
    """Tell whether *host*, as far as it is known, was silent for too long when Kafka's clock showed *received_us*."""
    return host in state.current and int(state.heard_us[host]) < received_us - silence_us(state)


def note(state: "Partition", host: int, received_us: int) -> None:
    """Take down that a tick of *host* came when Kafka's clock showed *received_us*; it is a new host if it was gone."""
    if is_gone(state, host, received_us):
        let_go(state, host)
    state.heard_us[host] = max(int(state.heard_us[host]), received_us)


def let_go(state: "Partition", host: int) -> None:
    """Forget what *host* was: a tick of it that comes is the first of a new host."""
    cohort, number = state.current.pop(host)
    cohort.rows["current"][number] = False
    cohort.rows["seq"][number] = 0
    state.retired.pop(host, None)
    state.gaps.pop(host, None)


def tidy(state: "Partition") -> None:
    """
    Let go of what nothing can need any more.

    Of hosts that are gone; of holes whose ticks would be refused as history; of notes on late ticks that changed
    nothing; of rows that no host is in and no interval needs, once they are more than an eighth. Once an hour of all
    such rows, and of the numbers of hosts and pools that nothing is told by.
    """
    for host in [host for host in state.current if is_gone(state, host, state.received_us)]:
        let_go(state, host)
    history = state.received_us - KEEP_US
    for host, gaps in list(state.gaps.items()):
        if kept := [gap for gap in gaps if gap.after.at_us >= history]:
            state.gaps[host] = kept
        else:
            del state.gaps[host]
    there = {number for cohort in state.cohorts.values() for number in cohort.parts}
    state.late_us = {number: span for number, span in state.late_us.items() if number in there}
    held = {key for gaps in state.gaps.values() for gap in gaps for key in gap.hashes}
    thorough = state.received_us - state.renumbered_us >= EVERY_US
    for cohort in state.cohorts.values():
        living = int(cohort.used["current"].sum())
        if living + max(LEFTOVERS, living // 8) < len(cohort) or (thorough and living < len(cohort)):
            _tidy(state, cohort, held)
    state.cohorts = {shape: cohort for shape, cohort in state.cohorts.items() if len(cohort)}
    if thorough:
        state.renumbered_us = state.received_us
        _renumber_hosts(state)
        _renumber_pools(state)


def _tidy(state: "Partition", cohort: Cohort, held: set[int]) -> None:
    alive = cohort.used["current"] | np.array([key in held for key in cohort.hashes])
    for records in cohort.parts.values():
        used = records[: len(cohort)]
        alive |= (used["span_us"] != 0) | (used["ticks"] != 0)
    for key, lives in zip(cohort.hashes, alive.tolist(), strict=True):
        if not lives:
            del state.row_of[key]
    cohort.keep(alive)
    state.row_of |= {key: number for number, key in enumerate(cohort.hashes)}
    for number, host in enumerate(cohort.used["host"].tolist()):
        if cohort.rows["current"][number]:
            state.current[host] = cohort, number


def _renumber_hosts(state: "Partition") -> None:
    needed = _hosts_needed(state)
    if needed.all():
        return
    number = np.cumsum(needed) - 1
    new: dict[int, int] = dict(zip(np.flatnonzero(needed).tolist(), range(int(needed.sum())), strict=True))
    state.hosts, state.first_us = list(compress(state.hosts, needed)), list(compress(state.first_us, needed))
    state.site_of, state.heard_us = list(compress(state.site_of, needed)), state.heard_us[needed]
    for cohort in state.cohorts.values():
        cohort.used["host"] = number[cohort.used["host"]]
    state.current = {new[host]: place for host, place in state.current.items()}
    state.retired = {new[host]: boots for host, boots in state.retired.items() if host in new}
    state.gaps = {new[host]: gaps for host, gaps in state.gaps.items() if host in new}
    state.changed = {new[host] for host in state.changed if host in new}
    for closing in state.closings.values():
        masks = {id(mask): mask[needed[: len(mask)]] for mask in closing.expected.values()}
        closing.expected = {start: masks[id(mask)] for start, mask in closing.expected.items()}
        for totals in _totals(closing):
            _choose(totals, BY_HOST, needed)


def _hosts_needed(state: "Partition") -> Flags:
    """Tell which hosts have a row, were expected in an interval that may be corrected, or have moved something."""
    needed = np.zeros(len(state.hosts), dtype=np.bool_)
    for cohort in state.cohorts.values():
        needed[cohort.used["host"]] = True
    for closing in state.closings.values():
        for mask in {id(mask): mask for mask in closing.expected.values()}.values():
            needed[: len(mask)] |= mask
        for totals in _totals(closing):
            _mark(needed, totals, BY_HOST)
    return needed


def _totals(closing: Closing) -> list[Totals]:
    """Return the totals that are by number of the host."""
    return [*closing.pending.values(), *(late.fresh for late in closing.late.values() if late.fresh is not None)]


def _mark(needed: Flags, totals: Totals, names: tuple[str, ...]) -> None:
    for name in names:
        column = totals.columns[name]
        needed[: len(column)] |= column != 0


def _choose(totals: Totals, names: tuple[str, ...], needed: Flags) -> None:
    for name in names:
        totals.columns[name] = totals.columns[name][needed[: len(totals.columns[name])]]


def _renumber_pools(state: "Partition") -> None:
    """
    Let go of the numbers of pools that no row is in and no interval has a figure of.

    What came late is as long as there are pools; unpacking that of three days is why this is not done often.
    """
    needed, packed = np.zeros(len(state.pools), dtype=np.bool_), []
    for cohort in state.cohorts.values():
        _mark_rows(needed, cohort, state.pools)
    if needed.all():
        return
    for closing in state.closings.values():
        packed += [(late, Totals.unpacked(late.packed)) for late in closing.late.values()]
        for totals in _totals(closing):
            _mark(needed, totals, BY_POOL)
    for _, totals in packed:
        _mark(needed, totals, BY_POOL)
    number: Ints = np.append(np.cumsum(needed) - 1, NO_POOL)
    state.pools = Pools(list(compress(state.pools.names, needed)))
    for cohort in state.cohorts.values():
        for name in ("pool", "gauge", "job_pool"):
            cohort.used[name] = number[cohort.used[name]]
    for totals in [one for closing in state.closings.values() for one in _totals(closing)] + [one for _, one in packed]:
        _choose(totals, BY_POOL, needed)
    for late, totals in packed:
        late.packed = totals.packed()


def _mark_rows(needed: Flags, cohort: Cohort, pools: Pools) -> None:
    """Mark the pools that rows of *cohort* are in, and those that its jobs' tokens are shown in."""
    used: Any = cohort.used
    for name in ("pool", "gauge"):
        needed[used[name]] = True
    of_jobs = set(used["job_pool"].ravel().tolist()) - {NO_POOL}
    for number in np.flatnonzero((used["job_pool"] == NO_POOL).any(1)).tolist():
        of_jobs.update(*pools.of_jobs(cohort.layouts[number]))
    for own in of_jobs:
        needed[[own, pools.number(pools.names[own].gauge)]] = True
