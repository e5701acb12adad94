"""Thin shells over aiokafka: connect, create topics, send keyed messages. No decision lives here."""

import asyncio
import logging
import ssl
from collections.abc import Iterable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Self, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    KafkaConnectionError,
    KafkaError,
    NodeNotReadyError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnsupportedSaslMechanismError,
    for_code,
)
from aiokafka.partitioner import murmur2

from pipeline.codec import Codec
from pipeline.errors import BrokerGoneError, NotAllowedError
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, ROLLUP_STATE, Topic

M = TypeVar("M")

logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # its errors reach us as exceptions

STOP_S = 5.0
"""How long a client may take to stop, queued messages included, seconds of the machine."""
CANCEL_S = 0.2
"""How long a cancelled task may take before it is cancelled again, seconds of the machine."""
WHY_MS = 5000
"""How long a broker may take to show why it could not be used."""

NO_RIGHT = (TopicAuthorizationFailedError, GroupAuthorizationFailedError, ClusterAuthorizationFailedError)
NO_LOGIN = (SaslAuthenticationFailed, UnsupportedSaslMechanismError)
#: librdkafka's own codes (rdkafka.h: RD_KAFKA_RESP_ERR__AUTHENTICATION and __SSL); those above zero are Kafka's.
LIBRDKAFKA: dict[int, type[BaseException]] = {-169: SaslAuthenticationFailed, -181: ssl.SSLError}


def _kind(error: BaseException) -> type[BaseException]:
    """Return what *error* is in aiokafka's words, whichever library raised it."""
    code = getattr(error.args[0], "code", None) if error.args else None
    if not callable(code):
        return type(error)
    number = int(code())
    kafkas: type[BaseException] = for_code(number)
    return LIBRDKAFKA.get(number, kafkas)


def gone(bootstrap: str, error: BaseException) -> BrokerGoneError:
    """Say in one line that Kafka at *bootstrap* does not answer, or what it says instead, and what to do."""
    kind = _kind(error)
    if issubclass(kind, NO_RIGHT):
        return NotAllowedError(
            f"Kafka at {bootstrap} does not let us ({error}); `firmwatt broker acls` prints who needs which rights"
        )
    if issubclass(kind, NO_LOGIN):
        return NotAllowedError(
            f"Kafka at {bootstrap} does not know us ({error}); see username, password_file and mechanism in [kafka]"
        )
    if issubclass(kind, ssl.SSLError):
        return NotAllowedError(
            f"no TLS with Kafka at {bootstrap} ({error}); see security, ca_file and certificate_file in [kafka], "
            "the broker's certificate and the name it is reached by"
        )
    hung_up = issubclass(kind, KafkaConnectionError)
    hint = "; if it runs, see security and certificate_file in [kafka]" if hung_up else ""
    return BrokerGoneError(
        f"no Kafka at {bootstrap} ({error}); `firmwatt broker status` tells, `broker start` starts it{hint}"
    )


