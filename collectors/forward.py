"""
The way from the spool to Kafka: in order, for ever, and nothing is retired that the broker has not acknowledged.

    spool ──pending──▶ Kafka ──acknowledged──▶ retire        Kafka may be away at the start, or go away at any time

One batch is on its way at a time and the next begins where the acknowledgements end, so a tick may arrive twice and
never before one that was measured earlier. Spans are seconds of the machine: how fast a backlog drains has nothing to
do with the clock that ticks are measured by.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import datetime

import msgspec
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from collectors.spool import Spool, Tick
from pipeline import frames
from pipeline.clock import Clock
from pipeline.errors import BrokerGoneError, ConfigError
from pipeline.kafka import Sender, ensure_topics, gone
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

log = logging.getLogger(__name__)

PATIENCE_S = 20.0
"""Without any acknowledgement for so long a connection is given up; aiokafka itself would try it for ever."""
SLOW_S = 5.0
"""Without an acknowledgement for so long Kafka is in trouble."""
FLUSH_S = 2.0
"""How long the last ticks are waited for when the process ends; the rest stays in the spool."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 15.0
"""Between two attempts to connect, doubled each time; a random part of it, so that a fleet does not return as one."""
BATCHES_PER_S = 4
LARGEST_BATCH = 250
BATCH_BYTES = 65_536
"""Of a Kafka record batch: a dozen ticks of eight GPUs at once, well below every broker's limit of a megabyte."""


class Addressed(msgspec.Struct):
    """Whose tick the JSON of an earlier version is."""

    host: str


def key_of(payload: bytes) -> bytes:
    """Return whose tick *payload* is: the key that keeps a host's ticks in order."""
    if frames.is_frame(payload):
        return frames.host_of(payload).encode()
    return msgspec.json.decode(payload, type=Addressed).host.encode()


class Forwarder:
    """Sends what is in *spool*; `run` does it until told to stop."""

    def __init__(self, kafka: Kafka, spool: Spool, drain_per_s: float = 500.0, clock: Clock | None = None) -> None:
        self._kafka = kafka
        self._spool = spool
        self._drain_per_s = drain_per_s
        self._batch = min(max(int(drain_per_s / BATCHES_PER_S), 1), LARGEST_BATCH)
        self._clock = clock or Clock()
        self._news = asyncio.Event()
        self._drained = asyncio.Event()
        self._has_topic = False
        self._pause_s = FIRST_PAUSE_S
        self._error: str | None = None
        self._waiting_since_s: float | None = None
        self.connected = False
        self.acknowledged_total = 0
        self.refused_total = 0
        """Ticks too large for Kafka, given up."""
        self.last_ack_at: datetime | None = None
        """By the shared clock."""

    @property
    def trouble(self) -> str | None:
        """What is wrong with the way to Kafka, None if nothing is."""
        since = self._waiting_since_s
        if self._error is None and since is not None and time.monotonic() - since > SLOW_S:
            return f"{self._kafka.bootstrap} does not acknowledge"
        return self._error

    def wake(self) -> None:
        """Say that the spool has a new tick."""
        self._drained.clear()
        self._news.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Forward until *stop*, then for as long as the last ticks take, `FLUSH_S` at most. Kafka is never an error."""
        forwarding = asyncio.create_task(self._forever())
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([forwarding, stopping], return_when=asyncio.FIRST_COMPLETED)
            if forwarding.done():
                forwarding.result()
            if self.connected:
                self.wake()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._drained.wait(), FLUSH_S)
        finally:
            forwarding.cancel()
            stopping.cancel()
            await asyncio.gather(forwarding, stopping, return_exceptions=True)

    async def _forever(self) -> None:
        while True:
            try:
                async with self._connection() as sender:
                    await self._forward(sender)
            except (BrokerGoneError, ConfigError) as error:  # a file of `[kafka]` may come later, or again
                self._error = str(error)
            except (KafkaError, OSError) as error:  # TimeoutError is an OSError
                self._error = str(gone(self._kafka.bootstrap, error))
            await asyncio.sleep(self._pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - spreads a fleet, hides nothing
            self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Sender]:
        """Connect, and see that the topic is there; let go at once when anything is wrong."""
        if not self._has_topic:
            with suppress(BrokerGoneError):  # who may not create topics may still write to them
                await ensure_topics(self._kafka, [HOST_TICKS])
                self._has_topic = True
        async with Sender(self._kafka, batch_bytes=BATCH_BYTES) as sender:
            self.connected = True
            try:
                yield sender
            finally:
                self.connected = False
                await sender.abandon()

    async def _forward(self, sender: Sender) -> None:
        """Send what there is and what comes, until something is wrong."""
        while True:
            self._news.clear()
            began_s = time.monotonic()
            batch = self._spool.pending(self._batch)
            if not batch:
                self._drained.set()
                await self._news.wait()
                continue
            await self._deliver(sender, batch)
            if len(batch) == self._batch:  # there is more
                await asyncio.sleep(began_s + len(batch) / self._drain_per_s - time.monotonic())

    async def _deliver(self, sender: Sender, batch: Sequence[Tick]) -> None:
        """Send *batch* and retire it; where that fails, what was acknowledged up to there."""
        queued: list[asyncio.Future[object] | None] = []
        self._waiting_since_s = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S) as patience:
                for tick in batch:
                    queued.append(await self._post(sender, tick))
                    self._progress(patience)
                for future in queued:
                    if future is not None:
                        await future
                    self._progress(patience)
        finally:
            self._waiting_since_s = None
            self._retire(batch, queued)

    def _progress(self, patience: asyncio.Timeout) -> None:
        self._waiting_since_s = time.monotonic()
        patience.reschedule(asyncio.get_running_loop().time() + PATIENCE_S)

    async def _post(self, sender: Sender, tick: Tick) -> "asyncio.Future[object] | None":
        """Queue *tick*; None for one that Kafka will never take, which must not hold up all others."""
        try:
            future = await sender.enqueue_encoded(HOST_TICKS, key_of(tick.payload), tick.payload)
        except BrokerGoneError as error:
            if not isinstance(error.__cause__, MessageSizeTooLargeError):
                raise
            self.refused_total += 1
            log.warning("Kafka: a tick of %d bytes is too large and given up", len(tick.payload))
            return None
        future.add_done_callback(_succeeded)  # looks at its error, or asyncio logs that nobody did
        return future

    def _retire(self, batch: Sequence[Tick], queued: Sequence["asyncio.Future[object] | None"]) -> None:
        """Retire the ticks at the head of *batch* that the broker has acknowledged."""
        for count, future in enumerate(queued):
            if future is not None and not _succeeded(future):
                queued = queued[:count]
                break
        if queued:
            self._spool.retire(batch[: len(queued)])
            self.acknowledged_total += sum(future is not None for future in queued)
            self.last_ack_at = self._clock.now()
            self._error, self._pause_s = None, FIRST_PAUSE_S


def _succeeded(future: "asyncio.Future[object]") -> bool:
    """Tell whether the broker has acknowledged what *future* stands for."""
    return future.done() and not future.cancelled() and future.exception() is None
