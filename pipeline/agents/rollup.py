"""
Host ticks to partials: batches from Kafka in a thread of its own. It moves bytes; `pipeline.rollup` decides.

    telemetry   … ──────────┊──────────────────▶ now        every 10 s, when all that was published is acknowledged:
    committed               ▲ offset                        the state goes to `rollup.state`, then the offset is
    rollup.state   … ▮ … ▮ ─┘ committed and, as metadata, where the state of exactly that offset is

Offset and state are committed as one. A worker killed at any moment loses nothing: the next owner reads that state,
goes on from that offset, is silent until it has caught up, and publishes the same figures under the same natural keys.
A worker that was stopped and wakes cannot commit (Kafka fences it by the group's generation), and figures it may still
send are of a lower offset: whoever reads them keeps the higher one.

librdkafka fetches, checks and unpacks in threads of its own, outside Python's lock (decision 1 in the README).
"""

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from operator import itemgetter
from typing import Any, cast

import numpy as np
from confluent_kafka import (
    OFFSET_BEGINNING,
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)

from pipeline import kafka, snapshot
from pipeline.agents.takeover import ACKNOWLEDGED_WITHIN_S, FETCHING, POLL_S, QUIET_S, Takeover
from pipeline.clock import Clock, wall
from pipeline.codec import Codec
from pipeline.counters import Ints
from pipeline.errors import FirmwattError
from pipeline.frames import instant, micros
from pipeline.interval import floor
from pipeline.kafka_security import for_librdkafka
from pipeline.rollup import News, Partition
from pipeline.settings import Kafka
from pipeline.tally import Tally
from pipeline.topics import CORRECTIONS, HOST_RECORDS, HOST_TICKS, INTERVAL_PARTIALS, ROLLUP_STATE, SITE_PARTIALS, Topic

log = logging.getLogger(__name__)

SECOND = timedelta(seconds=1)
#: Gauges are taken this long after the full second, clock time: collectors sample on it, and their ticks are then in.
GRACE = timedelta(milliseconds=250)
#: Records taken at once: some 20 ms of work, so that the Faust agents beside us get their turn.
BATCH = 4000
#: Machine time, seconds.
SAVE_EVERY_S = 10.0
#: The same where no tick comes: intervals are closed there, too.
SAVE_IDLE_EVERY_S = 600.0
LEAVE_WITHIN_S = 4.0
#: A record that Kafka has stamped is read here within this time, when nothing is left to read before it.
IN_FLIGHT_S = 1.0
SENDING = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "partitioner": "murmur2_random",  # Kafka's own, as aiokafka's: a key has one partition, whoever sends
    "message.max.bytes": 32 * 2**20,
    "log_level": 0,
}
#: States are large and read by us alone; figures are small and read by clients that need not know lz4.
PACKED = {"compression.type": "lz4"}
#: Errors of a commit that mean: the partition went to another worker meanwhile, which starts from the commit before.
TAKEN_AWAY = {
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError.FENCED_INSTANCE_ID,
    KafkaError._ASSIGNMENT_LOST,  # noqa: SLF001 - librdkafka's own codes begin with an underscore
    KafkaError._NO_OFFSET,  # noqa: SLF001 - as above
    KafkaError._STATE,  # noqa: SLF001 - as above
}
CODECS: dict[str, Codec[Any]] = {
    topic.name: Codec(topic) for topic in (SITE_PARTIALS, INTERVAL_PARTIALS, CORRECTIONS, HOST_RECORDS)
}


#: What every record that was consumed or delivered has, in types that say so.
partition_of = cast("Callable[[Message], int]", Message.partition)
_offset = cast("Callable[[Message], int]", Message.offset)


@dataclass
class Owned:
    """A partition this worker holds."""

    state: Partition
    target: int
    """Where the log ended when the partition was taken over; before that nothing is published."""
    end: int = 0
    """Where the log ends, as far as is known."""
    saved_offset: int = -1
    saved_at: float = 0.0
    saved_open_us: int = 0
    """From when on intervals were open then."""
    heard_at: float = 0.0
    """Machine time of the last record."""
    reread: int = -1
    """Where reading went back to because records were skipped."""

    @property
    def ready(self) -> bool:
        """Whether the replay is over."""
        return self.state.offset >= self.target

    def caught_up(self, at: float) -> bool:
        """Tell whether there is nothing left to read."""
        return self.state.offset >= self.end or (self.heard_at > 0 and at - self.heard_at > QUIET_S)


