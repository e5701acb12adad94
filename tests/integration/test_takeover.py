"""Faust on a real Kafka: what waits for a worker that takes partitions over is handled, all of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.faust_table import Table
from pipeline.faust_transport import Consumer, use_quick_transport
from pipeline.settings import Kafka
from pipeline.streams import faust

pytestmark = pytest.mark.broker

WITHIN_S = 60.0


class Busy(Consumer):
    """On a machine with so much else to do that two seconds pass after the seek before anything follows."""

    async def perform_seek(self) -> None:
        """Seek, and be kept waiting."""
        await super().perform_seek()
        await asyncio.sleep(2.0)


@asynccontextmanager
async def admin_of(kafka: Kafka) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def send(kafka: Kafka, topic: str, numbers: range) -> None:
    """Send a record of each of *numbers* to the only partition of *topic*, where it becomes its offset."""
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for number in numbers:
            await producer.send(topic, str(number).encode(), key=b"site-1")
        await producer.flush()


@asynccontextmanager
async def working(kafka: Kafka, group: str, topic: str, folder: Path, consumer: type[Any]) -> AsyncIterator[list[int]]:
    """Run a Faust application with one agent and one table; yield the numbers it has handled so far."""
    app: Any = faust.App(
        group,
        broker=f"kafka://{kafka.bootstrap}",
        store="memory://",
        datadir=folder,
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=0.2,
        stream_wait_empty=False,
    )
    handled: list[int] = []
    highest: Table[int] = Table(app, "highest", int, 1, max)

    @app.agent(app.topic(topic, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw"))  # type: ignore[untyped-decorator]
    async def _agent(stream: Any) -> None:
        async for event in stream.events():
            await asyncio.sleep(0.01)  # what agents wait for: that something is acknowledged
            handled.append(int(event.value))
            highest["all"] = int(event.value)

    use_quick_transport(app, asyncio.get_running_loop())
    app.transport.Consumer = consumer
    await app.start()
    try:
        yield handled
    finally:
        await app.stop()


async def all_committed(kafka: Kafka, group: str, partition: TopicPartition, end: int) -> None:
    """Return once *group* has committed all records before *end*."""
    async with admin_of(kafka) as admin, asyncio.timeout(WITHIN_S):
        while True:
            place = (await admin.list_consumer_group_offsets(group)).get(partition)
            if place is not None and place.offset >= end:
                return
            await asyncio.sleep(0.1)


async def test_records_that_waited_for_a_worker_are_all_handled_and_committed(kafka: Kafka, tmp_path: Path) -> None:
    """A worker handles 100 records and leaves; 300 more are there when a slow one fills its table and goes on."""
    group, topic = f"taker-{uuid4().hex[:8]}", f"waiting-{uuid4().hex[:8]}"
    partition = TopicPartition(topic, 0)
    async with admin_of(kafka) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    await send(kafka, topic, range(100))
    async with working(kafka, group, topic, tmp_path, Consumer) as former:
        await all_committed(kafka, group, partition, 100)
    await send(kafka, topic, range(100, 400))

    async with working(kafka, group, topic, tmp_path, Busy) as handled:
        await all_committed(kafka, group, partition, 400)

    assert sorted(set(former)) == list(range(100))
    assert sorted(set(handled)) == list(range(100, 400))
