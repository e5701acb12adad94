"""
The actuator as a process: leases looked at four times a second, this host's commands in, acknowledgements out.

    pulse      ─┬──┬──┬──┬──┬──┬──┬──┬──┬─   goes on whatever Kafka does, from before it is first looked for
    Kafka           connect ─ rewind ─ listen ─ ✗ ─ connect again …
    SIGTERM                                    └▶ the way back, in stages, then the end
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from aiokafka.errors import KafkaError

from collectors import acks
from collectors.actuator import Actuator
from collectors.admit import Refusal, RefusalCode, unquoted
from collectors.keys import Nobody
from collectors.notify import Manager
from collectors.outbox import Outbox
from collectors.process import Changes
from collectors.refusals import Refusals
from pipeline.clock import wall
from pipeline.codec import Codec, DecodeError
from pipeline.errors import BrokerGoneError, ConfigError
from pipeline.kafka import Sender, consumer, ensure_topics, keep_to
from pipeline.settings import Kafka
from pipeline.topics import ACKS, COMMANDS

log = logging.getLogger(__name__)

CODEC = Codec(COMMANDS)
ANSWER_EVERY_S = 1.0
"""What anybody may send is answered no more often than this, seconds of the machine; new signed commands always are."""
ANYBODYS = frozenset({RefusalCode.REPLAYED, RefusalCode.WRONG_HOST})
"""Refusals of commands that may be signed and still come from anybody: whoever reads the topic can send them again."""
POLL_MS = 500
FETCH_MS = 2000
"""How long a fetch that finds nothing waits at the broker; one that finds something returns at once."""
CONTACT_S = 5.0
"""Kafka is there while every partition has answered a fetch within so long, seconds of the machine."""
RECONNECT_S = 2.0
PAGE_EVERY_S = 2.0
"""How often metrics are written, seconds of the machine."""
STOP_SLACK = timedelta(seconds=5)
"""How much longer than a way back an end may take, of the shared clock."""


@dataclass
class Line:
    """The way to Kafka, and how it does."""

    actuator: Actuator
    kafka: Kafka
    mute: bool
    """Acknowledge nothing: the limits are pretended."""
    refusals: Refusals = field(default_factory=Refusals)
    trouble: str | None = None
    is_connected: bool = False
    """Whether commands are heard."""
    outbox: Outbox[Any] | None = None
    acknowledged: int = 0
    unsent: int = 0

    async def stay(self) -> None:
        """Listen, and connect again whenever Kafka is gone, until cancelled."""
        while True:
            try:
                await self._listen()
            except (BrokerGoneError, ConfigError, KafkaError) as error:  # a file of `[kafka]` may come later
                self.trouble = str(error)
            await asyncio.sleep(RECONNECT_S)

    def counts(self) -> tuple[int, int]:
        """Return how many acknowledgements were sent, and how many could not be."""
        outbox = self.outbox
        return (
            self.acknowledged + (outbox.acknowledged if outbox else 0),
            self.unsent + (outbox.unsent if outbox else 0),
        )

    async def _listen(self) -> None:
        await ensure_topics(self.kafka, [COMMANDS, ACKS])
        async with (
            Sender(self.kafka) as sender,
            consumer(self.kafka, COMMANDS, fetch_max_wait_ms=FETCH_MS) as reader,
        ):
            keep_to(reader, COMMANDS, self.actuator.host)
            self.outbox = Outbox(sender, ACKS)
            if not self.mute:
                self.actuator.answers.post = self.outbox.post
            try:
                ears = Ears(self.actuator, await rewind(reader, self.actuator), self.refusals)
                self.trouble, self.is_connected = None, True
                log.info("ready: %s obeys signed leases", self.actuator.host)
                await ears.listen(reader)
            finally:
                self.is_connected = False
                await self.outbox.close()
                self.acknowledged, self.unsent = self.counts()
                self.outbox = None
                self.actuator.answers.post = self._lost

    def _lost(self, _: object) -> None:
        self.unsent += 1


async def run(
    actuator: Actuator,
    line: Line,
    period_s: float,
    stop: asyncio.Event,
    write_page: Callable[[Line], None] = lambda _: None,
) -> None:
    """
    Obey until *stop*, then walk back what is held, and end; safety caps stay in force.

    Without keys there is nobody to obey: what an earlier run has left is walked back first, and then that is an error.
    """
    manager = Manager()
    await actuator.begin()
    if isinstance(actuator.keys, Nobody):
        actuator.end("the keyring cannot be read")
        await Pulse(actuator, line, manager, write_page).wind_down(period_s)
        raise actuator.keys.mistake
    listening = asyncio.create_task(line.stay())
    pulse = Pulse(actuator, line, manager, write_page)
    try:
        await pulse.beat_until(stop, listening, period_s)
    finally:
        manager.say("STOPPING=1")
        actuator.end("stopped")
        try:
            await pulse.wind_down(period_s)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            line.refusals.close()
            write_page(line)
            if left := actuator.overdue:
                log.error("stopped, and these are not as they were: %s", ", ".join(map(str, sorted(left))))
            log.info("stopped: %d acknowledgements sent, %d not sent", *line.counts())


@dataclass
class Pulse:
    """The loop that nothing may hold up."""

    actuator: Actuator
    line: Line
    manager: Manager
    write_page: Callable[[Line], None]
    status: str = ""
    troubles: Changes = field(default_factory=lambda: Changes(log))
    page_at_s: float = float("-inf")

    async def beat_until(self, stop: asyncio.Event, listening: "asyncio.Task[None]", period_s: float) -> None:
        """Beat every *period_s* until *stop*; raise what made *listening* fail."""
        while not stop.is_set():
            await self.beat()
            if listening.done():
                listening.result()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), period_s)

    async def wind_down(self, period_s: float) -> None:
        """Beat until all that can be is put back, at most for as long as a way back takes."""
        actuator = self.actuator
        last_s = time.monotonic() + actuator.clock.wall_seconds(actuator.bounds.release + STOP_SLACK)
        while not actuator.is_at_rest and time.monotonic() < last_s:
            await self.beat()
            if not actuator.is_at_rest:
                await asyncio.sleep(period_s)

    async def beat(self) -> None:
        """Look at the leases once, and say how it goes."""
        await self.actuator.advance()
        outbox = self.line.outbox
        self.troubles.note("Kafka", self.line.trouble or (outbox.trouble if outbox is not None else None))
        self.line.refusals.flush(time.monotonic())
        self.manager.say("WATCHDOG=1")
        how = self.line.trouble or ("obeys signed leases" if self.line.is_connected else "looks for Kafka")
        if how != self.status:  # ready from the first beat on: what was held is held, with or without Kafka
            self.status = how
            self.manager.say("READY=1", f"STATUS={self.actuator.host}: {how}")
        now_s = time.monotonic()
        if now_s >= self.page_at_s:
            self.page_at_s = now_s + PAGE_EVERY_S
            self.write_page(self.line)


async def rewind(reader: Any, actuator: Actuator) -> dict[Any, int]:
    """
    Go back to the oldest command that may still be valid; return where each partition ended.

    Kafka stamps commands with the machine's time, so the span is the machine's too.
    """
    reach = actuator.bounds.max_lease + actuator.bounds.max_ahead
    since_ms = int((wall() - actuator.clock.wall_seconds(reach)) * 1000)
    ends: dict[Any, int] = await reader.end_offsets(list(reader.assignment()))
    found = await reader.offsets_for_times(dict.fromkeys(ends, max(0, since_ms)))
    for partition, end in ends.items():
        reader.seek(partition, found[partition].offset if found.get(partition) else end)
    return ends


@dataclass
class Ears:
    """Hears commands addressed to one host."""

    actuator: Actuator
    history: Mapping[Any, int]
    """What lies before these offsets was answered in an earlier life or has lapsed: a refusal of it is not repeated."""
    refusals: Refusals = field(default_factory=Refusals)
    answered_at_s: float = float("-inf")

    async def listen(self, reader: Any) -> None:
        """Hand every command with this host's key to the actuator, until cancelled."""
        key = self.actuator.host.encode()
        polls: dict[Any, int | None] = {}
        answered_s: dict[Any, float] = {}
        while True:
            batches = await reader.getmany(timeout_ms=POLL_MS)
            for partition in reader.assignment():  # a fetch that found nothing is an answer, too
                if (poll := reader.last_poll_timestamp(partition)) != polls.get(partition):
                    polls[partition], answered_s[partition] = poll, time.monotonic()
            is_whole = bool(answered_s) and answered_s.keys() >= set(reader.assignment())
            if is_whole and time.monotonic() - min(answered_s.values()) < CONTACT_S:
                self.actuator.contact_at = self.actuator.steady.now()  # this host's partition among them
            for partition, records in batches.items():
                for record in records:
                    if record.key == key:
                        await self.hear(record.value, is_history=record.offset < self.history.get(partition, 0))
                        await asyncio.sleep(0)  # a fetch may hold many thousands, and leases end meanwhile

    async def hear(self, payload: bytes | None, *, is_history: bool) -> None:
        """Act on one record, whatever bytes it holds, and answer a refusal."""
        try:
            refusal = await self.actuator.obey(CODEC.decode(payload))
        except (DecodeError, RecursionError) as error:  # nested a thousand deep, it is no ValueError
            refusal = Refusal(f"not a signed command: {unquoted(error)}", RefusalCode.MALFORMED)
            self.actuator.refused[refusal.code] += 1
        if refusal is not None and not is_history:
            self.refusals.note(refusal, time.monotonic())
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        now_s = time.monotonic()
        if refusal.command is None or refusal.code in ANYBODYS:
            if now_s < self.answered_at_s + ANSWER_EVERY_S:
                return
            self.answered_at_s = now_s
        at, actuator = self.actuator.clock.now(), self.actuator
        actuator.answers.post(acks.refused(actuator.host, refusal, at, simulated=actuator.answers.simulated))
