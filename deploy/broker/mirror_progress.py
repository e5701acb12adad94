"""
How far each link has come, read from where MirrorMaker itself keeps it: two topics on the link's target.

``mm2-offsets.SOURCE.internal`` has the last offset mirrored of each partition, ``mm2-status.SOURCE.internal`` the state
of each connector and task. A failed task stays failed until the mirror is started again.
"""

import asyncio
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from deploy.broker.mirror_settings import Link, Mirror, downward, upward
from pipeline.errors import BrokerGoneError
from pipeline.kafka import consumer, gone
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka

ANSWER_S = 20.0
REQUEST_MS = 5_000
OFFSETS, STATUS = "mm2-offsets.{}.internal", "mm2-status.{}.internal"

Place: TypeAlias = tuple[str, int]
"""Topic and partition."""


@dataclass(frozen=True)
class Progress:
    """One link as it stands."""

    link: str
    failed: tuple[str, ...]
    """Connectors and tasks that have given up."""
    behind: int | None
    """Records at the source that are not mirrored yet; those mirrored within `Mirror.flush_s` may still count."""
    trouble: str | None = None
    """Why that is not known."""


def failed(statuses: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """Return the names of the connectors and tasks that have failed, of the records of a status topic. Pure."""
    states = {key.decode().removeprefix("status-"): _object(value).get("state") for key, value in statuses.items()}
    return tuple(sorted(name for name, state in states.items() if state == "FAILED"))


def mirrored(offsets: Mapping[bytes, bytes]) -> dict[Place, int]:
    """Return the next offset to mirror of each partition, of the records of an offsets topic. Pure."""
    found = {}
    for key, value in offsets.items():
        _, place = json.loads(key)
        if "topic" in place:  # heartbeats and checkpoints note places of another kind
            found[place["topic"], int(place["partition"])] = int(_object(value)["offset"]) + 1
    return found


def _object(value: bytes) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(value)
    return read


def behind(begins: Mapping[Place, int], ends: Mapping[Place, int], done: Mapping[Place, int]) -> int:
    """
    Return how many records the source has that are not mirrored yet. Pure.

    What the source has deleted is behind nobody: it is lost, and shows as ticks that are missing.
    """
    return sum(max(0, end - max(done.get(place, 0), begins[place])) for place, end in ends.items())


async def read(mirror: Mirror) -> list[Progress]:
    """Return every link as it stands; a cluster that does not answer is named in `Progress.trouble`."""
    return [await _read(link) for link in (*upward(mirror), *downward(mirror))]


async def _read(link: Link) -> Progress:
    broken: tuple[str, ...] = ()
    try:
        broken = failed(await _newest(link.target, STATUS.format(link.source.name)))
        done = mirrored(await _newest(link.target, OFFSETS.format(link.source.name)))
        begins, ends = await _bounds(link)
    except (BrokerGoneError, KafkaError, TimeoutError) as error:
        return Progress(link.name, broken, None, str(error) or f"no answer within {ANSWER_S:.0f} s")
    return Progress(link.name, broken, behind(begins, ends, done))


async def _newest(kafka: Kafka, topic: str) -> dict[bytes, bytes]:
    """Return the newest value of each key of the compacted *topic*; nothing of a topic that does not exist."""
    newest: dict[bytes, bytes] = {}
    async with asyncio.timeout(ANSWER_S):
        if not (places := await _places(kafka, [topic])):
            return newest
        async with consumer(kafka, request_timeout_ms=REQUEST_MS) as reader:
            reader.assign(places)
            ends = await reader.end_offsets(places)
            while any([await reader.position(place) < end for place, end in ends.items()]):
                for records in (await reader.getmany(timeout_ms=200)).values():
                    newest |= {record.key: record.value for record in records}
    return {key: value for key, value in newest.items() if value is not None}


async def _bounds(link: Link) -> tuple[dict[Place, int], dict[Place, int]]:
    """Return the first and the next offset of each partition of the link's topics at its source."""
    async with asyncio.timeout(ANSWER_S):
        if not (places := await _places(link.source, [topic.name for topic in link.topics])):
            return {}, {}
        async with consumer(link.source, request_timeout_ms=REQUEST_MS) as reader:
            begins, ends = await reader.beginning_offsets(places), await reader.end_offsets(places)
    return _plain(begins), _plain(ends)


def _plain(offsets: Mapping[TopicPartition, int]) -> dict[Place, int]:
    return {(place.topic, place.partition): offset for place, offset in offsets.items()}


async def _places(kafka: Kafka, names: Collection[str]) -> list[TopicPartition]:
    """Return the partitions of those topics among *names* that exist on *kafka*."""
    admin = AIOKafkaAdminClient(**for_aiokafka(kafka), request_timeout_ms=REQUEST_MS)
    try:
        await admin.start()
        topics = await admin.describe_topics()  # of all: a broker may make topics that are asked for by name
    except (KafkaError, OSError) as error:
        raise gone(kafka.bootstrap, error) from error
    finally:
        await admin.close()
    return [
        TopicPartition(topic["topic"], place["partition"])
        for topic in topics
        if topic["topic"] in names
        for place in topic["partitions"]
    ]
