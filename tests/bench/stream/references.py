"""What the pipeline is compared with: bare consumers, and a plain Faust agent."""

import asyncio
from collections import Counter
from collections.abc import Callable
from itertools import groupby
from tempfile import TemporaryDirectory
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from bench.stream.order import PARTITIONS, Order, Watch
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as Place

from pipeline import bulk
from pipeline.agents import rollup
from pipeline.agents.takeover import FETCHING
from pipeline.codec import Codec
from pipeline.kafka_security import for_aiokafka, for_librdkafka
from pipeline.streams import faust, use_quick_transport
from pipeline.topics import HOST_TICKS

Take = Callable[[list[Any]], object]
POLL_S = 0.1


def confluent(order: Order, take: Take, watch: Watch) -> None:
    """Consume as the rollup does, with its settings, and give each partition's payloads to *take*."""
    consumer = Consumer(for_librdkafka(order.kafka) | FETCHING | {"group.id": order.group})
    consumer.assign([Place(order.topic, number, OFFSET_BEGINNING) for number in PARTITIONS])
    read: Counter[int] = Counter()
    while not watch.saw(read):
        records = sorted(consumer.consume(rollup.BATCH, POLL_S), key=rollup.partition_of)
        for number, run in groupby(records, key=rollup.partition_of):
            payloads = list(map(Message.value, run))
            take(payloads)
            read[number] += len(payloads)
    consumer.close()


async def aio(order: Order, take: Take, watch: Watch) -> None:
    """Read with aiokafka's ``getmany`` and give each partition's payloads to *take*."""
    most_b = int(str(FETCHING["fetch.message.max.bytes"]))
    consumer = AIOKafkaConsumer(**for_aiokafka(order.kafka), enable_auto_commit=False, max_partition_fetch_bytes=most_b)
    await consumer.start()
    places = [TopicPartition(order.topic, number) for number in PARTITIONS]
    consumer.assign(places)
    await consumer.seek_to_beginning(*places)
    read: Counter[int] = Counter()
    while not watch.saw(read):
        for place, records in (await consumer.getmany(timeout_ms=100, max_records=rollup.BATCH)).items():
            take([record.value for record in records])
            read[place.partition] += len(records)
    await consumer.stop()


def decoder() -> Take:
    """Return what decodes in bulk and does nothing with it."""
    known: dict[int, Any] = {}

    def decode(payloads: list[Any]) -> None:
        known.update(bulk.decode(payloads, known).layouts)

    return decode


def nothing(_: list[Any]) -> None:
    """Do nothing."""


async def plain_agent(order: Order, watch: Watch) -> None:
    """Decode each tick in a Faust agent and write the host's last one to a table, as Faust's own examples would."""
    with TemporaryDirectory() as folder:
        app = faust.App(
            order.group,
            broker=f"kafka://{order.bootstrap}",
            store="memory://",
            datadir=folder,
            web_enabled=False,
            topic_disable_leader=True,
            topic_partitions=len(PARTITIONS),
            consumer_auto_offset_reset="earliest",
        )
        raw = {"key_type": bytes, "key_serializer": "raw", "value_type": bytes, "value_serializer": "raw"}
        ticks = app.topic(order.topic, partitions=len(PARTITIONS), **raw)
        last = app.Table("last", key_type=bytes, value_type=bytes, partitions=len(PARTITIONS))
        last.key_serializer = last.value_serializer = "raw"
        codec, read, enough = Codec(HOST_TICKS), Counter[int](), asyncio.Event()

        @app.agent(ticks)  # type: ignore[untyped-decorator] # Faust ships no types
        async def _agent(stream: Any) -> None:
            async for event in stream.events():
                tick = codec.decode(event.value)
                last[tick.host.encode()] = event.value
                read[event.message.partition] += 1
                if watch.saw(read):
                    enough.set()

        use_quick_transport(app, asyncio.get_running_loop())
        await app.start()
        await enough.wait()
        await app.stop()
