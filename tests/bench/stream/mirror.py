"""
What mirroring costs: one site, one portfolio, one MirrorMaker with 256 MB of heap.

`PYTHONPATH=tests python tests/bench/stream/mirror.py` prints one JSON line per figure; real Kafka, some three minutes.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import psutil
from aiokafka import ConsumerRecord
from bench.stream.fleet import Fleet
from conftest import broker
from doubles.fault_proxy import Direction
from doubles.proxied import ProxiedBroker, proxied_broker
from unit.pipeline.test_portfolio import figure, pool

from deploy.broker import mirror
from deploy.broker.mirror_settings import Cluster, Mirror, Profile, Source
from pipeline.codec import Codec
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, SITE_CAPACITY, TOPICS, Topic

HOSTS, BACKLOG_S, LIVE_S, FIGURES_S, POOLS = 500, 120, 30, 60, 8
START = datetime(2026, 7, 23, tzinfo=UTC)
GRACE_S = 120.0


def say(**of: Any) -> None:
    """Print one figure."""
    sys.stdout.write(json.dumps(of) + "\n")
    sys.stdout.flush()


def settings(site: Kafka, portfolio: Kafka, profile: Profile) -> Mirror:
    """Return a mirror of one site."""
    north = Source(name="north", bootstrap=site.bootstrap, profile=profile)
    return Mirror(target=Cluster(name="portfolio", bootstrap=portfolio.bootstrap), source=(north,))


async def send(kafka: Kafka, topic: Topic[Any], rows: Sequence[tuple[bytes, bytes]]) -> None:
    """Send *rows*, key and payload, and return once they are acknowledged."""
    async with Sender(kafka) as sender:
        await asyncio.gather(*[await sender.enqueue_encoded(topic, key, payload) for key, payload in rows])


async def ends(kafka: Kafka, topic: Topic[Any]) -> int:
    """Return how many records *topic* has had."""
    async with consumer(kafka, topic) as reader:
        return sum((await reader.end_offsets(reader.assignment())).values())


async def until(kafka: Kafka, topic: Topic[Any], count: int) -> float:
    """Return the time at which *topic* has *count* records."""
    async with asyncio.timeout(GRACE_S), consumer(kafka, topic) as reader:
        while sum((await reader.end_offsets(reader.assignment())).values()) < count:  # noqa: ASYNC110 - Kafka sets no event
            await asyncio.sleep(0.02)
    return time.perf_counter()


async def last(kafka: Kafka, topic: Topic[Any], count: int) -> list[ConsumerRecord]:
    """Return the last *count* records by time."""
    found: list[ConsumerRecord] = []
    async with consumer(kafka, topic) as reader:
        limits = await reader.end_offsets(reader.assignment())
        while any([await reader.position(place) < end for place, end in limits.items()]):
            for some in (await reader.getmany(timeout_ms=200)).values():
                found += some
    return sorted(found, key=lambda record: record.timestamp)[-count:]


def stored(folder: Path, topic: Topic[Any]) -> int:
    """Return the bytes of *topic* in a broker's log segments."""
    return sum(file.stat().st_size for file in folder.glob(f"kafka/{topic.name}-*/*.log"))


async def backlog(north: ProxiedBroker, portfolio: Kafka, folder: Path) -> None:
    """Two minutes of a site's ticks that wait when the mirror starts."""
    fleet = Fleet(range(HOSTS), site="north")
    for second in range(BACKLOG_S):
        await send(north.direct, HOST_TICKS, fleet.tick(START + timedelta(seconds=second)))
    count = HOSTS * BACKLOG_S
    began = time.perf_counter()
    process = await mirror.start(settings(north.direct, portfolio, Profile.TELEMETRY), folder / "mirror", detach=False)
    started = await until(portfolio, HOST_TICKS, 1)
    seconds = await until(portfolio, HOST_TICKS, count) - started
    java = psutil.Process(process.pid)
    cpu_s, resident = sum(java.cpu_times()[:2]), java.memory_info().rss
    mirror.stop(folder / "mirror")
    site, there = stored(folder / "north", HOST_TICKS), stored(folder / "portfolio", HOST_TICKS)
    say(bench="mirror.start", seconds_to_first_record=round(started - began, 1))
    say(
        bench="mirror.backlog", ticks=count, ticks_per_s=round(count / seconds), mb_per_s=round(site / seconds / 1e6, 1)
    )
    say(bench="mirror.process", cpu_s=round(cpu_s, 1), resident_mb=round(resident / 2**20))
    say(bench="mirror.stored", bytes_per_tick_site=round(site / count), bytes_per_tick_portfolio=round(there / count))


