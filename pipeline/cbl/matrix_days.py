"""
Which days a baseline is made of, for all events of a `Shape` and one resource at once. NumPy, pure.

A row is an event, a column a day before it, newest first. `reason` says why a day is passed over (`NONE`: for
nothing), `pool` and `kept` which days are in the pool and which of them are averaged.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.cbl import answer as told
from pipeline.cbl import polars_calendar
from pipeline.cbl.matrix_readings import Axis, Flags, Floats, Ints, Readings, Shape
from pipeline.cbl.polars_days import COMPARED
from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching

REASONS = ("", told.OTHER_TYPE, told.EVENT, told.OUTAGE, told.INCOMPLETE, told.LOW_USAGE, told.NOT_KEPT)
NONE, OTHER_TYPE, EVENT, OUTAGE, INCOMPLETE, LOW_USAGE, NOT_KEPT = range(len(REASONS))


@dataclass(frozen=True)
class Days:
    """What is known of local days, by number from the axis' first."""

    kind: Ints
    business: Flags
    warmth: Floats
    """Highest temperature; NaN where an hour has none."""
    steps: Ints
    """Metering intervals the day has."""
    events: dict[str | None, Flags]
    """By resource, None: all, the days on which it was called."""
    outages: dict[str | None, Flags]


def days_of(rule: DayMatching, request: Request, on: Axis) -> Days:
    """Return what the calendar, the request and its temperatures say of the days on the axis."""
    kinds = polars_calendar.day_kinds(request, rule.look_back_days, rule.day_types)
    places = _places(kinds["day"], on)
    kind, business = np.full(on.days, -1), np.zeros(on.days, dtype=np.bool_)
    kind[places], business[places] = kinds["kind"].to_numpy(), kinds["business"].to_numpy()
    warmth, steps = np.full(on.days, np.nan), np.zeros(on.days, dtype=np.int64)
    if rule.rank_by == "temperature":
        highest = polars_calendar.highest_temperatures(request)
        there = highest.filter(_on_axis(on))
        warmth[_places(there["day"], on)] = there["celsius"].to_numpy()
    if rule.rank_by == "day":
        shown = np.unique(on.clock_place // on.per_day)
        listed = pl.Series(shown + on.first_day).cast(pl.Int32).cast(pl.Date).to_list()
        steps[shown] = [request.calendar.bounds(day).length // request.grid for day in listed]
    return Days(kind, business, warmth, steps, _marked(request.event_days, on), _marked(request.outage_days, on))


def _on_axis(on: Axis) -> pl.Expr:
    number = pl.col("day").to_physical().cast(pl.Int64) - on.first_day
    return (number >= 0) & (number < on.days)


def _places(days: pl.Series, on: Axis) -> Ints:
    found: Ints = days.to_physical().cast(pl.Int64).to_numpy() - on.first_day
    return found


def _marked(days: pl.DataFrame, on: Axis) -> dict[str | None, Flags]:
    marked: dict[str | None, Flags] = {None: np.zeros(on.days, dtype=np.bool_)}
    for (resource,), own in days.filter(_on_axis(on)).partition_by("resource", as_dict=True).items():
        marked.setdefault(resource, np.zeros(on.days, dtype=np.bool_))[_places(own["day"], on)] = True
    return marked


def _of(marked: dict[str | None, Flags], resource: str) -> Flags:
    found: Flags = marked[None] | marked[resource] if resource in marked else marked[None]
    return found


@dataclass(frozen=True)
class Chosen:
    """Event × day before it, newest first."""

    day: Ints
    """Places of the days on the axis."""
    reason: Ints
    """Numbers in `REASONS`."""
    pool: Flags
    kept: Flags
    need: Ints
    """Days, by event."""


def choose(rule: DayMatching, on: Axis, days: Days, own: Readings, shape: Shape) -> Chosen:
    """Return the days of every event of *shape* for the resource of *own*."""
    today = shape.days - on.first_day
    back = np.arange(1 + rule.skip_days, rule.look_back_days + 1)
    day = today[:, None] - back
    business = days.business[today]
    loads = _loads(on, own, shape)
    usage = np.round(_mean(loads[:, shape.in_event]), COMPARED)[day]
    rank = usage
    match rule.rank_by:
        case "day":
            rank = _day_means(on, days, own)[day]
        case "temperature":
            rank = np.abs(days.warmth[day] - days.warmth[today][:, None])
        case "shape":
            now = own.by_instant[on.places(shape.starts_us[:, shape.in_match])]
            rank = _unlikeness(loads[:, shape.in_match], now, day)
    rank = np.round(rank, COMPARED)
    whole: Flags = np.asarray(np.isfinite(loads).all(axis=1))
    complete = whole[day] & np.isfinite(rank)
    called, out = _of(days.events, own.resource), _of(days.outages, own.resource)
    reason = np.select(
        [
            days.kind[day] != days.kind[today][:, None],
            called[day] & rule.exclude_events,
            out[day] & rule.exclude_outages,
            ~complete,
        ],
        [OTHER_TYPE, EVENT, OUTAGE, INCOMPLETE],
        NONE,
    )
    size = np.where(business, *(len(back) if size is None else size for size in (rule.days, rule.other_days)))
    match rule.low_usage:
        case "mean-of-pool":
            _below_mean(rule, reason, usage, size)
        case "running-mean":
            _below_running_mean(rule, reason, usage, back)
    pool = _newest(reason, size)
    minimum = np.where(business, rule.minimum_days, rule.minimum_other_days)
    if rule.fill_up:
        filling = complete & np.isin(reason, (EVENT, OUTAGE))
        total = np.round(loads[:, shape.in_event].sum(1), COMPARED)[day]
        pool |= _first(filling, -total, minimum - pool.sum(1))
    k = np.where(business, rule.k or 0, rule.other_k or 0)
    need = np.maximum(minimum, 3 if rule.keep == "middle" else 1)
    return Chosen(day, reason, pool, _kept(rule, pool, rank, k), need)


def _loads(on: Axis, own: Readings, shape: Shape) -> Floats:
    """Return the load of every local day at the times of *shape*: day × interval."""
    place = np.arange(on.days)[:, None] * on.per_day + shape.offsets
    inside = (place >= 0) & (place < len(own.by_clock))
    found: Floats = np.where(inside, own.by_clock[np.clip(place, 0, len(own.by_clock) - 1)], np.nan)
    return found


def _mean(loads: Floats) -> Floats:
    found: Floats = loads.mean(1) if loads.shape[1] else np.full(len(loads), np.nan)
    return found


def _unlikeness(then: Floats, now: Floats, day: Ints) -> Floats:
    """Return the sum of squared differences to each event's own day; NaN where that lacks a reading."""
    return np.array([((then[before] - own) ** 2).sum(1) for before, own in zip(day, now, strict=True)])


def _day_means(on: Axis, days: Days, own: Readings) -> Floats:
    """Return the mean of all instants of every local day, NaN where one has no reading."""
    local = on.clock_place // on.per_day
    there = np.isfinite(own.by_instant)
    count = np.bincount(local[there], minlength=on.days)
    total = np.bincount(local[there], weights=own.by_instant[there], minlength=on.days)
    whole = (count >= days.steps) & (count > 0) & (days.steps > 0)
    return np.where(whole, total / np.maximum(count, 1), np.nan)


def _newest(reason: Ints, size: Ints) -> Flags:
    """Return the newest days without a reason against them, as many as make the pool."""
    fine = reason == NONE
    found: Flags = fine & (np.cumsum(fine, axis=1) <= size[:, None])
    return found


def _below_mean(rule: DayMatching, reason: Ints, usage: Floats, size: Ints) -> None:
    """Pass over the days below the share of the mean of the pool they are in, until none is."""
    while True:
        pool = _newest(reason, size)
        total, count = np.where(pool, usage, 0.0).sum(1), pool.sum(1)
        least = np.round(rule.low_usage_share * total / np.maximum(count, 1), COMPARED)
        low = pool & (usage < least[:, None])
        if not low.any():
            return
        reason[low] = LOW_USAGE


def _below_running_mean(rule: DayMatching, reason: Ints, usage: Floats, back: Ints) -> None:
    """Pass over the days below the share of the mean of those accepted before, the highest of some days at first."""
    fine = reason == NONE
    highest = np.where(fine, usage, -np.inf)
    recent = highest[:, back <= rule.seed_days].max(1, initial=-np.inf)
    total = np.where(np.isfinite(recent), recent, highest.max(1, initial=-np.inf))
    count = np.zeros(len(total), dtype=np.int64)
    for place in range(len(back)):
        with np.errstate(invalid="ignore"):
            least = np.round(rule.low_usage_share * total / np.maximum(count, 1), COMPARED)
            low = fine[:, place] & (usage[:, place] < least)
        reason[low, place] = LOW_USAGE
        accepted = fine[:, place] & ~low
        total = np.where(accepted, np.where(count > 0, total, 0.0) + usage[:, place], total)
        count += accepted


def _first(chosen: Flags, order: Floats, most: Ints) -> Flags:
    """Return of the *chosen* in each row the *most* that come first by *order*; of equal ones the newer."""
    places = np.argsort(np.where(chosen, order, np.inf), axis=1, kind="stable")
    place = np.empty_like(places)
    np.put_along_axis(place, places, np.arange(places.shape[1])[None, :], axis=1)
    found: Flags = chosen & (place < np.minimum(most, chosen.sum(1))[:, None])
    return found


def _kept(rule: DayMatching, pool: Flags, rank: Floats, k: Ints) -> Flags:
    """Return the days of *pool* that are averaged."""
    match rule.keep:
        case "all":
            return pool
        case "highest":
            return _first(pool, -rank, k)
        case "nearest":
            return _first(pool, rank, k)
        case "middle":
            count = pool.sum(1)
            return _first(pool, -rank, count - 1) & ~_first(pool, -rank, np.ones_like(count))
