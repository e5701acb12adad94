"""From unadjusted baselines to reductions: the same-day adjustment, the sign, the rounding. Polars, pure."""

from dataclasses import dataclass

import polars as pl

from pipeline.cbl import answer as told
from pipeline.cbl import polars_slots
from pipeline.cbl.answer import KEY, Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression

ROUNDING = 1e-9
"""A sum of kW that is no more, or no more of what it is compared with, is zero."""
Rule = DayMatching | AroundEvent | Level | Reference | Regression | Learned


@dataclass(frozen=True)
class Adjusted:
    """Intervals and adjustments of what could be adjusted; what could not."""

    intervals: pl.DataFrame
    adjustments: pl.DataFrame
    shortfalls: pl.DataFrame


def adjusted(rule: DayMatching | Regression, means: pl.DataFrame, request: Request) -> Adjusted:
    """
    Adjust *means* (`event`, `resource`, `start`, `in_event`, `in_adjust`, `unadjusted_kw`) by the event's own day.

    A pair whose own day lacks a reading in the window has a shortfall in place of intervals.
    """
    today = polars_slots.metered(request)
    window = means.filter("in_adjust").join(today, on=["resource", "start"], how="left")
    short = _short(window)
    adjustments = _adjustments(rule, means, window).join(short, on=KEY, how="anti").sort(KEY)
    unadjusted = means.filter("in_event").join(adjustments, on=KEY)
    applied = pl.col("unadjusted_kw") + pl.col("applied")
    if rule.adjustment != "additive":
        applied = pl.col("unadjusted_kw") * pl.col("applied")
    return Adjusted(
        intervals=reduced(rule, unadjusted.with_columns(baseline_kw=applied), request),
        adjustments=adjustments,
        shortfalls=short,
    )


def _short(window: pl.DataFrame) -> pl.DataFrame:
    counted = window.group_by(KEY).agg(need=pl.len(), have=pl.col("load_kw").is_not_null().sum())
    return short_of(counted, "metering intervals in the adjustment hours of the event day")


def _adjustments(rule: DayMatching | Regression, means: pl.DataFrame, window: pl.DataFrame) -> pl.DataFrame:
    """Return `told.ADJUSTMENTS` of every pair in *means*."""
    pairs = means.filter("in_event").group_by(KEY).agg(level_kw=pl.col("unadjusted_kw").mean())
    expected, metered = pl.col("unadjusted_kw").sum(), pl.col("load_kw").sum()
    match rule.adjustment:
        case "none":
            found = pairs.with_columns(raw=pl.lit(None, pl.Float64))
            limited = pl.lit(1.0)
        case "ratio":
            least = ROUNDING * pl.max_horizontal(pl.lit(1.0), metered.abs())
            ratio = pl.when(expected.abs() > least).then(metered / expected)
            found = pairs.join(window.group_by(KEY).agg(raw=ratio), on=KEY, how="left")
            limited = _limited(pl.col("raw"), rule.adjust_lowest, rule.adjust_highest).fill_null(1.0)
        case "additive":
            difference = (pl.col("load_kw") - pl.col("unadjusted_kw")).mean()
            found = pairs.join(window.group_by(KEY).agg(raw=difference), on=KEY, how="left")
            limited = _limited(pl.col("raw"), _share(rule.adjust_lowest), _share(rule.adjust_highest)).fill_null(0.0)
    return found.select(*KEY, "raw", kind=pl.lit(rule.adjustment), applied=limited).select(
        *KEY, "kind", "raw", "applied", capped=(pl.col("raw") != pl.col("applied")).fill_null(value=False)
    )


def _share(share: float | None) -> pl.Expr | None:
    return None if share is None else pl.col("level_kw").abs() * share


def _limited(value: pl.Expr, lowest: float | pl.Expr | None, highest: float | pl.Expr | None) -> pl.Expr:
    """Return *value* between the two limits."""
    return value.clip(lowest, highest)


def reduced(rule: Rule, found: pl.DataFrame, request: Request) -> pl.DataFrame:
    """Return `told.INTERVALS` of *found* (`event`, `resource`, `start`, `unadjusted_kw`, `baseline_kw`)."""
    baseline, load = pl.col("baseline_kw"), pl.col("load_kw")
    supplies = isinstance(rule, DayMatching) and rule.supply
    return finished(
        rule,
        found.join(polars_slots.metered(request), on=["resource", "start"], how="left").with_columns(
            reduction_kw=load - baseline if supplies else baseline - load
        ),
    )


def finished(rule: Rule, found: pl.DataFrame) -> pl.DataFrame:
    """Return `told.INTERVALS` of *found*, which has the load and the reduction too: their sign and their rounding."""
    reduction = pl.col("reduction_kw")
    figures = [
        pl.col("unadjusted_kw").alias("baseline_unadjusted_kw"),
        pl.col("baseline_kw"),
        reduction.clip(lower_bound=0.0) if rule.negative == "zero" else reduction,
    ]
    if rule.decimals is not None:
        figures = [figure.round(rule.decimals, mode="half_away_from_zero") for figure in figures]
    return found.with_columns(figures).select(told.INTERVALS.names()).sort(*KEY, "start")


def unadjusted(
    rule: Rule, found: pl.DataFrame, request: Request, *, shortfalls: pl.DataFrame, days: pl.DataFrame | None = None
) -> Answer:
    """Return the answer of a kind without adjustment: *found* has `unadjusted_kw`, which is the baseline."""
    return told_of(reduced(rule, found.with_columns(baseline_kw="unadjusted_kw"), request), shortfalls, days)


def told_of(intervals: pl.DataFrame, shortfalls: pl.DataFrame, days: pl.DataFrame | None = None) -> Answer:
    """Return the answer of *intervals* that were not adjusted; None: no days are told."""
    none = intervals.select(
        *KEY, kind=pl.lit("none"), raw=pl.lit(None, pl.Float64), applied=pl.lit(1.0), capped=pl.lit(value=False)
    )
    return Answer(
        intervals=intervals,
        days=pl.DataFrame(schema=told.DAYS_LOOKED_AT) if days is None else days,
        adjustments=none.unique().sort(KEY),
        shortfalls=shortfalls.select(told.SHORTFALLS.names()).sort(KEY),
    )


def short_of(counted: pl.DataFrame, what: str) -> pl.DataFrame:
    """Return `told.SHORTFALLS` of the pairs in *counted* that `have` fewer than they `need`."""
    return (
        counted.filter(pl.col("have") < pl.col("need"))
        .with_columns(pl.col("need", "have").cast(pl.Int64), what=pl.lit(what))
        .select(told.SHORTFALLS.names())
    )


def days_used(days: pl.DataFrame) -> pl.DataFrame:
    """Return `told.DAYS_LOOKED_AT` of *days*, all of them used."""
    return days.select(*KEY, "day", used=pl.lit(value=True), reason=pl.lit(None, pl.String)).sort(
        *KEY, "day", descending=[False, False, True]
    )
