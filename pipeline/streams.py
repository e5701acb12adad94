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

from pipeline.codec import Codec, DecodeError
from pipeline.faust_table import Table
from pipeline.faust_transport import use_quick_transport
from pipeline.fence import Fence
from pipeline.kafka_security import for_aiokafka, has_password, is_encrypted
from pipeline.settings import Kafka
from pipeline.topics import Topic

log = logging.getLogger(__name__)

Work = Callable[[Any], Awaitable[None]]


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


async def events(stream: Any, fence: Fence) -> AsyncIterator[Any]:
    """
    Yield the events of *stream*; each is acknowledged once the next is asked for.

    Not when its handling was broken off, as Faust does it: a worker that leaves would pass over what it had in hand.
    """
    async for event in stream.noack().events():
        fence.check()
        yield event
        event.ack()


async def messages(stream: Any, fence: Fence, *topics: Topic[Any]) -> AsyncIterator[Any]:
    """Yield the decoded messages of *stream*, which are of *topics*; log and pass over what is no such message."""
    codecs = {topic.name: Codec(topic) for topic in topics}
    async for event in events(stream, fence):
        try:
            yield codecs[event.message.topic].decode(event.value)
        except DecodeError as error:
            log.warning("message passed over: %s", error)


async def forward(stream: Any, fence: Fence, to: Any) -> None:
    """Send every message of *stream* on as it is, to the Faust topic *to*."""
    async for event in events(stream, fence):
        await to.send(key=event.key, value=event.value)


__all__ = [
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
