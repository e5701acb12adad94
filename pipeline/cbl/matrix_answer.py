"""
What was found of several shapes and resources as the frames of an answer, in their order. Pure.

Rows of one event and resource lie together: so it is those blocks that are put in order, and not the rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl

from pipeline.cbl import matrix_days, polars_adjust
from pipeline.cbl.answer import ADJUSTMENTS, DAYS_LOOKED_AT, SHORTFALLS, Answer
from pipeline.cbl.matrix_days import Chosen
from pipeline.cbl.matrix_readings import Axis, Flags, Floats, Ints, Shape
from pipeline.cbl.request import INSTANT
from pipeline.cbl.rule import DayMatching


@dataclass(frozen=True)
class Found:
    """Figures of one shape and one resource; a row an event."""

    resource: str
    shape: Shape
    chosen: Chosen
    lacking: Ints
    """Intervals of the adjustment hours without a reading."""
    unadjusted_kw: Floats
    """Event × interval of the event."""
    raw: Floats
    applied: Floats
    baseline_kw: Floats
    load_kw: Floats

    @cached_property
    def have(self) -> Ints:
        """Return how many days the pool of each event has."""
        count: Ints = self.chosen.pool.sum(1)
        return count

    @cached_property
    def short(self) -> Flags:
        """Return which events have too few days."""
        return self.have < self.chosen.need

    @cached_property
    def whole(self) -> Flags:
        """Return which events have a baseline."""
        found: Flags = ~self.short & (self.lacking == 0)
        return found


@dataclass(frozen=True)
class Blocks:
    """Some rows of each event and resource, in order of both; the rows of a block stay as they are."""

    found: Sequence[Found]
    lengths: Sequence[Ints]
    """Of each of `found`, how many rows each of its events has."""

    @cached_property
    def _order(self) -> tuple[Ints, Ints, Ints]:
        """Return event, number of the resource by name, and place before, of each row."""
        names = {name: place for place, name in enumerate(self._names)}
        event = np.concatenate([np.zeros(0, np.int64), *(one.shape.events for one in self.found)])
        resource = np.repeat([names[one.resource] for one in self.found], [len(one) for one in self.lengths])
        length = np.concatenate([np.zeros(0, np.int64), *self.lengths])
        begin = np.cumsum(length) - length
        order = np.lexsort((resource, event))
        length, begin = length[order], begin[order]
        place = np.repeat(begin - (np.cumsum(length) - length), length) + np.arange(length.sum())
        return np.repeat(event[order], length), np.repeat(resource[order], length), place

    @cached_property
    def _names(self) -> list[str]:
        return sorted({one.resource for one in self.found})

    def key(self) -> dict[str, pl.Series]:
        """Return `event` and `resource`."""
        event, resource, _ = self._order
        names = pl.Series(self._names, dtype=pl.String)
        known = names.gather(resource.astype(np.uint32)) if len(resource) else names.clear()
        return {"event": pl.Series(event, dtype=pl.Int64), "resource": known}

    def column(self, parts: Sequence[Floats] | Sequence[Ints] | Sequence[Flags], empty: type = np.float64) -> pl.Series:
        """Return the rows of *parts*, one of each of `found`, in order; NaN becomes null."""
        values = np.concatenate([np.zeros(0, dtype=empty), *(part.ravel() for part in parts)])
        return pl.Series(values[self._order[2]], nan_to_null=empty is np.float64)


def told(rule: DayMatching, found: Sequence[Found], on: Axis) -> Answer:
    """Return the answer."""
    return Answer(
        intervals=_intervals(rule, found),
        days=_days(found, on),
        adjustments=_adjustments(rule, found),
        shortfalls=_shortfalls(rule, found),
    )


def _intervals(rule: DayMatching, found: Sequence[Found]) -> pl.DataFrame:
    blocks = Blocks(found, [one.whole * one.shape.in_event.sum() for one in found])
    baseline = blocks.column([one.baseline_kw[one.whole] for one in found])
    load = blocks.column([one.load_kw[one.whole] for one in found])
    starts = [one.shape.starts_us[one.whole][:, one.shape.in_event] for one in found]
    frame = pl.DataFrame(
        {
            **blocks.key(),
            "start": blocks.column(starts, np.int64).cast(INSTANT),
            "unadjusted_kw": blocks.column([one.unadjusted_kw[one.whole] for one in found]),
            "baseline_kw": baseline,
            "load_kw": load,
            "reduction_kw": load - baseline if rule.supply else baseline - load,
        }
    )
    return polars_adjust.finished(rule, frame)


def _adjustments(rule: DayMatching, found: Sequence[Found]) -> pl.DataFrame:
    blocks = Blocks(found, [one.whole.astype(np.int64) for one in found])
    raw, applied = (blocks.column([getattr(one, name)[one.whole] for one in found]) for name in ("raw", "applied"))
    capped = (pl.col("raw") != pl.col("applied")).fill_null(value=False)
    frame = pl.DataFrame({**blocks.key(), "raw": raw, "applied": applied})
    return frame.with_columns(kind=pl.lit(rule.adjustment), capped=capped).select(ADJUSTMENTS.names())


def _shortfalls(rule: DayMatching, found: Sequence[Found]) -> pl.DataFrame:
    lacking = [~one.short & (one.lacking > 0) for one in found]
    window = [np.full(len(one.lacking), one.shape.in_adjust.sum()) for one in found]
    of_days = Blocks(found, [one.short.astype(np.int64) for one in found])
    of_window = Blocks(found, [some.astype(np.int64) for some in lacking])
    few_days = f"like days with complete readings within {rule.look_back_days} days of the event"
    frames = [
        _short(of_days, [one.chosen.need for one in found], [one.have for one in found], few_days),
        _short(
            of_window,
            window,
            [size - one.lacking for one, size in zip(found, window, strict=True)],
            "metering intervals in the adjustment hours of the event day",
        ),
    ]
    return pl.concat(frames).sort("event", "resource")


def _short(blocks: Blocks, need: list[Ints], have: list[Ints], what: str) -> pl.DataFrame:
    chosen = [length > 0 for length in blocks.lengths]
    columns = {
        name: blocks.column([part[some] for part, some in zip(parts, chosen, strict=True)], np.int64)
        for name, parts in (("need", need), ("have", have))
    }
    frame = pl.DataFrame({**blocks.key(), **columns}).with_columns(what=pl.lit(what))
    return frame.select(SHORTFALLS.names()).cast(SHORTFALLS)


def _days(found: Sequence[Found], on: Axis) -> pl.DataFrame:
    """Return the pool and what was passed over on the way to its oldest day; all of it where days are short."""
    said = [_said(one) for one in found]
    blocks = Blocks(found, [some.sum(1) for some in said])
    both = list(zip(found, said, strict=True))
    why = blocks.column([_reason(one.chosen)[some] for one, some in both], np.int64)
    reasons = pl.Series(matrix_days.REASONS, dtype=pl.String)
    frame = pl.DataFrame(
        {
            **blocks.key(),
            "day": blocks.column([one.chosen.day[some] + on.first_day for one, some in both], np.int64).cast(pl.Int32),
            "used": blocks.column([one.chosen.kept[some] for one, some in both], np.bool_),
            "reason": reasons.gather(why) if len(why) else reasons.clear(),
        }
    )
    reason = pl.when(~pl.col("used")).then("reason")
    return frame.select("event", "resource", pl.col("day").cast(pl.Date), "used", reason).cast(DAYS_LOOKED_AT)


def _said(found: Found) -> Flags:
    """Return which days of each event are told, newest first."""
    chosen = found.chosen
    on_the_way = np.flip(np.maximum.accumulate(np.flip(chosen.pool, 1), 1), 1) | found.short[:, None]
    said: Flags = ((chosen.reason != matrix_days.NONE) | chosen.pool) & on_the_way
    return said


def _reason(chosen: Chosen) -> Ints:
    not_kept = chosen.pool & ~chosen.kept
    found: Ints = np.where(not_kept, matrix_days.NOT_KEPT, np.where(chosen.kept, matrix_days.NONE, chosen.reason))
    return found
