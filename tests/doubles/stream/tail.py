"""A topic read from its beginning and on and on, outside any group."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar
from uuid import uuid4

from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from pipeline.codec import Codec
from pipeline.kafka import partitions_of
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka
from pipeline.topics import Topic

M = TypeVar("M")
AT_ONCE = 5000
WAIT_S = 0.05
ASK_S = 10.0


@dataclass(frozen=True)
class Read(Generic[M]):
    """A message and where it is."""

    partition: int
    offset: int
    message: M


class Tail(Generic[M]):
    """A context manager: `read` gives what is new, `rest` all there is."""

    def __init__(self, kafka: Kafka, topic: Topic[M]) -> None:
        self._codec, self._topic = Codec(topic), topic
        self._partitions = range(partitions_of(kafka, topic))
        self._next = dict.fromkeys(self._partitions, 0)
        quiet = {"group.id": f"tail-{uuid4().hex[:8]}", "enable.auto.commit": False, "log_level": 0}
        self._consumer: Any = Consumer(for_librdkafka(kafka) | quiet | {"fetch.wait.max.ms": 20})

    def __enter__(self) -> Self:
        where = [TopicPartition(self._topic.name, number, OFFSET_BEGINNING) for number in self._partitions]
        self._consumer.assign(where)
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def read(self) -> Iterator[Read[M]]:
        """Yield what has come since the last call, at once."""
        while records := self._consumer.consume(AT_ONCE, WAIT_S):
            for record in records:
                if record.error() is None:
                    self._next[record.partition()] = record.offset() + 1
                    yield Read(record.partition(), record.offset(), self._codec.decode(record.value()))
            if len(records) < AT_ONCE:
                return

    def ends(self) -> dict[int, int]:
        """Return where each partition ends now."""
        asked = {number: TopicPartition(self._topic.name, number) for number in self._partitions}
        return {number: self._consumer.get_watermark_offsets(where, ASK_S)[1] for number, where in asked.items()}

    def rest(self) -> Iterator[Read[M]]:
        """Yield what is there now and was not read before."""
        ends = self.ends()
        while any(self._next[number] < end for number, end in ends.items()):
            yield from self.read()
