"""Many ticks at once: the same numbers as one by one, whatever else is among them."""

import msgspec
import numpy as np
import pytest
from doubles.rolled import MINUTE, close, feed, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.test_frames import TICKS
from unit.pipeline.ticks import gpu, tick

from pipeline import bulk, frames
from pipeline.messages.telemetry import HostTick
from pipeline.rollup import Partition


@given(st.lists(TICKS, max_size=8))
@settings(max_examples=30)
def test_columns_hold_what_the_ticks_do(ticks: list[HostTick]) -> None:
    batch = bulk.decode([frames.encode(one) for one in ticks], {})

    seen = 0
    for some in batch.ticks:
        for place, value in zip(some.place.tolist(), some.values, strict=True):
            one = ticks[place]
            layout, _ = batch.layouts[int(value["layout"])]
            assert (layout.host, layout.boot) == (one.host, one.boot)
            assert int(value["seq"]) == one.seq
            assert int(value["at_us"]) == frames.micros(one.measured_at)
            powers = [None if mw == frames.NO_32 else mw / 1000 for mw in value["power_mw"].tolist()]
            assert powers == [sample.power_w for sample in one.gpus]
            seen += 1
    assert (seen, batch.refused) == (len(ticks), [])


def test_what_is_no_tick_is_named_and_stops_nobody() -> None:
    """Of seven records the good ones are at 0, 3 and 6."""
    frame = frames.encode(tick(1))
    other = frames.encode(tick(2, host="h2"))
    wrong_layout = frame[:16] + other[16:24] + frame[24:]
    records = [frame, None, b"", msgspec.json.encode(tick(3, host="h3")), frame[:60], b"garbage", other]

    batch = bulk.decode(records, {})

    assert sorted(place for some in batch.ticks for place in some.place.tolist()) == [0, 3, 6]
    assert sorted(place for place, _ in batch.refused) == [1, 2, 4, 5]
    (refusal,) = bulk.decode([wrong_layout], {}).refused
    assert refusal == (0, "its layout is not the one its head names")


@pytest.mark.parametrize("seq", [-1, 2**64])
def test_json_with_a_number_that_no_frame_holds_is_named_and_stops_nobody(seq: int) -> None:
    """Every worker would read it again and again, and none would get past it."""
    plain = msgspec.json.encode(tick(1)).replace(b'"seq":1', f'"seq":{seq}'.encode())

    batch = bulk.decode([plain, frames.encode(tick(2))], {})

    assert [place for place, _ in batch.refused] == [0]
    assert "neither a frame nor JSON of a tick" in batch.refused[0][1]
    assert [ticks.values["seq"].tolist() for ticks in batch.ticks] == [[2]]


def test_a_head_that_names_the_layout_of_a_host_with_other_gpus_is_refused() -> None:
    """Two GPUs' numbers under the name of a host with one: nobody's figures change and nothing fails."""
    one = tick(2, gpus=(gpu(energy_j=600.0),))
    two = frames.encode(tick(3, host="h2", gpus=(gpu("a"), gpu("b"))))
    forged = two[:16] + frames.encode(one)[16:24] + two[24:]
    partition = feed(fresh(), [tick(1, 0.0, gpus=(gpu(energy_j=0.0),)), one])

    partition.add([forged], np.array([frames.micros(one.measured_at)]), 3)

    ((figure,), _) = close(partition, 65)
    assert (figure.ticks, figure.hosts, partition.counts["refused"]) == (2, 1, 1)


@pytest.mark.parametrize("seq", [0, 2**62, 2**64 - 1])
@pytest.mark.parametrize("at_us", [0, -(2**63), 2**63 - 1, 2**62])
def test_numbers_no_collector_sends_do_not_stop_the_partition(seq: int, at_us: int) -> None:
    good = frames.encode(tick(2))
    wild = good[:24] + seq.to_bytes(8, "little") + at_us.to_bytes(8, "little", signed=True) + good[40:]
    partition = Partition(0, (MINUTE,), "site-1")
    now = frames.micros(tick(1).measured_at)

    partition.add([frames.encode(tick(1)), wild, good], np.array([now, now, now + 1_000_000]), 3)

    assert partition.due(tick(2).measured_at).gauges[0].hosts == 1
