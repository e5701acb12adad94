"""
Topics to Parquet: a batch loop in its own consumer group. It moves bytes; `pipeline.archive_records` makes rows.

Offsets are committed after the files are on disk under their names, never before: what a killed worker had in memory
is read again.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from pipeline import archive, kafka
from pipeline.archive_manifest import Published
from pipeline.archive_records import TICKS, Intake
from pipeline.archive_schemas import ARCHIVED, TELEMETRY
from pipeline.clock import Clock, wall
from pipeline.pipeline_settings import membership
from pipeline.settings import Kafka
from pipeline.storage import Storage
from pipeline.topics import SITE_INTERVALS

#: A tick waits at most this long (machine time) for its file: one file a minute, site and partition.
TICKS_EVERY_S = 60.0
#: Of what is held, whichever comes first: a partition's rows are published.
FLUSH_ROWS, FLUSH_BYTES = 20_000, 32_000_000
#: Of all partitions together: the largest are published until they are below it.
HELD_BYTES = 96_000_000


@dataclass
class Held:
    """What waits to be published of one partition."""

    since: float
    records: list[Any] = field(default_factory=list)
    size: int = 0

    def take(self, records: list[Any]) -> None:
        """Add *records*."""
        self.records += records
        self.size += sum(len(record.value or b"") for record in records)


def too_much(sizes: Mapping[TopicPartition, int], most: int = HELD_BYTES) -> list[TopicPartition]:
    """Return the largest of *sizes* without which the others are not above *most* together. Pure."""
    total, largest = sum(sizes.values()), []
    for partition in sorted(sizes, key=lambda one: sizes[one], reverse=True):
        if total <= most:
            break
        largest.append(partition)
        total -= sizes[partition]
    return largest


@dataclass(kw_only=True, eq=False)
class Archive(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships types that strict mode cannot follow
    """Holds rows for a second, ticks for a minute, then publishes them: by partition a file for each day and site."""

    kafka: Kafka
    group: str
    storage: Storage
    session_timeout_s: float
    publish_every_s: float = 1.0
    telemetry: bool = False
    """Whether ticks are archived, too."""
    assigned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the group is settled."""
    written: Counter[tuple[str, str]] = field(default_factory=Counter)
    """`rows`, `files` and `bytes` published by this process, by topic."""
    written_at: float | None = None
    """When something was last published, machine time (Unix seconds)."""
    places: dict[TopicPartition, int] = field(default_factory=dict)
    """The next record to archive of each partition held; all before it is in files."""
    rebalances: int = 0
    _taken_over: bool = False
    _held: dict[TopicPartition, Held] = field(default_factory=dict)
    _intake: Intake = field(default_factory=Intake)
    _publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _consumer: Any = None

    async def run(self) -> None:
        """Archive until cancelled; what is held then is published first."""
        topics = (*ARCHIVED, *(TELEMETRY if self.telemetry else ()))
        async with kafka.consumer(self.kafka, **membership(self.group, self.session_timeout_s)) as self._consumer:
            self._consumer.subscribe([topic.name for topic in topics], listener=self)
            try:
                await self._loop()
            except asyncio.CancelledError:
                await self._flush(list(self._held))
                raise

    def is_steward(self) -> bool:
        """Tell whether this worker looks after the archive's files: the one with the first partition of intervals."""
        return self._consumer is not None and TopicPartition(SITE_INTERVALS.name, 0) in self._consumer.assignment()

    async def _loop(self) -> None:
        while True:
            if self._taken_over:
                await self._take_over()
            batches = await self._consumer.getmany(timeout_ms=100)
            if self._taken_over:
                continue  # read before or after the rebalance, nobody can tell: all of it is read again
            for partition, records in batches.items():
                self._held.setdefault(partition, Held(wall())).take(records)
            if due := [partition for partition, held in self._held.items() if self._is_due(partition, held)]:
                await self._flush(due)
            if largest := too_much({partition: held.size for partition, held in self._held.items()}):
                await self._flush(largest)

    def _is_due(self, partition: TopicPartition, held: Held) -> bool:
        if held.size >= FLUSH_BYTES:
            return True
        if partition.topic in TICKS:
            return wall() - held.since >= TICKS_EVERY_S
        return len(held.records) >= FLUSH_ROWS or wall() - held.since >= self.publish_every_s

    async def _take_over(self) -> None:
        """Begin where the partitions now held were committed, at the oldest record where they never were."""
        self._taken_over = False
        self._held.clear()
        held = self._consumer.assignment()
        begins = await self._consumer.beginning_offsets(held) if held else {}
        positions = {
            partition: max(begins[partition], await self._consumer.committed(partition) or 0) for partition in held
        }
        for partition in held & self._consumer.assignment():
            self._consumer.seek(partition, positions[partition])
        self.places = positions
        self.assigned.set()

    async def _flush(self, partitions: Iterable[TopicPartition]) -> None:
        async with self._publishing:
            taken = {partition: self._held.pop(partition) for partition in partitions if partition in self._held}
            if not taken:
                return
            await asyncio.to_thread(self._publish, taken)
            owned = self._consumer.assignment()
            offsets = {
                partition: held.records[-1].offset + 1 for partition, held in taken.items() if partition in owned
            }
            try:
                await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                return  # the partitions went to another worker; it publishes the rows again, views take each once
            self.places |= offsets

    def _publish(self, taken: dict[TopicPartition, Held]) -> None:
        now = Clock().now()
        for partition, held in taken.items():
            rows = self._intake.rows(partition.topic, partition.partition, held.records)
            if rows.height:
                published = archive.publish(self.storage, partition.topic, partition.partition, rows, now)
                self._count(partition.topic, published)

    def _count(self, topic: str, published: list[Published]) -> None:
        self.written[topic, "rows"] += sum(fact.rows for fact in published)
        self.written[topic, "files"] += len(published)
        self.written[topic, "bytes"] += sum(fact.bytes for fact in published)
        self.written_at = wall()

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Publish and commit what is held before another worker takes over."""
        self.assigned.clear()
        self.rebalances += 1
        await self._flush(list(self._held))

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Leave the rest to the loop: an error raised here would be swallowed."""
        self._taken_over = True
