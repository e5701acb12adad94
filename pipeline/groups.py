"""
Consumer groups as Kafka knows them: who works in each, and how far it has come. A thin shell.

By aiokafka rather than by librdkafka's admin client: asked for offsets on a cluster that never had a group, 2.16.0
times out while Kafka makes their topic, and has crashed the process here. `ask` returns once that topic is there.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
)

from pipeline import kafka as bus
from pipeline.clock import wall
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka

T = TypeVar("T")

#: A group that is being set up is asked again for so long, seconds of the machine.
SETTLED_WITHIN_S = 20.0
AGAIN_S = 0.2
NOT_YET = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


class Place(NamedTuple):
    """A partition, as a key."""

    topic: str
    partition: int


class Member(NamedTuple):
    """Who works in a group, as it calls itself, and from where."""

    client: str
    places: frozenset[Place]


class Committed(NamedTuple):
    """How far a group has come in a partition."""

    offset: int
    metadata: str


@dataclass(frozen=True)
class GroupFacts:
    """A group as it is; one that does not exist has neither members nor offsets."""

    members: tuple[Member, ...] = ()
    committed: Mapping[Place, Committed] = field(default_factory=dict)


async def ask(kafka: Kafka, names: Iterable[str]) -> dict[str, GroupFacts]:
    """Return what Kafka knows of the groups *names*; raise `BrokerGoneError` where it does not answer."""
    async with bus.consumer(kafka):
        pass  # its errors say why not
    admin = AIOKafkaAdminClient(**for_aiokafka(kafka))
    try:
        await admin.start()
        return {name: await _group(admin, name) for name in names}
    except (KafkaError, OSError) as error:
        raise bus.gone(kafka.bootstrap, error) from error
    finally:
        await admin.close()


async def _group(admin: AIOKafkaAdminClient, name: str) -> GroupFacts:
    async def describe() -> Any:
        (answer,) = await admin.describe_consumer_groups([name])
        return answer.groups[0]

    async def offsets() -> Any:
        return await admin.list_consumer_group_offsets(name)

    try:
        error, _, _, _, _, members = await _settled(describe)
        if error == GroupAuthorizationFailedError.errno:
            return GroupFacts()
        known = await _settled(offsets)
    except GroupAuthorizationFailedError:
        return GroupFacts()
    return GroupFacts(
        members=tuple(_member(*member) for member in members),
        committed={
            Place(*place): Committed(found.offset, found.metadata or "")
            for place, found in known.items()
            if found.offset >= 0
        },
    )


def _member(member: str, client: str, host: str, metadata: bytes, assignment: bytes) -> Member:
    del member, metadata
    given = ConsumerProtocolMemberAssignment.decode(assignment).partitions() if assignment else ()
    return Member(f"{client}{host}", frozenset(Place(*place) for place in given))


async def _settled(question: Callable[[], Awaitable[T]]) -> T:
    """Return the answer to *question* once the group has somebody who gives it."""
    deadline = wall() + SETTLED_WITHIN_S
    while True:
        try:
            return await question()
        except NOT_YET:
            if wall() > deadline:
                raise
        await asyncio.sleep(AGAIN_S)
