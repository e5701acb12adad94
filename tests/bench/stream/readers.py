"""
Everything that can read the host ticks, each in a process of its own: ``python -m bench.stream.readers JSON``.

It prints one JSON line: what it took, in wall and CPU time, its own and the broker's, from the moment when it has read the
first *skip* records of every partition (by then each host's layout is known) to the last record.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from itertools import groupby
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition
from bench.stream.node import cpu_s, peak_mb
from confluent_kafka import OFFSET_BEGINNING, Consumer, Message
from confluent_kafka import TopicPartition as Place

from pipeline import bulk
from pipeline.agents import rollup
from pipeline.agents.rollup import FETCHING, Owned, Rollup
from pipeline.clock import Clock
from pipeline.kafka_security import for_aiokafka, for_librdkafka
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

PARTITIONS = range(HOST_TICKS.partitions)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to read, how."""

    kind: str
    bootstrap: str
    broker: int
    """Process of the broker."""
    skip: int
    """Records of each partition."""
    until: int
    """Records of all, the skipped ones included."""
    group: str
    topic: str = HOST_TICKS.name

    @property
    def kafka(self) -> Kafka:
        """Where the broker is."""
        return Kafka(bootstrap=self.bootstrap)


class Watch:
    """Knows when to begin and when to stop; counts what is between."""

    def __init__(self, order: Order) -> None:
        self.order, self.count = order, 0
        self._begun: tuple[float, ...] = ()
        self._ended: tuple[float, ...] = ()

    def saw(self, places: Mapping[int, int]) -> bool:
        """Take note of how many records of each partition are read; tell whether those were all."""
        self.count = sum(places.values())
        if not self._begun and len(places) == len(PARTITIONS) and min(places.values()) >= self.order.skip:
            self._begun = self._now()
        if not self._ended and self.count >= self.order.until:
            self._ended = self._now()
        return bool(self._ended)

    def figures(self) -> dict[str, float]:
        """Return what it took."""
        count, wall_s, own_s, broker_s = (end - begin for begin, end in zip(self._begun, self._ended, strict=True))
        return {
            "messages": count,
            "wall_s": wall_s,
            "own_cpu_us": own_s / count * 1e6,
            "broker_cpu_us": broker_s / count * 1e6,
            "peak_mb": peak_mb(),
        }

    def _now(self) -> tuple[float, ...]:
        return self.count, time.monotonic(), time.process_time(), cpu_s(self.order.broker)


def confluent(order: Order, take: Callable[[list[Any]], object], watch: Watch) -> None:
    """Consume as the rollup does, with its settings, and give each partition's records to *take*."""
    consumer = Consumer(for_librdkafka(order.kafka) | FETCHING | {"group.id": order.group})
    consumer.assign([Place(order.topic, number, OFFSET_BEGINNING) for number in PARTITIONS])
    read: Counter[int] = Counter()
    while not watch.saw(read):
        for number, run in groupby(consumer.consume(rollup.BATCH, 0.1), key=Message.partition):
            payloads = list(map(Message.value, run))
            take(payloads)
            read[number] += len(payloads)
    consumer.close()


def decoder() -> Callable[[list[Any]], None]:
    """Return what decodes in bulk and does nothing with it."""
    known: dict[int, Any] = {}

    def decode(payloads: list[Any]) -> None:
        known.update(bulk.decode(payloads, known).layouts)

    return decode


def nothing(_: Iterable[Any]) -> None:
    """Do nothing."""


async def aio(order: Order, take: Callable[[list[Any]], object], watch: Watch) -> None:
    """Read with aiokafka's ``getmany`` and give each partition's records to *take*."""
    consumer = AIOKafkaConsumer(
        **for_aiokafka(order.kafka), enable_auto_commit=False, max_partition_fetch_bytes=4 * 2**20
    )
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


class Publishing(Rollup):
    """Publishes from the first record on, as if it had never been behind."""

    def _begin(self, consumer: Any, committed: Place) -> Owned:
        owned = super()._begin(consumer, committed)
        owned.target = 0
        return owned


async def rolled_up(order: Order, kind: type[Rollup], watch: Watch) -> None:
    """Run the worker's rollup until everything is read and published."""
    reader = kind(
        kafka=order.kafka,
        group=order.group,
        site="site-1",
        lengths=(timedelta(minutes=1), timedelta(minutes=5)),
        clock=Clock(),
        session_timeout_s=30.0,
    )
    working = asyncio.ensure_future(reader.run())
    while not watch.saw(reader.positions()):
        if working.done():
            working.result()
        await asyncio.sleep(0.005)
    working.cancel()
    await asyncio.wait([working])


def main(order: Order) -> None:
    """Read, and print what it took."""
    watch = Watch(order)
    match order.kind:
        case "consume":
            confluent(order, nothing, watch)
        case "confluent":
            confluent(order, decoder(), watch)
        case "aiokafka":
            asyncio.run(aio(order, decoder(), watch))
        case "rollup":
            asyncio.run(rolled_up(order, Rollup, watch))
        case "publishing":
            asyncio.run(rolled_up(order, Publishing, watch))
    print(json.dumps(watch.figures()))  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Order))
