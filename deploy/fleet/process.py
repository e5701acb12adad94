"""
The fleet's process: step the model, publish ticks, obey commands, all in one event loop.

    machine   |  0.1 s  |  0.1 s  |  0.1 s  |     every `STEP_S` of the machine the model advances to the clock's now
    hosts      0 … 19    20 … 39   40 … 59        those whose turn it is publish, one round a clock second
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from aiokafka.errors import KafkaError

from collectors.admit import Keyring
from deploy.fleet.actuation import Actuators
from deploy.fleet.host import Node, next_tick, nodes
from deploy.fleet.model import FleetModel
from deploy.fleet.plan import Plan
from deploy.fleet.publish import Produced, Publisher
from deploy.fleet.settings import FleetSettings
from pipeline import files, settings
from pipeline.clock import Clock
from pipeline.codec import Codec, DecodeError
from pipeline.errors import FirmwattError
from pipeline.kafka import Sender, consumer, ensure_topics, gone
from pipeline.topics import ACKS, COMMANDS, HOST_TICKS

#: The model advances this often, seconds of the machine: no slower than NVML refreshes its reading on an H100 (0.1 s).
STEP_S = 0.1
#: Leases are looked at every so many steps.
STEPS_PER_LOOK = 3
#: A producer that cannot reach its broker gets this long to close, seconds of the machine.
CLOSE_S = 3.0


@dataclass(frozen=True)
class Setting:
    """Everything the process was told."""

    kafka: settings.Kafka
    clock: Clock
    site: settings.Site
    fleet: FleetSettings


def load(path: Path, trace: str | None = None) -> Setting:
    """Return what the settings file at *path* says; *trace* replaces the one named there."""
    fleet = settings.load(path, "fleet", FleetSettings)
    return Setting(
        kafka=settings.load(path, "kafka", settings.Kafka),
        clock=settings.load(path, "clock", settings.ClockSection).clock(),
        site=settings.load(path, "site", settings.Site),
        fleet=fleet if trace is None else msgspec.structs.replace(fleet, trace=trace),
    )


class Rounds:
    """Whose turn it is: every host once a second, spread evenly over it."""

    def __init__(self, hosts: int, started_at: float) -> None:
        self._hosts, self._started_at, self._given = hosts, started_at, 0

    def due(self, at: float) -> Iterator[int]:
        """Yield the hosts whose turn came since the last call; after a stall each at most once."""
        turns = int((at - self._started_at) * self._hosts) + 1
        for turn in range(max(self._given, turns - self._hosts), turns):
            yield turn % self._hosts
        self._given = max(self._given, turns)


class Process:
    """The running fleet."""

    def __init__(self, setting: Setting, plan: Plan, sender: Sender) -> None:
        self._setting, self._clock = setting, setting.clock
        started_at = self._clock.now().timestamp()
        self._model = FleetModel(plan, started_at, self._clock.speed)
        self._nodes: tuple[Node, ...] = nodes(plan.layout, setting.site.name, uuid.uuid4().hex[:12], started_at)
        self._rounds = Rounds(len(self._nodes), started_at)
        self._publisher = Publisher(sender, setting.fleet.patience_s)
        keyring = Keyring.load(Path(setting.fleet.keyring)) if setting.fleet.keyring else Keyring({})
        self._actuators = Actuators(
            self._nodes, self._model, keyring=keyring, clock=self._clock, answer=self._publisher.answer
        )

    async def run(self, reader: Any, stop: asyncio.Event, ready: Callable[[str], None]) -> Produced:
        """Run until *stop*; return what was produced. Raise `BrokerGoneError` when Kafka stops answering."""
        try:
            async with asyncio.TaskGroup() as group:
                tasks = {group.create_task(self._tick(ready))}
                tasks.add(group.create_task(self._obey(reader, group, tasks)))
                await stop.wait()
                for task in tuple(tasks):
                    task.cancel()
        except BaseExceptionGroup as errors:
            raise _expected(errors) from errors
        await self._publisher.drain()
        return self._produced()

    async def _tick(self, ready: Callable[[str], None]) -> None:
        """Advance and publish for ever, on a steady beat of the machine."""
        loop, beat, announced = asyncio.get_running_loop(), 0, False
        begun = loop.time()
        while True:
            now = self._clock.now()
            self._model.step(now.timestamp())
            self._actuators.tell_stepped()
            if beat % STEPS_PER_LOOK == 0:
                await self._actuators.let_go()
            await self._publish(now)
            if not announced and len(self._publisher.seq) == len(self._nodes):
                ready(f"ready: {len(self._nodes)} hosts with {self._model.gpus} GPUs; {self._described()}")
                announced = True
            beat = max(beat + 1, int((loop.time() - begun) / STEP_S))
            await asyncio.sleep(begun + beat * STEP_S - loop.time())

    async def _publish(self, now: datetime) -> None:
        """Publish the ticks of the hosts whose turn it is."""
        for index in self._rounds.due(self._model.at):
            await self._publisher.publish(next_tick(self._nodes[index], self._model, now))
        self._publisher.check()

    async def _obey(self, reader: Any, group: asyncio.TaskGroup, tasks: set["asyncio.Task[None]"]) -> None:
        """Hand each command to its host's actuator without waiting for the outcome; keep what runs in *tasks*."""
        codec = Codec(COMMANDS)
        try:
            while True:
                for records in (await reader.getmany(timeout_ms=500)).values():
                    for record in records:
                        try:
                            command = codec.decode(record.value)
                        except DecodeError:
                            # No host to answer for: on a real site its collector would not see it either.
                            continue
                        tasks.add(task := group.create_task(self._actuators.obey(command)))
                        task.add_done_callback(tasks.discard)
        except KafkaError as error:
            raise gone(self._setting.kafka.bootstrap, error) from error

    def _described(self) -> str:
        return self._model.plan.demand.describe()

    def _produced(self) -> Produced:
        return Produced(
            description=self._described(),
            simulated=True,
            hosts=len(self._nodes),
            gpus=self._model.gpus,
            boots={node.name: node.boot for node in self._nodes},
            ticks_produced=self._publisher.acknowledged,
            seq=self._publisher.seq,
            commands_admitted=self._actuators.admitted,
            commands_refused=self._actuators.refused,
        )


