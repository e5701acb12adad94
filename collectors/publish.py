"""The collector's way to Kafka: the first tick must arrive, the others are sent without waiting."""

import asyncio
import logging

from collectors.outbox import Outbox
from collectors.runner import Collector
from pipeline.kafka import Sender, ensure_topics
from pipeline.topics import HOST_TICKS

log = logging.getLogger(__name__)


async def run(collector: Collector, bootstrap: str, stop: asyncio.Event) -> None:
    """Publish a tick every second until *stop*; `BrokerGoneError` if Kafka does not acknowledge the first one."""
    first = await collector.tick()
    await ensure_topics(bootstrap, [HOST_TICKS])
    async with Sender(bootstrap) as sender:
        await sender.send(HOST_TICKS, first)
        log.info("ready: %s of %s, a tick every second", first.host, first.site)
        outbox = Outbox(sender, HOST_TICKS)
        try:
            while not stop.is_set():
                await collector.next_second()
                if (tick := await collector.tick_or_silence()) is not None:
                    outbox.post(tick)
                collector.changes.note("Kafka", outbox.trouble)
        finally:
            await outbox.close()
            log.info("stopped: %d ticks sent, %d not sent", outbox.acknowledged + 1, outbox.unsent)
