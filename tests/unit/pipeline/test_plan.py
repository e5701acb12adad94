"""The capacity plan: its arithmetic by hand, and what must hold whatever the numbers."""

import json
import random
from datetime import timedelta
from typing import Any

import pytest
from doubles.archived import MINUTE, NOON, interval
from hypothesis import given
from hypothesis import strategies as st

from pipeline import archive_rows, cli
from pipeline.errors import ConfigError
from pipeline.interval import Interval
from pipeline.messages.telemetry import (
    CAP_SHARES,
    IntervalCorrection,
    PoolInterval,
    PoolLoad,
    SiteCapacity,
    SiteInterval,
    Tier,
    Workload,
)
from pipeline.plan import CAPACITY_B, CORRECTION_B, INTERVAL_B, plan
from pipeline.topics import CORRECTIONS, SITE_CAPACITY, SITE_INTERVALS, Topic

POOLS = 7


def test_a_site_of_100_000_gpus_by_hand() -> None:
    """
    12,500 hosts × (6 + 15.8 + 7.7) µs + 9 partitions × 3.7 ms = 0.40 cores: two threads at 0.4, and one in reserve.

    A frame of 8 GPUs is 731 + 8 × 64.5 = 1,247 bytes: 15.59 MB/s, and four times that through the brokers' network.
    """
    found = plan(12_500, 8)

    assert found.samples_per_s == 100_000
    assert (found.partitions, found.workers) == (9, 3)
    assert found.cores_per_worker == 0.25
    assert found.wire_b_per_s == 15_587_500
    assert found.broker_network_b_per_s == 62_350_000
    assert found.broker_disk_b == 15_587_500 * 172_800 * 3 // 2
    assert found.state_b == 14_012_500
    assert found.memory_b_per_worker == 265_000_000 + 6_250 * 14_000


def test_a_day_of_the_archive_by_hand() -> None:
    """
    Two figures of 940 bytes a second, the site's and the portfolio's; 1,440 + 288 intervals of 255 and 9 × 265 bytes.

    With ticks 100,000 GPUs × 24 h more, at 32,896 to 188,307 bytes a GPU-hour.
    """
    found = plan(12_500, 8)

    assert found.archive_b_per_day == 162_432_000 + 1_728 * 2_640
    assert found.archive_ticks_b_per_day == (78_950_400_000, 451_936_800_000)


def test_a_row_of_the_archive_takes_what_the_plan_says() -> None:
    """A day of minutes, and of seconds a part, in which no digit repeats; files as they are after merging."""
    chance = random.Random(7)

    assert size(SITE_CAPACITY, [second(number, chance) for number in range(1_440)]) == pytest.approx(CAPACITY_B, 0.03)
    assert size(SITE_INTERVALS, [minute(number, chance) for number in range(1_440)]) == pytest.approx(INTERVAL_B, 0.03)
    assert size(CORRECTIONS, [late(number, chance) for number in range(1_440)]) == pytest.approx(CORRECTION_B, 0.03)


def size(topic: Topic[Any], messages: list[Any]) -> float:
    """Return the bytes a row of a merged file of *messages*."""
    rows = [archive_rows.row(message, 0, number) for number, message in enumerate(messages)]
    return len(archive_rows.parquet(archive_rows.merged(topic.name, archive_rows.frame(topic.name, rows)))) / len(rows)


def second(number: int, chance: random.Random) -> SiteCapacity:
    """Return the figure of one second."""
    at = NOON + timedelta(seconds=number)
    pools = tuple(
        PoolLoad(
            tier=Tier.T2,
            workload=Workload.TRAINING,
            gpu_model=f"model-{pool}",
            gpus=14_000,
            power_kw=chance.uniform(0, 1e4),
            relief_kw=tuple(chance.uniform(0, 1e4) for _ in CAP_SHARES),
            max_w=700.0,
            tokens_per_s=chance.uniform(0, 1e6),
        )
        for pool in range(POOLS)
    )
    return SiteCapacity(
        site="site-1",
        as_of=at,
        known_at=at + timedelta(microseconds=chance.randrange(10**6)),
        partitions=9,
        partitions_expected=9,
        hosts=12_500,
        hosts_stale=chance.randrange(100),
        gpus=100_000,
        load_kw=chance.uniform(0, 1e5),
        pools=pools,
        ticks_open=chance.randrange(10**6),
        age_p50_ms=chance.uniform(0, 1e3),
        age_p99_ms=chance.uniform(0, 1e3),
        simulated=False,
    )


def moved(chance: random.Random) -> tuple[PoolInterval, ...]:
    """Return what the pools did in an interval."""
    return tuple(
        PoolInterval(
            tier=Tier.T2,
            workload=Workload.TRAINING,
            gpu_model=f"model-{pool}",
            served_model=f"served-{pool}",
            gpu_energy_kwh=chance.uniform(0, 1e3),
            tokens=chance.uniform(0, 1e9),
            engine="vllm",
            gpu_s=chance.uniform(0, 1e6),
            covered_gpu_s=chance.uniform(0, 1e6),
        )
        for pool in range(POOLS)
    )


def minute(number: int, chance: random.Random) -> SiteInterval:
    """Return one closed interval."""
    return interval(
        number,
        energy_kwh=chance.uniform(0, 1e3),
        covered_share=chance.random(),
        hosts_partial=chance.randrange(100),
        ticks=chance.randrange(10**6),
        ticks_missing=chance.randrange(100),
        pools=moved(chance),
    )


def late(number: int, chance: random.Random) -> IntervalCorrection:
    """Return what late ticks add to an interval in one of nine partitions."""
    start = NOON + number // 9 * MINUTE
    return IntervalCorrection(
        site="site-1",
        partition=number % 9,
        interval=Interval(start, start + MINUTE),
        energy_kwh=chance.uniform(-1, 1),
        covered_host_s=chance.uniform(0, 1e3),
        hosts=chance.randrange(10),
        ticks=chance.randrange(10**4),
        ticks_missing=-chance.randrange(1000),
        pools=moved(chance),
        first_late=NOON + timedelta(microseconds=chance.randrange(10**12)),
        last_late=NOON + timedelta(microseconds=chance.randrange(10**12)),
        simulated=False,
        offset=chance.randrange(10**9),
    )


def test_a_small_site_still_has_two_workers_and_eight_partitions() -> None:
    assert (plan(1, 1).partitions, plan(1, 1).workers) == (8, 2)


@given(st.integers(1, 200_000), st.integers(1, 16))
def test_no_worker_is_without_a_partition_and_more_hosts_never_need_less(hosts: int, gpus: int) -> None:
    found, more = plan(hosts, gpus), plan(hosts + 1_000, gpus)

    assert found.workers <= found.partitions
    assert more.workers >= found.workers
    assert more.partitions >= found.partitions
    assert more.broker_disk_b > found.broker_disk_b
    assert more.archive_b_per_day >= found.archive_b_per_day
    assert more.archive_ticks_b_per_day > found.archive_ticks_b_per_day


def test_the_command_prints_a_plan_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--hosts", "12500", "--gpus", "8"]) == 0
    said = capsys.readouterr().out
    assert "telemetry_partitions       9" in said
    assert "archive, a day             0.17 GB" in said
    assert "with archive_telemetry     79.0 to 451.9 GB more" in said

    assert cli.main(["plan", "--hosts", "12500", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workers"] == 3


def test_no_hosts_are_no_site() -> None:
    with pytest.raises(ConfigError, match="at least one host"):
        cli.main(["plan", "--hosts", "0"])
