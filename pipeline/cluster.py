"""
What Kafka knows of itself, for those who look: brokers, topics, their settings, our rights, single records.

A thin shell that changes nothing and joins no group. Groups: `pipeline.groups`.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_END,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (  # type: ignore[attr-defined] # they are documented there, and not exported
    AclOperation,
    AdminClient,
    ConfigResource,
    OffsetSpec,
)

from pipeline.clock import wall
from pipeline.errors import BrokerGoneError, NotAllowedError
from pipeline.groups import Place
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka

#: How long Kafka may take to answer one question, seconds of the machine.
ANSWER_S = 20.0
#: How much later than that the client itself tells of it.
MARGIN_S = 5.0
POLL_S = 0.2
#: The largest record there is: a state of the rollup.
READ_BYTES = 32 * 2**20
NO_RIGHT = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
#: What an operation that is allowed is called in our words; `ALL` allows each of them.
OPERATIONS = {AclOperation.READ: "read", AclOperation.WRITE: "write"}


@dataclass(frozen=True)
class TopicFacts:
    """A topic as it is."""

    partitions: int
    replicas: int
    """Of the partition that has fewest."""
    out_of_sync: int
    """Partitions with a replica that lags behind its leader, or is gone."""
    settings: Mapping[str, str]
    allowed: frozenset[str]
    """What we may do: ``read``, ``write``."""


class Record(NamedTuple):
    """One record."""

    place: Place
    offset: int
    stamp_s: float
    """When it was written, machine time (Unix seconds)."""
    stamped_by_broker: bool
    payload: bytes


class Cluster:
    """Asks; every method raises `BrokerGoneError` where Kafka does not answer, `NotAllowedError` where it says no."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._options: dict[str, Any] = for_librdkafka(kafka) | {"log_level": 0, "error_cb": lambda _: None}
        self._admin = AdminClient(self._options)

    def brokers(self) -> list[str]:
        """Return the addresses of the brokers that are up."""
        found = self._answer(self._admin.describe_cluster(request_timeout=ANSWER_S))
        return [f"{node.host}:{node.port}" for node in found.nodes]

    def topics(self, names: Collection[str]) -> dict[str, TopicFacts]:
        """Return what is known of *names*; those that are missing, or hidden from us, are left out."""
        asked = self._admin.describe_topics(
            TopicCollection(list(names)), include_authorized_operations=True, request_timeout=ANSWER_S
        )
        found = {name: topic for name, future in asked.items() if (topic := self._unless_absent(future)) is not None}
        settings = self._settings(found)
        return {
            name: TopicFacts(
                partitions=len(topic.partitions),
                replicas=min(len(partition.replicas) for partition in topic.partitions),
                out_of_sync=sum(len(partition.isr) < len(partition.replicas) for partition in topic.partitions),
                settings=settings.get(name, {}),
                allowed=_allowed(topic.authorized_operations),
            )
            for name, topic in found.items()
        }

    def _settings(self, names: Iterable[str]) -> dict[str, dict[str, str]]:
        """Return the settings in force of each of *names* that we may see."""
        resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in names]
        if not resources:
            return {}
        answers = self._admin.describe_configs(resources, request_timeout=ANSWER_S)
        return {
            resource.name: {entry.name: entry.value for entry in entries.values()}
            for resource, future in answers.items()
            if (entries := self._unless_absent(future)) is not None
        }

    def may_join(self, group: str) -> bool:
        """Tell whether we may work in *group*, which need not exist; only after `pipeline.groups.ask`."""
        asked = self._admin.describe_consumer_groups(
            [group], include_authorized_operations=True, request_timeout=ANSWER_S
        )
        found = self._unless_absent(asked[group])
        return found is not None and "read" in _allowed(found.authorized_operations)

    def ends(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return where partitions end."""
        return self._offsets(places, OffsetSpec.latest())  # type: ignore[no-untyped-call] # ships without types

    def begins(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return the oldest record of partitions."""
        return self._offsets(places, OffsetSpec.earliest())  # type: ignore[no-untyped-call] # as above

    def _offsets(self, places: Iterable[Place], spec: OffsetSpec) -> dict[Place, int]:
        wanted = {TopicPartition(*place): spec for place in places}
        if not wanted:
            return {}
        asked = self._admin.list_offsets(wanted, request_timeout=ANSWER_S)
        return {Place(each.topic, each.partition): self._answer(future).offset for each, future in asked.items()}

    def first_at(self, wanted: Mapping[Place, int]) -> dict[Place, Record]:
        """Return the first record at or after an offset of each partition; none where that is the end."""
        found: dict[Place, Record] = {}
        ends = self.ends(wanted)
        waiting = {place: offset for place, offset in wanted.items() if offset < ends[place]}
        with self._reader(waiting) as reader:
            for record in self._records(reader, until=lambda: len(found) == len(waiting)):
                if record.place not in found:
                    found[record.place] = record
                    reader.incremental_unassign([TopicPartition(*record.place)])
        return found

    def tail(self, places: Iterable[Place], count: int) -> list[Record]:
        """Return the last *count* records of each partition, or as many as there are, in order."""
        ends = self.ends(places)
        begins = self.begins(ends)
        starts = {place: max(begins[place], end - count) for place, end in ends.items()}
        left = {place for place, start in starts.items() if start < ends[place]}
        found = []
        with self._reader({place: starts[place] for place in left}) as reader:
            for record in self._records(reader, until=lambda: not left):
                found.append(record)
                if record.offset + 1 >= ends[record.place]:
                    left.discard(record.place)
        return found

    def arrivals(self, places: Iterable[Place], within_s: float) -> list[tuple[Record, float]]:
        """Return the records written in the next *within_s* seconds, each with when it reached us, machine time."""
        found = []
        with self._reader(dict.fromkeys(places, OFFSET_END)) as reader:
            deadline = wall() + within_s
            while wall() < deadline:
                message = reader.poll(POLL_S)
                if message is not None and message.error() is None:
                    found.append((_record(message), wall()))
        return found

    @contextmanager
    def _reader(self, starts: Mapping[Place, int]) -> Iterator[Consumer]:
        """Yield a consumer of no group's, from *starts* on."""
        reader = Consumer(
            self._options
            | {
                "group.id": "firmwatt-looks",  # librdkafka wants a name; nothing is joined or committed
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "fetch.wait.max.ms": 100,
                "fetch.message.max.bytes": READ_BYTES,
            }
        )
        try:
            reader.assign([TopicPartition(*place, offset) for place, offset in starts.items()])
            yield reader
        finally:
            reader.close()

    def _records(self, reader: Consumer, until: Callable[[], bool]) -> Iterator[Record]:
        """Yield what *reader* gets until that is enough, at most `ANSWER_S` without any."""
        deadline = wall() + ANSWER_S
        while not until():
            message = reader.poll(POLL_S)
            if message is None:
                if wall() > deadline:
                    raise self._gone(KafkaException(KafkaError(KafkaError._TIMED_OUT)))  # noqa: SLF001 - librdkafka's own code
                continue
            if error := message.error():
                if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED:
                    continue  # librdkafka looks for the coordinator of a group that nobody joins
                raise self._gone(KafkaException(error))
            deadline = wall() + ANSWER_S
            yield _record(message)

    def _answer(self, future: "Future[Any]") -> Any:
        try:
            return future.result(ANSWER_S + MARGIN_S)
        except (KafkaException, TimeoutError) as error:
            raise self._gone(error) from error

    def _unless_absent(self, future: "Future[Any]") -> Any:
        """Return the answer, None where it is that there is no such thing, or none that we may see."""
        absent = {KafkaError.UNKNOWN_TOPIC_OR_PART, *NO_RIGHT}
        try:
            return future.result(ANSWER_S + MARGIN_S)
        except KafkaException as error:
            if error.args[0].code() in absent:
                return None
            raise self._gone(error) from error
        except TimeoutError as error:
            raise self._gone(error) from error

    def _gone(self, error: BaseException) -> BrokerGoneError:
        told = error.args[0] if error.args else error
        if isinstance(told, KafkaError) and told.code() in NO_RIGHT:
            return NotAllowedError(
                f"Kafka at {self._kafka.bootstrap} does not let us ({told.str()}); `firmwatt broker acls` prints who "
                "needs which rights"
            )
        text = told.str() if isinstance(told, KafkaError) else str(told) or "no answer"
        return BrokerGoneError(f"no answer from Kafka at {self._kafka.bootstrap} ({text}); are its brokers up?")


def _allowed(operations: Collection[AclOperation] | None) -> frozenset[str]:
    if operations is None:
        return frozenset()
    if AclOperation.ALL in operations:
        return frozenset(OPERATIONS.values())
    return frozenset(OPERATIONS[each] for each in operations if each in OPERATIONS)


def _record(message: Message) -> Record:
    kind, stamp_ms = message.timestamp()
    return Record(
        place=Place(message.topic() or "", message.partition() or 0),
        offset=message.offset() or 0,
        stamp_s=stamp_ms / 1000,
        stamped_by_broker=kind == TIMESTAMP_LOG_APPEND_TIME,
        payload=message.value() or b"",
    )
