"""
Day matching for many events: every load of a resource is looked up by place, and no row is joined. Pure.

What `pipeline.cbl.polars_days` answers, some fifty times sooner: events whose intervals are at the same local times are
rows of one matrix. It needs readings, events and local clocks on a common grid; otherwise there is no answer.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.cbl import matrix_days, matrix_readings, polars_adjust, polars_slots
from pipeline.cbl.answer import ADJUSTMENTS, DAYS_LOOKED_AT, KEY, SHORTFALLS, Answer
from pipeline.cbl.matrix_days import Chosen
from pipeline.cbl.matrix_readings import Axis, Flags, Floats, Ints, Readings, Shape
from pipeline.cbl.request import INSTANT, Request
from pipeline.cbl.rule import DayMatching

IN_WINDOW = "metering intervals in the adjustment hours of the event day"


@dataclass(frozen=True)
class Found:
    """Figures of one shape and one resource; a row an event."""

    resource: str
    shape: Shape
    chosen: Chosen
    short: Flags
    """Too few days."""
    lacking: Ints
    """Intervals of the adjustment hours without a reading."""
    unadjusted_kw: Floats
    """Event × interval of the event."""
    raw: Floats
    applied: Floats
    baseline_kw: Floats
    load_kw: Floats

    @property
    def whole(self) -> Flags:
        """Return which events have a baseline."""
        found: Flags = ~self.short & (self.lacking == 0)
        return found


def answer(rule: DayMatching, request: Request) -> Answer | None:
    """Return the baselines of all events and resources; None where there is no common grid."""
    slots = polars_slots.slots(rule, request)
    on = matrix_readings.axis(request, slots, rule.look_back_days)
    if on is None:
        return None
    days = matrix_days.days_of(rule, request, on)
    shapes = matrix_readings.shapes(slots, on)
    found = [
        _follow(rule, on, own, shape, matrix_days.choose(rule, on, days, own, shape))
        for own in matrix_readings.readings(request, on)
        for shape in shapes
    ]
    return Answer(
        intervals=_intervals(rule, found),
        days=_days(found, on),
        adjustments=_adjustments(rule, found),
        shortfalls=_shortfalls(rule, found),
    )


def _follow(rule: DayMatching, on: Axis, own: Readings, shape: Shape, chosen: Chosen) -> Found:
    unadjusted = _averages(rule, on, own, shape, chosen)
    now = own.by_instant[on.places(shape.starts_us)]
    expected, window = unadjusted[:, shape.in_adjust], now[:, shape.in_adjust]
    level, load = unadjusted[:, shape.in_event], now[:, shape.in_event]
    raw, applied = _adjustment(rule, expected, window, level)
    by = applied[:, None]
    return Found(
        own.resource,
        shape,
        chosen,
        short=chosen.pool.sum(1) < chosen.need,
        lacking=np.isnan(window).sum(1),
        unadjusted_kw=level,
        raw=raw,
        applied=applied,
        baseline_kw=level + by if rule.adjustment == "additive" else level * by,
        load_kw=load,
    )


def _averages(rule: DayMatching, on: Axis, own: Readings, shape: Shape, chosen: Chosen) -> Floats:
    """Return the average over the days kept: event × interval; NaN where none is kept."""
    most = int(chosen.kept.sum(1).max(initial=0))
    if not most:
        return np.full(shape.starts_us.shape, np.nan)
    first = np.argsort(~chosen.kept, axis=1, kind="stable")[:, :most]
    kept = np.take_along_axis(chosen.kept, first, axis=1)
    day = np.take_along_axis(chosen.day, first, axis=1)
    place = day[:, :, None] * on.per_day + shape.offsets
    loads = np.where(kept[:, :, None], own.by_clock[np.clip(place, 0, len(own.by_clock) - 1)], 0.0)
    count = kept.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        if rule.average == "mean":
            mean: Floats = loads.sum(1) / np.where(count, count, np.nan)[:, None]
            return mean
    left = (1.0 - rule.weight) ** np.arange(most)
    part = np.where(np.arange(most) == (count - 1)[:, None], left, rule.weight * left)
    weighted: Floats = np.where(count[:, None] > 0, (loads * part[:, :, None]).sum(1), np.nan)
    return weighted


def _adjustment(rule: DayMatching, expected: Floats, window: Floats, level: Floats) -> tuple[Floats, Floats]:
    """Return the adjustment of each event as it comes out, NaN where it does not, and as it is applied."""
    nothing = np.full(len(level), np.nan)
    if rule.adjustment == "none":
        return nothing, np.ones(len(level))
    lowest, highest = rule.adjust_lowest, rule.adjust_highest
    with np.errstate(invalid="ignore", divide="ignore"):
        if rule.adjustment == "ratio":
            ratio = window.sum(1) / expected.sum(1)
            raw = np.where(expected.sum(1) != 0, ratio, np.nan) if window.shape[1] else nothing
            limited = np.clip(raw, lowest, highest) if (lowest, highest) != (None, None) else raw
            return raw, np.where(np.isnan(limited), 1.0, limited)
        raw = (window - expected).mean(1) if window.shape[1] else nothing
        scale = np.abs(level.mean(1))
        limited = raw if lowest is None else np.maximum(raw, lowest * scale)
        limited = limited if highest is None else np.minimum(limited, highest * scale)
        return raw, np.where(np.isnan(limited), 0.0, limited)


def _intervals(rule: DayMatching, found: list[Found]) -> pl.DataFrame:
    parts = [(one, one.whole) for one in found]
    starts = [one.shape.starts_us[whole][:, one.shape.in_event] for one, whole in parts]
    widths = [part.shape[1] for part in starts]
    baseline, load = (
        np.concatenate([np.zeros(0), *(getattr(one, name)[whole].ravel() for one, whole in parts)])
        for name in ("baseline_kw", "load_kw")
    )
    frame = pl.DataFrame(
        {
            **_key(parts, widths),
            "start": pl.Series(np.concatenate([np.zeros(0, np.int64), *(part.ravel() for part in starts)])).cast(INSTANT),
            "unadjusted_kw": np.concatenate([np.zeros(0), *(one.unadjusted_kw[whole].ravel() for one, whole in parts)]),
            "baseline_kw": baseline,
            "load_kw": pl.Series(load, nan_to_null=True),
            "reduction_kw": pl.Series(load - baseline if rule.supply else baseline - load, nan_to_null=True),
        }
    )
    return polars_adjust.finished(rule, frame)


def _key(parts: list[tuple[Found, Flags]], widths: list[int]) -> dict[str, pl.Series]:
    """Return `event` and `resource` of the chosen events of each part, every one repeated as often as *widths* says."""
    events = [np.repeat(one.shape.events[some], width) for (one, some), width in zip(parts, widths, strict=True)]
    names = pl.Series([one.resource for one, _ in parts], dtype=pl.String)
    which = np.repeat(np.arange(len(parts), dtype=np.uint32), [len(part) for part in events])
    return {
        "event": pl.Series(np.concatenate([np.zeros(0, np.int64), *events]), dtype=pl.Int64),
        "resource": names.gather(which) if len(which) else pl.Series([], dtype=pl.String),
    }


def _adjustments(rule: DayMatching, found: list[Found]) -> pl.DataFrame:
    parts = [(one, one.whole) for one in found]
    raw, applied = (
        pl.Series(np.concatenate([np.zeros(0), *(getattr(one, name)[whole] for one, whole in parts)]), nan_to_null=True)
        for name in ("raw", "applied")
    )
    frame = pl.DataFrame({**_key(parts, [1] * len(parts)), "raw": raw, "applied": applied})
    capped = (pl.col("raw") != pl.col("applied")).fill_null(value=False)
    return frame.with_columns(kind=pl.lit(rule.adjustment), capped=capped).select(ADJUSTMENTS.names()).sort(KEY)


def _shortfalls(rule: DayMatching, found: list[Found]) -> pl.DataFrame:
    what = f"like days with complete readings within {rule.look_back_days} days of the event"
    of_days = [(one, one.short) for one in found]
    of_window = [(one, ~one.short & (one.lacking > 0)) for one in found]
    frames = [
        _short(of_days, [one.chosen.need for one in found], [one.chosen.pool.sum(1) for one in found], what),
        _short(
            of_window,
            [np.full(len(one.lacking), one.shape.in_adjust.sum()) for one in found],
            [one.shape.in_adjust.sum() - one.lacking for one in found],
            IN_WINDOW,
        ),
    ]
    return pl.concat(frames).sort(KEY)


def _short(parts: list[tuple[Found, Flags]], need: list[Ints], have: list[Ints], what: str) -> pl.DataFrame:
    columns = {
        name: np.concatenate([np.zeros(0, np.int64), *(v[some] for (_, some), v in zip(parts, values, strict=True))])
        for name, values in (("need", need), ("have", have))
    }
    frame = pl.DataFrame({**_key(parts, [1] * len(parts)), **columns}).with_columns(what=pl.lit(what))
    return frame.select(SHORTFALLS.names()).cast(dict(SHORTFALLS))


def _days(found: list[Found], on: Axis) -> pl.DataFrame:
    return pl.concat([pl.DataFrame(schema=DAYS_LOOKED_AT), *(_days_of(one, on) for one in found)]).sort(
        *KEY, "day", descending=[False, False, True]
    )


def _days_of(found: Found, on: Axis) -> pl.DataFrame:
    """Return the pool and what was passed over on the way to its oldest day; all of it where days are short."""
    chosen = found.chosen
    on_the_way = np.flip(np.maximum.accumulate(np.flip(chosen.pool, 1), 1), 1) | found.short[:, None]
    reason = np.where(chosen.pool & ~chosen.kept, matrix_days.NOT_KEPT, np.where(chosen.kept, 0, chosen.reason))
    rows, columns = np.nonzero(((chosen.reason != matrix_days.NONE) | chosen.pool) & on_the_way)
    days = pl.Series(chosen.day[rows, columns] + on.first_day, dtype=pl.Int64).cast(pl.Int32).cast(pl.Date)
    names = pl.Series([*matrix_days.REASONS], dtype=pl.String)
    why = names.gather(reason[rows, columns].astype(np.uint32)) if len(rows) else pl.Series([], dtype=pl.String)
    return pl.DataFrame(
        {
            "event": pl.Series(found.shape.events[rows], dtype=pl.Int64),
            "resource": pl.Series([found.resource], dtype=pl.String).new_from_index(0, len(rows)),
            "day": days,
            "used": chosen.kept[rows, columns],
            "reason": why,
        }
    ).with_columns(reason=pl.when(~pl.col("used")).then("reason"))


