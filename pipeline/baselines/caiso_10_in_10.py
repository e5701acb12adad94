"""
CAISO day matching, 10-in-10 with a same-day adjustment (tariff text of the 10-in-10 method, PDR and RDRR).

- walk back from the event day, at most 45 calendar days, to 10 similar days (4 where the event day is no business day);
- similar: same day type, no earlier event, no outage; five days will do (four);
- still short: the excluded event and outage days with the highest total load in the event's hours fill up;
- unadjusted baseline: plain mean over these days, metering interval by metering interval;
- load point adjustment: event day ÷ baseline over the 2nd, 3rd and 4th hours before the event, within 0.8 … 1.2.

    13:00      14:00      15:00      16:00      17:00                20:00
      ├─ 4th ────┼─ 3rd ────┼─ 2nd ────┤  skipped  ├─ event ───────────┤

Days are matched by the local clock. On a 25-hour day the repeated hour is compared with the others' only one, and it is
the first of the two that stands for a 25-hour day; a 23-hour day that lacks an hour is not used for it.

Read from the tariff text as quoted in a public implementation (`mce_baseline_functions.py`, Verdant Associates), not
from CAISO's manual itself. Three mistakes of that code are tests here: a look-back of 45 days as target, the event day
counted among the ten, and falling to the minimum as soon as the target is missed.
"""

from datetime import date, timedelta

import polars as pl

from pipeline.baselines import Baseline, Event, ExcludedDay, grid_of, walk_back
from pipeline.calendar import Calendar
from pipeline.errors import ConfigError, InsufficientDataError
from pipeline.interval import Interval

METHOD, VERSION = "caiso_10_in_10", "1"
LOOK_BACK_DAYS = 45
TARGET = {True: 10, False: 4}  # by business day
MINIMUM = {True: 5, False: 4}
RATIO_CAP = (0.8, 1.2)
ADJUST_FROM, ADJUST_TO = timedelta(hours=4), timedelta(hours=1)  # before the event's start
REACH = ADJUST_FROM


def baseline(history: pl.DataFrame, event: Event, calendar: Calendar) -> Baseline:
    """
    Return the baseline of *event* on the grid of *history*.

    Raise `InsufficientDataError` when days or adjustment hours are short, `ConfigError` for an event that crosses local
    midnight (a trading day ends there: settle it as two) or does not lie on the metering grid.
    """
    grid = grid_of(history)
    slots = _slots(event.interval, grid, calendar)
    known = history.filter(pl.col("start") < event.interval.start, pl.col("load_kw").is_finite())
    loads = _by_local_clock(known, calendar)
    candidates = _candidate_days(loads, slots, event, calendar)
    chosen, excluded = _choose(candidates, business=calendar.is_business_day(calendar.day_of(event.interval.start)))

    mean = (
        _loads_of(chosen, slots, loads)
        .group_by("start", "in_event")
        .agg(unadjusted_kw=pl.col("load_kw").mean())
        .sort("start")
    )
    raw = _ratio(mean.filter(~pl.col("in_event")), known)
    ratio = 1.0 if raw is None else min(max(raw, RATIO_CAP[0]), RATIO_CAP[1])
    return Baseline(
        method=METHOD,
        version=VERSION,
        intervals=mean.filter("in_event").select("start", "unadjusted_kw", baseline_kw=pl.col("unadjusted_kw") * ratio),
        ratio_raw=raw,
        ratio=ratio,
        days_used=tuple(chosen),
        days_excluded=excluded,
    )


def _slots(interval: Interval, grid: timedelta, calendar: Calendar) -> pl.DataFrame:
    """Return the metering intervals a day must have: `start` (UTC), `wall` (local clock), `in_event`."""
    last = interval.end - timedelta(microseconds=1)
    if calendar.day_of(interval.start) != calendar.day_of(last):
        raise ConfigError(f"event {interval.start} to {interval.end} crosses local midnight; settle it as two events")
    adjusting = Interval(interval.start - ADJUST_FROM, interval.start - ADJUST_TO)
    try:
        pieces = [(piece.start, part is interval) for part in (adjusting, interval) for piece in part.split(grid)]
    except ValueError as error:
        raise ConfigError(f"event {interval.start} to {interval.end} is off the metering grid: {error}") from error
    return _with_wall(
        pl.DataFrame(pieces, schema={"start": pl.Datetime("us", "UTC"), "in_event": pl.Boolean}, orient="row"), calendar
    )


