"""A message as a row, rows as a frame, a frame as the bytes of a Parquet file and back. Pure."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from io import BytesIO
from typing import IO, Any

import msgspec
import polars as pl

from pipeline.archive_places import FILING
from pipeline.archive_schemas import SCHEMAS
from pipeline.messages.control import LeaseCommand, SignedCommand
from pipeline.messages.market import Document

#: Files of an earlier generation lack columns, also within structs; those of a later one are refused, not cut.
_MISSING = pl.ScanCastOptions(missing_struct_fields="insert", extra_struct_fields="raise")


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


def parquet(rows: pl.DataFrame, metadata: dict[str, str] | None = None) -> bytes:
    """Return *rows* as a Parquet file, Zstandard inside."""
    buffer = BytesIO()
    rows.write_parquet(buffer, compression="zstd", metadata=metadata)
    return buffer.getvalue()


def metadata(content: bytes) -> dict[str, str]:
    """Return what the Parquet file *content* says about itself."""
    return pl.read_parquet_metadata(BytesIO(content))


def rows_of(topic: str, contents: Sequence[bytes]) -> pl.DataFrame:
    """Return the rows of Parquet files in the topic's present schema; raise polars' error where a file has more."""
    if not contents:
        return frame(topic, ())
    files: list[IO[bytes]] = [BytesIO(content) for content in contents]
    return pl.scan_parquet(
        files,
        schema=SCHEMAS[topic],
        missing_columns="insert",
        cast_options=_MISSING,
    ).collect()


def merged(topic: str, rows: pl.DataFrame) -> pl.DataFrame:
    """
    Return *rows* in the order of the natural key, each record of Kafka once.

    The key decides too: a topic that begins anew uses its offsets a second time.
    """
    key = FILING[topic].key
    where = ["kafka_partition", "kafka_offset"]
    return rows.unique([*where, *key], keep="first").sort(*key, *where)


def offsets(rows: pl.DataFrame) -> dict[int, tuple[int, int]]:
    """Return the first and last offset by partition; none of what was loaded."""
    spans = (
        rows.filter(pl.col("kafka_offset").is_not_null())
        .group_by("kafka_partition")
        .agg(first=pl.col("kafka_offset").min(), last=pl.col("kafka_offset").max())
        .sort("kafka_partition")
    )
    return {partition: (first, last) for partition, first, last in spans.iter_rows()}
