"""From unadjusted baselines to reductions: the same-day adjustment, the sign, the rounding. Polars, pure."""

from dataclasses import dataclass

import polars as pl

from pipeline.cbl import answer as told
from pipeline.cbl.answer import KEY
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression


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
    today = request.loads.filter(pl.col("load_kw").is_finite()).select("resource", "start", "load_kw")
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
    return (
        window.group_by(KEY)
        .agg(need=pl.len().cast(pl.Int64), have=pl.col("load_kw").is_not_null().sum().cast(pl.Int64))
        .filter(pl.col("have") < pl.col("need"))
        .with_columns(what=pl.lit("metering intervals in the adjustment hours of the event day"))
        .select(told.SHORTFALLS.names())
    )


def _adjustments(rule: DayMatching | Regression, means: pl.DataFrame, window: pl.DataFrame) -> pl.DataFrame:
    """Return `told.ADJUSTMENTS` of every pair in *means*."""
    pairs = means.filter("in_event").group_by(KEY).agg(level_kw=pl.col("unadjusted_kw").mean())
    expected, metered = pl.col("unadjusted_kw").sum(), pl.col("load_kw").sum()
    match rule.adjustment:
        case "none":
            found = pairs.with_columns(raw=pl.lit(None, pl.Float64))
            limited = pl.lit(1.0)
        case "ratio":
            ratio = pl.when(expected != 0).then(metered / expected)
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
    return None if share is None else pl.col("level_kw") * share


def _limited(value: pl.Expr, lowest: float | pl.Expr | None, highest: float | pl.Expr | None) -> pl.Expr:
    return value.clip(lowest, highest)


def reduced(
    rule: DayMatching | AroundEvent | Level | Reference | Regression | Learned, found: pl.DataFrame, request: Request
) -> pl.DataFrame:
    """Return `told.INTERVALS` of *found* (`event`, `resource`, `start`, `unadjusted_kw`, `baseline_kw`)."""
    today = request.loads.filter(pl.col("load_kw").is_finite()).select("resource", "start", "load_kw")
    supplies = isinstance(rule, DayMatching) and rule.supply
    reduction = pl.col("baseline_kw") - pl.col("load_kw")
    reduction = -reduction if supplies else reduction
    if rule.negative == "zero":
        reduction = reduction.clip(lower_bound=0.0)
    rounded = [pl.col("baseline_unadjusted_kw"), pl.col("baseline_kw"), pl.col("reduction_kw")]
    if rule.decimals is not None:
        rounded = [column.round(rule.decimals, mode="half_away_from_zero") for column in rounded]
    return (
        found.join(today, on=["resource", "start"], how="left")
        .with_columns(baseline_unadjusted_kw="unadjusted_kw", reduction_kw=reduction)
        .with_columns(rounded)
        .select(told.INTERVALS.names())
        .sort(*KEY, "start")
    )
