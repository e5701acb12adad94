"""Thin shells over aiokafka: connect, create topics, send keyed messages. No decision lives here."""

import asyncio
import logging
from collections.abc import Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from pipeline.codec import Codec
from pipeline.errors import BrokerGoneError
from pipeline.topics import Topic

M = TypeVar("M")

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions

STOP_S = 5.0
"""How long a client may take to stop, queued messages included, seconds of the machine."""
CANCEL_S = 0.2
"""How long a cancelled task may take before it is cancelled again, seconds of the machine."""


def gone(bootstrap: str, error: BaseException) -> BrokerGoneError:
    """Say in one line that Kafka at *bootstrap* does not answer."""
    return BrokerGoneError(
        f"no Kafka at {bootstrap} ({error}); `firmwatt broker status` tells, `broker start` starts it"
    )


async def _stop(client: AIOKafkaProducer | AIOKafkaConsumer) -> bool:
    """
    Stop *client* within `STOP_S`; tell whether it did.

    With Kafka gone an idempotent aiokafka producer retries, and so stops, for ever, and a consumer lets the
    cancellation of its own fetching out.
    """
    stopping = asyncio.ensure_future(client.stop())
    await asyncio.wait([stopping], timeout=STOP_S)
    if stopping.done() and not stopping.cancelled():
        stopping.result()
        return True
    stopping.cancel()
    return False


class Sender:
    """Send messages to their topics, keyed, idempotent, acknowledged by all in-sync replicas."""

    def __init__(self, bootstrap: str, *, linger_ms: int = 5, batch_bytes: int = 16_384) -> None:
        self._bootstrap = bootstrap
        self._codecs: dict[str, Codec[Any]] = {}
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            acks="all",
            enable_idempotence=True,
            linger_ms=linger_ms,
            max_batch_size=batch_bytes,
        )

    async def __aenter__(self) -> Self:
        """Connect; raise `BrokerGoneError` when nobody answers."""
        try:
            await self._producer.start()
        except (KafkaError, OSError) as error:
            await self._producer.stop()
            raise gone(self._bootstrap, error) from error
        return self

    async def __aexit__(self, *_: object) -> None:
        if not await _stop(self._producer):
            await self.abandon()

    async def abandon(self) -> None:
        """
        Stop at once: what is not acknowledged by now never will be, though it may have arrived.

        aiokafka 0.14 has no public way to stop an idempotent producer whose broker is gone: its sending task retries
        for ever and `stop` waits for it. Cancelled once, that task still waits for the request that is out.
        """
        self._producer._closed = True  # noqa: SLF001 - see above
        sending = self._producer._sender.sender_task  # noqa: SLF001 - see above
        if sending is not None:
            sending.cancel()
        await self._producer.client.close()
        while sending is not None and not sending.done():
            sending.cancel()
            await asyncio.wait([sending], timeout=CANCEL_S)

    async def enqueue(self, topic: Topic[M], message: M) -> "asyncio.Future[Any]":
        """
        Queue *message*; the future it returns is done once the broker has acknowledged.

        Kafka stamps it with the machine's time, so that retention works on a simulated clock too; a message's own
        instants are inside it.
        """
        codec = self._codecs.setdefault(topic.name, Codec(topic))
        return await self.enqueue_encoded(topic, codec.key(message), codec.encode(message))

    async def enqueue_encoded(self, topic: Topic[Any], key: bytes, payload: bytes) -> "asyncio.Future[Any]":
        """Do the same with a message that is encoded already."""
        try:
            queued: asyncio.Future[Any] = await self._producer.send(topic.name, payload, key=key)
        except KafkaError as error:
            raise gone(self._bootstrap, error) from error
        return queued

    async def send(self, topic: Topic[M], message: M) -> None:
        """Send *message* and return once the broker has acknowledged it."""
        try:
            await (await self.enqueue(topic, message))
        except KafkaError as error:
            raise gone(self._bootstrap, error) from error

    async def flush(self) -> None:
        """Return once everything queued is acknowledged."""
        await self._producer.flush()


@asynccontextmanager
async def consumer(bootstrap: str, *topics: Topic[Any], **options: Any) -> Any:
    """Yield a started aiokafka consumer of *topics*; raise `BrokerGoneError` when nobody answers."""
    reader = AIOKafkaConsumer(
        *(topic.name for topic in topics),
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        **{"auto_offset_reset": "earliest", "fetch_max_wait_ms": 50, "metadata_max_age_ms": 10_000} | options,
    )
    try:
        await reader.start()
    except (KafkaError, OSError) as error:
        await reader.stop()
        raise gone(bootstrap, error) from error
    try:
        yield reader
    finally:
        await _stop(reader)


def topic_settings(topic: Topic[Any]) -> dict[str, str]:
    """Return the broker-side settings of *topic*. Pure."""
    if topic.retention is None:
        return {"cleanup.policy": "compact"}
    return {"cleanup.policy": "delete", "retention.ms": str(topic.retention // timedelta(milliseconds=1))}


async def ensure_topics(bootstrap: str, topics: Iterable[Topic[Any]], replication: int = 1) -> None:
    """Create what is missing of *topics*; what exists is left as it is."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    try:
        await admin.start()
        wanted = [
            NewTopic(topic.name, topic.partitions, replication, topic_configs=topic_settings(topic)) for topic in topics
        ]
        answer = await admin.create_topics(wanted)
        for name, code, *_ in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise BrokerGoneError(f"could not create topic {name}: {for_code(code).__name__}")
    except (KafkaError, OSError) as error:
        raise gone(bootstrap, error) from error
    finally:
        await admin.close()
