"""
A host tick as bytes: numbers in fixed places, so that thousands of ticks are decoded at once.

    ┌ head, 56 B ┬ numbers, 13 B a GPU, 8 B a job ┬ layout ┬ details ┐
      seq, time    counters, draw, quality          who is   all else
                                                    who

The *layout* is what seldom changes: host, site, boot, GPUs, their limits and epochs, jobs. Its hash stands in the head,
so that a consumer parses each layout once and otherwise only copies numbers (`pipeline.bulk`). The *details* are what
no figure is made of yet: clocks, temperatures, latencies, meters. Both are msgpack arrays, compressed: eight GPUs of a
host are much alike (3.4 kB become 1.3 for the fullest tick of eight GPUs).

Precision: energy to the millijoule and power to the milliwatt, as NVML gives them, tokens to a thousandth. A reading
that is no number, or beyond what its field can hold, is absent. All numbers are little-endian.

The JSON of earlier collectors is read too: its first byte is a brace, a frame's is not.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from math import isfinite
from struct import Struct, error
from typing import Any
from zlib import compress, decompressobj
from zlib import error as zlib_error

import msgspec

from pipeline.interval import EPOCH
from pipeline.messages.telemetry import (
    GpuSample,
    HostTick,
    Instant,
    JobSample,
    LatencyBuckets,
    MeterSample,
    Quality,
    Tier,
    Workload,
)

MAGIC, VERSION = 0xF1, 1
SIMULATED = 0x0001

#: magic, version, flags, GPUs, jobs, layout length, details length, layout hash, seq, measured at (µs since 1970),
#: chassis energy (mJ), chassis draw (mW)
HEAD = Struct("<BBHHHIIQQqqq")
#: Stands for "no reading".
NO_64, NO_32 = -(2**63), -(2**31)
MILLI = 1000.0
MICROSECOND = timedelta(microseconds=1)
#: Of a layout or details, uncompressed: some thousand GPUs. More is no host's.
LARGEST_B = 4 * 2**20
QUALITIES = tuple(Quality)


class FrameError(ValueError):
    """The bytes are no frame; the text says why."""


class GpuLayout(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What seldom changes of a GPU."""

    uuid: str
    model: str
    energy_epoch: int
    min_w: float | None
    max_w: float | None
    tier: Tier
    workload: Workload
    job: str | None
    tenant: str | None
    mig: tuple[str, ...]


