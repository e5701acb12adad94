"""
Many host ticks at once: payloads to columns. Pure.

    payloads   ▮▮▮▮▮▮▮▮▮▮   those with 8 GPUs and one job …         the numbers of all of them are joined
    columns    seq [N]  at_us [N]  energy_mj [N, 8]  …              and read as one array: no loop over ticks

A layout that is not known yet is parsed; that is the only work by tick, and a host does it once a job.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from operator import itemgetter
from typing import Any, cast

import msgspec
import numpy as np
import numpy.typing as npt

from pipeline import frames
from pipeline.frames import MAGIC, SIMULATED, VERSION, FrameError, Layout
from pipeline.messages.telemetry import HostTick

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_json = msgspec.json.Decoder(HostTick)


@lru_cache(maxsize=64)
def numbers(gpus: int, jobs: int) -> np.dtype[Any]:
    """Return a frame's head and numbers as one packed record (`pipeline.frames`)."""
    return np.dtype(
        [
            ("magic", "u1"),
            ("version", "u1"),
            ("flags", "<u2"),
            ("gpus", "<u2"),
            ("jobs", "<u2"),
            ("layout_length", "<u4"),
            ("details_length", "<u4"),
            ("layout", "<u8"),
            ("seq", "<i8"),
            ("at_us", "<i8"),
            ("chassis_mj", "<i8"),
            ("chassis_mw", "<i8"),
            ("energy_mj", "<i8", (gpus,)),
            ("tokens_milli", "<i8", (jobs,)),
            ("power_mw", "<i4", (gpus,)),
            ("quality", "u1", (gpus,)),
        ]
    )


@dataclass(frozen=True, eq=False)
class Ticks:
    """Ticks of hosts with equally many GPUs and jobs, in the order they came."""

    gpus: int
    jobs: int
    place: Ints
    """Of each in its batch."""
    values: npt.NDArray[Any]
    """Records of `numbers(gpus, jobs)`."""

    def __len__(self) -> int:
        return len(self.place)

    @property
    def simulated(self) -> Flags:
        """Which of them are simulated."""
        marked: Flags = (self.values["flags"] & SIMULATED) != 0
        return marked

    def at(self, chosen: Flags) -> "Ticks":
        """Return those that are *chosen*."""
        return Ticks(self.gpus, self.jobs, self.place[chosen], self.values.compress(chosen))

    def between(self, begin: int, end: int) -> "Ticks":
        """Return those from place *begin* to before place *end* of their batch."""
        first, last = np.searchsorted(self.place, [begin, end])
        return Ticks(self.gpus, self.jobs, self.place[first:last], self.values[first:last])


@dataclass(frozen=True, eq=False)
class Batch:
    """What a batch of payloads holds."""

    ticks: list[Ticks] = field(default_factory=list)
    """By number of GPUs and jobs."""
    layouts: dict[int, tuple[Layout, bytes]] = field(default_factory=dict)
    """Those not known before, by hash."""
    refused: list[tuple[int, str]] = field(default_factory=list)
    """Place and reason of what is no tick."""


#: How a frame begins (`pipeline.frames.HEAD`).
_BEGIN = np.dtype([("magic", "u1"), ("version", "u1"), ("flags", "<u2"), ("gpus", "<u2"), ("jobs", "<u2")])
_begin = itemgetter(slice(_BEGIN.itemsize))


def decode(payloads: Sequence[bytes | None], known: Mapping[int, Any]) -> Batch:
    """Return the ticks in *payloads*; layouts whose hash is not *known* are parsed. What is no tick stops nobody."""
    batch = Batch()
    whole = cast("Sequence[bytes]", [payload or b"" for payload in payloads] if None in payloads else payloads)
    begins, places = _begins(whole), np.arange(len(whole), dtype=np.int64)
    if (begins["magic"] != MAGIC).any():
        framed = list(_framed(whole, batch.refused))
        places = np.array([place for place, _ in framed], dtype=np.int64)
        whole = [payload for _, payload in framed]
        begins = _begins(whole)
    for gpus, jobs in sorted(set(zip(begins["gpus"].tolist(), begins["jobs"].tolist(), strict=True))):
        alike = np.flatnonzero((begins["gpus"] == gpus) & (begins["jobs"] == jobs))
        mine = whole if len(alike) == len(whole) else [whole[place] for place in alike.tolist()]
        _take((gpus, jobs), mine, places[alike], known, batch)
    return batch