async def live(north: ProxiedBroker, portfolio: Kafka, folder: Path) -> None:
    """Ticks at 1 Hz through the line: bytes on it, and how much later they are at the portfolio."""
    fleet, before = Fleet(range(HOSTS), site="north"), await ends(portfolio, HOST_TICKS)
    behind = settings(north.kafka, portfolio, Profile.TELEMETRY)
    await mirror.start(behind, folder / "mirror", detach=False)
    rounds, carried = LIVE_S + 5, 0
    async with Sender(north.direct) as sender:
        for second in range(rounds):
            if second == rounds - LIVE_S:
                await until(portfolio, HOST_TICKS, before + HOSTS * second)
                carried = north.proxy.carried[Direction.TO_CLIENT]
            due = time.perf_counter() + 1
            rows = fleet.tick(START + timedelta(seconds=1000 + second))
            await asyncio.gather(*[await sender.enqueue_encoded(HOST_TICKS, key, payload) for key, payload in rows])
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await until(portfolio, HOST_TICKS, before + HOSTS * rounds)
    count = HOSTS * LIVE_S
    line = north.proxy.carried[Direction.TO_CLIENT] - carried
    mirror.stop(folder / "mirror")
    own, there = await last(north.direct, HOST_TICKS, count), await last(portfolio, HOST_TICKS, count)
    sent = {record.value: record.timestamp for record in own}
    late = sorted(record.timestamp - sent[record.value] for record in there if record.value in sent)
    say(bench="mirror.live", bytes_per_tick=round(line / count), n=len(late))
    say(bench="mirror.lateness", p50_ms=late[len(late) // 2], p99_ms=late[len(late) * 99 // 100], max_ms=late[-1])


async def figures(north: ProxiedBroker, portfolio: Kafka, folder: Path) -> None:
    """One site's capacity, once a second."""
    codec = Codec(SITE_CAPACITY)
    pools = [
        pool(tuple(12.345 * level for level in range(15)), model=f"NVIDIA GPU {one}", gpus=9000) for one in range(POOLS)
    ]
    said = [msgspec.structs.replace(figure("north", second, *pools), load_kw=61_234.5) for second in range(FIGURES_S)]
    rows = [(codec.key(one), codec.encode(one)) for one in said]
    await mirror.start(settings(north.kafka, portfolio, Profile.FIGURES), folder / "mirror", detach=False)
    await send(north.direct, SITE_CAPACITY, rows[:5])
    await until(portfolio, SITE_CAPACITY, 5)
    carried = north.proxy.carried[Direction.TO_CLIENT]
    for row in rows[5:]:
        due = time.perf_counter() + 1
        await send(north.direct, SITE_CAPACITY, [row])
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
    await until(portfolio, SITE_CAPACITY, len(rows))
    line = north.proxy.carried[Direction.TO_CLIENT] - carried
    mirror.stop(folder / "mirror")
    say(
        bench="mirror.figures",
        pools=POOLS,
        bytes_per_second=round(line / (len(rows) - 5)),
        bytes_of_record=len(rows[0][1]),
    )


def main() -> None:
    """Print the figures."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        north = stack.enter_context(proxied_broker(folder / "north"))
        asyncio.run(ensure_topics(north.direct, TOPICS))
        portfolio = stack.enter_context(broker(folder / "portfolio"))
        stack.callback(mirror.stop, folder / "mirror")
        for part in (backlog, live, figures):
            asyncio.run(part(north, portfolio, folder))


if __name__ == "__main__":
    main()
