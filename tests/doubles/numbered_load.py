"""Hosts that send numbered ticks at a steady rate through our own `Sender`, and what it told them."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Self

from aiokafka import AIOKafkaProducer
from doubles.acked_and_read import Acknowledgement

from pipeline.errors import BrokerGoneError
from pipeline.kafka import Sender
from pipeline.kafka_security import for_aiokafka
from pipeline.messages.telemetry import GpuSample, HostTick
from pipeline.settings import Kafka
from pipeline.topics import Topic

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
FLUSH_S = 60.0


class OneBrokerIsEnough(Sender):
    """A planted bug: takes for acknowledged what one broker has."""

    def __init__(self, kafka: Kafka) -> None:
        super().__init__(kafka)
        self._producer._closed = True  # it never ran, so it owes no goodbye
        self._producer = AIOKafkaProducer(**for_aiokafka(kafka), acks=1, linger_ms=5)


class NumberedLoad:
    """An async context manager: *hosts* hosts send *hertz* ticks a second each until it is left."""

    def __init__(
        self, kafka: Kafka, topic: Topic[Any], *, hosts: int, hertz: float, sender: Callable[[Kafka], Sender] = Sender
    ) -> None:
        self.acknowledged: list[Acknowledgement] = []
        self.failed = 0
        """Messages of which the sender said that they failed."""
        self.sent = 0
        self._topic = topic
        self._hosts = [f"host-{number:03}" for number in range(hosts)]
        self._period_s = 1 / hertz
        self._sender = sender(kafka)
        self._clock = asyncio.get_running_loop().time
        self._over = False

    async def __aenter__(self) -> Self:
        await self._sender.__aenter__()
        step_s = self._period_s / len(self._hosts)
        self._tasks = [
            asyncio.create_task(self._send(host, self._clock() + index * step_s))
            for index, host in enumerate(self._hosts)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await self._sender.__aexit__()

    async def finish(self) -> None:
        """Send nothing more, and wait a minute at most until what is sent is acknowledged."""
        self._over = True
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_S):
                await asyncio.gather(*self._tasks)
                await self._sender.flush()

    async def _send(self, host: str, begin: float) -> None:
        seq = 0
        while not self._over:
            seq += 1
            await asyncio.sleep(begin + seq * self._period_s - self._clock())
            sent_at = self._clock()
            try:
                queued = await self._sender.enqueue(self._topic, tick(host, seq))
            except BrokerGoneError:
                self.failed += 1
                continue
            self.sent += 1
            queued.add_done_callback(partial(self._done, host, seq, sent_at))

    def _done(self, host: str, seq: int, sent_at: float, future: "asyncio.Future[Any]") -> None:
        if future.cancelled() or future.exception():
            self.failed += 1
            return
        partition = future.result().partition
        self.acknowledged.append(Acknowledgement(partition, host, seq, sent_at, self._clock()))


def tick(host: str, seq: int) -> HostTick:
    """Return a small tick whose every value follows from its number."""
    at = NOON + timedelta(seconds=seq)
    gpu = GpuSample(uuid=f"{host}-gpu", model="H100", power_w=600.0, energy_j=600.0 * seq)
    return HostTick(host=host, site="site-1", boot="boot-1", seq=seq, measured_at=at, simulated=True, gpus=(gpu,))
