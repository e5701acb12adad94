"""Faust on a real Kafka: what waits for a worker that takes partitions over is handled, all of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from pipeline.faust_table import Table
from pipeline.faust_transport import Consumer, use_quick_transport
from pipeline.fence import Fence
from pipeline.settings import Kafka
from pipeline.streams import agent, events, faust

pytestmark = pytest.mark.broker

WITHIN_S = 60.0

Place = tuple[str, TopicPartition]
"""A group, and the only partition of a topic."""
Handle = Callable[[int], Awaitable[None]]


class Busy(Consumer):
    """On a machine with so much else to do that two seconds pass after the seek before anything follows."""

    async def perform_seek(self) -> None:
        """Seek, and be kept waiting."""
        await super().perform_seek()
        await asyncio.sleep(2.0)


async def at_once() -> None:
    """Have all acknowledged."""


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
async def working(
    kafka: Kafka,
    place: Place,
    folder: Path,
    handle: Handle,
    *,
    consumer: type[Any] = Consumer,
    acknowledged: Callable[[], Awaitable[None]] = at_once,
) -> AsyncIterator[Any]:
    """Run a Faust application with one agent and one table, which puts each number into *handle*."""
    group, partition = place
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
    highest: Table[int] = Table(app, "highest", int, 1, max)

    @agent(
        app,
        app.topic(partition.topic, value_type=bytes, value_serializer="raw", key_type=bytes, key_serializer="raw"),
        "one",
    )
    async def _agent(stream: Any) -> None:
        async def settled() -> None:
            await acknowledged()
            highest.write()

        async for event in events(stream, Fence(3600.0), settled):
            await handle(int(event.value))
            highest["all"] = int(event.value)

    use_quick_transport(app, asyncio.get_running_loop())
    app.transport.Consumer = consumer
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


@dataclass
class Handled:
    """An agent that takes as long as an acknowledgement does, and remembers what it has handled."""

    numbers: list[int] = field(default_factory=list)

    async def __call__(self, number: int) -> None:
        await asyncio.sleep(0.01)
        self.numbers.append(number)


async def all_committed(kafka: Kafka, place: Place, end: int) -> None:
    """Return once the group has committed all records before *end*."""
    group, partition = place
    async with admin_of(kafka) as admin, asyncio.timeout(WITHIN_S):
        while True:
            committed = (await admin.list_consumer_group_offsets(group)).get(partition)
            if committed is not None and committed.offset >= end:
                return
            await asyncio.sleep(0.1)


@pytest.fixture
async def place(kafka: Kafka) -> Place:
    """Return a new group, and the only partition of a new topic with 100 records."""
    topic = f"waiting-{uuid4().hex[:8]}"
    async with admin_of(kafka) as admin:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    await send(kafka, topic, range(100))
    return f"taker-{uuid4().hex[:8]}", TopicPartition(topic, 0)


async def test_records_that_waited_for_a_worker_are_all_handled_and_committed(
    kafka: Kafka, place: Place, tmp_path: Path
) -> None:
    """A worker handles 100 records and leaves; 300 more are there when a slow one fills its table and goes on."""
    former, handled = Handled(), Handled()
    async with working(kafka, place, tmp_path, former):
        await all_committed(kafka, place, 100)
    await send(kafka, place[1].topic, range(100, 400))

    async with working(kafka, place, tmp_path, handled, consumer=Busy):
        await all_committed(kafka, place, 400)

    assert sorted(set(former.numbers)) == list(range(100))
    assert sorted(set(handled.numbers)) == list(range(100, 400))


async def test_what_a_leaving_worker_has_in_hand_is_left_to_the_next(
    kafka: Kafka, place: Place, tmp_path: Path
) -> None:
    """It is stopped while it waits, with record 50 in hand, for an acknowledgement that does not come."""
    in_hand, handled = asyncio.Event(), Handled()

    async def stuck(number: int) -> None:
        if number == 50:
            in_hand.set()
            await asyncio.Event().wait()

    async with working(kafka, place, tmp_path, stuck):
        await asyncio.wait_for(in_hand.wait(), WITHIN_S)
        await all_committed(kafka, place, 50)

    async with working(kafka, place, tmp_path, handled):
        await all_committed(kafka, place, 100)

    assert sorted(set(handled.numbers)) == list(range(50, 100))


async def test_what_was_sent_and_not_acknowledged_is_left_to_the_next(
    kafka: Kafka, place: Place, tmp_path: Path
) -> None:
    """From record 50 on no acknowledgement comes: what is then in hand was handled, and is again."""
    handled, again, silent = Handled(), Handled(), asyncio.Event()

    async def never_after_fifty() -> None:
        if len(handled.numbers) > 50:
            silent.set()
            await asyncio.Event().wait()

    async with working(kafka, place, tmp_path, handled, acknowledged=never_after_fifty):
        await asyncio.wait_for(silent.wait(), WITHIN_S)
    async with working(kafka, place, tmp_path, again):
        await all_committed(kafka, place, 100)

    assert min(again.numbers) <= 50
    assert sorted(set(again.numbers)) == list(range(min(again.numbers), 100))


async def test_records_that_wait_together_wait_for_one_acknowledgement(
    kafka: Kafka, place: Place, tmp_path: Path
) -> None:
    """100 records and 50 ms for each acknowledgement: far fewer than one a record are waited for."""
    numbers: list[int] = []
    waited: list[int] = []

    async def handle(number: int) -> None:
        numbers.append(number)

    async def acknowledged() -> None:
        await asyncio.sleep(0.05)
        waited.append(len(numbers))

    async with working(kafka, place, tmp_path, handle, acknowledged=acknowledged):
        await all_committed(kafka, place, 100)

    assert numbers == list(range(100))
    assert (waited[-1], len(waited) <= 20) == (100, True)


async def test_an_error_in_an_agent_ends_the_worker_and_passes_nothing_over(
    kafka: Kafka, place: Place, tmp_path: Path
) -> None:
    handled = Handled()

    async def failing(number: int) -> None:
        if number == 50:
            raise ValueError("50 is too much")

    async with working(kafka, place, tmp_path, failing) as app:
        await asyncio.wait_for(app.wait_until_stopped(), WITHIN_S)
        assert str(app.crash_reason) == "50 is too much"

    async with working(kafka, place, tmp_path, handled):
        await all_committed(kafka, place, 100)

    assert sorted(set(handled.numbers)) == list(range(min(handled.numbers), 100))
    assert min(handled.numbers) <= 50
