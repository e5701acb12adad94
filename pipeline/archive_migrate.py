"""
Files of the first layout, all of a topic in one folder, moved to their days and sites.

Done at a worker's start. A file goes only after all its rows are published elsewhere; what a crash left half-moved is
moved again, and the same rows make the same files.
"""

from datetime import date, datetime

import polars as pl

from pipeline import archive
from pipeline.archive import File
from pipeline.archive_places import Place, loaded_name, split
from pipeline.archive_rows import parquet
from pipeline.archive_schemas import SCHEMAS
from pipeline.storage import Storage


def migrate(storage: Storage, now: datetime) -> int:
    """Move what there is of the first layout; return how many files were moved. *now* is the machine's."""
    moved = 0
    for topic in SCHEMAS:
        for name in storage.names(topic):
            if name.endswith(".parquet"):
                _move(storage, topic, name, now)
                moved += 1
    return moved


def _move(storage: Storage, topic: str, name: str, now: datetime) -> None:
    content = storage.read(f"{topic}/{name}")
    rows = archive.readable(Place(topic, date.min, ""), name, content)
    streamed = pl.col("kafka_offset").is_not_null()
    for (partition,), part in rows.filter(streamed).partition_by("kafka_partition", as_dict=True).items():
        archive.publish(storage, topic, partition, part, now)
    _move_loaded(storage, topic, rows.filter(~streamed), now)
    storage.remove(f"{topic}/{name}")


def _move_loaded(storage: Storage, topic: str, rows: pl.DataFrame, now: datetime) -> None:
    """Publish loaded history, which is intervals, by their length."""
    if rows.is_empty():
        return
    length_s = (pl.col("interval_end") - pl.col("interval_start")).dt.total_seconds()
    parts = rows.with_columns(_length_s=length_s).partition_by("_length_s", as_dict=True, include_key=False)
    for (seconds,), same_length in parts.items():
        for place, part in split(topic, same_length):
            archive.add(storage, place, File(loaded_name(topic, seconds), parquet(part), part.height, {}), now)
