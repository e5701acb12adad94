"""`doubles.fault_proxy` between aiokafka and a real broker: what each fault does to a producer and to a reader."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from doubles.fault_proxy import HALF_OPEN, PASS, REFUSE, FaultProxy, Line, Way
from doubles.numbered_load import tick
from doubles.proxied import ProxiedBroker, proxied_broker
from doubles.tick_reader import topic_named, whole_log

from deploy.broker.node import Variant
from pipeline.errors import BrokerGoneError
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka
from pipeline.topics import Topic

pytestmark = pytest.mark.broker

WAIT_S = 30.0
SILENCE_S = 0.7
"""Some fifty times what an acknowledgement takes."""
IMPATIENT_MS = 1500
"""After so long an impatient producer gives up a connection; aiokafka's default is 40 s."""


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxiedBroker]:
    with proxied_broker(tmp_path_factory.mktemp("proxied")) as started:
        yield started


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[ProxiedBroker]:
    with proxied_broker(tmp_path / "secured", secure=Variant.SCRAM) as started:
        yield started


@pytest.fixture
def proxy(broker: ProxiedBroker) -> Iterator[FaultProxy]:
    yield broker.proxy
    broker.proxy.order(PASS)
    broker.proxy.reset()


@pytest.fixture
async def topic(broker: ProxiedBroker) -> Topic[Any]:
    made = topic_named(f"t-{uuid4().hex[:8]}", partitions=1)
    await ensure_topics(broker.direct, [made])
    return made


@asynccontextmanager
async def impatient(broker: ProxiedBroker) -> AsyncIterator[AIOKafkaProducer]:
    """Yield an idempotent producer behind the proxy; what it could not send is given up at the end."""
    options = for_aiokafka(broker.kafka) | {"request_timeout_ms": IMPATIENT_MS, "linger_ms": 0}
    producer = AIOKafkaProducer(**options, acks="all", enable_idempotence=True)
    await producer.start()
    try:
        yield producer
    finally:
        with suppress(TimeoutError):
            await asyncio.wait_for(producer.stop(), WAIT_S)


async def put(producer: AIOKafkaProducer, topic: Topic[Any], payload: bytes = b"x") -> "asyncio.Future[Any]":
    queued: asyncio.Future[Any] = await producer.send(topic.name, payload, key=b"h")
    return queued


async def unanswered(future: "asyncio.Future[Any]") -> bool:
    """Tell whether *future* is not done after a while."""
    return not (await asyncio.wait([future], timeout=SILENCE_S))[0]


async def records(broker: ProxiedBroker, topic: Topic[Any]) -> int:
    """Return how many records the broker has in *topic*, asked past the proxy."""
    async with consumer(broker.direct, topic) as reader:
        return sum((await reader.end_offsets([TopicPartition(topic.name, 0)])).values())


async def took(future: "asyncio.Future[Any]") -> float:
    began = time.monotonic()
    await asyncio.wait_for(future, WAIT_S)
    return time.monotonic() - began


async def test_who_comes_through_the_proxy_stays_behind_it_and_who_does_not_never_meets_it(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    async with Sender(broker.kafka) as behind, Sender(broker.direct) as past:
        await behind.send(topic, tick("h", 1))
        proxy.order(Line(to_broker=Way.HOLD))

        held = await behind.enqueue(topic, tick("h", 2))
        await past.send(topic, tick("p", 1))

        assert await unanswered(held)
        proxy.order(PASS)
        await asyncio.wait_for(held, WAIT_S)
        assert [record.message for record in await whole_log(broker.direct, topic)] == [("h", 1), ("p", 1), ("h", 2)]


async def test_latency_delays_an_acknowledgement_both_ways(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    async with impatient(broker) as producer:
        await took(await put(producer, topic))
        proxy.order(Line(latency_s=0.2))

        assert await took(await put(producer, topic)) >= 0.4


async def test_a_narrow_line_takes_its_time(broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]) -> None:
    """200 000 B at 250 000 B/s take 0.8 s."""
    async with Sender(broker.kafka, batch_bytes=500_000) as sender:
        await sender.send(topic, tick("h", 1))
        proxy.order(Line(bytes_per_s=250_000))

        assert await took(await sender.enqueue_encoded(topic, b"h", bytes(200_000))) >= 0.75


async def test_resets_cost_no_message_and_no_order(broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]) -> None:
    """400 ticks, all connections reset after each hundred; the idempotent producer sends again what it must."""
    async with Sender(broker.kafka) as sender:
        queued = []
        for seq in range(1, 401):
            queued.append(await sender.enqueue(topic, tick("h", seq)))
            if seq % 100 == 0:
                await asyncio.sleep(0)
                proxy.reset()
        await asyncio.wait_for(asyncio.gather(*queued), WAIT_S)

    assert [record.seq for record in await whole_log(broker.direct, topic)] == list(range(1, 401))


