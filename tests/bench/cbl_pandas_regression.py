"""Lines through history in plain pandas, event by event: degree days, and the level of the hours before."""

from datetime import date

import numpy as np
import pandas as pd
from bench.cbl_pandas_history import History

from pipeline.cbl.rule import Regression

SAME = 1e-9
"""Degrees that differ by less are one temperature; levels that differ by so small a share are one."""


def unadjusted(rule: Regression, known: History, start: pd.Timestamp, slots: pd.DatetimeIndex) -> pd.Series | None:
    """Return the load on the line at each of *slots*, kW; None where there is none."""
    return _degree_days(rule, known, start, slots) if rule.terms == "degree-days" else _level(rule, known, start, slots)


def _degree_days(rule: Regression, known: History, start: pd.Timestamp, slots: pd.DatetimeIndex) -> pd.Series | None:
    today = known.day(start)
    days = pd.Index(known.alike("business", today, 1, rule.look_back_days))
    days = days[days.isin(known.day_means.index) & days.isin(known.warmth.index)]
    if len(days) < rule.minimum_days or today not in known.warmth.index:
        return None
    means = known.day_means[days]
    mean_today = _on_the_line(_degrees(rule, known.warmth[days]), means, _degrees(rule, known.warmth[[today]]))
    like = list(days[: rule.like_days])
    shares = known.on_days(like, slots, today).div(means[like].replace(0.0, np.nan), axis="index")
    shares[means[like] == 0.0] = 1.0
    found = mean_today * shares.mean()
    return None if found.isna().any() else found


def _degrees(rule: Regression, celsius: pd.Series) -> pd.DataFrame:
    above = celsius - rule.base_celsius
    return pd.DataFrame({"cooling": above.clip(lower=0.0), "heating": (-above).clip(lower=0.0)})


def _on_the_line(degrees: pd.DataFrame, means: pd.Series, today: pd.DataFrame) -> float:
    """Return the day mean that least squares expect of *today*; a term that does not vary is left out."""
    varying = degrees.columns[degrees.max() - degrees.min() > SAME]
    terms, told = (np.column_stack([np.ones(len(one)), one[varying].to_numpy()]) for one in (degrees, today))
    weights, *_ = np.linalg.lstsq(terms, means.to_numpy())
    return float((told @ weights)[0])


def _level(rule: Regression, known: History, start: pd.Timestamp, slots: pd.DatetimeIndex) -> pd.Series | None:
    today = known.day(start)
    hours = known.hours(start, -rule.gap_hours - rule.level_hours, -rule.gap_hours)
    level_today = known.by_instant.reindex(hours)
    if level_today.isna().any():
        return None
    days = known.alike("business", today, 1, 2 * rule.look_back_days)
    loads = known.on_days(days, slots.union(hours), today).dropna().iloc[::-1]
    levels = loads[hours].mean(axis="columns")
    loads = loads[slots]
    usual, usual_level = (one.shift(1).rolling(rule.like_days).mean() for one in (loads, levels))
    training = _training(rule, list(loads.index), today)
    if len(training) < max(rule.minimum_days, 1):
        return None
    above, higher = (loads - usual).loc[training], (levels - usual_level).loc[training]
    squares, weight = (higher**2).sum(), len(slots)
    same = squares <= SAME**2 * (usual_level[training] ** 2).sum()
    slope = 0.0 if same else above.mul(higher, axis="index").to_numpy().sum() / (weight * squares)
    like = [day for day in loads.index if (today - day).days <= rule.look_back_days][-rule.like_days :]
    return loads.loc[like].mean() + slope * (level_today.mean() - levels[like].mean())


def _training(rule: Regression, days: list[date], today: date) -> list[date]:
    """Return those of *days*, oldest first, within the look-back whose own like days are within theirs."""
    pairs = zip(days, days[rule.like_days :], strict=False)
    found = [day for oldest, day in pairs if (day - oldest).days <= rule.look_back_days]
    return [day for day in found if (today - day).days <= rule.look_back_days]
