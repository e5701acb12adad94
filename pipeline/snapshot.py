"""
A partition's state as bytes and back: what the next owner begins with. Pure.

Written down together with the offset it holds up to, so that taking over is reading one record and the ticks after it:
nothing is counted twice, nothing is forgotten, whoever died when. Arrays go as they are; a snapshot of another version
of firmwatt, or of another grid of intervals, is refused and the partition begins anew.
"""

from collections import Counter
from datetime import timedelta
from typing import Any

import msgspec
import numpy as np

from pipeline import frames
from pipeline.bulk import numbers
from pipeline.intervals import Closing, Late
from pipeline.messages.telemetry import IntervalPartial
from pipeline.pools import Pool, Pools
from pipeline.rollup import Partition
from pipeline.rows import Cohort, part, row
from pipeline.straggler import Hole, Knot
from pipeline.totals import Totals, padded

#: Of what is written here and of the records in `pipeline.rows`; raise it with any change.
VERSION = 2


class SnapshotError(ValueError):
    """The bytes are no state that can be gone on with; the text says why."""


class SavedCohort(msgspec.Struct, array_like=True):
    """Rows of one shape."""

    gpus: int
    jobs: int
    packed: list[bytes]
    rows: bytes
    parts: dict[int, bytes]


class SavedKnot(msgspec.Struct, array_like=True):
    """A tick beside a hole."""

    layout: int
    gpus: int
    jobs: int
    whole: bool
    """All numbers of a frame, or those that a row remembers."""
    value: bytes


class SavedHole(msgspec.Struct, array_like=True):
    """Ticks that are missing."""

    boot: str
    begin: int
    before: SavedKnot | None
    after: SavedKnot


class SavedLate(msgspec.Struct, array_like=True):
    """What came after an interval was closed."""

    first_us: int
    last_us: int
    totals: bytes
    fresh: dict[str, bytes] | None
    hosts: dict[int, int]


class SavedClosing(msgspec.Struct, array_like=True):
    """Intervals of one length."""

    length_us: int
    open_from_us: int
    pending: dict[int, dict[str, bytes]]
    late: dict[int, SavedLate]
    expected: dict[int, int]
    """By start: place in `masks`."""
    masks: list[tuple[int, bytes]]
    """How many hosts, and a bit for each; nearly all intervals have the same."""
    sites: dict[int, tuple[str, ...]]


