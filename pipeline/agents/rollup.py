"""
Host ticks to partials: a batch loop in its own consumer group. It moves bytes; `pipeline.rollup` decides.

No state is stored. What is committed for a partition is where to replay from, the first record of its oldest open
interval less a margin, and, as metadata, that interval's start:

    records    … k−1 ──────┊─ 10 s ─┊──── interval k (open) ────────────▶ now
    committed              ▲ offset  ▲ metadata: start of k

It moves only after the figures of everything before are acknowledged by Kafka. A worker killed at any moment loses
nothing: the next owner replays from there, is silent until it has caught up, and publishes k with the same value
under the same natural key.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from aiokafka import ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import CommitFailedError, IllegalStateError, KafkaError
from aiokafka.structs import OffsetAndMetadata

from pipeline import kafka
from pipeline.clock import Clock
from pipeline.codec import Codec, DecodeError
from pipeline.interval import floor
from pipeline.pipeline_settings import membership
from pipeline.rollup import Partition
from pipeline.topics import HOST_RECORDS, HOST_TICKS, INTERVAL_PARTIALS, SITE_PARTIALS, Topic

log = logging.getLogger(__name__)

SECOND = timedelta(seconds=1)
#: Gauges are taken this long after the full second, clock time: collectors sample on it, and their ticks are then in.
GRACE = timedelta(milliseconds=250)
#: Records taken at once: some 30 ms of decoding, so that the Faust agents beside us get their turn.
BATCH = 2000
TICKS = Codec(HOST_TICKS)


@dataclass
class Owned:
    """A partition this worker holds."""

    state: Partition
    position: int
    """The next record to take in."""
    target: int
    """Where the log ended when the partition was taken over; before that nothing is published."""
    committed: datetime | None

    @property
    def caught_up(self) -> bool:
        """Whether the replay is over."""
        return self.position >= self.target


@dataclass(kw_only=True, eq=False)
class Rollup(ConsumerRebalanceListener):  # type: ignore[misc] # aiokafka ships types that strict mode cannot follow
    """Owns some partitions of the host ticks, rolls them up every clock second."""

    bootstrap: str
    group: str
    site: str
    """Reported on even while it has no host here."""
    length: timedelta
    """Of the settlement interval."""
    clock: Clock
    session_timeout_s: float
    assigned: asyncio.Event = field(default_factory=asyncio.Event)
    """Set while the group is settled."""
    _owned: dict[TopicPartition, Owned] = field(default_factory=dict)
    _taken_over: list[TopicPartition] = field(default_factory=list)
    _consumer: Any = None
    _admin: Any = None

    async def run(self, sender: kafka.Sender) -> None:
        """Roll up until cancelled."""
        self._admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await self._admin.start()
        try:
            async with kafka.consumer(
                self.bootstrap, **membership(self.group, self.session_timeout_s)
            ) as self._consumer:
                self._consumer.subscribe([HOST_TICKS.name], listener=self)
                await self._loop(sender)
        finally:
            await self._admin.close()

    async def _loop(self, sender: kafka.Sender) -> None:
        moment = floor(self.clock.now(), SECOND) + SECOND + GRACE
        while True:
            if self._taken_over:
                await self._take_over()
            left_s = self.clock.wall_seconds(moment - self.clock.now())
            if left_s > 0:
                wait_ms = max(1, min(100, round(left_s * 1000)))
                self._take_in(await self._consumer.getmany(timeout_ms=wait_ms, max_records=BATCH))
                continue
            await self._publish(sender, moment)
            moment = max(moment, floor(self.clock.now() - GRACE, SECOND) + GRACE) + SECOND

    async def _take_over(self) -> None:
        """Begin with the partitions just assigned: at what was committed, at the oldest record where nothing was."""
        partitions, self._taken_over = self._taken_over, []
        known = await self._admin.list_consumer_group_offsets(self.group, partitions=partitions)
        begins = await self._consumer.beginning_offsets(partitions)
        ends = await self._consumer.end_offsets(partitions)
        for partition in set(partitions) & self._consumer.assignment():
            committed = known.get(partition)
            valid = committed is not None and committed.offset >= 0
            open_from = datetime.fromisoformat(committed.metadata) if valid and committed.metadata else None
            position = max(begins[partition], committed.offset if valid else 0)
            self._consumer.seek(partition, position)
            state = Partition(partition.partition, self.length, open_from)
            self._owned[partition] = Owned(state, position, ends[partition], open_from)
        self.assigned.set()

    def _take_in(self, batches: dict[TopicPartition, list[Any]]) -> None:
        for partition, records in batches.items():
            if (owned := self._owned.get(partition)) is None:
                continue
            for record in records:
                try:
                    tick = TICKS.decode(record.value)
                except DecodeError as error:
                    log.warning("tick at %s:%s passed over: %s", partition.partition, record.offset, error)
                else:
                    owned.state.add(tick, record.offset)
            owned.position = records[-1].offset + 1

    async def _publish(self, sender: kafka.Sender, now: datetime) -> None:
        ready = {partition: owned for partition, owned in self._owned.items() if owned.caught_up}
        sites = {self.site, *(host.site for owned in ready.values() for host in owned.state.hosts.values())}
        news: list[tuple[Topic[Any], Any]] = []
        for state in (owned.state for owned in ready.values()):
            figures, gauges = state.due(sites, now)
            news += ((SITE_PARTIALS, gauge) for gauge in gauges)
            news += ((HOST_RECORDS, record) for record in state.host_records())
            news += ((INTERVAL_PARTIALS, figure) for figure in figures)
        try:
            await asyncio.gather(*[await sender.enqueue(topic, message) for topic, message in news])
        except KafkaError as error:
            raise kafka.gone(self.bootstrap, error) from error
        await self._commit(ready, now)

    async def _commit(self, ready: dict[TopicPartition, Owned], now: datetime) -> None:
        """Move the place to replay from, after everything before it has been acknowledged."""
        offsets = {}
        for partition, owned in ready.items():
            open_from = owned.state.settle(now)
            if open_from and open_from != owned.committed and self._owned.get(partition) is owned:
                offsets[partition] = OffsetAndMetadata(owned.state.low_water(owned.position), open_from.isoformat())
        if not offsets:
            return
        try:
            await self._consumer.commit(offsets)
        except (CommitFailedError, IllegalStateError):
            return  # the partition went to another worker meanwhile; it starts from what was committed before
        for partition, offset in offsets.items():
            ready[partition].committed = datetime.fromisoformat(offset.metadata)

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let go; the next owner replays."""
        self.assigned.clear()
        self._taken_over = []
        for partition in revoked:
            self._owned.pop(partition, None)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Leave the rest to the loop: an error raised here would be swallowed."""
        self._taken_over = list(assigned)
        if not self._taken_over:
            self.assigned.set()

    def positions(self) -> dict[TopicPartition, int]:
        """Return the next record of each partition held."""
        return {partition: owned.position for partition, owned in self._owned.items()}

    async def lag_of(
        self, group: str, partitions: Collection[TopicPartition]
    ) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
        """Ask Kafka, for another *group*'s *partitions*, what it has committed and where they end."""
        known = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        committed = {partition: max(0, known[partition].offset) for partition in partitions if partition in known}
        return committed, dict(await self._consumer.end_offsets(list(partitions)))

    async def ends(self) -> dict[TopicPartition, int]:
        """Ask Kafka where the partitions held end, and one more: without an answer Kafka is gone."""
        return dict(await self._consumer.end_offsets([TopicPartition(HOST_TICKS.name, 0), *self._owned]))
