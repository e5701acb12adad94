"""
firmwatt's topics and messages bound to Faust. Only this, `pipeline.faust_…` and `pipeline.app` know Faust.

Messages travel as raw bytes and are decoded by our own codec (pydantic models as Faust's `value_type` fail, and
`faust.Record` costs fifteen times the decode).
"""

import logging
from collections.abc import AsyncIterator
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


async def messages(stream: Any, fence: Fence, *topics: Topic[Any]) -> AsyncIterator[Any]:
    """
    Yield the decoded messages of *stream*, which are of *topics*; each is acknowledged once the next is asked for.

    Bytes that are no such message are logged and passed over.
    """
    codecs = {topic.name: Codec(topic) for topic in topics}
    async for event in stream.events():
        fence.check()
        try:
            yield codecs[event.message.topic].decode(event.value)
        except DecodeError as error:
            log.warning("message passed over: %s", error)


async def forward(stream: Any, fence: Fence, to: Any) -> None:
    """Send every message of *stream* on as it is, to the Faust topic *to*."""
    async for event in stream.events():
        fence.check()
        await to.send(key=event.key, value=event.value)


__all__ = ["Table", "credentials", "faust", "forward", "messages", "own", "source", "use_quick_transport"]
