"""
Host ticks as rows, and rows as the frames they were. Pure.

A row is a frame cut at its joints (`pipeline.frames`): the numbers as columns, the layout as JSON text, which Parquet
keeps once in a dictionary, the details as the msgpack they are, not compressed by the host, because many rows together
compress better. So no tick of a batch is decoded, SQL can read energies, draws and who is who, and the frame comes
back: the same message always, the same bytes where zlib is the same.

    JSON_EXTRACT(layout, '$.gpus[2].uuid') is the GPU whose energy is energy_mj[3]: JSON counts from 0, SQL from 1
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from zlib import compress, decompressobj
from zlib import error as zlib_error

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline import bulk, frames
from pipeline.archive_places import fits
from pipeline.archive_schemas import TICKS
from pipeline.archive_types import INSTANT
from pipeline.bulk import Ticks
from pipeline.frames import HEAD, LARGEST_B, MAGIC, NO_32, NO_64, SIMULATED, VERSION, FrameError, Layout
from pipeline.messages.telemetry import HostTick

#: Ticks from 1970 to the year 9999; before and after it a day has no folder.
CALENDAR_US = (0, frames.micros(datetime.fromisoformat("9999-12-31T00:00:00+00:00")))

#: zlib's, as frames have it.
DETAILS_LEVEL = 1
#: So many layouts are remembered; jobs come and go.
LAYOUTS = 50_000

_json_ticks = msgspec.json.Decoder(HostTick)
_layout_names = {kind: kind.__struct_fields__ for kind in (Layout, frames.GpuLayout, frames.JobLayout)}


@dataclass(frozen=True)
class Record:
    """A tick as it was read."""

    payload: bytes | None
    offset: int
    appended_ms: int
    """When Kafka appended it, ms since 1970."""


@dataclass(frozen=True)
class _Known:
    host: str
    site: str
    boot: str
    text: str


@dataclass
class Reader:
    """Turns records into rows; knows the layouts it has seen, so that each is parsed once."""

    known: dict[int, _Known] = field(default_factory=dict)

    def rows(self, partition: int, records: Sequence[Record]) -> tuple[pl.DataFrame, list[tuple[int, str]]]:
        """Return the rows of *records* in the order of host and sequence; beside them offset and reason of the rest."""
        if len(self.known) > LAYOUTS:
            self.known.clear()
        refused: list[tuple[int, str]] = []
        framed = list(_framed(records, refused))
        batch = bulk.decode([payload for payload, _ in framed], self.known)
        for key, (layout, _) in batch.layouts.items():
            self.known[key] = _Known(layout.host, layout.site, layout.boot, text_of(layout))
        refused += [(framed[place][1].offset, reason) for place, reason in batch.refused]
        parts = [self._part(partition, ticks, framed, refused) for ticks in batch.ticks]
        rows = pl.concat([pl.DataFrame(schema=TICKS), *parts])
        return rows.sort("host", "boot", "seq", "kafka_offset"), refused

    def _part(
        self,
        partition: int,
        ticks: Ticks,
        framed: Sequence[tuple[bytes, Record]],
        refused: list[tuple[int, str]],
    ) -> pl.DataFrame:
        first_us, end_us = CALENDAR_US
        details = [_opened(framed[place][0], length) for place, length in _details_of(ticks)]
        filed = (ticks.values["at_us"] >= first_us) & (ticks.values["at_us"] < end_us)
        filed &= np.array([fits(self.known[int(key)].site) for key in ticks.values["layout"]], dtype=np.bool_)
        filed &= np.array([plain is not None for plain in details], dtype=np.bool_)
        refused.extend(
            (framed[place][1].offset, "no day or site to file it under, or broken details")
            for place in ticks.place[~filed]
        )
        details = [plain for plain, kept in zip(details, filed, strict=True) if kept]
        ticks = ticks.at(filed)
        sources = [framed[place] for place in ticks.place]
        who = [self.known[int(key)] for key in ticks.values["layout"]]
        values = ticks.values
        columns: dict[str, Any] = {
            "host": [one.host for one in who],
            "site": [one.site for one in who],
            "boot": [one.boot for one in who],
            "seq": values["seq"],
            "measured_at": pl.Series(values["at_us"]).cast(INSTANT),
            "simulated": ticks.simulated,
            "chassis_mw": _column(values["chassis_mw"], NO_64),
            "chassis_mj": _column(values["chassis_mj"], NO_64),
            "energy_mj": _lists(values["energy_mj"], NO_64),
            "power_mw": _lists(values["power_mw"], NO_32),
            "quality": _lists(values["quality"], None),
            "tokens_milli": _lists(values["tokens_milli"], NO_64),
            "layout": [one.text for one in who],
            "details": details,
            "appended_at": pl.Series([record.appended_ms * 1000 for _, record in sources], dtype=pl.Int64).cast(
                INSTANT
            ),
            "kafka_partition": np.full(len(sources), partition, np.int32),
            "kafka_offset": np.array([record.offset for _, record in sources], np.int64),
        }
        return pl.DataFrame(columns, schema_overrides=TICKS).select(TICKS.names())


def _framed(records: Sequence[Record], refused: list[tuple[int, str]]) -> Iterator[tuple[bytes, Record]]:
    for record in records:
        payload = record.payload or b""
        try:
            whole = payload if frames.is_frame(payload) else frames.encode(_json_ticks.decode(payload))
        except (ValueError, RecursionError, OverflowError, struct.error) as error:
            refused.append((record.offset, f"neither a frame nor JSON of a tick: {error}"))
            continue
        yield whole, record


def _details_of(ticks: Ticks) -> Iterator[tuple[int, int]]:
    return zip(ticks.place.tolist(), ticks.values["details_length"].tolist(), strict=True)


def _opened(payload: bytes, length: int) -> bytes | None:
    """Return the last *length* bytes of *payload* without compression; None where they are no whole packet."""
    opened = decompressobj()
    try:
        plain = opened.decompress(payload[len(payload) - length :], LARGEST_B)
    except zlib_error:
        return None
    return plain if opened.eof and not opened.unused_data else None


def _column(values: npt.NDArray[Any], nothing: int | None) -> pl.Series:
    series = pl.Series(np.ascontiguousarray(values))
    return series if nothing is None else series.set(series == nothing, None)


def _lists(values: npt.NDArray[Any], nothing: int | None) -> pl.Series:
    """Return a two-dimensional array as lists; readings that are *nothing* are null."""
    count, width = values.shape
    flat = _column(values.reshape(-1), nothing)
    if width == 0:
        return pl.Series([[]] * count, dtype=pl.List(flat.dtype))
    return flat.reshape((count, width)).arr.to_list()


def text_of(layout: Layout) -> str:
    """Return *layout* as JSON with names, for people and SQL."""
    named = {
        **msgspec.structs.asdict(layout),
        "gpus": [msgspec.structs.asdict(gpu) for gpu in layout.gpus],
        "jobs": [msgspec.structs.asdict(job) for job in layout.jobs],
    }
    return msgspec.json.encode(named).decode()


def layout_of(text: str) -> bytes:
    """Return the layout that `text_of` wrote as the bytes it has in a frame."""
    named = msgspec.json.decode(text)
    named["gpus"] = [[gpu[name] for name in _layout_names[frames.GpuLayout]] for gpu in named["gpus"]]
    named["jobs"] = [[job[name] for name in _layout_names[frames.JobLayout]] for job in named["jobs"]]
    layout = msgspec.convert([named[name] for name in _layout_names[Layout]], Layout)
    return compress(msgspec.msgpack.encode(layout))


def payloads(rows: pl.DataFrame) -> Iterator[bytes]:
    """Yield the frame of each of *rows*; raise `FrameError` where a row was never one."""
    packed: dict[str, bytes] = {}
    for row in rows.iter_rows(named=True):
        if (layout := packed.get(row["layout"])) is None:
            layout = packed[row["layout"]] = layout_of(row["layout"])
        yield _frame(row, layout)


def _frame(row: dict[str, Any], layout: bytes) -> bytes:
    gpus, jobs = len(row["energy_mj"]), len(row["tokens_milli"])
    if not len(row["power_mw"]) == len(row["quality"]) == gpus:
        raise FrameError(f"{row['host']} {row['seq']}: energies and draws are not of as many GPUs")
    details = compress(row["details"], DETAILS_LEVEL)
    head = HEAD.pack(
        MAGIC,
        VERSION,
        SIMULATED if row["simulated"] else 0,
        gpus,
        jobs,
        len(layout),
        len(details),
        frames.hash_of(layout),
        row["seq"],
        frames.micros(row["measured_at"]),
        _or(row["chassis_mj"], NO_64),
        _or(row["chassis_mw"], NO_64),
    )
    block = frames.numbers(gpus, jobs).pack(
        *(_or(value, NO_64) for value in row["energy_mj"]),
        *(_or(value, NO_64) for value in row["tokens_milli"]),
        *(_or(value, NO_32) for value in row["power_mw"]),
        *row["quality"],
    )
    return b"".join((head, block, layout, details))


def _or(value: int | None, nothing: int) -> int:
    return nothing if value is None else value
