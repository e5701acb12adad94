"""History out of the archive, cut at what was known: what baselines are computed on."""

from datetime import datetime
from pathlib import Path

import polars as pl

from pipeline.archive_schemas import SCHEMAS
from pipeline.topics import SITE_INTERVALS


def interval_history(archive: Path, site: str, as_of: datetime) -> pl.DataFrame:
    """
    Return the intervals of *site* that had ended at *as_of*.

    Columns: `start`, `load_kw`, `covered_share`, `source`, `simulated`. Of one interval the highest revision holds, and
    metered beats back-filled. An interval in which nothing at all was measured is left out: a gap, not zero load.
    """
    files = sorted((archive / SITE_INTERVALS.name).glob("*.parquet"))
    if not files:
        return _history(pl.DataFrame(schema=SCHEMAS[SITE_INTERVALS.name]).lazy())
    return _history(
        pl.scan_parquet(files).filter(
            pl.col("site") == site, pl.col("interval_end") <= as_of, pl.col("covered_share") > 0
        )
    )


def _history(intervals: pl.LazyFrame) -> pl.DataFrame:
    hours = (pl.col("interval_end") - pl.col("interval_start")).dt.total_microseconds() / 3.6e9
    return (
        intervals.sort((pl.col("source") == "metered"), "revision", "kafka_offset", nulls_last=False)
        .unique("interval_start", keep="last", maintain_order=True)
        .sort("interval_start")
        .select(
            start="interval_start",
            load_kw=pl.col("energy_kwh") / hours,
            covered_share="covered_share",
            source="source",
            simulated="simulated",
        )
        .collect()
    )
