"""What Kafka knows of positions: where partitions end, what groups have committed. A thin shell without a group."""

from collections.abc import Collection
from contextlib import AsyncExitStack
from typing import Any, Self

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from pipeline import kafka as bus
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka


class Offsets:
    """Asks; an async context."""

    def __init__(self, kafka: Kafka) -> None:
        self._kafka = kafka
        self._stack = AsyncExitStack()
        self._admin: Any = None
        self._reader: Any = None

    async def __aenter__(self) -> Self:
        """Connect; raise `BrokerGoneError` when nobody answers."""
        self._reader = await self._stack.enter_async_context(bus.consumer(self._kafka))
        self._admin = AIOKafkaAdminClient(**for_aiokafka(self._kafka))
        await self._admin.start()
        self._stack.push_async_callback(self._admin.close)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def ends(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return where *partitions* end; raise aiokafka's errors where Kafka does not answer."""
        return dict(await self._reader.end_offsets(list(partitions)))

    async def begins(self, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the oldest record of each of *partitions*."""
        return dict(await self._reader.beginning_offsets(list(partitions)))

    async def committed(self, group: str, partitions: Collection[TopicPartition]) -> dict[TopicPartition, int]:
        """Return what *group* has committed of *partitions*; nothing where it never did."""
        known = await self._admin.list_consumer_group_offsets(group, partitions=list(partitions))
        return {
            partition: known[partition].offset for partition in partitions if known.get(partition, None) is not None
        }
