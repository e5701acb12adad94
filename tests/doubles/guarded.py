"""A secured broker of the tests' own, and what can be tried on it as one of its principals."""

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiokafka
import confluent_kafka
from aiokafka.errors import GroupAuthorizationFailedError
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from doubles.rights import TABLE

from deploy.broker import node, security
from deploy.broker.acl_rules import ALL
from deploy.broker.node import Node, Variant
from deploy.broker.security import Security
from pipeline.kafka import consumer, ensure_topics
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka

HEAP_MB = 256
ANSWER_S = 20.0
NO_RIGHT = confluent_kafka.KafkaError.TOPIC_AUTHORIZATION_FAILED

#: librdkafka writes to standard error unless it is given a logger.
quiet = logging.getLogger("librdkafka")
quiet.addHandler(logging.NullHandler())
quiet.propagate = False


@dataclass(frozen=True)
class Guarded:
    """The broker, and the way in for each of its principals."""

    node: Node
    security: Security

    def kafka(self, principal: str) -> Kafka:
        """Return the settings of *principal*."""
        return self.security.kafka(principal, self.node.bootstrap)

    def listeners(self) -> dict[str, str]:
        """Return the address of each listener by its name, as the node was told."""
        text = (self.node.data / "server.properties").read_text()
        (line,) = [line for line in text.splitlines() if line.startswith("listeners=")]
        named = (listener.split("://") for listener in line.removeprefix("listeners=").split(","))
        return {name: address for name, address in named}  # noqa: C416 - a pair each


@contextmanager
def secured(data: Path, variant: Variant, group: str | None = None) -> Iterator[Guarded]:
    """Yield a secured broker, its rules for workers of *group*; each topic of the table has a record on partition 0."""
    running = asyncio.run(node.start(data, heap_mb=HEAP_MB, detach=False, secure=variant, group=group))
    try:
        guard = security.of(data)
        assert guard
        asyncio.run(ensure_topics(running.kafka, ALL))
        assert written(running.kafka, TABLE) == set(TABLE)
        yield Guarded(running, guard)
    finally:
        node.stop(data)


def written(kafka: Kafka, topics: Iterable[str]) -> set[str]:
    """Return those of *topics* on whose first partition Kafka took a record; fail if something else was in the way."""
    producer = Producer(for_librdkafka(kafka) | {"message.timeout.ms": 1000 * ANSWER_S}, logger=quiet)
    outcomes: dict[str, Any] = {}
    for topic in topics:

        def note(error: Any, _record: object, topic: str = topic) -> None:
            outcomes[topic] = error

        producer.produce(topic, b"{}", b"key", 0, on_delivery=note)
    assert producer.flush(ANSWER_S) == 0, "not everything was answered"
    return {topic for topic, error in outcomes.items() if not _refused(error)}


def readable(kafka: Kafka, topics: Iterable[str]) -> set[str]:
    """Return those of *topics*, each with a record on its first partition, from which Kafka gave one."""
    with _consumer(kafka, "nobodys") as reader:
        seen = [t for t in topics if not _refused(reader.list_topics(t, timeout=ANSWER_S).topics[t].error)]
        reader.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in seen])
        outcomes: dict[str, Any] = {}
        while len(outcomes) < len(seen):
            record = reader.poll(ANSWER_S)
            assert record is not None, f"no answer for {set(seen) - set(outcomes)}"
            if record.topic() is not None:
                outcomes[record.topic()] = record.error()
    return {topic for topic, error in outcomes.items() if not _refused(error)}


def values(kafka: Kafka, topic: str, partitions: int, key: bytes) -> list[bytes]:
    """Return what *topic* holds under *key*, in order."""
    with _consumer(kafka, "nobodys") as reader:
        places = [TopicPartition(topic, number, OFFSET_BEGINNING) for number in range(partitions)]
        ends = {place.partition: reader.get_watermark_offsets(place, timeout=ANSWER_S)[1] for place in places}
        reader.assign(places)
        left, found = sum(ends.values()), []
        while left:
            record = reader.poll(ANSWER_S)
            assert record is not None, f"{left} records never came"
            if record.error() is None:
                left -= 1
                found += [record.value()] if record.key() == key else []
    return found


async def may_join(kafka: Kafka, group: str, topic: str) -> bool:
    """Tell whether Kafka lets *kafka* note a place in *topic*, which it may read, for *group*."""
    async with consumer(kafka, group_id=group) as reader:
        place = aiokafka.TopicPartition(topic, 7)
        reader.assign([place])
        try:
            await reader.commit({place: 0})
        except GroupAuthorizationFailedError:
            return False
    return True


def trouble(kafka: Kafka) -> str:
    """Return what librdkafka says of the first failed attempt to connect, nothing if it succeeds."""
    said: list[str] = []
    client = Producer(for_librdkafka(kafka) | {"error_cb": lambda error: said.append(error.str())}, logger=quiet)
    deadline = time.monotonic() + ANSWER_S
    while not said and time.monotonic() < deadline:
        try:
            client.list_topics(timeout=1.0)
        except confluent_kafka.KafkaException:
            client.poll(0.1)
        else:
            return ""
    return said[0]


def _refused(error: Any) -> bool:
    assert error is None or error.code() == NO_RIGHT, str(error)
    return error is not None


@contextmanager
def _consumer(kafka: Kafka, group: str) -> Iterator[Any]:
    reader = Consumer(for_librdkafka(kafka) | {"group.id": group, "enable.auto.commit": False}, logger=quiet)
    try:
        yield reader
    finally:
        reader.close()
