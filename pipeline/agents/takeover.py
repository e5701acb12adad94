"""
What a worker begins with when a telemetry partition becomes its own: its predecessor's state, or none.

    committed               ▲ offset, and as metadata the place of its state
    rollup.state   … ▮ … ▮ ─┘            state ──▶ go on from the offset
                                         no state ──▶ begin anew, so far back that every open interval is whole
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from pipeline import snapshot
from pipeline.clock import Clock, wall
from pipeline.kafka_security import for_librdkafka
from pipeline.rollup import LATENESS, Partition
from pipeline.settings import Kafka
from pipeline.snapshot import SnapshotError
from pipeline.topics import HOST_TICKS, ROLLUP_STATE

log = logging.getLogger(__name__)

#: Machine time, seconds.
POLL_S = 0.1
ACKNOWLEDGED_WITHIN_S = 30.0
#: A partition whose end is said to be ahead and that gives no record for so long has none (a transaction's marker).
QUIET_S = 5.0
#: A state has at most so many bytes.
LARGEST_STATE_B = 32 * 2**20
#: librdkafka's settings that differ from its defaults, CONFIGURATION.md of librdkafka 2.
FETCHING = {
    "enable.auto.commit": False,
    "auto.offset.reset": "earliest",
    "partition.assignment.strategy": "cooperative-sticky",
    "fetch.wait.max.ms": 50,
    "fetch.message.max.bytes": 4 * 2**20,
    "queued.max.messages.kbytes": 64 * 1024,  # what is fetched ahead; Kafka keeps the rest, which is the back-pressure
    "check.crcs": True,
    "log_level": 0,
}
#: What is answered where a record was asked for that Kafka no longer has.
GONE = {KafkaError.OFFSET_OUT_OF_RANGE, KafkaError._AUTO_OFFSET_RESET}  # noqa: SLF001 - librdkafka's own codes begin with an underscore


@dataclass(frozen=True)
class Takeover:
    """What does not depend on the partition."""

    kafka: Kafka
    group: str
    lengths: tuple[timedelta, ...]
    """Of the intervals."""
    site: str
    also: tuple[str, ...]
    """Further sites that every partition reports on."""
    clock: Clock

    def state(self, consumer: Any, committed: TopicPartition) -> tuple[Partition, int]:
        """
        Return the state to go on with, and where the log ends; *consumer* is a member of the group.

        Raise `KafkaException` where Kafka does not tell.
        """
        number = committed.partition
        low, end = consumer.get_watermark_offsets(TopicPartition(HOST_TICKS.name, number), ACKNOWLEDGED_WITHIN_S)
        state = None
        if committed.offset >= 0 and committed.metadata:
            state = self._restored(number, int(committed.metadata))
        if state is None:
            start, unknown_before_us = self._anew(committed, low)
            return Partition(number, self.lengths, self.site, self.also, start, unknown_before_us), end
        if state.offset < low:
            log.warning("partition %s: ticks %s to %s are gone from Kafka", number, state.offset, low)
            state.offset = low
        return state, end

    def _restored(self, number: int, place: int) -> Partition | None:
        """Read the state at *place* of `rollup.state`; None where it is gone or of no use."""
        with self._reader("error") as reader:
            reader.assign([TopicPartition(ROLLUP_STATE.name, number, place)])
            record = _first(reader)
        if record is None or record.offset() != place:
            log.warning("partition %s: its state at %s is gone; it begins anew", number, place)
            return None
        try:
            return snapshot.restore(record.value() or b"", number, self.lengths, self.site, self.also)
        except SnapshotError as error:
            log.warning("partition %s: %s; it begins anew", number, error)
            return None

    def _anew(self, committed: TopicPartition, low: int) -> tuple[int, int]:
        """
        Return where a partition without a state begins, and since when its figures are whole, microseconds.

        It reads again what the intervals held that were open at the committed offset. Those that were closed come out
        once more, with offsets not above the predecessor's, and change nothing.
        """
        if committed.offset < 0:
            return low, 0
        with self._reader("earliest") as reader:
            place = TopicPartition(HOST_TICKS.name, committed.partition, max(low, committed.offset))
            reader.assign([place])
            record = _first(reader, QUIET_S)
            stamp_ms = record.timestamp()[1] if record is not None else round(wall() * 1000)
            back_s = self.clock.wall_seconds(max(self.lengths) + LATENESS)
            place.offset = stamp_ms - round(back_s * 1000)
            (found,) = reader.offsets_for_times([place], ACKNOWLEDGED_WITHIN_S)
        since_us = int(self.clock.micros_at(np.array([place.offset], dtype=np.int64))[0])
        start = min(found.offset, committed.offset) if found.offset >= 0 else committed.offset
        return max(low, start), since_us

    @contextmanager
    def _reader(self, reset: str) -> Iterator[Any]:
        """Yield a consumer that joins nothing, for single records."""
        reader = Consumer(
            for_librdkafka(self.kafka)
            | FETCHING
            | {"group.id": self.group, "auto.offset.reset": reset, "fetch.message.max.bytes": LARGEST_STATE_B}
        )
        try:
            yield reader
        finally:
            reader.close()


def _first(reader: Any, patience_s: float | None = None) -> Message | None:
    """
    Return the first record there is; None where there is none, which takes *patience_s* to know.

    Raise `KafkaException` where Kafka does not tell: without patience, when it gives neither a record nor an answer.
    """
    deadline = wall() + (ACKNOWLEDGED_WITHIN_S if patience_s is None else patience_s)
    while wall() < deadline:
        record: Message | None = reader.poll(POLL_S)
        if record is None:
            continue
        if (error := record.error()) is None:
            return record
        if error.code() in GONE:
            return None
        raise KafkaException(error)
    if patience_s is None:
        raise KafkaException(KafkaError(KafkaError._TIMED_OUT))  # noqa: SLF001 - librdkafka's own code
    return None
