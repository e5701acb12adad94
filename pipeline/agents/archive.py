"""
Topics to Parquet: a batch loop in its own consumer group. It moves bytes; `pipeline.archive` decides what a row is.

Offsets are committed after the files are on disk under their names, never before: what a killed worker had in memory
is read again.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import CommitFailedError, IllegalStateError

from pipeline import archive, kafka
from pipeline.archive_schemas import ARCHIVED
from pipeline.clock import wall
from pipeline.codec import Codec
from pipeline.pipeline_settings import membership

log = logging.getLogger(__name__)

#: A row waits at most this long (machine time) for its file.
FLUSH_EVERY_S = 1.0
FLUSH_ROWS = 20_000
CODECS = {topic.name: Codec(topic) for topic in ARCHIVED}


@dataclass(kw_only=True, eq=False)
class Archive(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships types that strict mode cannot follow
    """Holds rows for a second, then publishes them, a file for each partition that had any."""

    bootstrap: str
    group: str
    folder: Path
    session_timeout_s: float
    assigned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the group is settled."""
    _taken_over: bool = False
    _records: defaultdict[TopicPartition, list[Any]] = field(default_factory=lambda: defaultdict(list))
    _publishing: asyncio.Lock = field(default_factory=asyncio.Lock)
    _consumer: Any = None

    async def run(self) -> None:
        """Archive until cancelled; what is held then is published first."""
        async with kafka.consumer(self.bootstrap, **membership(self.group, self.session_timeout_s)) as self._consumer:
            self._consumer.subscribe([topic.name for topic in ARCHIVED], listener=self)
            try:
                await self._loop()
            except asyncio.CancelledError:
                await self._flush()
                raise

    async def _loop(self) -> None:
        flushed_at = wall()
        while True:
            if self._taken_over:
                await self._take_over()
            batches = await self._consumer.getmany(timeout_ms=100)
            if self._taken_over:
                continue  # read before or after the rebalance, nobody can tell: all of it is read again
            for partition, records in batches.items():
                self._records[partition] += records
            held = sum(map(len, self._records.values()))
            if held >= FLUSH_ROWS or (held and wall() - flushed_at >= FLUSH_EVERY_S):
                await self._flush()
                flushed_at = wall()

    async def _take_over(self) -> None:
        """Begin where the partitions now held were committed, at the oldest record where they never were."""
        self._taken_over = False
        self._records.clear()
        held = self._consumer.assignment()
        begins = await self._consumer.beginning_offsets(held) if held else {}
        positions = {
            partition: max(begins[partition], await self._consumer.committed(partition) or 0) for partition in held
        }
        for partition in held & self._consumer.assignment():
            self._consumer.seek(partition, positions[partition])
        self.assigned.set()

    async def _flush(self) -> None:
        async with self._publishing:
            records = {partition: held for partition, held in self._records.items() if held}
            self._records.clear()
            if not records:
                return
            await asyncio.to_thread(self._publish, records)
            owned = self._consumer.assignment()
            offsets = {partition: held[-1].offset + 1 for partition, held in records.items() if partition in owned}
            try:
                await self._consumer.commit(offsets)
            except (CommitFailedError, IllegalStateError):
                return  # the partitions went to another worker; it publishes the rows again, views take each once

    def _publish(self, batches: dict[TopicPartition, list[Any]]) -> None:
        for partition, records in batches.items():
            rows = list(self._rows(partition, records))
            name = archive.file_name(partition.partition, records[0].offset, records[-1].offset)
            if rows:
                archive.publish(self.folder / partition.topic / name, archive.frame(partition.topic, rows))

    def _rows(self, partition: TopicPartition, records: list[Any]) -> Iterable[dict[str, Any]]:
        codec = CODECS[partition.topic]
        for record in records:
            try:
                yield archive.row(codec.decode(record.value), partition.partition, record.offset)
            except ValueError as error:  # `DecodeError` is one
                log.warning("message at %s:%s passed over: %s", partition.partition, record.offset, error)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Publish and commit what is held before another worker takes over."""
        self.assigned.clear()
        await self._flush()

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002 - aiokafka's signature
        """Leave the rest to the loop: an error raised here would be swallowed."""
        self._taken_over = True
