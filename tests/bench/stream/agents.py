"""
How fast Faust's agents catch up: messages a second of the figures of many sites that wait for a worker.

The reference is the same worker, waiting for the acknowledgement of each message before it takes the next.
"""

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from aiokafka import TopicPartition
from aiokafka.errors import GroupCoordinatorNotAvailableError
from bench.stream.lines import digits, medians, ratio, say
from bench.stream.node import broker, cpu_s
from doubles import faust_worker
from unit.pipeline.test_site import partial
from unit.pipeline.test_site_intervals import part

from pipeline import streams
from pipeline.clock import Clock
from pipeline.interval import Interval, floor
from pipeline.kafka import Sender
from pipeline.offsets import Offsets
from pipeline.settings import Kafka
from pipeline.topics import INTERVAL_PARTIALS, SITE_PARTIALS

SITES, SECONDS, RUNS = 20, 60, 3
TELEMETRY_PARTITIONS = 8
LOOK_S, WITHIN_S = 0.1, 300.0
SECOND = timedelta(seconds=1)
WORKER = faust_worker.__file__
KINDS = {"together": streams.TOGETHER, "one_by_one": 1}


def main(runs: int = RUNS, seconds: int = SECONDS) -> None:
    """Print a line for each way, and the ratio of the two."""
    with broker() as node:
        kafka = Kafka(bootstrap=node.kafka.bootstrap, telemetry_partitions=TELEMETRY_PARTITIONS)
        waiting = asyncio.run(load(kafka, seconds))
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(runs):
            for kind in KINDS:
                found.setdefault(kind, []).append(caught_up(kafka, kind, waiting))
    for kind, figures in found.items():
        say("agents", way=kind, sites=SITES, messages=waiting, runs=runs, **medians(figures))
    say("agents_ratio", of="together", to="one_by_one", wall=ratio(found["together"], found["one_by_one"], "per_s"))


async def load(kafka: Kafka, seconds: int) -> int:
    """Send what the telemetry partitions say of each site each second, and of a minute of each; return how much."""
    begun = floor(Clock().now(), SECOND) - seconds * SECOND
    count = 0
    async with Sender(kafka) as sender:
        for site in (f"site-{number}" for number in range(SITES)):
            for number in range(TELEMETRY_PARTITIONS):
                for second in range(seconds):
                    at = begun + second * SECOND
                    pulse = msgspec.structs.replace(partial(number, 0), site=site, as_of=at)
                    interval = Interval(at - SECOND, at)
                    figure = msgspec.structs.replace(part(number, 0.1), site=site, interval=interval, offset=second)
                    await sender.enqueue(SITE_PARTIALS, pulse)
                    await sender.enqueue(INTERVAL_PARTIALS, figure)
                    count += 2
        await sender.flush()
    return count


def caught_up(kafka: Kafka, kind: str, waiting: int) -> dict[str, float]:
    """Return what a worker of a new group takes for all that is *waiting*."""
    group = f"{kind}-{uuid4().hex[:8]}"
    places = [TopicPartition(topic.name, number) for topic in (SITE_PARTIALS, INTERVAL_PARTIALS) for number in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        words = [sys.executable, WORKER, kafka.bootstrap, str(TELEMETRY_PARTITIONS), group, str(Path(folder) / "faust")]
        environment = os.environ | {"TOGETHER": str(KINDS[kind])}
        with subprocess.Popen(words, env=environment, stderr=subprocess.DEVNULL) as process:
            try:
                return asyncio.run(watched(kafka, group, places, process, waiting))
            finally:
                process.kill()


async def watched(
    kafka: Kafka, group: str, places: list[TopicPartition], process: "subprocess.Popen[Any]", waiting: int
) -> dict[str, float]:
    """Return how fast the committed offsets go from the first to the last."""
    begun: tuple[float, int, float] | None = None
    done, deadline = 0, time.monotonic() + WITHIN_S
    async with Offsets(kafka) as offsets:
        while time.monotonic() < deadline:
            with suppress(GroupCoordinatorNotAvailableError):  # nobody has asked this broker for one before
                done = sum(max(0, offset) for offset in (await offsets.committed(group, places)).values())
            if done and begun is None:
                begun = time.monotonic(), done, cpu_s(process.pid)
            if begun and done >= waiting:
                wall_s, count = time.monotonic() - begun[0], done - begun[1]
                own_s = cpu_s(process.pid) - begun[2]
                return {"per_s": digits(count / wall_s), "own_cpu_us": digits(own_s / count * 1e6)}
            await asyncio.sleep(LOOK_S)
    raise TimeoutError(f"{group} had not caught up after {WITHIN_S:g} s")
