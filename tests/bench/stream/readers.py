"""
Everything that can read the host ticks, each in a process of its own: ``python -m bench.stream.readers ORDER``.

It prints one JSON line: what it took, in wall and CPU time, its own and the broker's, from the moment when it has read
the first *skip* records of every partition (by then each host's layout is known) to the last record.
"""

import asyncio
import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast
from uuid import uuid4

import msgspec
from bench.stream.order import Figures, Order, Watch
from bench.stream.preload import Preloaded
from bench.stream.references import aio, confluent, decoder, nothing, plain_agent
from confluent_kafka import TopicPartition

from pipeline import worker
from pipeline.agents.rollup import Owned, Rollup
from pipeline.clock import Clock
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Site

TESTS = Path(__file__).parents[2]
SITE = "site-1"
#: Long enough for a reader that hardly gets a CPU.
SESSION_S = 30.0
LOOK_EVERY_S = 0.005


def read(loaded: Preloaded, broker: int, kind: str, *, until: int | None = None, skip: int | None = None) -> Figures:
    """Return what reader *kind* takes for what is *loaded*."""
    order = Order(
        kind=kind,
        bootstrap=loaded.kafka.bootstrap,
        broker=broker,
        skip=loaded.hosts * 2 // loaded.kafka.telemetry_partitions if skip is None else skip,
        until=loaded.messages if until is None else until,
        group=f"{kind}-{uuid4().hex[:8]}",
    )
    words = [sys.executable, "-m", "bench.stream.readers", msgspec.json.encode(order).decode()]
    done = subprocess.run(
        words, env=os.environ | {"PYTHONPATH": str(TESTS)}, stdout=subprocess.PIPE, check=True, timeout=300
    )
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Figures)


class Publishing(Rollup):
    """Publishes from the first record on, as if it had never been behind."""

    def _taken_over(self, consumer: Any, committed: TopicPartition) -> Owned:
        owned = super()._taken_over(consumer, committed)
        owned.target = 0
        return owned


async def rolled_up(order: Order, kind: type[Rollup], watch: Watch) -> None:
    """Run the worker's rollup alone until everything is read."""
    reader = kind(
        kafka=order.kafka,
        group=order.group,
        site=SITE,
        lengths=(timedelta(minutes=1), timedelta(minutes=5)),
        clock=Clock(),
        session_timeout_s=SESSION_S,
    )
    await _until_read(asyncio.ensure_future(reader.run()), reader, watch)


async def whole_worker(order: Order, watch: Watch) -> None:
    """Run a worker as ``firmwatt pipeline run`` does, whose rollup publishes from the first record on."""
    made: list[Rollup] = []

    def rollup(**settings: Any) -> Rollup:
        made.append(Publishing(**settings))
        return made[-1]

    cast("Any", worker).Rollup = rollup
    with TemporaryDirectory() as folder:
        settings = Pipeline(
            archive=f"{folder}/archive",
            desk=f"{folder}/desk.duckdb",
            group=order.group,
            session_timeout_s=SESSION_S,
            data=f"{folder}/faust",
        )
        whole = worker.Worker("bench", order.kafka, Site(name=SITE), settings, Clock())
        working = asyncio.ensure_future(whole.run())
        while not made and not working.done():  # noqa: ASYNC110 - the worker has no event for it
            await asyncio.sleep(LOOK_EVERY_S)
        await _until_read(working, made[0], watch)
        tell(watch)
        os._exit(0)  # Faust's tasks do not end when a worker is cancelled rather than told to leave


async def _until_read(working: "asyncio.Future[None]", reader: Rollup, watch: Watch) -> None:
    while not watch.saw(reader.positions()):
        if working.done():
            working.result()
        await asyncio.sleep(LOOK_EVERY_S)
    working.cancel()
    await asyncio.wait([working])


def main(order: Order) -> None:
    """Read, and print what it took."""
    watch = Watch(order)
    match order.kind:
        case "consumer":
            confluent(order, nothing, watch)
        case "confluent":
            confluent(order, decoder(), watch)
        case "aiokafka":
            asyncio.run(aio(order, decoder(), watch))
        case "faust":
            asyncio.run(plain_agent(order, watch))
        case "rollup":
            asyncio.run(rolled_up(order, Rollup, watch))
        case "publishing":
            asyncio.run(rolled_up(order, Publishing, watch))
        case "worker":
            asyncio.run(whole_worker(order, watch))
    tell(watch)


def tell(watch: Watch) -> None:
    """Print what it took."""
    print(msgspec.json.encode(watch.figures()).decode(), flush=True)  # noqa: T201 - the parent reads it


if __name__ == "__main__":
    main(msgspec.json.decode(sys.argv[1], type=Order))