def _expected(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error in *errors* that says what to do, else the first."""
    leaves: list[BaseException] = []
    queue: list[BaseException] = [errors]
    while queue:
        error = queue.pop(0)
        queue += error.exceptions if isinstance(error, BaseExceptionGroup) else []
        leaves += [] if isinstance(error, BaseExceptionGroup) else [error]
    return next((leaf for leaf in leaves if isinstance(leaf, FirmwattError)), leaves[0])


async def serve(setting: Setting, plan: Plan, stop: asyncio.Event, ready: Callable[[str], None]) -> Produced | None:
    """
    Run until *stop* and return what was produced, None when stopped before Kafka answered.

    A broker that is gone, or goes while the process ends, cannot hold up the end: `BrokerGoneError`.
    """
    connected = asyncio.Event()
    serving = asyncio.ensure_future(_serve(setting, plan, stop, ready, connected))
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
        if connected.is_set():
            await asyncio.wait([serving], timeout=setting.fleet.patience_s + CLOSE_S)
        if serving.done():
            return serving.result()
        if connected.is_set():
            raise gone(setting.kafka.bootstrap, TimeoutError("it did not let go"))
        return None
    finally:
        for task in (serving, stopped):
            task.cancel()
        await asyncio.wait([serving, stopped], timeout=CLOSE_S)


async def _serve(
    setting: Setting, plan: Plan, stop: asyncio.Event, ready: Callable[[str], None], connected: asyncio.Event
) -> Produced:
    """Connect, run, close; after a failure closing gets `CLOSE_S`."""
    failure: FirmwattError | None = None
    await ensure_topics(setting.kafka, (HOST_TICKS, COMMANDS, ACKS))
    try:
        async with (
            asyncio.timeout(None) as deadline,
            Sender(setting.kafka) as sender,
            consumer(setting.kafka, COMMANDS, auto_offset_reset="latest") as reader,
        ):
            try:
                for partition in reader.assignment():
                    await reader.position(partition)  # from here on no command is missed
                connected.set()
                return await Process(setting, plan, sender).run(reader, stop, ready)
            except FirmwattError as error:
                failure = error
                deadline.reschedule(asyncio.get_running_loop().time() + CLOSE_S)
                raise
    except TimeoutError:
        if failure is None:
            raise
        raise failure from None


def write(path: Path, produced: Produced) -> None:
    """Write the summary: a reader sees all of it or nothing."""
    files.replace(path, msgspec.json.format(msgspec.json.encode(produced)))
