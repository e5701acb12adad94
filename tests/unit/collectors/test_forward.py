"""The way to Kafka while there is no Kafka: nobody listens on port 9 of loopback."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from collectors.forward import FLUSH_S, Forwarder
from collectors.spool import Spool
from pipeline.settings import Kafka

NOWHERE = Kafka(bootstrap="127.0.0.1:9")


def fill(spool: Spool, ticks: int) -> None:
    """Append so many ticks."""
    for seq in range(spool.next_seq, spool.next_seq + ticks):
        spool.append(seq, msgspec.json.encode({"host": "h1", "seq": seq, "measured_at": "2026-07-23T12:00:00Z"}))


@asynccontextmanager
async def running(forwarder: Forwarder) -> AsyncIterator[None]:
    """Run *forwarder*, and stop it at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(forwarder.run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def until(forwarder: Forwarder) -> str:
    """Return what is wrong with the way to Kafka, as soon as something is."""
    async with asyncio.timeout(20):
        while (trouble := forwarder.trouble) is None:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.01)
    return trouble


async def test_kafka_away_at_the_start_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", 1_000_000) as spool:
        fill(spool, 3)
        forwarder = Forwarder(NOWHERE, spool)

        async with running(forwarder):
            assert f"no Kafka at {NOWHERE.bootstrap}" in await until(forwarder)
            fill(spool, 1)
            forwarder.wake()

            assert (forwarder.connected, forwarder.acknowledged_total, forwarder.last_ack_at) == (False, 0, None)
        assert spool.depth == 4


async def test_a_process_that_ends_does_not_wait_for_kafka_to_come_back(tmp_path: Path) -> None:
    with Spool.open(tmp_path / "spool", 1_000_000) as spool:
        fill(spool, 3)
        forwarder = Forwarder(NOWHERE, spool)

        async with running(forwarder):
            await until(forwarder)
            began = time.monotonic()
        assert time.monotonic() - began < FLUSH_S


async def test_a_machine_that_answers_and_is_no_kafka_is_said_too(tmp_path: Path) -> None:
    """Whoever listens there closes every connection."""
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    with Spool.open(tmp_path / "spool", 1_000_000) as spool:
        forwarder = Forwarder(Kafka(bootstrap=f"127.0.0.1:{port}"), spool)

        async with server, running(forwarder):
            assert f"no Kafka at 127.0.0.1:{port}" in await until(forwarder)
