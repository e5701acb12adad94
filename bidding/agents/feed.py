"""What the site says: Kafka messages into a small picture of now. `listen` moves them, `World.take` keeps them."""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from pipeline import topics
from pipeline.codec import Codec, DecodeError
from pipeline.kafka import consumer
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.telemetry import HostRecord, SiteCapacity, SiteInterval
from pipeline.settings import Kafka
from pipeline.topics import Topic

log = logging.getLogger("bidding.feed")

#: Read from the beginning, because the newest of each key counts, however old; and from now on.
KEPT: tuple[Topic[Any], ...] = (topics.HOST_RECORDS, topics.SITE_INTERVALS)
LIVE: tuple[Topic[Any], ...] = (topics.SITE_CAPACITY, topics.ACKS)

LATENCIES_KEPT = 100_000


@dataclass
class World:
    """The newest of everything, for one site."""

    site: str
    window: timedelta
    """How much capacity history is kept."""
    settlement: timedelta
    """Length of the intervals that are kept; the pipeline closes others too."""
    capacity: deque[SiteCapacity] = field(default_factory=deque)
    intervals: dict[datetime, SiteInterval] = field(default_factory=dict)
    """By start: the highest revision."""
    hosts: dict[str, HostRecord] = field(default_factory=dict)
    ack_latency_ms: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_KEPT))
    acks_refused: int = 0

    def take(self, message: object) -> None:
        """Keep what is new in *message*; twice is once."""
        match message:
            case SiteCapacity(site=self.site):
                self.capacity.append(message)
                while self.capacity[0].as_of < message.as_of - self.window:
                    self.capacity.popleft()
            case SiteInterval(site=self.site, interval=interval) if interval.length == self.settlement:
                known = self.intervals.get(interval.start)
                if known is None or message.revision >= known.revision:
                    self.intervals[interval.start] = message
            case HostRecord(site=self.site):
                self.hosts[message.host] = message
            case CommandAck(host=host) if host in self.hosts:
                self._acknowledged(message)
            case _:
                pass

    def _acknowledged(self, ack: CommandAck) -> None:
        if ack.status is AckStatus.REFUSED:
            self.acks_refused += 1
        elif ack.status is AckStatus.APPLIED and ack.latency_ms is not None:
            self.ack_latency_ms.append(ack.latency_ms)

    @property
    def whole_capacity(self) -> SiteCapacity | None:
        """The newest message with every partition in it: only its load is the site's load."""
        whole = (message for message in self.capacity if message.partitions >= message.partitions_expected)
        return max(whole, key=lambda message: message.as_of, default=None)


async def listen(kafka: Kafka, kept_or_live: tuple[Topic[Any], ...], offset: str, world: World) -> None:
    """Feed *world* from the topics until cancelled. Without a group: every process sees everything."""
    codecs: Mapping[str, Codec[Any]] = {topic.name: Codec(topic) for topic in kept_or_live}
    async with consumer(kafka, *kept_or_live, auto_offset_reset=offset) as reader:
        async for message in reader:
            try:
                world.take(codecs[message.topic].decode(message.value))
            except DecodeError as error:
                log.warning("message at %s:%s passed over: %s", message.topic, message.offset, error)
