"""The worker as a process on a real Kafka: killed, doubled, stopped, and left without its broker."""

import asyncio
import random
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from itertools import chain
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from doubles.golden import Figure, figures
from integration.workers import Deployment, deployment, wait_for
from unit.pipeline.ticks import NOON, steady

from deploy.broker import node
from pipeline import kafka as bus
from pipeline.clock import Clock, real_clock_from
from pipeline.codec import Codec
from pipeline.interval import floor
from pipeline.messages.telemetry import HostTick, SiteCapacity, SiteInterval
from pipeline.settings import Kafka
from pipeline.topics import COMMANDS, HOST_TICKS, INTERVAL_PARTIALS, SITE_CAPACITY, SITE_INTERVALS, SITE_PARTIALS, Topic

pytestmark = pytest.mark.broker

HOSTS, SPEED, INTERVAL = 16, 5.0, timedelta(seconds=20)
RUN = timedelta(seconds=100)
KILL_AFTER = timedelta(seconds=47)
SECOND = timedelta(seconds=1)


def faulty(ticks: Iterable[HostTick], chance: random.Random) -> list[tuple[datetime, HostTick]]:
    """Return *ticks* with the instant each is sent: a fifth twice, a fifth up to 3 s late, overtaken by others."""
    sent = []
    for tick in ticks:
        delay = chance.uniform(0, 3) if chance.random() < 0.2 else 0.0
        sent.append((tick.measured_at + timedelta(seconds=delay), tick))
        if chance.random() < 0.2:
            sent.append((tick.measured_at + timedelta(seconds=chance.uniform(0, 3)), tick))
    return sorted(sent, key=lambda pair: pair[0])


async def send(kafka: Kafka, clock: Clock, ticks: list[tuple[datetime, HostTick]]) -> None:
    async with bus.Sender(kafka) as sender:
        for instant, tick in ticks:
            if instant > clock.now():
                await clock.sleep_until(instant)
            await sender.enqueue(HOST_TICKS, tick)
        await sender.flush()


async def everything(kafka: Kafka, topic: Topic[msgspec.Struct]) -> list[tuple[int, msgspec.Struct]]:
    """Return all messages of *topic* with their partitions."""
    codec = Codec(topic)
    async with bus.consumer(kafka, topic) as reader:
        ends = await reader.end_offsets(reader.assignment())
        found = []
        for partition, end in ends.items():
            while await reader.position(partition) < end:
                for record in (await reader.getmany(partition, timeout_ms=200)).get(partition, []):
                    found.append((record.partition, codec.decode(record.value)))  # noqa: PERF401 - over batches
    return found


def golden(kafka: Kafka, site: str) -> dict[datetime, Figure]:
    """Return what the ticks on Kafka come to, all of them sorted and added up pair by pair."""
    found = asyncio.run(everything(kafka, HOST_TICKS))  # type: ignore[arg-type] # a topic of structs
    ticks = [tick for _, tick in found if isinstance(tick, HostTick) and tick.site == site]
    return {start: figure for (_, start), figure in figures(ticks, INTERVAL).items()}


def latest(kafka: Kafka, site: str) -> dict[datetime, SiteInterval]:
    """Return the highest revision of each settlement interval of *site*."""
    best: dict[datetime, SiteInterval] = {}
    for _, figure in asyncio.run(everything(kafka, SITE_INTERVALS)):  # type: ignore[arg-type] # a topic of structs
        assert isinstance(figure, SiteInterval)
        known = best.get(figure.interval.start)
        mine = figure.site == site and figure.interval.length == INTERVAL
        if mine and (known is None or figure.revision >= known.revision):
            best[figure.interval.start] = figure
    return best


def summary(figure: SiteInterval | None) -> tuple[int, int, int, int, int] | None:
    """Return a figure as the oracle has it: mJ, covered µs, ticks, ticks missing, thousandths of tokens."""
    if figure is None:
        return None
    tokens = sum(pool.tokens or 0.0 for pool in figure.pools)
    energy_mj, covered_us = round(figure.energy_kwh * 3.6e9), round(figure.covered_host_s * 1e6)
    return energy_mj, covered_us, figure.ticks, figure.ticks_missing, round(tokens * 1000)


def plain(figure: Figure) -> tuple[int, int, int, int, int]:
    """Return the same of the oracle's."""
    tokens = sum(figure.tokens_milli.values())
    return figure.energy_mj, figure.covered_us, figure.ticks, figure.missing, tokens