class JobLayout(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What seldom changes of a job."""

    job: str
    tier: Tier
    workload: Workload
    served_model: str | None
    engine: str | None
    epoch: int
    counted_at_finish: bool
    gpus: tuple[str, ...]


class Layout(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Who is who on a host. Equal layouts have equal bytes."""

    host: str
    site: str
    boot: str
    chassis_epoch: str
    gpus: tuple[GpuLayout, ...]
    jobs: tuple[JobLayout, ...]


class GpuDetails(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The rest of a GPU's sample, as it is there."""

    average_w: float | None
    read_at: Instant | None
    enforced_w: float | None
    requested_w: float | None
    sm_mhz: int | None
    memory_mhz: int | None
    event_reasons: int | None
    capped_s: float | None
    thermal_s: float | None
    braked_s: float | None
    utilization: float | None
    memory_used_b: int | None
    temperature_c: float | None
    xids: tuple[int, ...]


class JobDetails(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The rest of a job's sample."""

    prompt_tokens_total: float | None
    tokens_per_s: float | None
    tokens_per_s_per_w: float | None
    running: float | None
    waiting: float | None
    ttft: LatencyBuckets | None
    itl: LatencyBuckets | None


class Details(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What no figure is made of yet."""

    gpus: tuple[GpuDetails, ...]
    jobs: tuple[JobDetails, ...]
    meters: tuple[MeterSample, ...]


_encoder = msgspec.msgpack.Encoder()
_layouts = msgspec.msgpack.Decoder(Layout)
_details = msgspec.msgpack.Decoder(Details)


@lru_cache(maxsize=64)
def numbers(gpus: int, jobs: int) -> Struct:
    """Return the block behind the head: energy (mJ) by GPU, tokens (milli) by job, draw (mW) and quality by GPU."""
    return Struct(f"<{gpus}q{jobs}q{gpus}i{gpus}B")


def is_frame(payload: bytes) -> bool:
    """Tell whether *payload* begins like a frame."""
    return payload[:1] == b"\xf1"


def layout_of(tick: HostTick) -> Layout:
    """Return who is who on the host of *tick*."""
    return Layout(
        host=tick.host,
        site=tick.site,
        boot=tick.boot,
        chassis_epoch=tick.chassis_epoch,
        gpus=tuple(_pick(GpuLayout, gpu) for gpu in tick.gpus),
        jobs=tuple(_pick(JobLayout, job) for job in tick.jobs),
    )


def _pick(kind: type[Any], whole: Any) -> Any:
    """Return the fields of *kind* that are in *whole*."""
    return kind(**{name: getattr(whole, name) for name in kind.__struct_fields__})


@lru_cache(maxsize=4096)
def _layout_bytes(layout: Layout) -> tuple[bytes, int]:
    """Return *layout* as bytes, and their hash; a host asks for the same one every second."""
    payload = compress(_encoder.encode(layout))
    return payload, hash_of(payload)


def hash_of(layout: bytes) -> int:
    """Return 64 bits of BLAKE2b (RFC 7693) of a layout's bytes."""
    return int.from_bytes(blake2b(layout, digest_size=8).digest(), "little")


def encode(tick: HostTick) -> bytes:
    """Return *tick* as a frame."""
    layout, layout_hash = _layout_bytes(layout_of(tick))
    rest = Details(
        gpus=tuple(_pick(GpuDetails, gpu) for gpu in tick.gpus),
        jobs=tuple(_pick(JobDetails, job) for job in tick.jobs),
        meters=tick.meters,
    )
    details = compress(_encoder.encode(rest), 1)
    head = HEAD.pack(
        MAGIC,
        VERSION,
        SIMULATED if tick.simulated else 0,
        len(tick.gpus),
        len(tick.jobs),
        len(layout),
        len(details),
        layout_hash,
        tick.seq,
        micros(tick.measured_at),
        _fixed(tick.chassis_energy_j, NO_64),
        _fixed(tick.chassis_w, NO_64),
    )
    block = numbers(len(tick.gpus), len(tick.jobs)).pack(
        *(_fixed(gpu.energy_j, NO_64) for gpu in tick.gpus),
        *(_fixed(job.tokens_total, NO_64) for job in tick.jobs),
        *(_fixed(gpu.power_w, NO_32) for gpu in tick.gpus),
        *(mask_of(gpu.quality) for gpu in tick.gpus),
    )
    return b"".join((head, block, layout, details))


def decode(payload: bytes) -> HostTick:
    """Return the tick in *payload*, a frame; raise `FrameError` for anything else."""
    try:
        magic, version, flags, gpus, jobs, layout_length, details_length, _, seq, at, chassis_mj, chassis_mw = (
            HEAD.unpack_from(payload)
        )
        if magic != MAGIC or version != VERSION:
            raise FrameError(f"magic {magic:#x}, version {version}: expected {MAGIC:#x}, {VERSION}")
        block = numbers(gpus, jobs)
        begin = HEAD.size + block.size
        if len(payload) != begin + layout_length + details_length:
            raise FrameError(f"{len(payload)} bytes where the head says {begin + layout_length + details_length}")
        values = block.unpack_from(payload, HEAD.size)
        layout = _layouts.decode(_plain(payload[begin : begin + layout_length]))
        details = _details.decode(_plain(payload[begin + layout_length :]))
        if not len(layout.gpus) == len(details.gpus) == gpus or not len(layout.jobs) == len(details.jobs) == jobs:
            raise FrameError("head, layout and details disagree on how many GPUs or jobs there are")
        return HostTick(
            host=layout.host,
            site=layout.site,
            boot=layout.boot,
            seq=seq,
            measured_at=instant(at),
            gpus=tuple(_gpus(layout, details, values, jobs)),
            jobs=tuple(_jobs(layout, details, values[gpus:])),
            meters=details.meters,
            chassis_w=_reading(chassis_mw, NO_64),
            chassis_energy_j=_reading(chassis_mj, NO_64),
            chassis_epoch=layout.chassis_epoch,
            simulated=bool(flags & SIMULATED),
        )
    except (error, zlib_error, msgspec.DecodeError, OverflowError, RecursionError) as cause:
        raise FrameError(str(cause)) from cause


def _plain(packed: bytes) -> bytes:
    """Return what was compressed; raise `FrameError` for more than any host has to say."""
    opened = decompressobj()
    plain = opened.decompress(packed, LARGEST_B)
    if not opened.eof or opened.unused_data:
        raise FrameError(f"no whole packet of at most {LARGEST_B} bytes")
    return plain


def _gpus(layout: Layout, details: Details, values: tuple[int, ...], jobs: int) -> Iterable[GpuSample]:
    count = len(layout.gpus)
    draws, masks = values[count + jobs :], values[2 * count + jobs :]
    for number, (who, rest) in enumerate(zip(layout.gpus, details.gpus, strict=True)):
        yield GpuSample(
            **msgspec.structs.asdict(who),
            **msgspec.structs.asdict(rest),
            energy_j=_reading(values[number], NO_64),
            power_w=_reading(draws[number], NO_32),
            quality=qualities(masks[number]),
        )


def _jobs(layout: Layout, details: Details, tokens: tuple[int, ...]) -> Iterable[JobSample]:
    for number, (who, rest) in enumerate(zip(layout.jobs, details.jobs, strict=True)):
        yield JobSample(
            **msgspec.structs.asdict(who),
            **msgspec.structs.asdict(rest),
            tokens_total=_reading(tokens[number], NO_64),
        )


def host_of(payload: bytes) -> str:
    """Return whose tick *payload*, a frame, is: the key that keeps a host's ticks in order."""
    try:
        _, _, _, gpus, jobs, length, *_ = HEAD.unpack_from(payload)
        begin = HEAD.size + numbers(gpus, jobs).size
        return parse_layout(payload[begin : begin + length]).host
    except error as cause:
        raise FrameError(str(cause)) from cause


def measured_at(payload: bytes) -> datetime:
    """Return when *payload*, a frame, was measured."""
    try:
        return instant(HEAD.unpack_from(payload)[9])
    except (error, OverflowError) as cause:
        raise FrameError(str(cause)) from cause


def parse_layout(payload: bytes) -> Layout:
    """Return the layout in *payload*; raise `FrameError` where it is none."""
    try:
        return _layouts.decode(_plain(payload))
    except (zlib_error, msgspec.DecodeError, RecursionError) as cause:
        raise FrameError(str(cause)) from cause


def micros(instant: datetime) -> int:
    """Return *instant* as microseconds since 1970."""
    return (instant - EPOCH) // MICROSECOND


def instant(us: int) -> datetime:
    """Return the instant *us* microseconds after 1970; raise `OverflowError` beyond the calendar."""
    return EPOCH + timedelta(microseconds=us)


def mask_of(marks: Iterable[Quality]) -> int:
    """Return quality marks as bits, in the order of `Quality`."""
    return sum(1 << QUALITIES.index(mark) for mark in set(marks))


def qualities(mask: int) -> tuple[Quality, ...]:
    """Return the marks in *mask*; a bit that a later version may set is passed over."""
    return tuple(mark for bit, mark in enumerate(QUALITIES) if mask >> bit & 1)


def _fixed(value: float | None, nothing: int) -> int:
    """Return *value* in thousandths, *nothing* where there is none that fits."""
    if value is None or not isfinite(value):
        return nothing
    thousandths = round(value * MILLI)
    return thousandths if nothing < thousandths < -nothing else nothing


def _reading(thousandths: int, nothing: int) -> float | None:
    return None if thousandths == nothing else thousandths / MILLI
