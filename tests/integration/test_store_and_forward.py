"""From the spool to a real Kafka that goes away and comes back."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
from doubles.kill_collector import kill_again_and_again

from collectors.forward import Forwarder
from collectors.spool import Spool
from deploy.broker import node
from deploy.broker.node import Node
from pipeline.kafka import consumer, ensure_topics
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

pytestmark = pytest.mark.broker

HEAP_MB = 256


def payload(host: str, seq: int, size: int = 0) -> bytes:
    """Return a small tick."""
    return msgspec.json.encode({"host": host, "seq": seq, "measured_at": "2026-07-23T12:00:00Z", "pad": "x" * size})


class Stream:
    """A host with a spool, and the way from it to Kafka."""

    def __init__(self, folder: Path, kafka: Kafka, drain_per_s: float = 500.0) -> None:
        self.host = f"host-{uuid4().hex[:8]}"
        self.spool = Spool.open(folder / "spool", 10_000_000)
        self.forwarder = Forwarder(kafka, self.spool, drain_per_s)

    def measure(self, ticks: int, size: int = 0) -> None:
        """Append so many ticks."""
        for seq in range(self.spool.next_seq, self.spool.next_seq + ticks):
            self.spool.append(seq, payload(self.host, seq, size))
            self.forwarder.wake()

    @asynccontextmanager
    async def forwarding(self) -> AsyncIterator[None]:
        """Forward inside the block; flush at its end."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.forwarder.run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 15)

    async def drained(self, seconds: float = 40) -> None:
        """Return once Kafka has acknowledged everything."""
        await until(lambda: not self.spool.depth, seconds)

    async def arrived(self, kafka: Kafka) -> list[int]:
        """Return the numbers of this host's ticks in Kafka, in their order there."""
        found = []
        async with consumer(kafka, HOST_TICKS) as reader:
            ends = await reader.end_offsets(list(reader.assignment()))
            while any([await reader.position(partition) < end for partition, end in ends.items()]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    found += [msgspec.json.decode(r.value)["seq"] for r in records if r.key == self.host.encode()]
        return found


async def until(true: Callable[[], bool], seconds: float = 40) -> None:
    """Return once something is true."""
    async with asyncio.timeout(seconds):
        while not true():  # noqa: ASYNC110 - whatever it is has no event
            await asyncio.sleep(0.01)


def firsts(numbers: list[int]) -> list[int]:
    """Return *numbers* without those that came before."""
    return list(dict.fromkeys(numbers))


@pytest.fixture
def broker_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for a broker of this test's own."""
    yield tmp_path / "broker"
    node.stop(tmp_path / "broker")


async def started(data: Path) -> Node:
    """Return the broker of *data*, at the port it had before."""
    return await node.start(data, heap_mb=HEAP_MB, detach=False)


async def test_ticks_arrive_in_order_and_leave_the_spool(tmp_path: Path, kafka: Kafka) -> None:
    stream = Stream(tmp_path, kafka)
    stream.measure(300, size=4000)

    async with stream.forwarding():
        await stream.drained()
        stream.measure(1)
        await stream.drained()

    assert await stream.arrived(kafka) == list(range(1, 302))
    assert (stream.forwarder.acknowledged_total, stream.forwarder.trouble) == (301, None)
    assert stream.forwarder.last_ack_at is not None


async def test_the_last_ticks_are_flushed_when_the_process_ends(tmp_path: Path, kafka: Kafka) -> None:
    stream = Stream(tmp_path, kafka)

    async with stream.forwarding():
        await until(lambda: stream.forwarder.connected)
        stream.measure(20)

    assert stream.spool.depth == 0
    assert await stream.arrived(kafka) == list(range(1, 21))


async def test_a_backlog_goes_no_faster_than_asked(tmp_path: Path, kafka: Kafka) -> None:
    """100 ticks at 50 a second: two seconds, less what the last batch need not wait."""
    stream = Stream(tmp_path, kafka, drain_per_s=50)
    stream.measure(100)

    async with stream.forwarding():
        await until(lambda: stream.forwarder.acknowledged_total > 0)
        began = asyncio.get_running_loop().time()
        await stream.drained()

    assert 1.3 < asyncio.get_running_loop().time() - began < 4.0


async def test_a_tick_too_large_for_kafka_does_not_hold_up_the_others(tmp_path: Path, kafka: Kafka) -> None:
    stream = Stream(tmp_path, kafka)
    stream.measure(1)
    stream.measure(1, size=2_000_000)
    stream.measure(1)

    async with stream.forwarding():
        await stream.drained()

    assert await stream.arrived(kafka) == [1, 3]
    assert stream.forwarder.refused_total == 1


async def test_kafka_that_comes_after_the_collector_gets_everything(tmp_path: Path, broker_folder: Path) -> None:
    kafka = (await started(broker_folder)).kafka
    node.stop(broker_folder)
    stream = Stream(tmp_path, kafka)
    stream.measure(50)

    async with stream.forwarding():
        await until(lambda: stream.forwarder.trouble is not None)
        assert (await started(broker_folder)).kafka == kafka
        await stream.drained()

        assert stream.forwarder.trouble is None
    assert await stream.arrived(kafka) == list(range(1, 51))


@pytest.mark.parametrize("patience_s", [0.5, 60.0], ids=["connection given up", "connection kept"])
async def test_a_broker_killed_in_the_middle_loses_nothing_and_changes_no_order(
    tmp_path: Path, broker_folder: Path, monkeypatch: pytest.MonkeyPatch, patience_s: float
) -> None:
    """Ticks may come twice; seen for the first time they come in order."""
    monkeypatch.setattr("collectors.forward.PATIENCE_S", patience_s)
    broker = await started(broker_folder)
    await ensure_topics(broker.kafka, [HOST_TICKS])
    stream = Stream(tmp_path, broker.kafka)
    stream.measure(1500, size=4000)

    async with stream.forwarding():
        await until(lambda: stream.forwarder.acknowledged_total > 300)
        os.kill(broker.pid, signal.SIGKILL)
        stream.measure(100)
        assert stream.spool.depth > 100
        await until(lambda: node.status(broker_folder).state is node.State.DEAD)
        await until(lambda: stream.forwarder.trouble is not None)
        await started(broker_folder)
        stream.measure(100)
        await stream.drained()

    assert firsts(await stream.arrived(broker.kafka)) == list(range(1, 1701))


async def test_a_broker_that_only_stands_still_is_in_trouble_until_it_goes_on(
    tmp_path: Path, broker_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped for longer than the patience, here half a second in place of twenty: a new connection takes over."""
    monkeypatch.setattr("collectors.forward.PATIENCE_S", 0.5)
    broker = await started(broker_folder)
    stream = Stream(tmp_path, broker.kafka)

    async with stream.forwarding():
        stream.measure(10)
        await stream.drained()
        os.kill(broker.pid, signal.SIGSTOP)
        stream.measure(10)
        await until(lambda: stream.forwarder.trouble is not None)
        os.kill(broker.pid, signal.SIGCONT)
        await stream.drained()

    assert firsts(await stream.arrived(broker.kafka)) == list(range(1, 21))


def test_ten_minutes_without_kafka_and_kills_in_them_leave_no_gap_and_count_no_energy_twice(tmp_path: Path) -> None:
    """Ten minutes of a clock that runs at 60 times real time; the long form is tests/long/kill_collector.py."""
    toll = kill_again_and_again(tmp_path, kills=4, seed=1, away=timedelta(minutes=10), speed=60.0)

    assert toll.failures == []
    assert (toll.boots, toll.most_held > 200, toll.ticks > 600) == (1, True, True)
    assert toll.energy_j > 100_000
