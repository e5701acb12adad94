"""The other end of an actuator: sends commands to one host over a real Apache Kafka, and hears what it answers."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from doubles.commands import cap, lease, signed
from doubles.gpu_host import DEADLINE_S, GpuHost

from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.kafka import Sender, consumer
from pipeline.messages.control import CommandAck, LeaseCommand
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS

SPEED = 20.0
"""Of the tests' clock: a lease of a minute takes three seconds."""


@dataclass
class Dispatcher:
    """The other end: sends commands to one host and hears what it answers."""

    host: GpuHost
    clock: Clock
    sender: Sender
    reader: Any

    async def cap(self, seq: int, cap_w: float, lasts_s: float) -> LeaseCommand:
        """Send a lease for every GPU of the host, to begin now."""
        command = lease(seq, cap(cap_w), begins=self.clock.now(), lasts_s=lasts_s, host=self.host.name)
        await self.sender.send(COMMANDS, signed(command))
        return command

    async def answer(self) -> CommandAck:
        """Return the host's next acknowledgement."""
        while True:
            record = await asyncio.wait_for(self.reader.getone(), DEADLINE_S)
            if record.key == self.host.name.encode():
                return Codec(ACKS).decode(record.value)


@asynccontextmanager
async def dispatching(host: GpuHost, kafka: Kafka, clock: Clock) -> AsyncIterator[Dispatcher]:
    """Yield a dispatcher to *host*."""
    async with Sender(kafka) as sender, consumer(kafka, ACKS) as reader:
        yield Dispatcher(host, clock, sender, reader)
