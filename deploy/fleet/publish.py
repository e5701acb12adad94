"""Ticks on their way to Kafka: sent, counted once acknowledged, given up after a while."""

import asyncio
from collections import deque
from typing import Any, TypeVar

import msgspec

from pipeline.errors import BrokerGoneError
from pipeline.kafka import Sender
from pipeline.messages.control import CommandAck
from pipeline.messages.telemetry import HostTick
from pipeline.topics import ACKS, HOST_TICKS, Topic

M = TypeVar("M")


class Produced(msgspec.Struct, frozen=True, kw_only=True):
    """What the fleet leaves behind when it stops: the count that the pipeline is checked against."""

    description: str
    simulated: bool
    hosts: int
    gpus: int
    boots: dict[str, str]
    ticks_produced: int
    """Acknowledged by all in-sync replicas."""
    seq: dict[str, tuple[int, int]]
    """By host: lowest and highest acknowledged sequence number."""
    commands_admitted: int
    commands_refused: int


class Publisher:
    """Send without waiting for each message; know what is acknowledged."""

    def __init__(self, sender: Sender, patience_s: float) -> None:
        self._sender, self._patience_s = sender, patience_s
        self._flying: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self.acknowledged = 0
        self.seq: dict[str, tuple[int, int]] = {}

    async def answer(self, ack: CommandAck) -> None:
        """Queue an acknowledgement of a command."""
        await self._send(ACKS, ack)

    async def publish(self, tick: HostTick) -> None:
        """Queue *tick* and count it once it is acknowledged."""
        future = await self._send(HOST_TICKS, tick)
        host, seq = tick.host, tick.seq
        future.add_done_callback(lambda done: self._count(done, host, seq))

    async def _send(self, topic: Topic[M], message: M) -> "asyncio.Future[Any]":
        """Queue *message*; raise `BrokerGoneError` when Kafka takes no more."""
        try:
            async with asyncio.timeout(self._patience_s):
                future = await self._sender.enqueue(topic, message)
        except TimeoutError as error:
            raise self._gone() from error
        self._flying.append((asyncio.get_running_loop().time(), future))
        return future

    def check(self) -> None:
        """Raise `BrokerGoneError` when a message failed or is out for longer than the patience."""
        while self._flying and (future := self._flying[0][1]).done():
            if future.cancelled() or future.exception() is not None:
                raise self._gone() from (None if future.cancelled() else future.exception())
            self._flying.popleft()
        if self._flying and asyncio.get_running_loop().time() - self._flying[0][0] > self._patience_s:
            raise self._gone()

    async def drain(self) -> None:
        """Return once everything queued is acknowledged; `BrokerGoneError` when that takes longer than the patience."""
        futures = [future for _, future in self._flying]
        if futures:
            await asyncio.wait(futures, timeout=self._patience_s)
        self.check()
        if self._flying:
            raise self._gone()

    def _count(self, done: "asyncio.Future[Any]", host: str, seq: int) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        self.acknowledged += 1
        low, high = self.seq.get(host, (seq, seq))
        self.seq[host] = (min(low, seq), max(high, seq))

    def _gone(self) -> BrokerGoneError:
        return BrokerGoneError(
            f"Kafka has not acknowledged a message for {self._patience_s:g} s, "
            f"{self.acknowledged} ticks before that are safe; `firmwatt broker status` tells, `broker start` starts it"
        )
