"""
One hash for what an archive holds, however it is cut into files. Pure.

Two archives of the same messages have the same hash, whether their rows lie in a thousand files or one, in which order,
and however often a message was delivered. What counts is what the messages say: not the offsets at which they were
read, nor when, nor which columns a later version added and left empty.

    rows ─▶ hour by hour: each message once ─▶ by natural key, then as they came ─▶ column by column ─▶ SHA-256

Every column goes in as name and kind, then its gaps, then its values: numbers as 8 little-endian bytes, text with its
lengths, decimals as text, lists as lengths and items, structs as columns. SHA-256 is that of FIPS 180-4.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from pipeline.archive_places import FILING
from pipeline.archive_schemas import PROVENANCE, SCHEMAS


@dataclass(frozen=True)
class Contents:
    """What a place holds: how many different messages, and their hash."""

    rows: int
    rows_sha256: str


def contents(topic: str, hours: Iterable[pl.DataFrame]) -> Contents:
    """Return what is in *hours*: rows in the topic's schema, in order of time, no hour in two frames."""
    count, whole = 0, sha256()
    for hour in hours:
        messages = distinct(topic, hour)
        if messages.height:
            count += messages.height
            whole.update(_digest(topic, messages))
    return Contents(count, whole.hexdigest())


def by_hour(topic: str, rows: pl.DataFrame) -> Iterator[pl.DataFrame]:
    """Yield *rows* hour by hour of the instant they are filed under."""
    hour = pl.col(FILING[topic].day_of).dt.truncate("1h")
    parts = rows.with_columns(_hour=hour).partition_by("_hour", as_dict=True, include_key=False)
    for _, part in sorted(parts.items()):
        yield part


def distinct(topic: str, rows: pl.DataFrame) -> pl.DataFrame:
    """Return each streamed message once, by natural key and then as they came; what was loaded is left out."""
    said = [name for name in SCHEMAS[topic] if name not in PROVENANCE]
    return (
        rows.filter(pl.col("kafka_offset").is_not_null())
        .sort("kafka_partition", "kafka_offset")
        .unique(said, keep="first", maintain_order=True)
        .sort(*FILING[topic].key, maintain_order=True)
        .select(said)
    )


def _digest(topic: str, messages: pl.DataFrame) -> bytes:
    digest = sha256()
    for name in sorted(set(SCHEMAS[topic]) - set(PROVENANCE)):
        _feed(digest, name, messages[name])
    return digest.digest()


def _feed(digest: Any, name: str, column: pl.Series) -> None:
    """Add *column* to *digest*; one without any value adds nothing."""
    values = column.drop_nulls()
    if values.is_empty():
        return
    kind = column.dtype
    digest.update(f"\n{name} {_kind(kind)} {len(column)} ".encode())
    digest.update(np.packbits(column.is_null().to_numpy()).tobytes())
    if isinstance(kind, pl.Struct):
        for field in sorted(kind.fields, key=lambda one: one.name):
            _feed(digest, f"{name}.{field.name}", values.struct.field(field.name))
    elif isinstance(kind, pl.List):
        lengths = values.list.len()
        digest.update(_whole(lengths))
        _feed(digest, f"{name}[]", values.filter(lengths > 0).explode())
    elif isinstance(kind, pl.Binary):
        _feed_bytes(digest, values.to_list())
    elif isinstance(kind, pl.String | pl.Decimal):
        _feed_bytes(digest, [text.encode() for text in values.cast(pl.String).to_list()])
    elif isinstance(kind, pl.Float64):
        floats = values.to_numpy() + 0.0  # one zero
        digest.update(np.where(np.isnan(floats), np.nan, floats).astype("<f8").tobytes())
    else:
        digest.update(_whole(values))


def _kind(kind: pl.DataType | Any) -> str:
    """Return the kind of value: whole numbers of any width are one, so that a wider column holds the same."""
    if isinstance(kind, pl.Datetime):
        return "instant"
    return "whole" if kind.is_integer() else kind.base_type().__name__.lower()


def _whole(values: pl.Series) -> bytes:
    """Return whole numbers, flags, and instants as microseconds since 1970."""
    if isinstance(values.dtype, pl.Datetime):
        values = values.dt.epoch("us")
    return values.cast(pl.Int64).to_numpy().astype("<i8").tobytes()


def _feed_bytes(digest: Any, texts: list[bytes]) -> None:
    digest.update(np.fromiter(map(len, texts), "<i8", len(texts)).tobytes())
    digest.update(b"".join(texts))