def _begins(payloads: Sequence[bytes]) -> npt.NDArray[Any]:
    """Return how *payloads* begin; zeros stand for bytes that are not there."""
    joined = b"".join(map(_begin, payloads))
    if len(joined) < len(payloads) * _BEGIN.itemsize:
        joined = b"".join(payload[: _BEGIN.itemsize].ljust(_BEGIN.itemsize, b"\0") for payload in payloads)
    return np.frombuffer(joined, _BEGIN)


def _framed(payloads: Sequence[bytes], refused: list[tuple[int, str]]) -> Iterator[tuple[int, bytes]]:
    """Yield the frames with their places; JSON of earlier collectors is made one."""
    for place, payload in enumerate(payloads):
        if frames.is_frame(payload):
            yield place, payload
            continue
        try:
            yield place, frames.encode(_json.decode(payload))
        except (ValueError, RecursionError, OverflowError, struct.error) as error:
            refused.append((place, f"neither a frame nor JSON of a tick: {error}"))


def _take(
    shape: tuple[int, int], payloads: Sequence[bytes], places: Ints, known: Mapping[int, Any], batch: Batch
) -> None:
    """Add the ticks in *payloads*, frames of hosts with so many GPUs and jobs, to *batch*."""
    record = numbers(*shape)
    lengths = np.fromiter(map(len, payloads), np.int64, len(payloads))
    if lengths.min() < record.itemsize:
        _refuse(batch, places[lengths < record.itemsize])
        long = np.flatnonzero(lengths >= record.itemsize)
        payloads, places, lengths = [payloads[place] for place in long.tolist()], places[long], lengths[long]
    values = np.frombuffer(b"".join(map(itemgetter(slice(record.itemsize)), payloads)), record)
    sound: Flags = values["version"] == VERSION
    sound &= lengths == record.itemsize + values["layout_length"].astype(np.int64) + values["details_length"]
    _refuse(batch, places[~sound])
    ticks = Ticks(*shape, places, values)
    sound &= _usable(ticks, sound, payloads, known, batch)
    if sound.any():
        batch.ticks.append(ticks if sound.all() else ticks.at(sound))


def _refuse(batch: Batch, places: Ints) -> None:
    batch.refused.extend((place, "a frame of another length or version") for place in places.tolist())


def _usable(ticks: Ticks, sound: Flags, payloads: Sequence[bytes], known: Mapping[int, Any], batch: Batch) -> Flags:
    """Parse the layouts seen for the first time; return which ticks have one that can be used."""
    values = ticks.values
    usable = np.ones(len(values), dtype=np.bool_)
    unknown = set(values["layout"].tolist()) - known.keys() - batch.layouts.keys()
    for key in sorted(unknown):
        having = np.flatnonzero((values["layout"] == key) & sound)
        for index in having[:1]:
            try:
                batch.layouts[key] = _parsed(payloads[index], values[index])
            except FrameError as error:
                usable[having] = False
                batch.refused.extend((int(ticks.place[other]), str(error)) for other in having)
    return usable


def _parsed(payload: bytes, value: Any) -> tuple[Layout, bytes]:
    begin = value.dtype.itemsize
    packed = payload[begin : begin + int(value["layout_length"])]
    if frames.hash_of(packed) != int(value["layout"]):
        raise FrameError("its layout is not the one its head names")
    layout = frames.parse_layout(packed)
    if (len(layout.gpus), len(layout.jobs)) != (int(value["gpus"]), int(value["jobs"])):
        raise FrameError("head and layout disagree on how many GPUs or jobs there are")
    return layout, packed
