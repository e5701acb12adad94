"""
Day matching for many events: every load of a resource is looked up by place, and no row is joined. Pure.

What `pipeline.cbl.polars_days` answers, some thirty times sooner: events whose intervals are at the same local times
are rows of one matrix. It needs readings, events and local clocks on a common grid that is not far too long; otherwise
there is no answer.
"""

import numpy as np

from pipeline.cbl import matrix_answer, matrix_days, matrix_readings, polars_adjust, polars_days, polars_slots
from pipeline.cbl.answer import Answer
from pipeline.cbl.matrix_answer import Found
from pipeline.cbl.matrix_days import Chosen
from pipeline.cbl.matrix_readings import Axis, Floats, Readings, Shape
from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching


def answer(rule: DayMatching, request: Request) -> Answer | None:
    """Return the baselines of all events and resources; None where there is no such grid."""
    slots = polars_slots.slots(rule, request)
    on = matrix_readings.axis(request, slots, rule.look_back_days)
    if on is None:
        return None
    days = matrix_days.days_of(rule, request, on)
    shapes = matrix_readings.shapes(slots, on)
    polars_days.check_k(rule, {bool(days.business[day - on.first_day]) for shape in shapes for day in shape.days})
    found = [
        _follow(rule, on, own, shape, matrix_days.choose(rule, on, days, own, shape))
        for own in matrix_readings.readings(request, on)
        for shape in shapes
    ]
    return matrix_answer.told(rule, found, on)


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
            metered, total = window.sum(1), expected.sum(1)
            some = np.abs(total) > polars_adjust.ROUNDING * np.maximum(1.0, np.abs(metered))
            raw = np.where(some, metered / total, np.nan) if window.shape[1] else nothing
            limited = np.clip(raw, lowest, highest) if (lowest, highest) != (None, None) else raw
            return raw, np.where(np.isnan(limited), 1.0, limited)
        raw = (window - expected).mean(1) if window.shape[1] else nothing
        scale = np.abs(level.mean(1))
        limited = raw if lowest is None else np.maximum(raw, lowest * scale)
        limited = limited if highest is None else np.minimum(limited, highest * scale)
        return raw, np.where(np.isnan(limited), 0.0, limited)
