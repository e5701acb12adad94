"""
Kafka's replication test in our own words: what is acknowledged while brokers come and go is read, in order.

    one cell   ── load ──┬───────────────────────────────────┬── until every partition goes on ──┬─ judge
    stop                 └ the leader (or controller) ends   └ it stays away                     │
    bounce               └ it ends and starts again, five times, each time whoever it is by then │
    starve               └ both followers stand still, then the leader is killed, then they go on

Modelled on ``tests/kafkatest/tests/core/replication_test.py`` of Apache Kafka: three nodes, replication 3, two in sync
at least, acknowledged by all, clean and hard, leader and controller. ``starve`` is not in there: it loses for certain
what only the leader has, and so tells a producer that waits for one broker from one that waits for all.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
from pathlib import Path

from doubles.acked_and_read import judge, longest_gap_s, recovered_at
from doubles.cluster import NODES, Cluster
from doubles.numbered_load import NumberedLoad
from doubles.tick_reader import read_up_to, reading, topic_named, whole_log

from pipeline.kafka import Sender, ensure_topics
from pipeline.settings import Kafka

PARTITIONS = 3
BOUNCES = 5
GAP_LIMIT_S = 15.0
RECOVERY_S = 90.0
STARVED_S = 1.5
"""Shorter than the session of 4 s, after which the leader would be deposed alive."""


class How(StrEnum):
    """Of an end."""

    CLEAN = "clean"  # SIGTERM: it hands over what it leads
    HARD = "hard"  # SIGKILL


class What(StrEnum):
    """Of a fault."""

    STOP = "stop"
    BOUNCE = "bounce"
    STARVE = "starve"


class Who(StrEnum):
    """It befalls: the leader of partition 0, or the active controller, which on three nodes is a broker too."""

    LEADER = "leader"
    CONTROLLER = "controller"


@dataclass(frozen=True)
class Cell:
    """One combination."""

    how: How
    what: What
    who: Who

    @property
    def name(self) -> str:
        """As in ``hard-bounce-leader``."""
        return f"{self.how}-{self.what}-{self.who}"


CELLS = tuple(Cell(*each) for each in product(How, (What.STOP, What.BOUNCE), Who))
STARVE = Cell(How.HARD, What.STARVE, Who.LEADER)


@dataclass(frozen=True)
class Load:
    """How much is sent: by *hosts* hosts, *hertz* times a second each, *settle_s* before and after the fault."""

    hosts: int = 100
    hertz: float = 5.0
    settle_s: float = 5.0
    sender: Callable[[Kafka], Sender] = Sender


@dataclass(frozen=True)
class Result:
    """What became of one cell."""

    cell: str
    sent: int
    failed: int
    acknowledged: int
    missing: int
    withdrawn: int
    out_of_order: int
    duplicates: int
    longest_gap_s: float
    """Without an acknowledgement in one partition."""
    recovery_s: float | None
    """From the last end of a node to the moment when every partition has acknowledged something sent after it."""

    @property
    def failures(self) -> list[str]:
        """What may not be."""
        wrong = [f"{name} {getattr(self, name)}" for name in ("missing", "withdrawn", "out_of_order")]
        wrong = [words for words in wrong if not words.endswith(" 0")]
        wrong += [f"a gap of {self.longest_gap_s} s"] if self.longest_gap_s > GAP_LIMIT_S else []
        wrong += ["nothing was acknowledged"] if not self.acknowledged else []
        return [*wrong, *(["no recovery"] if self.recovery_s is None else [])]


async def run(cluster: Cluster, cell: Cell, load: Load, folder: Path, name: str) -> Result:
    """Return what becomes of *cell* on *cluster*, whose nodes are in sync before and after, with a topic *name*."""
    topic, file = topic_named(name, PARTITIONS), folder / f"{name}.read"
    clock = asyncio.get_running_loop().time
    await ensure_topics(cluster.kafka, [topic], replication=len(NODES))
    await cluster.in_sync(topic.name)
    async with reading(cluster.kafka, topic, file):
        async with NumberedLoad(
            cluster.kafka, topic, hosts=load.hosts, hertz=load.hertz, sender=load.sender
        ) as producers:
            await _goes_on(producers, clock())
            began = clock()
            await asyncio.sleep(load.settle_s)
            failed_at, gone = await _fault(cluster, cell, topic.name)
            await _goes_on(producers, failed_at)
            await asyncio.sleep(load.settle_s)
            ended = clock()
            await producers.finish()
            acknowledged, sent, failed = list(producers.acknowledged), producers.sent, producers.failed
        log = await whole_log(cluster.kafka, topic)
        read = await read_up_to(file, log)
    await _revive(cluster, gone, topic.name)

    partitions, recovered = range(PARTITIONS), recovered_at(acknowledged, range(PARTITIONS), failed_at)
    return Result(
        cell.name,
        sent,
        failed,
        **vars(judge(acknowledged, read, log)),
        longest_gap_s=round(longest_gap_s(acknowledged, partitions, began, ended), 2),
        recovery_s=None if recovered is None else round(recovered - failed_at, 2),
    )


async def _fault(cluster: Cluster, cell: Cell, topic: str) -> tuple[float, int | None]:
    """Bring *cell*'s fault about; return when the last node had ended, and which one is away."""
    clock = asyncio.get_running_loop().time
    if cell.what is What.STARVE:
        gone = await _starve(cluster, topic)
        return clock(), gone
    for _ in range(BOUNCES if cell.what is What.BOUNCE else 1):
        victim = await _victim(cluster, cell, topic)
        await _ender(cluster, cell)(victim)
        failed_at = clock()
        if cell.what is What.BOUNCE:
            await cluster.start(victim)
            await cluster.answering(victim)
    return failed_at, victim if cell.what is What.STOP else None


async def _starve(cluster: Cluster, topic: str) -> int:
    """Let the leader of partition 0 have something that nobody else has, and kill it."""
    leader = await cluster.leader_of(topic, 0)
    followers = [number for number in NODES if number != leader]
    for number in followers:
        cluster.freeze(number)
    await asyncio.sleep(STARVED_S)
    await cluster.kill(leader)
    for number in followers:
        cluster.thaw(number)
    return leader


async def _victim(cluster: Cluster, cell: Cell, topic: str) -> int:
    return await (cluster.controller() if cell.who is Who.CONTROLLER else cluster.leader_of(topic, 0))


def _ender(cluster: Cluster, cell: Cell) -> Callable[[int], Awaitable[None]]:
    return cluster.stop if cell.how is How.CLEAN else cluster.kill


async def _goes_on(producers: NumberedLoad, since: float) -> None:
    """Return once every partition has acknowledged something sent after *since*, or after a minute and a half."""
    deadline = asyncio.get_running_loop().time() + RECOVERY_S
    while recovered_at(producers.acknowledged, range(PARTITIONS), since) is None:
        if asyncio.get_running_loop().time() > deadline:
            return
        await asyncio.sleep(0.2)


async def _revive(cluster: Cluster, gone: int | None, topic: str) -> None:
    """Bring the cluster to where the next cell begins."""
    if gone is not None:
        await cluster.start(gone)
        await cluster.answering(gone)
    await cluster.in_sync(topic)