@dataclass(kw_only=True, eq=False)
class Rollup:
    """Owns some partitions of the host ticks, rolls them up every clock second."""

    kafka: Kafka
    group: str
    site: str
    """Reported on even while it has no host here…"""
    also: tuple[str, ...] = ()
    """…and so are these."""
    lengths: tuple[timedelta, ...]
    """Of the intervals."""
    clock: Clock
    session_timeout_s: float
    name: str = "firmwatt"
    """What this worker calls itself to Kafka, for those who ask who holds what."""
    assigned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the group is settled."""
    counts: Counter[str] = field(default_factory=Counter)
    """What this process has done since it began…"""
    tally: Tally = field(default_factory=Tally)
    """…and what came of it."""
    _owned: dict[int, Owned] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _loop: asyncio.AbstractEventLoop | None = None
    _polled_at: float = 0.0
    _failure: KafkaError | None = None
    _consumer: Any = None
    _producer: Any = None
    """Of figures."""
    _keeper: Any = None
    """Of states."""

    async def run(self) -> None:
        """Roll up until cancelled; raise what made it impossible."""
        self._loop = asyncio.get_running_loop()
        working = asyncio.ensure_future(asyncio.to_thread(self._work))
        try:
            await asyncio.shield(working)
        finally:
            self._stopping.set()
            await asyncio.wait([working])
            if error := working.exception():
                log.warning("left without a state saved, the next owner replays: %s", error)

    def positions(self) -> dict[int, int]:
        """Return the next record of each partition held."""
        return {number: owned.state.offset for number, owned in list(self._owned.items())}

    def owned(self) -> dict[int, Owned]:
        """Return what is held, to look at."""
        return dict(self._owned)

    def _work(self) -> None:
        """Do everything that is done in the thread."""
        membership = {
            "group.id": self.group,
            "client.id": self.name,
            "session.timeout.ms": round(self.session_timeout_s * 1000),
        }
        membership["heartbeat.interval.ms"] = round(self.session_timeout_s * 250)
        options = for_librdkafka(self.kafka) | {"error_cb": self._note}
        self._producer = Producer(options | SENDING)
        self._keeper = Producer(options | SENDING | PACKED)
        self._consumer = Consumer(options | FETCHING | membership)
        self._consumer.subscribe(
            [HOST_TICKS.name], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        try:
            self._rounds()
            self._save(list(self._owned))
        except BaseException:
            self._owned.clear()  # figures left their states when they were sent: what may not be there stays unsaved
            raise
        finally:
            self._consumer.close()

    def _rounds(self) -> None:
        moment = floor(self.clock.now(), SECOND) + SECOND + GRACE
        while not self._stopping.is_set():
            left_s = self.clock.wall_seconds(moment - self.clock.now())
            if left_s > 0:
                self._read(min(left_s, POLL_S))
                continue
            self._publish(moment)
            self._save(self._due_for_saving())
            moment = max(moment, floor(self.clock.now() - GRACE, SECOND) + GRACE) + SECOND

    def _read(self, timeout_s: float) -> None:
        """Take in the records that are there, each partition's at once, in the order of its log."""
        records = self._consumer.consume(BATCH, timeout_s)
        self._polled_at = time.monotonic()
        for record in records:
            if record.partition() is None and (error := record.error()):
                self._note(error)  # of the consumer, not of a partition
        records = [record for record in records if record.partition() is not None]
        for number, those in groupby(sorted(records, key=partition_of), key=partition_of):
            self._take_in(number, list(those))
        if self._loop is not None and not self.assigned.is_set() and self._consumer.assignment():
            self._loop.call_soon_threadsafe(self.assigned.set)

    def _take_in(self, number: int, records: list[Message]) -> None:
        if (owned := self._owned.get(number)) is None:
            return
        if any(map(Message.error, records)):
            for record in records:
                if error := record.error():
                    self._note(error)
            records = [record for record in records if record.error() is None]
            if not records:
                return
        if self._skipped(number, owned, _offset(records[0])):
            return
        payloads = list(map(Message.value, records))
        before = dict(owned.state.counts)
        batch = owned.state.add(payloads, self._received_us(records), _offset(records[-1]) + 1)
        self.tally.took(number, before, owned.state.counts)
        owned.heard_at = time.monotonic()
        self.counts["ticks"] += len(payloads)
        self.counts["gpu_samples"] += sum(len(ticks) * ticks.gpus for ticks in batch.ticks)
        for place, reason in batch.refused:
            log.warning("tick at %s:%s passed over: %s", number, records[place].offset(), reason)

    def _skipped(self, number: int, owned: Owned, first: int) -> bool:
        """
        Go back where the record at *first* is not the one that follows; once, for it may be all there is.

        So it is when Kafka deleted what was between; it may also be a leftover of the time before a rebalance.
        """
        if first <= owned.state.offset or owned.reread == owned.state.offset:
            return False
        owned.reread = owned.state.offset
        self.counts["rereads"] += 1
        self._consumer.seek(TopicPartition(HOST_TICKS.name, number, owned.state.offset))
        return True

    def _received_us(self, records: list[Message]) -> Ints:
        """Return when Kafka received *records*, by the clock; where it does not stamp them, now."""
        if records[0].timestamp()[0] != TIMESTAMP_LOG_APPEND_TIME:
            return np.full(len(records), micros(self.clock.now()), dtype=np.int64)
        stamps_ms = np.fromiter(map(itemgetter(1), map(Message.timestamp, records)), np.int64, len(records))
        received: Ints = self.clock.micros_at(stamps_ms)
        return received

    def _publish(self, now: datetime) -> None:
        """Publish what is due and return once Kafka has acknowledged it."""
        if time.monotonic() - self._polled_at > self.session_timeout_s:
            return  # we were stopped so long that others may hold our partitions; the next read tells
        at = time.monotonic()
        for number, owned in self._owned.items():
            owned.end = max(owned.end, self._end(number))
            if owned.ready:
                news = owned.state.due(now, self._quiet_until(now) if owned.caught_up(at) else None)
                self._send(news)
                self.tally.told(owned.state, news)
        self._acknowledged(self._producer)
        self.tally.acknowledged([number for number, owned in self._owned.items() if owned.ready], wall())

    def _quiet_until(self, now: datetime) -> datetime:
        """
        Return the instant up to which a partition that was read to its end holds no further record.

        By the broker's clock as its newest record here shows it, or ours, less what a record may take to reach us.
        """
        newest_us = max(owned.state.received_us for owned in self._owned.values())
        heard = instant(newest_us) - self.clock.span(IN_FLIGHT_S)
        return max(heard, now - self.clock.span(QUIET_S))

    def _end(self, number: int) -> int:
        _, end = self._consumer.get_watermark_offsets(TopicPartition(HOST_TICKS.name, number), cached=True)
        return int(end)

    def _send(self, news: News) -> None:
        for topic, messages in _addressed(news):
            codec = CODECS[topic.name]
            for message in messages:
                _produce(
                    self._producer,
                    topic.name,
                    codec.encode(message),
                    key=codec.key(message),
                    on_delivery=self._delivered,
                )

    def _delivered(self, error: KafkaError | None, _: Message) -> None:
        self._failure = error or self._failure

    def _acknowledged(self, producer: Any) -> None:
        """Return once everything sent is acknowledged; raise `BrokerGoneError` otherwise."""
        begun = time.monotonic()
        while producer.flush(POLL_S):
            patience_s = LEAVE_WITHIN_S if self._stopping.is_set() else ACKNOWLEDGED_WITHIN_S
            if time.monotonic() - begun > patience_s:
                raise kafka.gone(self.kafka.bootstrap, TimeoutError("figures are not acknowledged"))
        if self._failure is not None:
            raise kafka.gone(self.kafka.bootstrap, KafkaException(self._failure))

    def _due_for_saving(self) -> list[int]:
        at = time.monotonic()
        return [
            number
            for number, owned in self._owned.items()
            if (owned.state.offset != owned.saved_offset and at - owned.saved_at >= SAVE_EVERY_S)
            or (owned.state.open_from_us != owned.saved_open_us and at - owned.saved_at >= SAVE_IDLE_EVERY_S)
        ]

    def _save(self, numbers: list[int]) -> None:
        """
        Write down the state of partitions and commit offset and state as one; all before it is acknowledged.

        In the middle of catching up too, figures not yet published included: a restart then begins there.
        """
        numbers = [number for number in numbers if number in self._owned]
        if not numbers:
            return
        places: dict[int, int] = {}
        sizes: dict[int, int] = {}

        def delivered(error: KafkaError | None, record: Message) -> None:
            self._delivered(error, record)
            if error is None:
                places[partition_of(record)] = _offset(record)

        for number in numbers:
            self._owned[number].state.tidy()
            payload = snapshot.save(self._owned[number].state)
            sizes[number] = len(payload)
            _produce(self._keeper, ROLLUP_STATE.name, payload, partition=number, on_delivery=delivered)
        self._acknowledged(self._keeper)
        offsets = [
            TopicPartition(HOST_TICKS.name, number, self._owned[number].state.offset, metadata=str(places[number]))
            for number in numbers
        ]
        try:
            self._consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            if error.args[0].code() not in TAKEN_AWAY:
                raise kafka.gone(self.kafka.bootstrap, error) from error
            return
        for number in numbers:
            self._owned[number].saved_offset = self._owned[number].state.offset
            self._owned[number].saved_open_us = self._owned[number].state.open_from_us
            self._owned[number].saved_at = time.monotonic()
            self.tally.saved[number] = sizes[number], wall()

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        """Begin with the partitions just assigned: with the state that was committed, at its offset."""
        self.tally.rebalances["assigned"] += len(partitions)
        try:
            known = consumer.committed(partitions, ACKNOWLEDGED_WITHIN_S) if partitions else []
            for partition in known:
                owned = self._owned[partition.partition] = self._taken_over(consumer, partition)
                partition.offset = owned.state.offset if partition.offset >= 0 else OFFSET_BEGINNING
            consumer.incremental_assign(known)
            if self._loop is not None:  # also with no partition: there may be more workers than work
                self._loop.call_soon_threadsafe(self.assigned.set)
        except KafkaException as error:
            self._failure = error.args[0]

    def _taken_over(self, consumer: Any, committed: TopicPartition) -> Owned:
        place = Takeover(self.kafka, self.group, self.lengths, self.site, self.also, self.clock)
        state, end = place.state(consumer, committed)
        return Owned(state, target=end, end=end, saved_offset=committed.offset, saved_at=time.monotonic())

    def _revoked(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        """Write down the state, so that the next owner has nothing to replay, and let go."""
        self.tally.rebalances["revoked"] += len(partitions)
        self._unsettled()
        numbers = [partition.partition for partition in partitions]
        try:
            self._save(numbers)
        except FirmwattError:
            log.warning("partitions %s are given up unsaved; the next owner replays", numbers)
        for number in numbers:
            self._owned.pop(number, None)
        consumer.incremental_unassign(partitions)

    def _lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        """Let go of what others hold already."""
        self.tally.rebalances["lost"] += len(partitions)
        self._unsettled()
        for partition in partitions:
            self._owned.pop(partition.partition, None)
        consumer.incremental_unassign(partitions)

    def _unsettled(self) -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self.assigned.clear)

    def _note(self, error: KafkaError) -> None:
        """Take down what librdkafka says; it goes on trying, and the worker's watch tells when Kafka is gone."""
        self.counts["kafka_errors"] += 1
        log.info("Kafka: %s", error)


def _produce(producer: Any, topic: str, payload: bytes, **more: Any) -> None:
    """Queue *payload*; wait where the queue is full."""
    while True:
        try:
            producer.produce(topic, payload, **more)
        except BufferError:
            producer.poll(POLL_S)
        else:
            return


def _addressed(news: News) -> Iterator[tuple[Topic[Any], list[Any]]]:
    yield SITE_PARTIALS, news.gauges
    yield HOST_RECORDS, news.records
    yield INTERVAL_PARTIALS, news.partials
    yield CORRECTIONS, news.corrections