def test_a_killed_worker_duplicates_and_reordering_change_no_figure(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """
    Two workers, one killed with -9 in the middle; a fifth of the ticks twice, a fifth overtaken.

    Every closed interval is equal, to the millijoule and the thousandth of a token, to plain sums over the same ticks,
    also when the surviving worker's watchdog finds Faust standing still and its supervisor starts it again.
    """
    clock = real_clock_from(NOON, SPEED)
    place = deployment(tmp_path, fresh_kafka, clock, round(INTERVAL.total_seconds()))
    with place.worker("worker-1") as first, place.supervised("worker-2"):
        start = floor(clock.now(), SECOND) + 2 * SECOND
        hosts = (
            steady(int(RUN / SECOND), 500.0 + number * 7.3, f"{place.site}-{number}", start, 8, site=place.site)
            for number in range(HOSTS)
        )
        ticks = faulty(chain.from_iterable(hosts), random.Random(7))
        middle = next(index for index, (instant, _) in enumerate(ticks) if instant > start + KILL_AFTER)
        asyncio.run(send(fresh_kafka, clock, ticks[:middle]))
        first.kill()
        asyncio.run(send(fresh_kafka, clock, ticks[middle:]))
        expected = {begin: plain(figure) for begin, figure in golden(fresh_kafka, place.site).items()}
        closed = {begin for begin in expected if begin + INTERVAL <= start + RUN}

        def agree() -> bool:
            """Tell whether every figure is final: a partition without hosts adds nothing, and may come last."""
            found.update(latest(fresh_kafka, place.site))
            if any(summary(found.get(begin)) != expected[begin] for begin in closed):
                return False
            return all(found[begin].partitions == 8 for begin in sorted(closed)[1:])

        found: dict[datetime, SiteInterval] = {}
        with suppress(AssertionError):  # what differs tells more than that it took too long
            wait_for(agree, 150, "every interval to equal the plain sums")
        assert {begin: summary(found.get(begin)) for begin in closed} == {begin: expected[begin] for begin in closed}

    assert len(closed) >= 4
    whole = [found[begin] for begin in sorted(closed)[1:]]
    assert all((figure.ticks, figure.ticks_missing) == (HOSTS * 20, 0) for figure in whole)
    assert all((figure.covered_share, figure.partitions) == (1.0, 8) for figure in whole)


def capacities(place: Deployment) -> list[SiteCapacity]:
    found = asyncio.run(everything(place.kafka, SITE_CAPACITY))  # type: ignore[arg-type] # a topic of structs
    return [figure for _, figure in found if isinstance(figure, SiteCapacity) and figure.site == place.site]


async def spoil(kafka: Kafka) -> None:
    """Put a null and garbage on topics that a worker reads."""
    producer = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap)
    await producer.start()
    try:
        for topic in (HOST_TICKS, COMMANDS, SITE_PARTIALS, INTERVAL_PARTIALS):
            await producer.send_and_wait(topic.name, None, key=b"nobody")
            await producer.send_and_wait(topic.name, b"garbage", key=b"nobody")
    finally:
        await producer.stop()


def test_a_site_without_hosts_is_reported_and_sigterm_leaves_cleanly(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """Zero hosts is a figure; records that are no messages are passed over and stop nobody."""
    asyncio.run(spoil(fresh_kafka))
    place = deployment(tmp_path, fresh_kafka, real_clock_from(NOON, 1.0))
    with place.worker("worker-1") as process:
        wait_for(lambda: bool(capacities(place)), 15, "a capacity figure")
        process.send_signal(signal.SIGTERM)

        assert process.wait(15) == 0
    figure = capacities(place)[-1]
    assert (figure.hosts, figure.load_kw, figure.partitions) == (0, 0.0, 8)
    lines = (tmp_path / "worker-1.log").read_text().splitlines()
    (said,) = (line for line in lines if "passed over" not in line)
    assert said.startswith("ready worker-1")


def test_without_kafka_the_worker_says_so_in_one_line(tmp_path: Path) -> None:
    place = deployment(tmp_path, Kafka(bootstrap="127.0.0.1:9"), Clock())

    done = subprocess.run(place.command("worker-1"), capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 5
    assert done.stderr.count("\n") == 1
    assert "no Kafka at 127.0.0.1:9" in done.stderr


def test_a_worker_whose_kafka_dies_says_so_and_ends(fresh_kafka: Kafka, tmp_path: Path) -> None:
    place = deployment(tmp_path, fresh_kafka, Clock())
    with place.worker("worker-1") as process:
        node.stop(tmp_path / "broker")

        assert process.wait(25) == 5
    log = (tmp_path / "worker-1.log").read_text()
    assert log.count("\n") == 2, log
    assert "no Kafka at" in log
