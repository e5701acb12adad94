"""Listening to the loop: live messages for the view, and at the end everything once more for the report."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any

from aiokafka import TopicPartition

from deploy.demo.picture import Picture
from deploy.demo.plan import INTERVAL
from deploy.demo.report import Run
from pipeline.clock import Clock
from pipeline.codec import Codec, DecodeError
from pipeline.kafka import consumer, partitions_of
from pipeline.market_topics import AWARDS, DISPATCHES, MARKET_TOPICS, OFFER_EVENTS, OFFERS, PERFORMANCE, STATEMENTS
from pipeline.settings import Kafka
from pipeline.topics import ACKS, SITE_CAPACITY, SITE_INTERVALS, Topic

AGREED = 2
LIVE: tuple[Topic[Any], ...] = (SITE_CAPACITY, SITE_INTERVALS, ACKS, *MARKET_TOPICS)


def decoded(codec: Codec[Any], records: Iterable[Any]) -> Iterator[Any]:
    """Yield what *records* say; what is no message of the topic is nobody's figure."""
    for record in records:
        with suppress(DecodeError):
            yield codec.decode(record.value)


async def listen(kafka: Kafka, picture: Picture, clock: Clock) -> None:
    """Add every message of the live topics to *picture*, until cancelled."""
    codecs = {topic.name: Codec(topic) for topic in LIVE}
    async with consumer(kafka, *LIVE) as reader:
        while True:
            for partition, records in (await reader.getmany(timeout_ms=200)).items():
                for message in decoded(codecs[partition.topic], records):
                    picture.add(message, clock.now())


async def read_all(kafka: Kafka, *topics: Topic[Any]) -> dict[str, list[Any]]:
    """Return every message now on *topics*, decoded, by topic name."""
    found: dict[str, list[Any]] = {topic.name: [] for topic in topics}
    codecs = {topic.name: Codec(topic) for topic in topics}
    async with consumer(kafka) as reader:
        partitions = [TopicPartition(topic.name, n) for topic in topics for n in range(partitions_of(kafka, topic))]
        reader.assign(partitions)
        ends = await reader.end_offsets(partitions)
        await reader.seek_to_beginning(*partitions)
        while behind := [p for p in partitions if await reader.position(p) < ends[p]]:
            for partition, records in (await reader.getmany(*behind, timeout_ms=200)).items():
                found[partition.topic].extend(decoded(codecs[partition.topic], records))
    return found


async def records_on(kafka: Kafka, topic: Topic[Any]) -> int:
    """Return how many records *topic* has taken: what producers had acknowledged."""
    async with consumer(kafka) as reader:
        partitions = [TopicPartition(topic.name, number) for number in range(partitions_of(kafka, topic))]
        return sum((await reader.end_offsets(partitions)).values())


def once(messages: list[Any], key: Callable[[Any], Any]) -> list[Any]:
    """Return the newest message for each natural key, in order of first sight: redelivery changes nothing."""
    return list({key(message): message for message in messages}.values())


async def read_run(kafka: Kafka, run: Run) -> Run:
    """Fill *run* with all that the loop left on Kafka."""
    found = await read_all(kafka, *LIVE)
    run.capacities = sorted(
        once(found[SITE_CAPACITY.name], lambda m: (m.site, m.as_of)), key=lambda capacity: capacity.as_of
    )
    run.intervals = [figure for figure in found[SITE_INTERVALS.name] if figure.interval.length == INTERVAL]
    run.acks = once(found[ACKS.name], lambda m: (m.host, m.command_id, m.status))
    run.offers = once(found[OFFERS.name], lambda m: m.offer_id)
    run.offer_events = found[OFFER_EVENTS.name]
    run.awards = once(found[AWARDS.name], lambda m: m.award_id)
    run.dispatches = once(found[DISPATCHES.name], lambda m: m.dispatch_id)
    run.performance = once(found[PERFORMANCE.name], lambda m: m.award_id)
    run.statements = once(found[STATEMENTS.name], lambda m: m.issuer)
    return run


async def caught_up(kafka: Kafka, produced: int, aggregated: Callable[[Run], int], timeout_s: float) -> None:
    """
    Return once the site figures hold exactly *produced* ticks, or after *timeout_s*: the report then shows the loss.

    Twice in a row, because interval and gauge do not change in the same instant.
    """
    deadline = asyncio.get_running_loop().time() + timeout_s
    agreed = 0
    while agreed < AGREED and asyncio.get_running_loop().time() < deadline:
        run = await read_run(kafka, Run(speed=1.0, description="", ticks_produced=produced, intervals_planned=0))
        agreed = agreed + 1 if aggregated(run) == produced else 0
        await asyncio.sleep(0.5)
