"""
Errors by the hour of day at which an event begins: a rule may be right in the evening and wrong at sunrise. Pure.

One row a method, one column a start hour, over the resources of a study: the median resource and the worst.
"""

from typing import Any

import polars as pl

from pipeline.cbl.accuracy import GATE, MOST_WITHOUT
from pipeline.cbl.accuracy_scores import ALIKE
from pipeline.cbl.accuracy_study import REFERENCES, Study

ENOUGH_DAYS = 20
"""Fewer days of one hour tell nothing of the hour. Our choice."""


def table(study: Study, kind: str) -> str:
    """Return RRMSE by method and start hour on one *kind* of day; of a short record, that it is too short for it."""
    scored = study.scores.filter(pl.col("kind") == kind, pl.col("hour").is_not_null())
    days = max(scored["days"].to_list(), default=0)
    if days < ENOUGH_DAYS:
        return f"By start hour: {days} days of each are too few to tell hours apart ({ENOUGH_DAYS} are needed)."
    by_hour = summed(scored)
    cells = {(row["method"], row["hour"]): _cell(row) for row in by_hour.iter_rows(named=True)}
    hours = by_hour["hour"].unique().sort().to_list()
    lines = [
        f"| RRMSE from | {' | '.join(f'{hour}:00' for hour in hours)} |",
        f"| --- | {' | '.join(['---:'] * len(hours))} |",
        *(
            f"| `{rule.method}` | {' | '.join(cells.get((rule.method, hour), '–') for hour in hours)} |"
            for rule in study.rules
        ),
    ]
    many = len(study.resources) > 1
    what = f"Median of {len(study.resources)} resources, and the worst of them" if many else "One resource"
    return "\n".join(lines) + f"\n\n{what}, on up to {days} days of each hour. Bold: the lowest. ✗: above the gate."


def summed(scored: pl.DataFrame) -> pl.DataFrame:
    """
    Return `method`, `hour`, RRMSE of the `median` resource and of the `worst`, and whether that median is the lowest.

    References, and what lacked a baseline on too many events of a resource, are never `lowest`.
    """
    lacks = pl.col("without") > MOST_WITHOUT
    own = pl.when(~lacks & ~pl.col("method").is_in(REFERENCES)).then("median")
    return (
        scored.filter(pl.col("rrmse").is_not_null())
        .group_by("method", "hour")
        .agg(median=pl.col("rrmse").median(), worst=pl.col("rrmse").max(), without=pl.col("without_baseline").max())
        .with_columns(lowest=(own <= own.min().over("hour") + ALIKE).fill_null(value=False))
        .sort("hour", "method")
    )


def _cell(row: dict[str, Any]) -> str:
    median, worst = row["median"], row["worst"]
    shown = f"**{median:.1%}**" if row["lowest"] else f"{median:.1%}"
    spread = f", {worst:.1%}" if worst > median else ""
    return f"{shown}{spread}{' ✗' if worst > GATE else ''}"
