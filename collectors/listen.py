"""The actuator's way to Kafka: this host's commands in, acknowledgements out, leases looked at in between."""

import asyncio
import contextlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from collectors import acks
from collectors.actuator import Actuator
from collectors.lease import Refusal, RefusalCode
from collectors.outbox import Outbox
from collectors.process import Changes
from pipeline.clock import wall
from pipeline.codec import Codec, DecodeError
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.topics import ACKS, COMMANDS

log = logging.getLogger(__name__)

CODEC = Codec(COMMANDS)
ANSWER_EVERY_S = 1.0
"""What nobody has signed is answered no more often than this, seconds of the machine; signed commands always are."""
POLL_MS = 1000


async def run(actuator: Actuator, bootstrap: str, period_s: float, stop: asyncio.Event, *, mute: bool) -> None:
    """
    Obey until *stop*, then put every limit back; `BrokerGoneError` when Kafka is not there at the start.

    A *mute* actuator acknowledges nothing: its limits are pretended.
    """
    await actuator.let_go("found limits of an earlier run")
    await ensure_topics(bootstrap, [COMMANDS, ACKS])
    async with Sender(bootstrap) as sender, consumer(bootstrap, COMMANDS) as reader:
        outbox = Outbox(sender, ACKS)
        if not mute:
            actuator.post = outbox.post
        ears = Ears(actuator, history=await rewind(reader, actuator))
        listening = asyncio.create_task(ears.listen(reader))
        log.info("ready: %s obeys signed leases", actuator.host)
        try:
            await _pulse(actuator, outbox, listening, period_s, stop)
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await actuator.let_go("stopped")
            await outbox.close()
            log.info("stopped: %d acknowledgements sent, %d not sent", outbox.acknowledged, outbox.unsent)


async def _pulse(
    actuator: Actuator, outbox: Outbox[Any], listening: "asyncio.Task[None]", period_s: float, stop: asyncio.Event
) -> None:
    """Look at leases every *period_s*, Kafka or not, until *stop*; raise what made listening fail."""
    troubles = Changes(log)
    while not stop.is_set():
        await actuator.advance()
        troubles.note("Kafka", outbox.trouble)
        if listening.done():
            listening.result()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), period_s)


async def rewind(reader: Any, actuator: Actuator) -> dict[Any, int]:
    """
    Go back to the oldest command that may still be valid; return where each partition ended.

    Kafka stamps commands with the machine's time, so the span is the machine's too.
    """
    reach = actuator.bounds.max_lease + actuator.bounds.max_ahead
    since_ms = int((wall() - actuator.clock.wall_seconds(reach)) * 1000)
    ends: dict[Any, int] = await reader.end_offsets(list(reader.assignment()))
    found = await reader.offsets_for_times(dict.fromkeys(ends, since_ms))
    for partition, end in ends.items():
        reader.seek(partition, found[partition].offset if found.get(partition) else end)
    return ends


@dataclass
class Ears:
    """Hears commands addressed to one host."""

    actuator: Actuator
    history: Mapping[Any, int]
    """What lies before these offsets was answered in an earlier life or has lapsed: a refusal of it is not repeated."""
    answered_at_s: float = float("-inf")

    async def listen(self, reader: Any) -> None:
        """Hand every command with this host's key to the actuator, until cancelled."""
        key = self.actuator.host.encode()
        while True:
            batches = await reader.getmany(timeout_ms=POLL_MS)
            for partition, records in batches.items():
                for record in records:
                    if record.key == key:
                        await self.hear(record.value, is_history=record.offset < self.history.get(partition, 0))

    async def hear(self, payload: bytes | None, *, is_history: bool) -> None:
        """Act on one record, whatever bytes it holds, and answer a refusal."""
        try:
            refusal = await self.actuator.obey(CODEC.decode(payload))
        except DecodeError as error:
            refusal = Refusal(f"not a signed command: {error}", RefusalCode.MALFORMED)
        if refusal is not None and not is_history:
            log.warning("refused: %s: %s", refusal.code, refusal.reason)
            self._answer(refusal)

    def _answer(self, refusal: Refusal) -> None:
        now_s = wall()
        if refusal.command is None:
            if now_s < self.answered_at_s + ANSWER_EVERY_S:
                return
            self.answered_at_s = now_s
        at, actuator = self.actuator.clock.now(), self.actuator
        actuator.post(acks.refused(actuator.host, refusal, at, simulated=actuator.simulated))
