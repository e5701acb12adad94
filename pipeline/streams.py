"""
firmwatt's topics and messages bound to Faust. Only this, `pipeline.faust_…` and `pipeline.app` know Faust.

Messages travel as raw bytes and are decoded by our own codec (pydantic models as Faust's `value_type` fail, and
`faust.Record` costs fifteen times the decode).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import faust
from faust.types import TP

from pipeline.codec import Codec, DecodeError
from pipeline.faust_table import Table
from pipeline.faust_transport import use_quick_transport
from pipeline.fence import Fence
from pipeline.kafka_security import for_aiokafka, has_password, is_encrypted
from pipeline.settings import Kafka
from pipeline.topics import Topic

log = logging.getLogger(__name__)

Work = Callable[[Any], Awaitable[None]]
Settled = Callable[[], Awaitable[None]]
"""Returns once all that was sent has been acknowledged."""

#: Events that are acknowledged together, at most: what is done again after a crash.
TOGETHER = 500


def credentials(kafka: Kafka) -> Any:
    """Return what Faust needs to prove who we are to *kafka*, None where it is asked nothing."""
    options = for_aiokafka(kafka)
    context = options.get("ssl_context")
    if has_password(kafka):
        name, password = options["sasl_plain_username"], options["sasl_plain_password"]
        return faust.SASLCredentials(
            username=name, password=password, ssl_context=context, mechanism=options["sasl_mechanism"]
        )
    return faust.SSLCredentials(context) if is_encrypted(kafka) else None


def source(app: Any, *topics: Topic[Any]) -> Any:
    """Return the Faust topic that reads *topics* together, as raw bytes; they have equally many partitions."""
    return app.topic(*(topic.name for topic in topics), partitions=topics[0].partitions, **_RAW)


def own(app: Any, topic: Topic[Any]) -> Any:
    """Return the Faust topic of *topic*, which no other program knows: Faust lays it out."""
    return app.topic(topic.name, partitions=topic.partitions, retention=topic.retention, internal=True, **_RAW)


_RAW: dict[str, Any] = {"key_type": bytes, "key_serializer": "raw", "value_type": bytes, "value_serializer": "raw"}


def agent(app: Any, topic: Any, name: str) -> Callable[[Work], Any]:
    """
    Return a decorator that makes of a function an agent of *app*, which reads *topic*.

    What it raises ends the application, the message in hand unacknowledged. Faust by itself would begin again behind
    that message, and with it would go an interval's partial.
    """

    def add(work: Work) -> Any:
        async def whole(stream: Any) -> None:
            try:
                await work(stream)
            except Exception as error:  # noqa: BLE001 - whatever it is, the worker ends with it
                await app.crash(error)
                await asyncio.Event().wait()

        return app.agent(topic, name=name)(whole)

    return add


async def _nothing() -> None:
    """Have nothing to settle."""


async def events(stream: Any, fence: Fence, settled: Settled = _nothing) -> AsyncIterator[Any]:
    """
    Yield the events of *stream*; those that waited together are acknowledged together, once *settled* has returned.

    Who waits for Kafka's acknowledgement after each event handles as many a second as come in turn: 60 were seen on a
    busy machine, with tens of thousands waiting (pipeline/MEASURED.md). What is in hand when its handling is broken off
    is not acknowledged, as Faust would: a worker that leaves would pass over it. Nor is what was in hand when the group
    was rebalanced: whoever has its partition now reads it again.
    """
    waiting, in_hand = stream.channel.queue, []
    async for event in stream.noack().events():
        fence.check()
        in_hand.append(event)
        yield event
        if waiting.empty() or len(in_hand) >= TOGETHER:
            fence.check()
            await settled()
            for handled in in_hand:
                if handled.message.generation_id == stream.app.consumer_generation_id:
                    handled.ack()
            in_hand = []


async def messages(stream: Any, fence: Fence, *topics: Topic[Any], settled: Settled = _nothing) -> AsyncIterator[Any]:
    """Yield the decoded messages of *stream*, which are of *topics*; log and pass over what is no such message."""
    codecs = {topic.name: Codec(topic) for topic in topics}
    async for event in events(stream, fence, settled):
        try:
            yield codecs[event.message.topic].decode(event.value)
        except DecodeError as error:
            log.warning("message passed over: %s", error)


async def forward(stream: Any, fence: Fence, to: Any) -> None:
    """Send every message of *stream* on as it is, to the Faust topic *to*."""
    async for event in events(stream, fence):
        await to.send(key=event.key, value=event.value)


__all__ = [
    "TP",
    "Table",
    "agent",
    "credentials",
    "events",
    "faust",
    "forward",
    "messages",
    "own",
    "source",
    "use_quick_transport",
]
