"""
What was promised against what was delivered under a firm service level, interval by interval. Pure.

    nominated = level_kw − firm_kw × loss_factor        delivered = the reduction that an engine answers
"""

import polars as pl

from pipeline.cbl.answer import KEY
from pipeline.cbl.rule import Level, Parameters


def of_level(parameters: Parameters, intervals: pl.DataFrame) -> pl.DataFrame:
    """
    Return `event`, `resource`, `start`, `nominated_kw`, `delivered_kw` and their `ratio` for an engine's *intervals*.

    No rows where no firm level is set. The ratio is null where nothing was nominated; it and `delivered_kw` are where
    nothing was metered.
    """
    nominated = _nominated_kw(parameters)
    promised = intervals.clear() if nominated is None else intervals
    told = pl.lit(nominated, pl.Float64)
    ratio = pl.when(told > 0).then(pl.col("reduction_kw") / told)
    return promised.select(*KEY, "start", nominated_kw=told, delivered_kw="reduction_kw", ratio=ratio)


def _nominated_kw(parameters: Parameters) -> float | None:
    match parameters:
        case Level(level_kw=level, firm_kw=firm, loss_factor=factor) if level is not None and firm is not None:
            return level - firm * factor
        case _:
            return None
