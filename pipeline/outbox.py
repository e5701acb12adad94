"""
What an agent has sent and Kafka has not acknowledged yet.

Who waits for each acknowledgement before sending the next is bound by the broker's latency; who waits for many at once,
by its throughput. `settled` tells when all have come, and only then may what depends on them go on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiokafka.errors import KafkaError

from pipeline.kafka import gone
from pipeline.topics import Topic

Enqueue = Callable[[Topic[Any], Any], Awaitable["asyncio.Future[Any]"]]
"""Queues a message; the future is done once Kafka has acknowledged."""


class Outbox:
    """One agent's messages on their way."""

    def __init__(self, enqueue: Enqueue, bootstrap: str) -> None:
        self._enqueue = enqueue
        self._bootstrap = bootstrap
        self._under_way: list[asyncio.Future[Any]] = []

    async def put(self, topic: Topic[Any], message: Any) -> None:
        """Send *message* without waiting for its acknowledgement."""
        self._under_way.append(await self._enqueue(topic, message))

    async def settled(self) -> None:
        """Return once all is acknowledged; raise `BrokerGoneError` where something never was."""
        under_way = list(self._under_way)
        if under_way:
            await asyncio.wait(under_way)  # whoever gives up waiting leaves them to the next
        del self._under_way[: len(under_way)]
        try:
            await asyncio.gather(*under_way)
        except KafkaError as error:
            raise gone(self._bootstrap, error) from error
