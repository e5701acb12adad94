"""The capacity plan: its arithmetic by hand, and what must hold whatever the numbers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from pipeline.errors import ConfigError
from pipeline.plan import plan


def test_a_site_of_100_000_gpus_by_hand() -> None:
    """
    12,500 hosts × (10 + 15.8 + 7.7) µs + 9 partitions × 3.7 ms = 0.45 cores: two threads at 0.4, and one in reserve.

    A frame of 8 GPUs is 731 + 8 × 64.5 = 1,247 bytes: 15.59 MB/s, and four times that through the brokers' network.
    """
    found = plan(12_500, 8)

    assert found.samples_per_s == 100_000
    assert (found.partitions, found.workers) == (9, 3)
    assert found.cores_per_worker == 0.27
    assert found.wire_b_per_s == 15_587_500
    assert found.broker_network_b_per_s == 62_350_000
    assert found.broker_disk_b == 15_587_500 * 172_800 * 3 // 2
    assert found.state_b == 14_012_500
    assert found.memory_b_per_worker == 265_000_000 + 6_250 * 14_000


def test_a_small_site_still_has_two_workers_and_eight_partitions() -> None:
    assert (plan(1, 1).partitions, plan(1, 1).workers) == (8, 2)


@given(st.integers(1, 200_000), st.integers(1, 16))
def test_no_worker_is_without_a_partition_and_more_hosts_never_need_less(hosts: int, gpus: int) -> None:
    found, more = plan(hosts, gpus), plan(hosts + 1_000, gpus)

    assert found.workers <= found.partitions
    assert more.workers >= found.workers
    assert more.partitions >= found.partitions
    assert more.broker_disk_b > found.broker_disk_b


def test_the_command_prints_a_plan_for_people_and_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["plan", "--hosts", "12500", "--gpus", "8"]) == 0
    assert "telemetry_partitions       9" in capsys.readouterr().out

    assert cli.main(["plan", "--hosts", "12500", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["workers"] == 3


def test_no_hosts_are_no_site() -> None:
    with pytest.raises(ConfigError, match="at least one host"):
        cli.main(["plan", "--hosts", "0"])
