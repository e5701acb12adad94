"""
firmwatt's topics and messages bound to Faust: transport, source, table. Only this and `pipeline.app` know Faust.

Messages travel as raw bytes and are decoded by our own codec (pydantic models as Faust's `value_type` fail, and
`faust.Record` costs fifteen times the decode).
"""

import logging
from asyncio import AbstractEventLoop
from collections.abc import AsyncIterator, Iterator, MutableMapping
from typing import Any, Generic, TypeVar

import faust
import msgspec
from faust.transport.drivers import aiokafka as driver

from pipeline.codec import Codec, DecodeError
from pipeline.topics import Topic

log = logging.getLogger(__name__)

S = TypeVar("S")

#: Faust asks Kafka to hold an empty fetch for 1.5 s, hard-coded; a partition that was not part of the pending fetch
#: waits that long for the next.
FETCH_MAX_WAIT_MS = 50


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc] # Faust ships no types mypy can follow
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - read at start, no public way (aiokafka 0.14)
        return consumer


class _Consumer(driver.Consumer):  # type: ignore[misc] # as above
    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)


class QuickTransport(driver.Transport):  # type: ignore[misc] # as above
    """Faust's Kafka transport with a short long poll."""

    Consumer = _Consumer


def use_quick_transport(app: Any, loop: AbstractEventLoop) -> None:
    """Give *app* the transport; before it starts, inside the loop it will run on."""
    app.finalize()
    app.transport = QuickTransport(app.conf.broker_consumer, app, loop=loop)


def source(app: Any, *topics: Topic[Any]) -> Any:
    """Return the Faust topic that reads *topics* together, as raw bytes; they have equally many partitions."""
    return app.topic(
        *(topic.name for topic in topics),
        key_type=bytes,
        key_serializer="raw",
        value_type=bytes,
        value_serializer="raw",
        partitions=topics[0].partitions,
    )


async def messages(stream: Any, *topics: Topic[Any]) -> AsyncIterator[Any]:
    """
    Yield the decoded messages of *stream*; each is acknowledged once the next is asked for.

    Bytes that are no such message are logged and passed over.
    """
    codecs = {topic.name: Codec(topic) for topic in topics}
    async for event in stream.events():
        try:
            yield codecs[event.message.topic].decode(event.value)
        except DecodeError as error:
            log.warning("message passed over: %s", error)


class Table(MutableMapping[str, S], Generic[S]):
    """
    A Faust table of structs: kept in memory, rebuilt from its changelog on Kafka.

    Faust's own tables fall back to JSON of plain values; these hold bytes.
    """

    def __init__(self, app: Any, name: str, kind: type[S], partitions: int) -> None:
        self._bytes = app.Table(name, key_type=bytes, value_type=bytes, partitions=partitions)
        self._bytes.key_serializer = self._bytes.value_serializer = "raw"
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def __getitem__(self, key: str) -> S:
        return self._decoder.decode(self._bytes[key.encode()])

    def __setitem__(self, key: str, state: S) -> None:
        self._bytes[key.encode()] = self._encoder.encode(state)

    def __delitem__(self, key: str) -> None:
        del self._bytes[key.encode()]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode() in self._bytes

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in list(self._bytes.keys()))

    def __len__(self) -> int:
        return len(self._bytes)


__all__ = ["QuickTransport", "Table", "faust", "messages", "source", "use_quick_transport"]