def _with_wall(frame: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    return frame.with_columns(
        wall=pl.col("start").dt.convert_time_zone(calendar.timezone).dt.replace_time_zone(None).cast(pl.Datetime("us"))
    )


def _by_local_clock(history: pl.DataFrame, calendar: Calendar) -> pl.DataFrame:
    """Return one load per local clock reading; of a repeated hour the first stands for the day."""
    return _with_wall(history.sort("start"), calendar).unique("wall", keep="first").select("wall", "load_kw")


def _loads_of(days: list[date], slots: pl.DataFrame, loads: pl.DataFrame) -> pl.DataFrame:
    """Return `day`, `start`, `in_event`, `load_kw` of every slot on each of *days*; null where nothing was metered."""
    event_day = pl.lit(slots.filter("in_event")["wall"].dt.date().first())
    return (
        pl.DataFrame({"day": days}, schema={"day": pl.Date})
        .join(slots, how="cross")
        .with_columns(wall=pl.col("wall") + (pl.col("day") - event_day))
        .join(loads, on="wall", how="left")
    )


def _candidate_days(loads: pl.DataFrame, slots: pl.DataFrame, event: Event, calendar: Calendar) -> pl.DataFrame:
    """Return the days looked at, newest first: `day`, `reason` (null: similar), `event_hours_kw` (total)."""
    event_day = calendar.day_of(event.interval.start)
    business = calendar.is_business_day(event_day)
    days = list(walk_back(event_day, LOOK_BACK_DAYS))
    reasons = {
        **dict.fromkeys(event.outage_days, "outage"),
        **dict.fromkeys(event.event_days, "event"),
        **{day: "other day type" for day in days if calendar.is_business_day(day) != business},
    }
    return (
        _loads_of(days, slots, loads)
        .group_by("day")
        .agg(
            complete=pl.col("load_kw").is_not_null().all(),
            event_hours_kw=pl.col("load_kw").filter("in_event").sum(),
        )
        .sort("day", descending=True)
        .with_columns(given=pl.col("day").replace_strict(reasons, default=None, return_dtype=pl.String))
        .with_columns(
            reason=pl.when(pl.col("given").is_null() & ~pl.col("complete"))
            .then(pl.lit("incomplete"))
            .otherwise("given")
        )
    )


def _choose(candidates: pl.DataFrame, *, business: bool) -> tuple[list[date], tuple[ExcludedDay, ...]]:
    """Return the days to use, newest first, and those passed over on the way with the reason."""
    chosen: list[date] = candidates.filter(pl.col("reason").is_null())["day"].head(TARGET[business]).to_list()
    if short := max(0, MINIMUM[business] - len(chosen)):
        fallback = candidates.filter(pl.col("reason").is_in(["event", "outage"]), "complete")
        chosen += fallback.sort("event_hours_kw", "day", descending=True)["day"].head(short).to_list()
        chosen.sort(reverse=True)
    if len(chosen) < MINIMUM[business]:
        what = f"similar days with complete metering within {LOOK_BACK_DAYS} days of the event"
        raise InsufficientDataError(MINIMUM[business], len(chosen), what)
    walked = candidates
    if not short and len(chosen) == TARGET[business]:
        walked = candidates.filter(pl.col("day") >= chosen[-1])
    passed = walked.filter(pl.col("reason").is_not_null(), ~pl.col("day").is_in(chosen))
    return chosen, tuple(ExcludedDay(day, reason) for day, reason in passed.select("day", "reason").iter_rows())


def _ratio(adjusting: pl.DataFrame, known: pl.DataFrame) -> float | None:
    """Return event day ÷ baseline over the adjustment hours, None where the baseline is zero."""
    today = adjusting.join(known, on="start", how="left")
    if missing := today["load_kw"].null_count():
        what = "metering intervals in the three adjustment hours of the event day"
        raise InsufficientDataError(today.height, today.height - missing, what)
    expected, metered = today.select(pl.col("unadjusted_kw", "load_kw").sum()).row(0)
    return float(metered / expected) if expected else None