async def test_a_reader_goes_on_after_resets(broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]) -> None:
    async with Sender(broker.direct) as sender, consumer(broker.kafka, topic) as reader:
        for seq in (1, 2, 3):
            await sender.send(topic, tick("h", seq))
            record = await asyncio.wait_for(reader.getone(), WAIT_S)
            proxy.reset()

            assert record.offset == seq - 1


async def test_a_half_open_line_is_given_up_by_the_client_alone(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    """Nobody resets anything: the old connection stays dead, and the client makes another when its patience ends."""
    async with impatient(broker) as producer:
        await took(await put(producer, topic))
        proxy.order(HALF_OPEN)
        lost = await put(producer, topic)
        assert await unanswered(lost)

        proxy.order(PASS)
        await took(lost)

    assert await records(broker, topic) == 2
    assert proxy.connections >= 1  # the broker still believes in the dead one


async def test_an_acknowledgement_that_is_lost_makes_no_second_record(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    """The broker has the record, the producer does not know, sends it again, and the broker recognises it."""
    async with impatient(broker) as producer:
        await took(await put(producer, topic))
        proxy.order(Line(to_client=Way.SWALLOW))
        unknown = await put(producer, topic)
        assert await unanswered(unknown)
        assert await records(broker, topic) == 2

        proxy.order(PASS)
        await took(unknown)

    assert await records(broker, topic) == 2


async def test_a_message_that_is_lost_on_its_way_is_not_there(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    async with impatient(broker) as producer:
        await took(await put(producer, topic))
        proxy.order(Line(to_broker=Way.SWALLOW))
        lost = await put(producer, topic)
        assert await unanswered(lost)
        assert await records(broker, topic) == 1

        proxy.order(PASS)
        await took(lost)

    assert await records(broker, topic) == 2


async def test_slices_and_jitter_change_no_byte(broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]) -> None:
    proxy.order(Line(slice_bytes=100, jitter_s=0.005))

    async with Sender(broker.kafka) as sender:
        await asyncio.gather(*[await sender.enqueue(topic, tick("h", seq)) for seq in range(1, 101)])

    assert [record.seq for record in await whole_log(broker.kafka, topic)] == list(range(1, 101))


async def test_a_refusing_line_is_no_kafka_for_who_is_new(
    broker: ProxiedBroker, proxy: FaultProxy, topic: Topic[Any]
) -> None:
    async with Sender(broker.kafka) as sender:
        await sender.send(topic, tick("h", 1))
        proxy.order(REFUSE)

        with pytest.raises(BrokerGoneError, match=f"no Kafka at {broker.kafka.bootstrap}"):
            await Sender(broker.kafka).__aenter__()
        await sender.send(topic, tick("h", 2))

    assert await records(broker, topic) == 2


async def test_a_secured_broker_is_as_secure_behind_the_proxy(secured: ProxiedBroker) -> None:
    """The administrator's password and the broker's certificate pass in slices; without them nobody is let in."""
    topic = topic_named("secured", partitions=1)
    await ensure_topics(secured.direct, [topic])
    secured.proxy.order(Line(slice_bytes=100))

    async with Sender(secured.kafka) as sender:
        await sender.send(topic, tick("h", 1))

    assert [record.seq for record in await whole_log(secured.kafka, topic)] == [1]
    with pytest.raises(BrokerGoneError):
        await Sender(Kafka(bootstrap=secured.kafka.bootstrap)).__aenter__()
