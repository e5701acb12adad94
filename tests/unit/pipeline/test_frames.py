"""A host tick as bytes: everything that was in it comes back, to the milliwatt, and nothing else is taken for one."""

from contextlib import suppress
from math import inf, nan
from typing import Any

import msgspec
import pytest
from doubles.full_tick import full_tick
from hypothesis import given
from hypothesis import strategies as st
from unit.pipeline.ticks import gpu, job, tick

from pipeline import frames
from pipeline.codec import Codec, DecodeError
from pipeline.frames import FrameError
from pipeline.messages.telemetry import HostTick, Quality, Tier
from pipeline.topics import HOST_TICKS

MILLIS = st.integers(0, 10**12).map(lambda thousandths: thousandths / 1000)
WATTS = st.integers(0, 2**31 - 1).map(lambda milliwatts: milliwatts / 1000)
GPUS = st.lists(
    st.builds(
        gpu,
        uuid=st.uuids().map(str),
        power_w=st.none() | WATTS,
        energy_j=st.none() | MILLIS,
        energy_epoch=st.integers(0, 3),
        tier=st.sampled_from(Tier),
        quality=st.sets(st.sampled_from(Quality)).map(lambda marks: tuple(mark for mark in Quality if mark in marks)),
        xids=st.lists(st.integers(0, 100), max_size=2).map(tuple),
        temperature_c=st.none() | st.floats(0, 100),
    ),
    max_size=9,
)
JOBS = st.lists(st.builds(job, tokens_total=st.none() | MILLIS, name=st.text(max_size=9)), max_size=3)
TICKS = st.builds(
    lambda gpus, jobs, seq, micros, chassis: tick(
        seq,
        micros / 1e6,
        gpus=tuple(gpus),
        jobs=tuple(jobs),
        chassis_w=chassis,
        chassis_energy_j=chassis,
    ),
    GPUS,
    JOBS,
    st.integers(1, 2**40),
    st.integers(0, 10**9),
    st.none() | MILLIS,
)


@given(TICKS)
def test_a_tick_survives_the_round_trip(one: HostTick) -> None:
    assert frames.decode(frames.encode(one)) == one
    assert frames.host_of(frames.encode(one)) == one.host
    assert frames.measured_at(frames.encode(one)) == one.measured_at


def test_the_fullest_tick_there_is_survives_it_too_and_is_a_quarter_of_its_json() -> None:
    one = full_tick(7)
    frame = frames.encode(one)

    assert frames.decode(frame) == one
    assert len(frame) < len(msgspec.json.encode(one)) / 4


@pytest.mark.parametrize("reading", [nan, inf, -inf, 1e30, None])
def test_a_reading_that_is_no_number_a_device_can_have_is_absent(reading: float | None) -> None:
    one = tick(1, gpus=(gpu(power_w=reading, energy_j=reading),), chassis_w=reading, chassis_energy_j=reading)

    decoded = frames.decode(frames.encode(one))

    assert (decoded.chassis_w, decoded.chassis_energy_j) == (None, None)
    assert (decoded.gpus[0].power_w, decoded.gpus[0].energy_j) == (None, None)


def test_readings_are_kept_to_a_thousandth() -> None:
    """0.1 mW and 0.4 mJ are rounded away."""
    decoded = frames.decode(frames.encode(tick(1, gpus=(gpu(power_w=600.0001, energy_j=1234.5674),))))

    assert (decoded.gpus[0].power_w, decoded.gpus[0].energy_j) == (600.0, 1234.567)


def test_equal_layouts_have_equal_hashes_and_a_new_job_changes_it() -> None:
    def hash_in(one: HostTick) -> int:
        return int(frames.HEAD.unpack_from(frames.encode(one))[7])

    assert hash_in(tick(1)) == hash_in(tick(2, gpus=(gpu(power_w=1.0, energy_j=5.0),)))
    assert hash_in(tick(1)) != hash_in(tick(1, jobs=(job(1.0),)))


def test_the_topic_s_codec_writes_frames_and_reads_the_json_of_earlier_collectors_too() -> None:
    codec = Codec(HOST_TICKS)

    assert frames.is_frame(codec.encode(tick(1)))
    assert codec.decode(msgspec.json.encode(tick(1))) == tick(1)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param(lambda frame: frame[:40], id="half a head"),
        pytest.param(lambda frame: frame[:-1], id="a byte short"),
        pytest.param(lambda frame: frame + b"x", id="a byte more"),
        pytest.param(lambda frame: frame[:1] + b"\x02" + frame[2:], id="version 2"),
        pytest.param(lambda frame: frame[:4] + b"\x02" + frame[5:], id="two GPUs announced"),
        pytest.param(lambda frame: frame[:-4] + b"\0\0\0\0", id="details garbled"),
        pytest.param(lambda frame: frame[:32] + b"\xff" * 7 + b"\x7f" + frame[40:], id="beyond the calendar"),
    ],
)
def test_bytes_that_are_no_whole_frame_are_refused(spoilt: Any) -> None:
    with pytest.raises(FrameError):
        frames.decode(spoilt(frames.encode(tick(1))))
    with pytest.raises(DecodeError):
        Codec(HOST_TICKS).decode(spoilt(frames.encode(tick(1))))


@given(st.binary(max_size=300), st.integers(0, 400))
def test_no_bytes_whatever_make_a_reader_fail_in_another_way(noise: bytes, at: int) -> None:
    frame = frames.encode(tick(1))
    mixed = frame[:at] + noise + frame[at + len(noise) :]

    with suppress(FrameError):
        assert isinstance(frames.decode(mixed), HostTick)
