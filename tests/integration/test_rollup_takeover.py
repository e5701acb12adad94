"""What a worker begins with when a telemetry partition becomes its own: real Kafka, which stamps the ticks."""

import asyncio
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from confluent_kafka import OFFSET_INVALID, Consumer, Producer, TopicPartition

from pipeline import snapshot
from pipeline.agents.takeover import Takeover
from pipeline.clock import Clock, real_clock_from, wall
from pipeline.kafka import ensure_topics
from pipeline.kafka_security import for_librdkafka
from pipeline.rollup import LATENESS, Partition
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, ROLLUP_STATE, TOPICS

pytestmark = pytest.mark.broker

PARTITION = 3
LENGTHS = (timedelta(seconds=1),)
CLOCK = real_clock_from(Clock().now(), 60.0)
#: An interval and what may be late for it, machine time: 0.1 s.
BACK_S = CLOCK.wall_seconds(LENGTHS[0] + LATENESS)


def send(kafka: Kafka, topic: str, *payloads: bytes) -> list[tuple[int, int]]:
    """Write *payloads* to the partition as one batch; return offset and stamp (ms) of each."""
    found: list[tuple[int, int]] = []
    producer = Producer(for_librdkafka(kafka) | {"linger.ms": 50, "message.max.bytes": 2**25})

    def note(error: Any, record: Any) -> None:
        assert error is None
        found.append((record.offset(), record.timestamp()[1]))

    for payload in payloads:
        producer.produce(topic, payload, partition=PARTITION, on_delivery=note)
    producer.flush(30)
    assert len(found) == len(payloads)
    return found


@pytest.fixture
def consumer(kafka: Kafka) -> Iterator[Any]:
    asyncio.run(ensure_topics(kafka, TOPICS))
    reader = Consumer(for_librdkafka(kafka) | {"group.id": f"taker-{uuid4().hex[:8]}"})
    yield reader
    reader.close()


@pytest.fixture
def takeover(kafka: Kafka) -> Takeover:
    return Takeover(kafka, "taker", LENGTHS, "site-1", (), CLOCK)


def committed(offset: int, state: int | None = None) -> TopicPartition:
    """Return what a group has committed: its offset, and where the state of it is."""
    if state is None:
        return TopicPartition(HOST_TICKS.name, PARTITION, offset)
    return TopicPartition(HOST_TICKS.name, PARTITION, offset, str(state))


def test_a_state_that_is_there_is_gone_on_with(kafka: Kafka, consumer: Any, takeover: Takeover) -> None:
    ((offset, _),) = send(kafka, HOST_TICKS.name, b"tick")
    state = Partition(PARTITION, LENGTHS, "site-1", offset=offset + 1)
    ((place, _),) = send(kafka, ROLLUP_STATE.name, snapshot.save(state))

    found, end = takeover.state(consumer, committed(offset + 1, place))

    assert (found.offset, found.unknown_before_us, end) == (offset + 1, 0, offset + 1)


@pytest.mark.parametrize("gone", [None, 10**9], ids=["never written", "deleted"])
def test_without_a_state_it_begins_where_the_open_intervals_did(
    kafka: Kafka, consumer: Any, takeover: Takeover, gone: int | None
) -> None:
    """Of three ticks the last is the next to read; the one before it came with it, the first an age before."""
    ((_, first_ms),) = send(kafka, HOST_TICKS.name, b"long ago")
    while wall() * 1000 < first_ms + 3000 * BACK_S:
        time.sleep(0.01)
    (before, _), (following, stamp_ms) = send(kafka, HOST_TICKS.name, b"just before", b"next")

    found, _ = takeover.state(consumer, committed(following, gone))

    assert found.offset == before
    assert found.unknown_before_us == pytest.approx(_micros(stamp_ms - 1000 * BACK_S), abs=100_000)


def _micros(stamp_ms: float) -> int:
    """Return what the clock showed, microseconds since 1970, when the machine's showed *stamp_ms*."""
    return int(CLOCK.micros_at(np.array([round(stamp_ms)], dtype=np.int64))[0])


def test_a_group_that_never_read_begins_with_the_oldest_tick(consumer: Any, takeover: Takeover) -> None:
    found, _ = takeover.state(consumer, committed(OFFSET_INVALID))

    assert found.offset == consumer.get_watermark_offsets(TopicPartition(HOST_TICKS.name, PARTITION), 30)[0]
    assert found.unknown_before_us == 0
