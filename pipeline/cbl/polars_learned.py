"""
A baseline that boosted trees learn of each resource, a day ahead (`pipeline.cbl.rule.Learned`). Pure; no ISO's.

    training days                                 ahead_hours            event
    ├──────────┼─ … ─┼──────────┼─ known ┤·········· not used ··········├────┤
                                         cut

Nothing that ends after the *cut*, `ahead_hours` before the event's start, is looked at. Of each metering interval the
trees see: the local time of day; the day's type (business day; Saturday; Sunday or holiday); the load at that local
time one, two and seven days before, where it was known; mean and spread of the last known 24 hours and 7 days. What was
known of a training day is what would have been for an event at the same local time on it.

Training days are all within `look_back_days` that are known without a gap and were no event or outage day, whatever
their type; fewer than `minimum_days` are a shortfall. Loads are divided by their mean size over the training days, so
that a resource ten times as large has ten times the baseline, and a constant load gives itself. One model is fitted for
each event and resource, from a fixed seed, without anything held back: the same request gives the same answer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from importlib import import_module
from typing import Any

import numpy as np
import polars as pl

from pipeline.cbl import polars_adjust, polars_calendar, polars_slots
from pipeline.cbl.answer import DAYS_LOOKED_AT, INTERVALS, KEY, SHORTFALLS, Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Learned
from pipeline.errors import ConfigError

WEEK = 7
LAGS = (1, 2, WEEK)
"""Days before at which the same local time is looked up."""
FEATURES = ("hour", "kind", *(f"lag_{lag}" for lag in LAGS), "day_mean", "day_spread", "week_mean", "week_spread")
DIGITS = 9
"""Places that loads divided by their mean are rounded to: what differs by less is alike."""


@dataclass(frozen=True)
class _Known:
    """What is known of one resource in time for one event."""

    slots: pl.DataFrame
    """The event's metering intervals: `event`, `resource`, `start`, `day`, `wall`."""
    cuts: pl.DataFrame
    """`day` (those of training, and the event's), `kind`, `cut`: what is known of it begins before, local time."""
    loads: pl.DataFrame
    """`wall`, `load_kw`."""
    training: pl.DataFrame
    """`event`, `resource`, `day`."""


def answer(rule: Learned, request: Request) -> Answer:
    """Return the baselines of all events and resources; raise `ConfigError` where scikit-learn is not installed."""
    _check(rule)
    trees = _trees(rule)
    need = max(rule.minimum_days, 1)
    found, days, counts = [], [], []
    for known in _one_by_one(rule, request):
        have = known.training.height
        counts.append(known.slots.select(KEY).head(1).with_columns(need=pl.lit(need), have=pl.lit(have)))
        days.append(polars_adjust.days_used(known.training))
        if have >= need:
            found.append(_learned(known, request, trees))
    short = [polars_adjust.short_of(one, "training days with complete readings known in time") for one in counts]
    none = pl.DataFrame(schema=INTERVALS).select(*KEY, "start", unadjusted_kw="baseline_kw")
    return polars_adjust.unadjusted(
        rule,
        pl.concat([none, *found]),
        request,
        shortfalls=pl.concat([pl.DataFrame(schema=SHORTFALLS), *short]),
        days=pl.concat([pl.DataFrame(schema=DAYS_LOOKED_AT), *days]),
    )