async def _why(kafka: Kafka, error: BaseException) -> BaseException:
    """Return what stands behind *error*: aiokafka tells that no broker of *kafka* would have it, and not why."""
    says_why = not isinstance(error, (KafkaConnectionError, NodeNotReadyError))
    options = for_aiokafka(kafka)
    if says_why:
        return error
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers"), randomize=False):
        try:
            connection = await create_conn(host, port, request_timeout_ms=WHY_MS, **options)
        except (KafkaError, OSError) as cause:
            return cause if str(cause) else error
        connection.close()
    return error


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

    def __init__(self, kafka: Kafka, *, linger_ms: int = 5, batch_bytes: int = 16_384) -> None:
        self._kafka, self._bootstrap = kafka, kafka.bootstrap
        self._codecs: dict[str, Codec[Any]] = {}
        self._producer = AIOKafkaProducer(
            **for_aiokafka(kafka),
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
            raise gone(self._bootstrap, await _why(self._kafka, error)) from error
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
async def consumer(kafka: Kafka, *topics: Topic[Any], **options: Any) -> Any:
    """Yield a started aiokafka consumer of *topics*; raise `BrokerGoneError` when nobody answers."""
    reader = AIOKafkaConsumer(
        *(topic.name for topic in topics),
        **for_aiokafka(kafka),
        enable_auto_commit=False,
        **{"auto_offset_reset": "earliest", "fetch_max_wait_ms": 50, "metadata_max_age_ms": 10_000} | options,
    )
    try:
        await reader.start()
    except (KafkaError, OSError) as error:
        await reader.stop()
        raise gone(kafka.bootstrap, await _why(kafka, error)) from error
    try:
        yield reader
    finally:
        await _stop(reader)


def keep_to(reader: Any, topic: Topic[Any], key: str) -> None:
    """
    Let *reader*, a consumer of *topic* without a group, read only the partition that messages with *key* go to.

    As `Sender`, and Kafka's own clients, choose it: murmur2 of the key (Apache Kafka, `BuiltInPartitioner`). A reader
    of one key's messages then fetches what goes to its partition and not all there is.
    """
    if not (partitions := reader.partitions_for_topic(topic.name)):
        raise BrokerGoneError(f"topic {topic.name} is not there, or hidden from us; `firmwatt pipeline doctor` tells")
    reader.unsubscribe()
    reader.assign([TopicPartition(topic.name, (murmur2(key.encode()) & 0x7FFFFFFF) % len(partitions))])


def topic_settings(topic: Topic[Any]) -> dict[str, str]:
    """Return the broker-side settings of *topic*. Pure."""
    if topic.retention is None:
        return {"cleanup.policy": "compact"} | dict(topic.settings)
    kept = {"cleanup.policy": "delete", "retention.ms": str(topic.retention // timedelta(milliseconds=1))}
    return kept | dict(topic.settings)


def partitions_of(kafka: Kafka, topic: Topic[Any]) -> int:
    """Return how many partitions *topic* has on *kafka*: those of the host ticks grow with the fleet. Pure."""
    return kafka.telemetry_partitions if topic in {HOST_TICKS, ROLLUP_STATE} else topic.partitions


async def ensure_topics(kafka: Kafka, topics: Iterable[Topic[Any]], replication: int = 1) -> None:
    """
    Create what is missing of *topics*; what exists is left as it is, and who may only see it needs no more.

    Raise `NotAllowedError` where something is missing, or hidden from us, that we may not create.
    """
    admin = AIOKafkaAdminClient(**for_aiokafka(kafka))
    try:
        await admin.start()
        visible = set(await admin.list_topics())
        if wanted := [_new(kafka, topic, replication) for topic in topics if topic.name not in visible]:
            _check_created(kafka, (await admin.create_topics(wanted)).topic_errors)
    except (KafkaError, OSError) as error:
        raise gone(kafka.bootstrap, await _why(kafka, error)) from error
    finally:
        await admin.close()


def _new(kafka: Kafka, topic: Topic[Any], replication: int) -> NewTopic:
    return NewTopic(topic.name, partitions_of(kafka, topic), replication, topic_configs=topic_settings(topic))


def _check_created(kafka: Kafka, outcomes: Iterable[tuple[Any, ...]]) -> None:
    """Raise for the first of *outcomes*, (topic, error code, …), that is neither a new topic nor one there already."""
    for name, code, *_ in outcomes:
        kind = for_code(code)
        if kind in NO_RIGHT:
            raise NotAllowedError(
                f"{name} is missing at {kafka.bootstrap}, or hidden from us, and we may not create it: let a pipeline "
                "worker create it; `firmwatt broker acls` prints who needs which rights"
            )
        if code and kind is not TopicAlreadyExistsError:
            raise BrokerGoneError(f"could not create topic {name}: {kind.__name__}")
