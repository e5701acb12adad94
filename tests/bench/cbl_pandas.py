"""
Baseline rules in plain pandas, event by event, as an analyst would write them: what the engines are measured against.

Day matching, means around the event, and (`cbl_pandas_regression.py`) lines through history. It reads
`pipeline.cbl.rule` and the page of `pipeline/cbl/README.md`, and nothing of the engines.

Held back by nothing: the local clock and days are computed once a resource, lookups are by a sorted index, and the like
days of an event are one table, days by metering intervals. It knows of no earlier events and outages, of which the
benchmark has none, and does not round.
"""

from datetime import date, timedelta

import numpy as np
import pandas as pd
import polars as pl
from bench import cbl_pandas_regression
from bench.cbl_pandas_history import History, history

from pipeline.cbl.rule import AroundEvent, DayMatching, Parameters, Regression

__all__ = ["History", "baseline", "baselines", "history", "supports"]


def supports(parameters: Parameters) -> bool:
    """Tell whether `baseline` follows these parameters."""
    return isinstance(parameters, DayMatching | AroundEvent | Regression) and parameters.decimals is None


def baselines(rule: Parameters, known: History, events: pl.DataFrame) -> list[pd.Series | None]:
    """Return the baseline of each of *events* (`pipeline.cbl.request.EVENTS`)."""
    spans = [(pd.Timestamp(start), pd.Timestamp(end)) for _, start, end in events.iter_rows()]
    return [baseline(rule, known, *span) for span in spans]


def baseline(rule: Parameters, known: History, start: pd.Timestamp, end: pd.Timestamp) -> pd.Series | None:
    """Return the baseline of each interval of one event, kW, by its start in UTC; None where there is none."""
    event = known.span(start, end)
    match rule:
        case DayMatching():
            return _matched(rule, known, start, end, event)
        case AroundEvent():
            return _around(rule, known, start, end, event)
        case Regression():
            return _regressed(rule, known, start, event)
    raise NotImplementedError(f"no plain implementation of {type(rule).__name__}")


def _around(
    rule: AroundEvent, known: History, start: pd.Timestamp, end: pd.Timestamp, event: pd.DatetimeIndex
) -> pd.Series | None:
    before = known.hours(start, -rule.before_from_hours, -rule.before_to_hours)
    after = known.hours(end, rule.after_from_hours, rule.after_to_hours)
    readings = known.by_instant.reindex(before.append(after))
    return None if readings.isna().any() else pd.Series(readings.mean(), index=event)


def _regressed(rule: Regression, known: History, start: pd.Timestamp, event: pd.DatetimeIndex) -> pd.Series | None:
    window = known.hours(start, -rule.adjust_from_hours, -rule.adjust_to_hours)
    slots = window.append(event) if rule.adjustment != "none" else event
    unadjusted = cbl_pandas_regression.unadjusted(rule, known, start, slots)
    return None if unadjusted is None else _adjusted(rule, unadjusted, known, window, event)


def _matched(
    rule: DayMatching, known: History, start: pd.Timestamp, end: pd.Timestamp, event: pd.DatetimeIndex
) -> pd.Series | None:
    today = known.day(start)
    match = _match_hours(rule, known, start, end)
    window = known.hours(start, -rule.adjust_from_hours, -rule.adjust_to_hours)
    if rule.adjust_from_hours == rule.adjust_to_hours == 0:
        window = match
    slots = event if rule.adjustment == "none" else window.union(event)
    slots = slots.union(match) if rule.rank_by == "shape" else slots
    days = known.on_days(known.alike(rule.day_types, today, rule.skip_days + 1, rule.look_back_days), slots, today)
    days = days.dropna()
    rank = _rank(rule, known, days, match, today)
    if rank is not None:
        days = days.loc[rank.index]
    kept = _kept(rule, days[event].mean(axis="columns"), rank, today, known)
    return None if kept is None else _adjusted(rule, days.loc[kept].mean(), known, window, event)


def _match_hours(rule: DayMatching, known: History, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
    """Return the hours of the event's day that days are compared by."""
    bounds, gap = known.calendar.bounds(known.day(start)), pd.Timedelta(hours=rule.match_gap_hours)
    before = known.span(pd.Timestamp(bounds.start), start - gap)
    if rule.match == "before-event":
        return before
    return before.append(known.span(end + gap, pd.Timestamp(bounds.end)))


def _rank(
    rule: DayMatching, known: History, days: pd.DataFrame, match: pd.DatetimeIndex, today: date
) -> pd.Series | None:
    """Return what *days* are ordered by, of those that have it; None: usage."""
    match rule.rank_by:
        case "event-hours":
            return None
        case "day":
            return known.day_means.reindex(days.index).dropna()
        case "shape":
            read = known.by_instant.reindex(match)
            return ((days[match] - read) ** 2).sum(axis="columns", skipna=False).dropna()
        case "temperature":
            return (known.highest.reindex(days.index) - known.highest.get(today, np.nan)).abs().dropna()


def _kept(rule: DayMatching, usage: pd.Series, rank: pd.Series | None, today: date, known: History) -> pd.Index | None:
    """Return the days that are averaged, of complete like days, newest first; None where they are too few."""
    business = known.calendar.is_business_day(today)
    size, least, k = (
        (rule.days, rule.minimum_days, rule.k) if business else (rule.other_days, rule.minimum_other_days, rule.other_k)
    )
    if rule.low_usage == "running-mean":
        usage = _running(rule, usage, today)
    pool = usage.head(size or len(usage))
    while rule.low_usage == "mean-of-pool" and (low := pool[pool < rule.low_usage_share * pool.mean()]).size:
        usage = usage.drop(low.index)
        pool = usage.head(size or len(usage))
    if len(pool) < max(least, 3 if rule.keep == "middle" else 1):
        return None
    ordered = (pool if rank is None else rank[pool.index]).sort_values(ascending=rule.keep == "nearest", kind="stable")
    match rule.keep:
        case "all":
            return pool.index
        case "middle":
            return ordered.index[1:-1]
        case _:
            return ordered.index[:k]


def _running(rule: DayMatching, usage: pd.Series, today: date) -> pd.Series:
    """Return *usage*, newest first, without the days that are low beside those accepted before."""
    recent = usage[[today - day <= timedelta(days=rule.seed_days) for day in usage.index]]
    mean, total, accepted = recent.max() if len(recent) else usage.max(), 0.0, []
    for day, load in usage.items():
        if load >= rule.low_usage_share * mean:
            accepted.append(day)
            total += load
            mean = total / len(accepted)
    return usage[accepted]


def _adjusted(
    rule: DayMatching | Regression,
    unadjusted: pd.Series,
    known: History,
    window: pd.DatetimeIndex,
    event: pd.DatetimeIndex,
) -> pd.Series | None:
    """Return the baseline of the *event*; None where its own day lacks a reading in the *window*."""
    found = unadjusted[event]
    if rule.adjustment == "none":
        return found
    today, expected = known.by_instant.reindex(window), unadjusted[window]
    if today.isna().any():
        return None
    lowest, highest = rule.adjust_lowest, rule.adjust_highest
    if rule.adjustment == "ratio":
        ratio = today.sum() / expected.sum() if expected.sum() else 1.0
        return found * np.clip(ratio, lowest, highest)
    scale = abs(found.mean())
    limits = (None if lowest is None else lowest * scale, None if highest is None else highest * scale)
    return found + np.clip((today - expected).mean(), *limits)