def _check(rule: Learned) -> None:
    wrong = {
        "set trees to 1 or more": rule.trees < 1,
        "set leaves to 2 or more": rule.leaves < 2,  # noqa: PLR2004 - a tree of one leaf decides nothing
        "set rate above 0": not rule.rate > 0,
        "set ahead_hours to 0 or more; nothing at or after the event's start may be used": not rule.ahead_hours >= 0,
        "set seed to 0 or more": rule.seed < 0,
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            raise ConfigError(what)


def _trees(rule: Learned) -> Any:
    """Return the untrained model; raise `ConfigError` where scikit-learn, an extra, is not installed."""
    try:
        ensemble = import_module("sklearn.ensemble")
    except ImportError as error:
        raise ConfigError("learned baselines need scikit-learn: pip install 'firmwatt[ml]'") from error
    return ensemble.HistGradientBoostingRegressor(
        max_iter=rule.trees,
        max_leaf_nodes=rule.leaves,
        learning_rate=rule.rate,
        random_state=rule.seed,
        early_stopping=False,
    )


def _one_by_one(rule: Learned, request: Request) -> Iterator[_Known]:
    """Yield every event and resource."""
    ordered = request.loads.sort("resource", "start").partition_by("resource")
    for event in request.events.iter_slices(1):
        for loads in ordered:
            yield _known(rule, replace(request, events=event, loads=loads))


def _known(rule: Learned, request: Request) -> _Known:
    """Return what is known in time of the one event and the one resource of *request*."""
    ahead = -(-timedelta(hours=rule.ahead_hours) // request.grid) * request.grid
    slots = polars_slots.with_wall(
        polars_slots.event_slots(request).join(polars_slots.resources(request), how="cross"), request
    )
    until = pl.lit(request.events["start"].min()) - ahead
    known = replace(request, loads=request.loads.filter(pl.col("start") < until))
    loads = polars_slots.by_local_clock(known)
    training = (
        polars_calendar.days_before(request, 1, rule.look_back_days, "all")
        .filter(polars_calendar.not_excluded(events=rule.exclude_events, outages=rule.exclude_outages))
        .join(polars_calendar.day_means(known), on=["resource", "day"])
        .select(*KEY, "day")
        .sort("day")
    )
    kinds = polars_calendar.day_kinds(request, rule.look_back_days, "weekday-saturday-sunday")
    start = slots.select("event_day", start=pl.col("wall").min()).head(1)
    days = pl.concat([training.select("day"), start.select(day="event_day")])
    cuts = (
        days.join(kinds.select("day", "kind"), on="day", maintain_order="left")
        .join(start, how="cross")
        .select("day", "kind", cut=pl.col("start") + (pl.col("day") - pl.col("event_day")) - ahead)
    )
    return _Known(
        slots=slots.select(*KEY, "start", "wall", day="event_day"),
        cuts=cuts,
        loads=loads.select("wall", "load_kw"),
        training=training,
    )


def _learned(known: _Known, request: Request, trees: Any) -> pl.DataFrame:
    """Return `event`, `resource`, `start`, `unadjusted_kw` by *trees* trained on the days before."""
    past = known.loads.with_columns(day=pl.col("wall").dt.date()).join(
        known.training.select("day"), on="day", how="semi"
    )
    scale = float(past.select(pl.col("load_kw").abs().mean()).item()) or 1.0
    scaled = replace(known, loads=known.loads.with_columns((pl.col("load_kw") / scale).round(DIGITS)))
    examples = past.sort("wall").with_columns((pl.col("load_kw") / scale).round(DIGITS))
    seen = _features(scaled, request, examples)
    ever_known = ~np.isnan(seen).all(axis=0)
    trees.fit(seen[:, ever_known], examples["load_kw"].to_numpy())
    learned = trees.predict(_features(scaled, request, known.slots)[:, ever_known])
    return known.slots.select(*KEY, "start", unadjusted_kw=pl.Series(learned, dtype=pl.Float64) * scale)


def _features(known: _Known, request: Request, targets: pl.DataFrame) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Return a matrix, a row for each of *targets* (`day`, `wall`) in their order; NaN: not known."""
    rows = targets.select("day", "wall").join(known.cuts, on="day", maintain_order="left")
    rows = rows.join(_last_known(known, request), on="day", how="left", maintain_order="left")
    for lag in LAGS:
        then = known.loads.select(then="wall", then_kw="load_kw")
        rows = (
            rows.with_columns(then=pl.col("wall") - timedelta(days=lag))
            .join(then, on="then", how="left", maintain_order="left")
            .with_columns(pl.when(pl.col("then") < pl.col("cut")).then("then_kw").alias(f"lag_{lag}"))
            .drop("then", "then_kw")
        )
    hour = pl.col("wall").dt.hour() + pl.col("wall").dt.minute() / 60
    return rows.with_columns(hour=hour).select(pl.col(FEATURES).cast(pl.Float64)).to_numpy()


def _last_known(known: _Known, request: Request) -> pl.DataFrame:
    """Return mean and spread of the 24 hours and of the 7 days before each day's cut."""
    week, last_day = timedelta(days=WEEK), pl.col("wall") >= pl.col("cut") - timedelta(days=1)
    return (
        known.cuts.select(
            "day", "cut", wall=pl.datetime_ranges(pl.col("cut") - week, pl.col("cut"), request.grid, closed="left")
        )
        .explode("wall")
        .join(known.loads, on="wall")
        .group_by("day")
        .agg(
            day_mean=pl.col("load_kw").filter(last_day).mean().round(DIGITS),
            day_spread=pl.col("load_kw").filter(last_day).std().round(DIGITS),
            week_mean=pl.col("load_kw").mean().round(DIGITS),
            week_spread=pl.col("load_kw").std().round(DIGITS),
        )
    )
