"""
Statistics of a baseline's errors, who passes the gate, and what an adjustment is worth. Pure.

With load `a` and baseline `b` over the n intervals that have both, mean(a) above zero:

| statistic | definition | source |
|---|---|---|
| RRMSE | √mean((a − b)²) ÷ mean(a) | the gate's; AEMO, PJM |
| bias | mean(b − a) ÷ mean(a); above zero a reduction is overstated | AEMO |
| CV(RMSE) | √(Σ(a − b)² ÷ (n − 1)) ÷ mean(a) | ASHRAE Guideline 14, with p = 1 |
| NMBE | Σ(a − b) ÷ ((n − 1) mean(a)); the sign is opposite to that of bias | ASHRAE Guideline 14, with p = 1 |

ASHRAE's definitions are taken from what cites them, since the guideline itself was not at hand; where sources leave the
sign or p open, this is the choice.
"""

import polars as pl

from pipeline.cbl.accuracy import ALL, GATE, GATE_DAYS, MOST_WITHOUT

GROUP = ("resource", "kind", "hour")
ALIKE = 1e-9
"""Errors that differ by less are equal: two rules of the same numbers differ in the last digits of their sums."""
ORDER = pl.col("rrmse").round(9)
SAID = ("events", "intervals", "rrmse", "bias", "rrmse_unadjusted", "bias_unadjusted")
SCORES = pl.Schema(
    {
        "method": pl.String(),
        "resource": pl.String(),
        "kind": pl.String(),
        "hour": pl.Int64(),
        "events": pl.Int64(),
        "without_baseline": pl.Float64(),
        "days": pl.Int64(),
        "intervals": pl.Int64(),
        "mean_kw": pl.Float64(),
        "rrmse": pl.Float64(),
        "bias": pl.Float64(),
        "cv_rmse": pl.Float64(),
        "nmbe": pl.Float64(),
        "rrmse_unadjusted": pl.Float64(),
        "bias_unadjusted": pl.Float64(),
        "eligible": pl.Boolean(),
        "indicative": pl.Boolean(),
    }
)
"""
One row a method, resource, kind of day and hour; hour is null where all hours are together.

`events` were metered, and `without_baseline` is the share of them that had none; `days`, `intervals` and the statistics
are of those that had one. Unadjusted: the same days of the same answer, before the adjustment. `indicative`: fewer than
`GATE_DAYS` days, so that `eligible` decides nothing.
"""


def scores(errors: pl.DataFrame, metered: pl.DataFrame, methods: tuple[str, ...]) -> pl.DataFrame:
    """Return `SCORES` from `accuracy.errors` and `accuracy.metered`, also of *methods* that have no baseline at all."""
    groups = pl.concat(
        metered.with_columns(kind=kind, hour=hour)
        for kind in (pl.col("kind"), pl.lit(ALL))
        for hour in (pl.col("hour"), pl.lit(None, pl.Int64))
    )
    found = (
        errors.join(groups, on=["event", "resource"])
        .group_by("method", *GROUP)
        .agg(
            pl.col("day").n_unique().cast(pl.Int64).alias("days"),
            pl.col("event").n_unique().cast(pl.Int64).alias("with_baseline"),
            pl.len().cast(pl.Int64).alias("intervals"),
            *_statistics(),
        )
    )
    counted = groups.group_by(GROUP).agg(events=pl.col("event").n_unique().cast(pl.Int64))
    return (
        pl.DataFrame({"method": methods}, schema={"method": pl.String})
        .join(counted, how="cross")
        .join(found, on=["method", *GROUP], how="left", nulls_equal=True)
        .with_columns(pl.col("days", "intervals", "with_baseline").fill_null(0))
        .with_columns(
            without_baseline=1 - pl.col("with_baseline") / pl.col("events"),
            eligible=(pl.col("rrmse") <= GATE).fill_null(value=False),
            indicative=pl.col("days") < GATE_DAYS,
        )
        .select(SCORES.names())
        .sort(*GROUP, ORDER, "method", nulls_last=True)
    )


def _statistics() -> tuple[pl.Expr, ...]:
    level = pl.col("load_kw").mean()
    mean = pl.when(level > 0).then(level)
    freedom = pl.when(pl.len() > 1).then(pl.len().cast(pl.Int64) - 1)
    error, unadjusted = (pl.col(name) - pl.col("load_kw") for name in ("baseline_kw", "baseline_unadjusted_kw"))
    return (
        level.alias("mean_kw"),
        ((error**2).mean().sqrt() / mean).alias("rrmse"),
        (error.mean() / mean).alias("bias"),
        (((error**2).sum() / freedom).sqrt() / mean).alias("cv_rmse"),
        (-error.sum() / (freedom * mean)).alias("nmbe"),
        ((unadjusted**2).mean().sqrt() / mean).alias("rrmse_unadjusted"),
        (unadjusted.mean() / mean).alias("bias_unadjusted"),
    )


def best(scored: pl.DataFrame) -> pl.DataFrame:
    """
    Return the row of the lowest RRMSE for each resource, kind of day and hour; of equal ones the first by name.

    A method that lacked a baseline on more than `MOST_WITHOUT` of the events does not count: it was not asked the hard
    questions. Where that leaves none, there is no row.
    """
    return (
        scored.filter(pl.col("rrmse").is_not_null(), pl.col("without_baseline") <= MOST_WITHOUT)
        .sort(*GROUP, ORDER, "method")
        .unique(GROUP, keep="first", maintain_order=True)
    )


def first_of_same(scored: pl.DataFrame, *more: str) -> dict[str, str]:
    """
    Return each method with the first by name of those that are scored alike throughout, which may be itself.

    Two rules of the same numbers give the same answers, and are one witness, not two. *more*: columns that tell rows
    apart beside resource, kind of day and hour. Methods that never had a baseline are not alike.
    """
    key = [*GROUP, *more]
    had = scored.filter(pl.col("intervals") > 0)["method"].unique()
    mine = scored.filter(pl.col("method").is_in(had.implode())).select("method", *key, *SAID)
    pairs = mine.join(mine, on=key, nulls_equal=True, suffix="_first").filter(pl.col("method_first") < pl.col("method"))
    apart = [
        ((pl.col(name) - pl.col(f"{name}_first")).abs() > ALIKE).fill_null(value=False)
        | (pl.col(name).is_null() != pl.col(f"{name}_first").is_null())
        for name in SAID
    ]
    same = pairs.group_by("method", "method_first").agg(apart=pl.any_horizontal(apart).any()).filter(~pl.col("apart"))
    firsts = dict(same.group_by("method").agg(pl.col("method_first").min()).iter_rows())
    return {method: firsts.get(method, method) for method in scored["method"].unique().sort()}


def worse_for_adjusting(scored: pl.DataFrame) -> pl.DataFrame:
    """Return the rows whose baseline is further from the load than it was before its adjustment."""
    return scored.filter(pl.col("rrmse") > pl.col("rrmse_unadjusted") + ALIKE)


def beaten_by(scored: pl.DataFrame, reference: str) -> pl.DataFrame:
    """Return the rows that are no better than the method *reference* is for the same, with its `reference_rrmse`."""
    against = scored.filter(pl.col("method") == reference).select(*GROUP, reference_rrmse="rrmse")
    return (
        scored.filter(pl.col("method") != reference)
        .join(against, on=GROUP, nulls_equal=True)
        .filter(pl.col("rrmse") >= pl.col("reference_rrmse"))
    )
