"""
A request in pieces, so that a fleet's year fits into memory. Pure.

None of the frames that are made from a piece holds more than the stated number of rows. A request is cut by resource
until its readings fit, then by events, each with the readings in its reach; never to less than a resource and an event.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from pipeline.cbl import polars_learned, polars_slots
from pipeline.cbl.request import LOADS, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Parameters, Reference, Regression

MOST_ROWS = 2_000_000
"""Of any frame made on the way to an answer; some 100 bytes each, of which a few frames live at a time."""


@dataclass(frozen=True)
class Reach:
    """How far an event's baseline looks, and how many rows it takes to compute."""

    before: timedelta
    after: timedelta
    rows: int
    """Of the largest frame, for one event and one resource."""


def pieces(
    parameters: Parameters, request: Request, most_rows: int = MOST_ROWS, *, joined: bool = False
) -> Iterator[Request]:
    """
    Yield *request* in pieces that take no frame of more than *most_rows* rows, but have a resource and an event.

    *joined*: days are to be matched by joins (`pipeline.cbl.polars_days`), which takes a row a day and interval.
    """
    reach = reach_of(parameters, request, joined=joined)
    if request.events.is_empty():
        return
    for loads in _by_resources(request, reach, most_rows):
        some = replace(request, events=request.events.sort("start"), loads=loads)
        resources = loads.select("resource").unique()
        for piece in _by_events(some, reach, most_rows // resources.height):
            yield replace(piece, loads=_with_each(resources, piece))


def _by_events(request: Request, reach: Reach, most_rows: int) -> Iterator[Request]:
    """Yield so many events at a time that a resource takes *most_rows* rows, with the loads in their reach."""
    events = request.events
    first = pl.lit(events["start"].min()) - reach.before
    last = pl.lit(events["end"].max()) + reach.after
    near = request.loads.filter(pl.col("start") >= first, pl.col("start") < last)
    piece = replace(request, loads=near)
    if events.height == 1 or reach.rows * events.height <= most_rows:
        yield piece
        return
    half = events.height // 2
    for some in (events.head(half), events.tail(-half)):
        yield from _by_events(replace(piece, events=some), reach, most_rows)


def _with_each(resources: pl.DataFrame, piece: Request) -> pl.DataFrame:
    """Return the loads of *piece* and one empty row a resource, so that each of them is answered."""
    start = pl.lit(piece.events["start"].min(), LOADS["start"])
    empty = resources.select("resource", start=start, load_kw=pl.lit(None, pl.Float64))
    return pl.concat([piece.loads.select(LOADS.names()), empty])


def _by_resources(request: Request, reach: Reach, most_rows: int) -> Iterator[pl.DataFrame]:
    """Yield the loads of so many resources at a time as fit."""
    counts = request.loads.group_by("resource").agg(rows=pl.len()).sort("resource")
    ends = counts["rows"].cum_sum().to_list()
    contiguous = request.loads["resource"].is_sorted()
    first = 0
    for last in _last_that_fit([max(rows, reach.rows) for rows in counts["rows"]], most_rows):
        if contiguous:
            start = ends[first - 1] if first else 0
            yield request.loads.slice(start, ends[last] - start)
        else:
            some = counts["resource"].slice(first, last - first + 1)
            yield request.loads.filter(pl.col("resource").is_in(some.implode()))
        first = last + 1


def _last_that_fit(needs: list[int], most: int) -> Iterator[int]:
    """Yield the places at which *needs* are cut, so that the sum up to each cut is at most *most*, or is of one."""
    total = 0
    for place, need in enumerate(needs):
        if total and total + need > most:
            yield place - 1
            total = 0
        total += need
    if needs:
        yield len(needs) - 1


def reach_of(parameters: Parameters, request: Request, *, joined: bool = False) -> Reach:
    """Return how far the longest event of *request* reaches by the rule's *parameters*, and what it takes."""
    longest = request.events.select((pl.col("end") - pl.col("start")).max()).item() or request.grid
    day, slots = timedelta(days=1), -(-longest // request.grid)

    def hours(*values: float) -> timedelta:
        return timedelta(hours=max(0.0, *values))

    def in_slots(*spans: timedelta) -> int:
        return slots + sum(-(-span // request.grid) for span in spans)

    match parameters:
        case DayMatching() as rule:
            window, whole = hours(rule.adjust_from_hours), polars_slots.DAY if _reads_days(rule) else timedelta()
            days = (rule.look_back_days + 2) * day
            at_once = in_slots(window, whole)
            rows = rule.look_back_days * at_once if joined else max(rule.look_back_days, at_once)
            reach = Reach(days + window, 2 * day, rows)
        case Regression(terms="degree-days") as rule:
            window, days = hours(rule.adjust_from_hours), (rule.look_back_days + 2) * day
            reach = Reach(days + window, day, rule.look_back_days + rule.like_days * in_slots(window))
        case Regression() as rule:
            window, level = hours(rule.adjust_from_hours), hours(rule.level_hours + rule.gap_hours)
            days = (2 * rule.look_back_days + 2) * day
            reach = Reach(days + max(window, level), day, 2 * rule.look_back_days * in_slots(window, level))
        case Learned() as rule:
            days = (rule.look_back_days + polars_learned.WEEK + 2) * day
            week = polars_learned.WEEK * (day // request.grid)
            reach = Reach(days + hours(rule.ahead_hours), day, (rule.look_back_days + 1) * week)
        case AroundEvent() as rule:
            before, after = hours(rule.before_from_hours), hours(rule.after_to_hours)
            reach = Reach(before, after, in_slots(before, after))
        case Level():
            reach = Reach(timedelta(), timedelta(), slots)
        case Reference():
            reach = Reach(timedelta(), timedelta(), slots * _readings_at_once(request))
    return reach


def _readings_at_once(request: Request) -> int:
    """Return how many control customers or nominations there are of one interval, at most."""
    supplied = [frame for frame in (request.control, request.nominations) if frame is not None and frame.height]
    counts: list[int] = [frame.group_by("start").len().select(pl.col("len").max()).item() for frame in supplied]
    return max(counts, default=1)


def _reads_days(rule: DayMatching) -> bool:
    """Tell whether days are compared by all of their hours."""
    return rule.rank_by == "shape" or (rule.adjustment != "none" and rule.adjust_from_hours == 0)