class Saved(msgspec.Struct, array_like=True):
    """A partition."""

    version: int
    base_us: int
    offset: int
    received_us: int
    pools: list[Pool]
    hosts: list[str]
    first_us: list[int]
    sites: list[str]
    site_of: list[int]
    cohorts: list[SavedCohort]
    retired: dict[int, list[str]]
    gaps: dict[int, list[SavedHole]]
    closings: list[SavedClosing]
    counts: dict[str, int]
    late_us: dict[int, tuple[int, int]]
    closed: list[IntervalPartial]
    unknown_before_us: int = 0
    heard_us: list[int] = []
    """As long as `hosts`; states of earlier workers have none."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Saved)


def save(state: Partition) -> bytes:
    """Return *state* as bytes; `state.offset` is where to go on reading."""
    return _encoder.encode(
        Saved(
            version=VERSION,
            base_us=state.base_us,
            offset=state.offset,
            received_us=state.received_us,
            pools=state.pools.names,
            hosts=state.hosts,
            first_us=state.first_us,
            sites=state.sites,
            site_of=state.site_of,
            cohorts=[_cohort(cohort) for cohort in state.cohorts.values()],
            retired={host: list(boots) for host, boots in state.retired.items()},
            gaps={host: [_hole(gap) for gap in gaps] for host, gaps in state.gaps.items() if gaps},
            closings=[_closing(closing) for closing in state.closings.values()],
            counts=dict(state.counts),
            late_us=state.late_us,
            closed=state.closed,
            unknown_before_us=state.unknown_before_us,
            heard_us=padded(state.heard_us, len(state.hosts)).tolist(),
        )
    )


def restore(
    payload: bytes, number: int, lengths: tuple[timedelta, ...], site: str, also: tuple[str, ...] = ()
) -> Partition:
    """Return partition *number* as it was saved; raise `SnapshotError` where it cannot be gone on with."""
    try:
        saved = _decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"no snapshot of version {VERSION}: {error}") from error
    state = Partition(number, lengths, site, also)
    if (saved.version, saved.base_us) != (VERSION, state.base_us):
        raise SnapshotError(
            f"a snapshot of version {saved.version} for intervals of {saved.base_us} µs; "
            f"here it is version {VERSION} and {state.base_us} µs"
        )
    state.offset, state.received_us = saved.offset, saved.received_us
    state.unknown_before_us = saved.unknown_before_us
    state.pools = Pools(saved.pools)
    state.hosts, state.first_us, state.sites, state.site_of = saved.hosts, saved.first_us, saved.sites, saved.site_of
    state.heard_us = np.array(saved.heard_us or [saved.received_us] * len(saved.hosts), dtype=np.int64)
    for kept in saved.cohorts:
        _add_cohort(state, kept)
    state.retired = {host: dict.fromkeys(boots) for host, boots in saved.retired.items()}
    state.gaps = {host: [_read_hole(gap) for gap in gaps] for host, gaps in saved.gaps.items()}
    for closing in saved.closings:
        if closing.length_us in state.closings:
            state.closings[closing.length_us] = _read_closing(closing)
    for fresh in state.closings.values():  # of a length that was not configured before
        if saved.received_us:
            fresh.begin(saved.received_us)
    state.counts, state.late_us, state.closed = Counter(saved.counts), saved.late_us, saved.closed
    state.changed = set(state.current)
    return state


def _cohort(cohort: Cohort) -> SavedCohort:
    size = len(cohort)
    return SavedCohort(
        gpus=cohort.gpus,
        jobs=cohort.jobs,
        packed=cohort.packed,
        rows=cohort.used.tobytes(),
        parts={interval: records[:size].tobytes() for interval, records in cohort.parts.items()},
    )


def _add_cohort(state: Partition, kept: SavedCohort) -> None:
    shape = kept.gpus, kept.jobs
    cohort = state.cohorts[shape] = Cohort(*shape)
    cohort.packed = kept.packed
    cohort.layouts = [frames.parse_layout(packed) for packed in kept.packed]
    cohort.hashes = [frames.hash_of(packed) for packed in kept.packed]
    cohort.metered = [bool(layout.chassis_epoch) for layout in cohort.layouts]
    size = max(8, len(kept.packed))
    cohort.rows = _records(kept.rows, row(*shape), size)
    cohort.parts = {interval: _records(records, part(*shape), size) for interval, records in kept.parts.items()}
    state.row_of |= {key: number for number, key in enumerate(cohort.hashes)}
    for number in np.flatnonzero(cohort.used["current"]).tolist():
        state.current[int(cohort.rows["host"][number])] = cohort, number


def _records(saved: bytes, kind: np.dtype[Any], size: int) -> Any:
    records = np.zeros(size, kind)
    known = np.frombuffer(saved, kind)
    records[: len(known)] = known
    return records


def _knot(knot: Knot) -> SavedKnot:
    whole = knot.value.dtype == numbers(knot.gpus, knot.jobs)
    return SavedKnot(knot.layout, knot.gpus, knot.jobs, whole, knot.value.tobytes())


def _read_knot(saved: SavedKnot) -> Knot:
    kind = numbers(saved.gpus, saved.jobs) if saved.whole else row(saved.gpus, saved.jobs)
    return Knot(saved.layout, saved.gpus, saved.jobs, np.frombuffer(saved.value, kind)[0])


def _hole(hole: Hole) -> SavedHole:
    return SavedHole(hole.boot, hole.begin, _knot(hole.before) if hole.before else None, _knot(hole.after))


def _read_hole(saved: SavedHole) -> Hole:
    before = _read_knot(saved.before) if saved.before else None
    return Hole(saved.boot, saved.begin, before, _read_knot(saved.after))


def _totals(totals: Totals) -> dict[str, bytes]:
    return {name: values.astype(np.int64).tobytes() for name, values in totals.columns.items()}


def _read_totals(saved: dict[str, bytes]) -> Totals:
    return Totals({name: np.frombuffer(values, np.int64) for name, values in saved.items()})


def _late(late: Late) -> SavedLate:
    fresh = None if late.fresh is None else _totals(late.fresh)
    return SavedLate(late.first_us, late.last_us, late.packed, fresh, late.hosts)


def _read_late(saved: SavedLate) -> Late:
    fresh = None if saved.fresh is None else _read_totals(saved.fresh)
    return Late(saved.first_us, saved.last_us, saved.totals, fresh, saved.hosts)


def _closing(closing: Closing) -> SavedClosing:
    masks: dict[tuple[int, bytes], int] = {}
    expected = {
        start: masks.setdefault((len(mask), np.packbits(mask).tobytes()), len(masks))
        for start, mask in closing.expected.items()
    }
    return SavedClosing(
        length_us=closing.length_us,
        open_from_us=closing.open_from_us,
        pending={start: _totals(totals) for start, totals in closing.pending.items()},
        late={start: _late(late) for start, late in closing.late.items()},
        expected=expected,
        masks=list(masks),
        sites=closing.sites,
    )


def _read_closing(saved: SavedClosing) -> Closing:
    masks = [np.unpackbits(np.frombuffer(bits, np.uint8), count=hosts).astype(np.bool_) for hosts, bits in saved.masks]
    return Closing(
        length_us=saved.length_us,
        open_from_us=saved.open_from_us,
        pending={start: _read_totals(totals) for start, totals in saved.pending.items()},
        late={start: _read_late(late) for start, late in saved.late.items()},
        expected={start: masks[place] for start, place in saved.expected.items()},
        sites=saved.sites,
    )
