"""
Messages as Parquet: rows, files published by atomic rename, back-filled history. Shell: `pipeline.agents.archive`.

    archive/site.interval.v1/schema.parquet                       no rows: views bind before the first message
                             0002-00000000000000000017-…31.parquet partition, first and last offset
                             backfill-site-1-2026-05-24.parquet   history that was loaded, not streamed

A file is complete and synced to disk when it appears, and never changes. A crash between rename and commit publishes
rows again, under the same name or another; every view takes each natural key once.
"""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
import polars as pl

from pipeline import files
from pipeline.archive_schemas import SCHEMAS
from pipeline.errors import EnvironmentProblem
from pipeline.messages.control import LeaseCommand, SignedCommand
from pipeline.messages.market import Document
from pipeline.topics import SITE_INTERVALS

SCHEMA_FILE = "schema.parquet"
#: A draft (see `pipeline.files`) this old, machine time, was left by a process that died.
ABANDONED_S = 60.0


def row(message: Any, partition: int, offset: int) -> dict[str, Any]:
    """
    Return *message* as a flat record of plain values, with where it was read.

    A signed command is shown with what it says; its signature stays on Kafka. Raise `ValueError` where it says nothing.
    """
    values = _values(message)
    if isinstance(message, SignedCommand):
        values |= _values(msgspec.json.decode(message.payload, type=LeaseCommand))
    return {**_flat(values), "kafka_partition": partition, "kafka_offset": offset}


def _values(message: Any) -> dict[str, Any]:
    plain = message.model_dump() if isinstance(message, Document) else message
    values: dict[str, Any] = msgspec.to_builtins(plain, builtin_types=(datetime, Decimal))
    return values


def _flat(value: Any) -> Any:
    """Spread intervals over two columns and turn instants to UTC, at every depth."""
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    if isinstance(value, list | tuple):
        return [_flat(item) for item in value]
    if not isinstance(value, dict):
        return value
    flat = {name: _flat(item) for name, item in value.items() if name != "interval"}
    if interval := value.get("interval"):
        flat |= {"interval_start": _flat(interval["start"]), "interval_end": _flat(interval["end"])}
    return flat


def frame(topic: str, rows: Iterable[dict[str, Any]]) -> pl.DataFrame:
    """Return *rows* in the topic's schema; a field the schema does not know is left out."""
    schema = SCHEMAS[topic]
    columns: dict[str, list[Any]] = {name: [] for name in schema}
    for record in rows:
        for name, values in columns.items():
            values.append(record.get(name))
    return pl.DataFrame(columns, schema=schema)


def file_name(partition: int, first: int, last: int) -> str:
    """Return the name of the file that holds offsets *first* to *last*."""
    return f"{partition:04d}-{first:020d}-{last:020d}.parquet"


def publish(path: Path, rows: pl.DataFrame) -> Path:
    """
    Write *rows* to *path* so that a reader sees all of it or nothing, on disk when this returns.

    Raise `EnvironmentProblem` when the disk will not take it; nothing half-written stays behind.
    """
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="zstd")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.replace_durably(path, buffer.getvalue())
    except OSError as error:
        raise EnvironmentProblem(
            f"cannot write {path} ({error.strerror}); make room or fix the folder, then start again: nothing is lost"
        ) from error
    return path


def prepare(archive: Path) -> None:
    """Make every topic's folder with its empty schema file."""
    for topic in SCHEMAS:
        path = archive / topic / SCHEMA_FILE
        if not path.exists():
            publish(path, frame(topic, ()))


def sweep(archive: Path, machine_time: float) -> None:
    """Remove drafts of processes that died long before *machine_time* (Unix seconds)."""
    for draft in archive.glob("*/.*.tmp"):
        try:
            if machine_time - draft.stat().st_mtime > ABANDONED_S:
                draft.unlink()
        except FileNotFoundError:  # another worker sweeps too
            continue


def backfill(archive: Path, site: str, history: pl.DataFrame, interval: timedelta, *, simulated: bool) -> Path:
    """
    Load *history* (`start` UTC, `load_kw`) of *site* as closed intervals of length *interval*.

    Loading the same history again replaces the file. Metered intervals win over back-filled ones.
    """
    hours = interval / timedelta(hours=1)
    rows = (
        history.sort("start")
        .select(
            site=pl.lit(site),
            interval_start=pl.col("start").dt.cast_time_unit("us"),
            interval_end=pl.col("start").dt.cast_time_unit("us") + interval,
            revision=pl.lit(0),
            energy_kwh=pl.col("load_kw") * hours,
            covered_share=pl.lit(1.0),
            simulated=pl.lit(simulated),
            source=pl.lit("backfill"),
        )
        .drop_nulls("energy_kwh")
    )
    return publish(
        archive / SITE_INTERVALS.name / f"backfill-{quote(site, safe='')}.parquet",
        pl.concat([frame(SITE_INTERVALS.name, ()), rows], how="diagonal_relaxed"),
    )
