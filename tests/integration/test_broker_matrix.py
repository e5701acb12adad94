"""Three real brokers that come and go: nothing acknowledged is lost. The long form is tests/long/broker_matrix.py."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from doubles.broker_faults import GAP_LIMIT_S, STARVE, Cell, How, Load, Result, What, Who, run
from doubles.cluster import NODES, Cluster
from doubles.numbered_load import OneBrokerIsEnough
from doubles.tick_reader import topic_named

from pipeline.kafka import ensure_topics

pytestmark = pytest.mark.broker

QUICK = Load(hosts=30, hertz=5, settle_s=1)
PATIENCE = float(os.environ.get("FIRMWATT_PATIENCE", "1"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    nodes = Cluster(tmp_path_factory.mktemp("cluster"))
    asyncio.run(nodes.__aenter__())
    yield nodes
    asyncio.run(nodes.__aexit__())


async def result_of(cluster: Cluster, cell: Cell, folder: Path, load: Load = QUICK) -> Result:
    return await run(cluster, cell, load, folder, f"cell-{uuid4().hex[:8]}")


def assert_kept(result: Result) -> None:
    assert (result.missing, result.withdrawn, result.out_of_order, result.failed) == (0, 0, 0, 0), result
    assert result.acknowledged == result.sent > 100, result
    assert result.recovery_s is not None
    assert result.longest_gap_s <= GAP_LIMIT_S * PATIENCE, result


async def test_a_killed_leader_takes_nothing_along_that_was_acknowledged(cluster: Cluster, tmp_path: Path) -> None:
    assert_kept(await result_of(cluster, Cell(How.HARD, What.STOP, Who.LEADER), tmp_path))


async def test_a_controller_that_goes_in_good_order_is_hardly_missed(cluster: Cluster, tmp_path: Path) -> None:
    assert_kept(await result_of(cluster, Cell(How.CLEAN, What.STOP, Who.CONTROLLER), tmp_path))


async def test_what_the_leader_alone_had_was_never_acknowledged(cluster: Cluster, tmp_path: Path) -> None:
    assert_kept(await result_of(cluster, STARVE, tmp_path))


async def test_a_producer_that_waits_for_one_broker_only_is_found_out(cluster: Cluster, tmp_path: Path) -> None:
    """It was told that ten hosts' ticks of partition 0 in 1.5 s are safe, and they went with the leader."""
    found = await result_of(cluster, STARVE, tmp_path, replace(QUICK, sender=OneBrokerIsEnough))

    assert found.missing > 10, found
    assert any(failure.startswith("missing") for failure in found.failures)


async def test_another_node_leads_and_controls_once_one_has_gone(cluster: Cluster) -> None:
    topic = topic_named(f"led-{uuid4().hex[:8]}", partitions=1)
    await ensure_topics(cluster.kafka, [topic], replication=len(NODES))
    await cluster.in_sync(topic.name)
    controller = await cluster.controller()

    await cluster.kill(controller)

    assert await cluster.controller() in set(NODES) - {controller}
    await cluster.start(controller)
    await cluster.answering(controller)
    await cluster.in_sync(topic.name)
    leader = await cluster.leader_of(topic.name, 0)
    await cluster.stop(leader)
    assert await cluster.leader_of(topic.name, 0) in set(NODES) - {leader}
    await cluster.start(leader)
    await cluster.answering(leader)
