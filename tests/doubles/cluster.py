"""
Three Apache Kafka nodes on loopback, each broker and controller, that can be stopped, killed, frozen and started.

    node 1   node 2   node 3      replication 3, min.insync.replicas 2, no unclean election:
    ███████  ███████  ███████     what is acknowledged is on two of them at least

Each node is a folder and a process of the embedded broker's, secured like it if that is asked for, with one authority,
one set of users and one inner certificate for all; only what three nodes need is set here.
"""

import asyncio
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from doubles.loopback import lasting_ports

from deploy.broker import node, properties, state
from deploy.broker.opening import Opening
from deploy.broker.secure_properties import ADMIN, Variant
from deploy.broker.security import GROUP, Security
from pipeline.kafka_security import for_aiokafka
from pipeline.settings import Kafka

T = TypeVar("T")

NODES = (1, 2, 3)
HEAP_MB = 384
JAVA_OPTIONS = ("-XX:TieredStopAtLevel=1",)
"""Compile quickly rather than well: a third less work in a start, which is what these nodes do most."""
HEALTHY_S = 120.0 * float(os.environ.get("FIRMWATT_PATIENCE", "1"))
ANSWER_MS = 2000
POLL_S = 0.1


@dataclass(frozen=True)
class Member:
    """One node: its number, its folder, and where it listens: to clients, to controllers, if secured to brokers."""

    number: int
    folder: Path
    port: int
    controller_port: int
    broker_port: int

    @property
    def address(self) -> str:
        """``host:port`` for clients."""
        return f"{properties.HOST}:{self.port}"

    @property
    def quorum_file(self) -> Path:
        """Where the node keeps what it knows of the controllers' last election."""
        return self.folder / node.STORAGE / "__cluster_metadata-0" / "quorum-state"


def settings(member: Member, members: Iterable[Member]) -> dict[str, str]:
    """
    Return ``server.properties`` of *member*, one of *members*. Pure.

    Names are those of Apache Kafka 4.3, "Broker Configs". The embedded broker's session of 4 s between broker and
    controller stays (Kafka's default: 9 s), and a follower is out of the in-sync set after 10 s behind instead of 30:
    short, so that a test sees in seconds what production sees in half a minute.
    """
    voters = ",".join(f"{each.number}@{properties.HOST}:{each.controller_port}" for each in members)
    copies = {f"{topic}.replication.factor": "3" for topic in ("default", "offsets.topic", "transaction.state.log")}
    return {
        **properties.server(member.folder / node.STORAGE, member.port, member.controller_port),
        "node.id": str(member.number),
        "controller.quorum.voters": voters,
        **copies,
        "share.coordinator.state.topic.replication.factor": "3",
        "min.insync.replicas": "2",
        "transaction.state.log.min.isr": "2",
        "share.coordinator.state.topic.min.isr": "2",
        "unclean.leader.election.enable": "false",
        "replica.lag.time.max.ms": "10000",
        # A node that finds no controllers gives up after 60 s, which a starved machine may take for a start.
        "initial.broker.registration.timeout.ms": "240000",
    }


def elected(states: Iterable[str]) -> int | None:
    """Return who leads the controllers, from the texts of their quorum files: the newest epoch's. Pure."""
    known = [json.loads(text) for text in states if text.strip()]
    newest = max(known, key=lambda seen: int(seen["leaderEpoch"]), default=None)
    return int(newest["leaderId"]) if newest and newest["leaderId"] > 0 else None


