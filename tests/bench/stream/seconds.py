"""
What it would save to send several seconds of a host in one message: bytes, and what reading costs, Kafka included.

Such a message would name its layout once. It is made of real frames here, and read without being decoded; decoding in
bulk costs the same a tick either way. What it costs is plain: its first second is that much older.
"""

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

from bench.stream.fleet import Fleet
from bench.stream.lines import digits, medians, ratio, say
from bench.stream.node import broker, cpu_s
from bench.stream.preload import ALONE, producer, send
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from deploy.broker.node import Node
from pipeline.agents import rollup
from pipeline.agents.takeover import FETCHING
from pipeline.bulk import numbers
from pipeline.clock import Clock
from pipeline.frames import HEAD
from pipeline.kafka import ensure_topics
from pipeline.kafka_security import for_librdkafka
from pipeline.topics import HOST_TICKS

HOSTS, TICKS, RUNS = 2_000, 30, 3
TOGETHER = (1, 5, 10)
POLL_S = 0.1


def main(runs: int = RUNS) -> None:
    """Print a line for each number of seconds a message, and what a tick costs beside one second a message."""
    with broker() as node:
        topics = {seconds: load(node, seconds) for seconds in TOGETHER}
        found: dict[int, list[dict[str, float]]] = {}
        for _ in range(runs):
            for seconds, (topic, size_b) in topics.items():
                found.setdefault(seconds, []).append({"bytes_per_tick": size_b, **read(node, topic, seconds)})
    for seconds, figures in found.items():
        say("seconds_a_message", seconds=seconds, hosts=HOSTS, ticks=HOSTS * TICKS, runs=runs, **medians(figures))
    for seconds in TOGETHER[1:]:
        cpu = ratio(found[seconds], found[1], "cpu_us_per_tick")
        say("seconds_a_message_ratio", of=seconds, to=1, cpu_of_reader_and_broker=cpu)


def load(node: Node, seconds: int) -> tuple[str, float]:
    """Fill a topic of one partition; return its name and how many bytes a tick takes."""
    topic, sent_b, out = f"seconds-{seconds}-{uuid4().hex[:6]}", 0, producer(node.kafka, **ALONE)
    asyncio.run(ensure_topics(node.kafka, [replace(HOST_TICKS, name=topic, partitions=1)]))
    for key, payload in messages(seconds):
        send(out, topic, key, payload)
        sent_b += len(payload)
    out.flush()
    return topic, digits(sent_b / HOSTS / TICKS)


def messages(seconds: int) -> Iterator[tuple[bytes, bytes]]:
    """Yield key and payload of each message: the first frame whole, of the others all but the layout."""
    fleet, clock = Fleet(range(HOSTS)), Clock()
    for _ in range(TICKS // seconds):
        several = [fleet.tick(clock.now()) for _ in range(seconds)]
        for of_one in zip(*several, strict=True):
            (key, first), *others = of_one
            yield key, first + b"".join(without_layout(frame) for _, frame in others)


def without_layout(frame: bytes) -> bytes:
    """Return *frame* without its layout."""
    _, _, _, gpus, jobs, layout_b, *_ = HEAD.unpack_from(frame)
    begin = numbers(gpus, jobs).itemsize
    return frame[:begin] + frame[begin + layout_b :]


def read(node: Node, topic: str, seconds: int) -> dict[str, float]:
    """Return what reading all of *topic* takes, with the rollup's settings."""
    consumer = Consumer(for_librdkafka(node.kafka) | FETCHING | {"group.id": topic})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    left = HOSTS * TICKS // seconds
    begun = time.monotonic(), time.process_time(), cpu_s(node.pid)
    while left > 0:
        left -= len(consumer.consume(rollup.BATCH, POLL_S))
    ended = time.monotonic(), time.process_time(), cpu_s(node.pid)
    consumer.close()
    wall_s, own_s, broker_s = (end - begin for begin, end in zip(begun, ended, strict=True))
    ticks = HOSTS * TICKS
    return {
        "ticks_per_s": digits(ticks / wall_s),
        "own_cpu_us_per_tick": digits(own_s / ticks * 1e6),
        "cpu_us_per_tick": digits((own_s + broker_s) / ticks * 1e6),
    }
