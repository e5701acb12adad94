"""
Baseline rules in plain pandas, event by event: what the engines are measured against.

Day matching by usage, and means around the event, as an analyst would write them. It reads `pipeline.cbl.rule` and
nothing of the engines.

Held back by nothing: the local clock is computed once for a resource, lookups are by a sorted index. It knows of no
earlier events and outages, of which the benchmark has none.
"""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from pipeline.calendar import Calendar
from pipeline.cbl.rule import AroundEvent, DayMatching

SUNDAY, SATURDAY = 6, 5


@dataclass(frozen=True)
class History:
    """One resource's readings, twice: by instant and by the local clock."""

    by_instant: pd.Series
    by_clock: pd.Series
    day_means: pd.Series
    """Of local days without a gap."""
    calendar: Calendar
    grid: timedelta


def history(starts: pd.DatetimeIndex, load_kw: pd.Series, calendar: Calendar, grid: timedelta) -> History:
    """Return readings without those that are missing; of a repeated hour the first stands in the local clock."""
    by_instant = pd.Series(load_kw.to_numpy(), index=starts).dropna().sort_index()
    by_clock = by_instant.tz_convert(calendar.timezone).tz_localize(None)
    by_clock = by_clock[~by_clock.index.duplicated()]
    days = by_clock.groupby(by_clock.index.date).agg(["mean", "size"])
    whole = [min(calendar.bounds(day).length, timedelta(hours=24)) // grid for day in days.index]
    return History(by_instant, by_clock, days["mean"][days["size"] == whole], calendar, grid)


def supports(parameters: object) -> bool:
    """Tell whether `baseline` follows these parameters."""
    if isinstance(parameters, AroundEvent):
        return True
    return isinstance(parameters, DayMatching) and parameters.rank_by in {"event-hours", "day"}


def baseline(
    rule: DayMatching | AroundEvent, known: History, start: pd.Timestamp, end: pd.Timestamp
) -> pd.Series | None:
    """Return the baseline of each interval of one event, kW, by its start in UTC; None where there is none."""
    event = pd.date_range(start, end, freq=known.grid, inclusive="left")
    if isinstance(rule, AroundEvent):
        return _around(rule, known, start, end, event)
    window = pd.date_range(
        start - pd.Timedelta(hours=rule.adjust_from_hours),
        start - pd.Timedelta(hours=rule.adjust_to_hours),
        freq=known.grid,
        inclusive="left",
    )
    slots = window.union(event) if rule.adjustment != "none" else event
    days = _like_days(rule, known, start, slots, event)
    pool = _averaged(rule, days, _day(known, start), known)
    if pool is None:
        return None
    unadjusted = pool.groupby("start")["load_kw"].mean()
    if rule.adjustment == "none":
        return unadjusted.loc[event]
    today = known.by_instant.reindex(window)
    if today.isna().any():
        return None
    return _adjusted(rule, unadjusted, today, event)


def _around(
    rule: AroundEvent, known: History, start: pd.Timestamp, end: pd.Timestamp, event: pd.DatetimeIndex
) -> pd.Series | None:
    hour = pd.Timedelta(hours=1)
    before = pd.date_range(
        start - rule.before_from_hours * hour, start - rule.before_to_hours * hour, freq=known.grid, inclusive="left"
    )
    after = pd.date_range(
        end + rule.after_from_hours * hour, end + rule.after_to_hours * hour, freq=known.grid, inclusive="left"
    )
    # Of no length at all pandas makes a range of one.
    window = before.union(after) if rule.after_to_hours > rule.after_from_hours else before
    readings = known.by_instant.reindex(window)
    return None if readings.isna().any() else pd.Series(readings.mean(), index=event)


def _day(known: History, instant: pd.Timestamp) -> date:
    return known.calendar.day_of(instant.to_pydatetime())


def _like_days(
    rule: DayMatching, known: History, start: pd.Timestamp, slots: pd.DatetimeIndex, event: pd.DatetimeIndex
) -> pd.DataFrame:
    """Return `day`, `start`, `load_kw`, `in_event` of the complete like days, newest first."""
    today = _day(known, start)
    backs = range(rule.skip_days + 1, rule.look_back_days + 1)
    days = [today - timedelta(days=back) for back in backs]
    alike = [day for day in days if _kind(rule, known.calendar, day) == _kind(rule, known.calendar, today)]
    clock = slots.tz_convert(known.calendar.timezone).tz_localize(None)
    frame = pd.DataFrame(
        {
            "day": pd.Index(alike).repeat(len(slots)),
            "start": np.tile(slots, len(alike)) if alike else slots[:0],
            "clock": np.concatenate([clock - pd.Timedelta(today - day) for day in alike]) if alike else clock[:0],
        }
    )
    frame["start"] = pd.DatetimeIndex(frame["start"]).tz_localize("UTC") if not _aware(frame) else frame["start"]
    frame["load_kw"] = known.by_clock.reindex(frame["clock"]).to_numpy()
    frame["in_event"] = frame["start"].isin(event)
    complete = frame.groupby("day")["load_kw"].transform(lambda loads: loads.notna().all())
    if rule.rank_by == "day":
        complete &= frame["day"].isin(known.day_means.index)
    return frame[complete.astype(bool)]


def _aware(frame: pd.DataFrame) -> bool:
    return isinstance(frame["start"].dtype, pd.DatetimeTZDtype)


def _kind(rule: DayMatching, calendar: Calendar, day: date) -> int:
    if rule.day_types == "all":
        return 0
    if calendar.is_business_day(day):
        return 1
    if rule.day_types == "business":
        return 2
    return 2 if day.weekday() == SATURDAY and day not in calendar.holidays else 3


def _averaged(rule: DayMatching, days: pd.DataFrame, today: date, known: History) -> pd.DataFrame | None:
    """Return the rows of the days that are averaged; None where they are too few."""
    business = known.calendar.is_business_day(today)
    size, least = (rule.days, rule.minimum_days) if business else (rule.other_days, rule.minimum_other_days)
    usage = days[days["in_event"]].groupby("day")["load_kw"].mean().sort_index(ascending=False)
    if rule.low_usage == "running-mean":
        usage = _running(rule, usage, today)
    pool = usage.head(size or len(usage))
    while rule.low_usage == "mean-of-pool" and (low := pool[pool < rule.low_usage_share * pool.mean()]).size:
        usage = usage.drop(low.index)
        pool = usage.head(size or len(usage))
    if len(pool) < least:
        return None
    ranks = known.day_means[pool.index] if rule.rank_by == "day" else pool
    return days[days["day"].isin(_kept(rule, ranks, rule.k if business else rule.other_k))]


def _running(rule: DayMatching, usage: pd.Series, today: date) -> pd.Series:
    """Return *usage*, newest first, without the days that are low beside those accepted before."""
    recent = usage[[today - day <= timedelta(days=rule.seed_days) for day in usage.index]]
    mean, accepted = (recent.max() if len(recent) else usage.max()), []
    for day, load in usage.items():
        if load >= rule.low_usage_share * mean:
            accepted.append(day)
            mean = usage[accepted].mean()
    return usage[accepted]


def _kept(rule: DayMatching, pool: pd.Series, k: int | None) -> pd.Index:
    match rule.keep:
        case "highest":
            return pool.sort_values(ascending=False, kind="stable").head(k).index
        case "middle":
            return pool.sort_values(ascending=False, kind="stable").iloc[1:-1].index
        case _:
            return pool.index


def _adjusted(rule: DayMatching, unadjusted: pd.Series, today: pd.Series, event: pd.DatetimeIndex) -> pd.Series:
    expected, found = unadjusted.loc[today.index], unadjusted.loc[event]
    lowest, highest = rule.adjust_lowest, rule.adjust_highest
    if rule.adjustment == "ratio":
        ratio = today.sum() / expected.sum() if expected.sum() else 1.0
        return found * np.clip(ratio, lowest, highest)
    scale = found.mean()
    limits = (None if lowest is None else lowest * scale, None if highest is None else highest * scale)
    return found + np.clip((today - expected).mean(), *limits)