class Cluster:
    """An async context manager: three nodes in *folder*, in sync when it is entered, gone when it is left."""

    def __init__(self, folder: Path, *, secure: Variant | None = None, heap_mb: int = HEAP_MB) -> None:
        taken = lasting_ports(3 * len(NODES))
        self.members: Mapping[int, Member] = {
            number: Member(number, (folder / f"node-{number}").absolute(), *taken[number - 1 :: len(NODES)])
            for number in NODES
        }
        guard = Security((folder / "security").absolute(), secure, GROUP) if secure else None
        self._opening = Opening.prepare(guard, used=False) if guard else None
        self.kafka = self._client(",".join(member.address for member in self.members.values()))
        """The settings of a client that may do everything."""
        self._id = node.new_cluster()
        self._heap_mb = heap_mb

    def _client(self, bootstrap: str) -> Kafka:
        return self._opening.security.kafka(ADMIN, bootstrap) if self._opening else Kafka(bootstrap=bootstrap)

    async def __aenter__(self) -> Self:
        try:
            await asyncio.gather(*map(self.start, NODES))
            for number in NODES:
                await self.answering(number)
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        for member in self.members.values():
            if found := state.read(member.folder):
                await asyncio.to_thread(node.kill, found)

    async def start(self, number: int) -> None:
        """Start node *number*, which does not run; `answering` tells when it takes part again."""
        member = self.members[number]
        member.folder.mkdir(parents=True, exist_ok=True)
        plain = settings(member, self.members.values())
        await node.launch(
            member.folder,
            self._opening.secured(plain, member.broker_port) if self._opening else plain,
            port=member.port,
            heap_mb=self._heap_mb,
            detach=False,
            cluster=self._id,
            users=self._opening.users if self._opening else "",
            java_options=JAVA_OPTIONS,
        )

    async def stop(self, number: int) -> None:
        """End node *number* by SIGTERM, after which it hands over what it leads; return once it is gone."""
        assert await asyncio.to_thread(node.stop, self.members[number].folder), f"node {number} did not run"

    async def kill(self, number: int) -> None:
        """End node *number* by SIGKILL; return once it is gone."""
        await asyncio.to_thread(node.kill, self._running(number))

    def freeze(self, number: int) -> None:
        """Let node *number* stand still, its connections open; beyond the session of 4 s it counts as gone."""
        os.kill(self._running(number).pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """Let node *number* go on."""
        os.kill(self._running(number).pid, signal.SIGCONT)

    def _running(self, number: int) -> node.Node:
        found = node.status(self.members[number].folder)
        assert found.node, f"node {number} does not run"
        assert found.state is node.State.RUNNING, f"node {number} ended by itself ({found.node.log})"
        return found.node

    async def controller(self) -> int:
        """Return the number of the living node that leads the controllers; wait while there is none."""
        return await _first(self._controller, "an active controller")

    async def _controller(self) -> int | None:
        return self._living(elected(_text(member.quorum_file) for member in self.members.values()))

    def _living(self, number: int | None) -> int | None:
        """Return *number* if that node runs: what the others say of it may be older than its end."""
        lives = (
            number is not None and number > 0 and node.status(self.members[number].folder).state is node.State.RUNNING
        )
        return number if lives else None

    async def leader_of(self, topic: str, partition: int) -> int:
        """Return the number of the living node that leads *partition* of *topic*; wait while there is none."""

        async def leader() -> int | None:
            found = {each["partition"]: each["leader"] for each in await self._partitions(topic)}
            return self._living(found.get(partition))

        return await _first(leader, f"a leader of {topic} {partition}")

    async def answering(self, number: int) -> None:
        """Return once node *number* is a living broker in its own eyes, that is: registered and unfenced."""
        alone = self._client(self.members[number].address)

        async def present() -> bool | None:
            self._running(number)
            cluster = await _asked(alone, AIOKafkaAdminClient.describe_cluster)
            return number in {broker["node_id"] for broker in cluster["brokers"]} or None

        await _first(present, f"node {number} to answer")

    async def in_sync(self, topic: str) -> None:
        """Return once each partition of *topic* has all its copies in sync."""

        async def whole() -> bool | None:
            found = await self._partitions(topic)
            return (bool(found) and all(set(each["isr"]) == set(NODES) for each in found)) or None

        await _first(whole, f"all copies of {topic} in sync")

    async def _partitions(self, topic: str) -> list[Any]:
        async def describe(admin: AIOKafkaAdminClient) -> list[Any]:
            return list((await admin.describe_topics([topic]))[0]["partitions"])

        return list(await _asked(self.kafka, describe))


async def _asked(kafka: Kafka, question: Callable[[AIOKafkaAdminClient], Awaitable[Any]]) -> Any:
    """Return what an admin client of *kafka* answers; raise `KafkaError` or `OSError` when nobody does."""
    admin = AIOKafkaAdminClient(**for_aiokafka(kafka), request_timeout_ms=ANSWER_MS)
    try:
        await admin.start()
        return await question(admin)
    finally:
        await admin.close()


async def _first(look: Callable[[], Awaitable[T | None]], what: str) -> T:
    """Return the first answer of *look* that is one; an error and None are none."""
    deadline = asyncio.get_running_loop().time() + HEALTHY_S
    while True:
        why = "no answer"
        try:
            if (answer := await look()) is not None:
                return answer
        except (KafkaError, OSError) as error:
            why = repr(error)
        assert asyncio.get_running_loop().time() < deadline, f"waited {HEALTHY_S:.0f} s for {what}: {why}"
        await asyncio.sleep(POLL_S)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""
