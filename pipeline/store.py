"""History out of the archive, cut at what was known: what baselines are computed on."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipeline import archive, storage
from pipeline.archive_places import Place
from pipeline.archive_schemas import SCHEMAS
from pipeline.storage import Storage
from pipeline.topics import SITE_INTERVALS

TOPIC = SITE_INTERVALS.name
FOLDERS = {"day": pl.Date(), "site": pl.String()}
#: Files of an earlier version lack columns, also within structs; of a later one's no more than ours are read.
_OTHER_VERSIONS = pl.ScanCastOptions(missing_struct_fields="insert", extra_struct_fields="ignore")


def interval_history(location: Path | str, site: str, as_of: datetime, length: timedelta) -> pl.DataFrame:
    """
    Return the intervals of *site* that last *length* and had ended at *as_of*, from the archive at *location*.

    Columns: `start`, `load_kw`, `covered_share`, `source`, `simulated`. Of one interval the highest revision holds, and
    metered beats back-filled. An interval in which nothing at all was measured is left out: a gap, not zero load.
    Only the site's own files are opened, and none of days after *as_of*.
    """
    place = storage.at(location)
    addresses = list(_addresses(place, site, as_of))
    if not addresses:
        return _history(pl.DataFrame(schema=SCHEMAS[TOPIC]).lazy())
    return _history(
        scan(TOPIC, addresses).filter(
            pl.col("interval_end") - pl.col("interval_start") == length,
            pl.col("interval_end") <= as_of,
            pl.col("covered_share") > 0,
        )
    )


def scan(topic: str, addresses: list[str]) -> pl.LazyFrame:
    """
    Return the rows of *topic* in files or patterns of files, with the `day` and `site` of their folders.

    A filter on these two opens no other folder's files.
    """
    return pl.scan_parquet(
        addresses,
        hive_partitioning=True,
        hive_schema=FOLDERS,
        schema=SCHEMAS[topic],
        missing_columns="insert",
        extra_columns="ignore",
        cast_options=_OTHER_VERSIONS,
    )


def interval_lengths(location: Path | str, site: str, as_of: datetime) -> list[timedelta]:
    """Return the lengths of the intervals that the archive has of *site* up to *as_of*, shortest first."""
    addresses = list(_addresses(storage.at(location), site, as_of))
    if not addresses:
        return []
    length = pl.col("interval_end") - pl.col("interval_start")
    return sorted(scan(TOPIC, addresses).select(length=length).unique().collect()["length"].to_list())


def _addresses(place: Storage, site: str, as_of: datetime) -> list[str]:
    found = []
    for day in archive.days(place, TOPIC):
        if day <= as_of.astimezone(UTC).date():
            folder = Place(TOPIC, day, site)
            known, silent = archive.told(place, folder)
            found += [place.address(f"{folder}/{name}") for name in (*known.live, *silent)]
    return found


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
