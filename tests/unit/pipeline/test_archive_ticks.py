"""Host ticks in the archive: every frame comes back byte for byte, and SQL can read the numbers."""

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec
import polars as pl
import pytest
from doubles.full_tick import full_tick
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.ticks import NOON, at, gpu, job

from pipeline import frames
from pipeline.archive_rows import parquet, rows_of
from pipeline.archive_ticks import Reader, Record, payloads
from pipeline.messages.telemetry import (
    Covers,
    GpuSample,
    HostTick,
    JobSample,
    LatencyBuckets,
    MeterSample,
    Quality,
    Tier,
    Workload,
)
from pipeline.topics import HOST_TICKS

APPENDED_MS = 1_784_808_000_250


def archived(ticks: Sequence[bytes | None]) -> pl.DataFrame:
    """Return *ticks* as the archive has them: written as Parquet and read again."""
    rows, refused = Reader().rows(3, [Record(tick, 10 + number, APPENDED_MS) for number, tick in enumerate(ticks)])
    assert refused == []
    return rows_of(HOST_TICKS.name, [parquet(rows)])


def tick(host: str = "h1", seq: int = 1, **fields: object) -> HostTick:
    settings: dict[str, object] = {
        "gpus": (gpu(), gpu("gpu-1", None, None)),
        "jobs": (job(12.345),),
        "measured_at": at(seq),
    }
    return HostTick(host=host, site="site-1", boot="b1", seq=seq, **(settings | fields))  # type: ignore[arg-type] # keyword by keyword as declared


number = st.none() | st.floats(-1e9, 1e9)
counter = st.none() | st.integers(0, 2**40)
name = st.text(max_size=8)
instant = st.datetimes(datetime(1970, 1, 2), datetime(9998, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds
qualities = st.lists(st.sampled_from(Quality), unique=True).map(tuple)
gpus = st.builds(
    GpuSample,
    uuid=name,
    model=name,
    power_w=st.none() | st.floats(0, 2e6),
    average_w=number,
    energy_j=number,
    energy_epoch=st.integers(0, 9),
    read_at=st.none() | instant,
    min_w=number,
    sm_mhz=counter,
    event_reasons=counter,
    capped_s=number,
    memory_used_b=counter,
    mig=st.lists(name, max_size=2).map(tuple),
    xids=st.lists(st.integers(0, 200), max_size=3).map(tuple),
    job=st.none() | name,
    tier=st.sampled_from(Tier),
    workload=st.sampled_from(Workload),
    quality=qualities,
)
latencies = st.none() | st.just(LatencyBuckets(le_s=(0.1, 1e308), counts=(1.0, 2.0)))
jobs = st.builds(
    JobSample,
    job=name,
    tier=st.sampled_from(Tier),
    workload=st.sampled_from(Workload),
    served_model=st.none() | name,
    tokens_total=st.none() | st.floats(0, 1e12),
    prompt_tokens_total=number,
    running=number,
    ttft=latencies,
    gpus=st.lists(name, max_size=3).map(tuple),
)
meters = st.builds(MeterSample, meter=name, covers=st.sampled_from(Covers), power_w=number, quality=qualities)
ticks = st.builds(
    HostTick,
    host=name,
    site=name,
    boot=name,
    seq=st.integers(0, 2**40),
    measured_at=instant,
    gpus=st.lists(gpus, max_size=3).map(tuple),
    jobs=st.lists(jobs, max_size=2).map(tuple),
    meters=st.lists(meters, max_size=2).map(tuple),
    chassis_w=number,
    chassis_energy_j=number,
    chassis_epoch=name,
    simulated=st.booleans(),
)


@given(st.lists(ticks, max_size=5))
@settings(max_examples=60)
def test_every_tick_comes_back_exactly_as_its_frame_has_it(given_ticks: list[HostTick]) -> None:
    """Milliwatts, millijoules, thousandths of a token; and all else to the last bit."""
    sent = [frames.encode(one) for one in given_ticks]
    rows = archived(sent).sort("kafka_offset")

    assert list(payloads(rows)) == sent
    assert [frames.decode(payload) for payload in payloads(rows)] == [frames.decode(payload) for payload in sent]


def test_a_full_tick_comes_back_whole() -> None:
    """Eight GPUs with all their readings, latencies, four meters."""
    (payload,) = payloads(archived([frames.encode(full_tick(7))]))

    assert frames.decode(payload) == frames.decode(frames.encode(full_tick(7)))


def test_numbers_are_columns_and_an_absent_reading_is_null() -> None:
    (row,) = archived([frames.encode(tick(chassis_w=1234.5))]).iter_rows(named=True)

    assert (row["host"], row["site"], row["boot"], row["seq"]) == ("h1", "site-1", "b1", 1)
    assert (row["energy_mj"], row["power_mw"], row["tokens_milli"]) == ([0, None], [600_000, None], [12_345])
    assert (row["chassis_mw"], row["chassis_mj"]) == (1_234_500, None)
    assert (row["measured_at"], row["kafka_partition"], row["kafka_offset"]) == (at(1), 3, 10)
    assert row["appended_at"] == NOON.replace(microsecond=250_000)
    assert [one["uuid"] for one in msgspec.json.decode(row["layout"])["gpus"]] == ["gpu-0", "gpu-1"]


def test_json_of_an_earlier_collector_is_archived_as_the_frame_it_would_have_been() -> None:
    (payload,) = payloads(archived([msgspec.json.encode(tick())]))

    assert payload == frames.encode(tick())


def test_a_host_without_gpus_has_empty_lists() -> None:
    (row,) = archived([frames.encode(tick(gpus=(), jobs=()))]).iter_rows(named=True)

    assert (row["energy_mj"], row["quality"], row["tokens_milli"]) == ([], [], [])


def test_rows_are_in_the_order_of_host_and_sequence_whatever_their_shape() -> None:
    sent = [tick("h2", 1), tick("h1", 2), tick("h1", 1, gpus=()), tick("h2", 0)]

    assert archived([frames.encode(one) for one in sent]).select("host", "seq").rows() == [
        ("h1", 1),
        ("h1", 2),
        ("h2", 0),
        ("h2", 1),
    ]


def test_what_is_no_tick_or_has_no_day_is_named_and_the_others_are_kept() -> None:
    sound = frames.encode(tick())
    long_ago = frames.encode(tick(measured_at=datetime(1969, 12, 31, tzinfo=UTC)))
    nowhere = frames.encode(msgspec.structs.replace(tick(), site="x" * 201))
    broken: list[bytes | None] = [None, b"", b"{}", sound[:-1], b"\xf1", long_ago, nowhere]

    rows, refused = Reader().rows(0, [Record(one, offset, 0) for offset, one in enumerate([*broken, sound])])

    assert rows["kafka_offset"].to_list() == [7]
    assert sorted(offset for offset, _ in refused) == list(range(7))


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_layout_is_known_from_one_batch_to_the_next(order: tuple[int, int]) -> None:
    reader = Reader()
    batches = [[Record(frames.encode(tick(seq=seq)), seq, 0)] for seq in (1, 2)]

    rows = pl.concat([reader.rows(0, batches[index])[0] for index in order]).sort("seq")

    assert [frames.decode(payload).seq for payload in payloads(rows)] == [1, 2]
    assert len(reader.known) == 1
