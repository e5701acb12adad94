"""
A site and a portfolio, each with a real Apache Kafka of its own, and a real MirrorMaker between them.

    north's hosts ──▶ north ── FaultProxy ──▶ mirror ──▶ portfolio ◀── south's hosts, which have no Kafka of their own
"""

import asyncio
import os
import signal
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiokafka import ConsumerRecord
from conftest import broker
from doubles.fault_proxy import HALF_OPEN, PASS, REFUSE, FaultProxy
from doubles.proxied import proxied_broker
from doubles.redelivery import seen
from unit.pipeline.test_portfolio import figure, pool
from unit.pipeline.ticks import tick

from deploy.broker import mirror, mirror_progress, node
from deploy.broker.mirror_settings import Cluster, Mirror, Profile, Source
from pipeline.codec import Codec
from pipeline.kafka import Sender, consumer, ensure_topics
from pipeline.settings import Kafka
from pipeline.topics import COMMANDS, HOST_TICKS, SITE_CAPACITY, SITE_INTERVALS, SITE_PARTIALS, TOPICS, Topic

pytestmark = pytest.mark.broker

HEAP_MB = 256
WAIT_S = 120.0
HOSTS = 5  # at each site
PAUSE_S = 0.05  # between two ticks of a host
AWAY = 60  # ticks of each host that an interruption lasts
INTERRUPTIONS = 3
CREATE_TIME, APPEND_TIME = 0, 1
TICKS = Codec(HOST_TICKS)


@dataclass(frozen=True)
class World:
    """Where everybody is."""

    north: Kafka
    """The direct way; the mirror goes through `line`."""
    line: FaultProxy
    portfolio: Kafka
    portfolio_data: Path
    data: Path

    def settings(self, profile: Profile, *, commands: bool = False) -> Mirror:
        north = Source(name="north", bootstrap=self.line.bootstrap, profile=profile, commands=commands)
        target = Cluster(name="portfolio", bootstrap=self.portfolio.bootstrap)
        return Mirror(target=target, source=(north,), flush_s=1)

    def start(self, settings: Mirror) -> Awaitable[mirror.Process]:
        return mirror.start(settings, self.data, heap_mb=HEAP_MB, detach=False)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("sites")
    with ExitStack() as stack:
        north = stack.enter_context(proxied_broker(folder / "north"))
        asyncio.run(ensure_topics(north.direct, TOPICS))
        portfolio = stack.enter_context(broker(folder / "portfolio"))
        yield World(north.direct, north.proxy, portfolio, folder / "portfolio", folder / "mirror")


@asynccontextmanager
async def mirrored(world: World, settings: Mirror) -> AsyncIterator[mirror.Process]:
    try:
        yield await world.start(settings)
    finally:
        await asyncio.to_thread(mirror.stop, world.data)


@dataclass
class Site:
    """Hosts that go on, whatever happens to the links."""

    name: str
    kafka: Kafka
    sent: int = 0
    """Acknowledged ticks of each host."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def hosts(self) -> list[str]:
        return [f"{self.name}-{index}" for index in range(HOSTS)]

    async def talk(self) -> None:
        async with Sender(self.kafka) as sender:
            while not self.ended.is_set():
                ticks = [tick(self.sent + 1, host=host, site=self.name) for host in self.hosts]
                await asyncio.gather(*[await sender.enqueue(HOST_TICKS, one) for one in ticks])
                self.sent += 1
                await asyncio.sleep(PAUSE_S)


async def records(kafka: Kafka, topic: Topic[Any]) -> list[ConsumerRecord]:
    """Return all that *topic* holds, each partition in its order."""
    found = []
    async with consumer(kafka, topic) as reader:
        ends = await reader.end_offsets(reader.assignment())
        while any([await reader.position(place) < end for place, end in ends.items()]):
            for some in (await reader.getmany(timeout_ms=200)).values():
                found += some
    return found


async def by_host(kafka: Kafka) -> dict[str, list[ConsumerRecord]]:
    hosts: dict[str, list[ConsumerRecord]] = defaultdict(list)
    for record in await records(kafka, HOST_TICKS):
        hosts[record.key.decode()].append(record)
    return hosts


def number(record: ConsumerRecord) -> int:
    return TICKS.decode(record.value).seq


async def true(claim: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not await claim():
        assert time.monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.1)


async def arrived(kafka: Kafka, site: Site, last: int) -> None:
    """Return once every host's tick *last* of *site* is on *kafka*."""

    async def all_in() -> bool:
        known = await by_host(kafka)
        return all(number(known[host][-1]) >= last if host in known else False for host in site.hosts)

    await true(all_in, f"{site.name} up to {last}")


async def says_more(site: Site, ticks: int) -> None:
    """Return once each host of *site* has sent so many more *ticks*."""
    goal = site.sent + ticks
    await true(lambda: asyncio.sleep(0, site.sent >= goal), f"{site.name} speaks")


async def behind(settings: Mirror) -> int | None:
    (link, *_) = await mirror_progress.read(settings)
    assert link.failed == ()
    return link.behind


async def test_whatever_goes_away_and_returns_every_tick_arrives_in_its_host_s_order(world: World) -> None:
    """North's link is cut, the portfolio's Kafka stops, the mirror is killed: three interruptions, ticks all along."""
    settings = world.settings(Profile.TELEMETRY)
    north, south = Site("north", world.north), Site("south", world.portfolio)
    async with mirrored(world, settings) as process, asyncio.TaskGroup() as group:
        group.create_task(north.talk())
        talking = group.create_task(south.talk())
        await arrived(world.portfolio, north, 1)

        world.line.order(HALF_OPEN)
        cut_at = north.sent + 1  # one may be on its way
        await says_more(north, AWAY)
        await arrived(world.portfolio, south, south.sent)  # the other site is not held up
        during = await by_host(world.portfolio)
        world.line.order(PASS)
        world.line.reset()
        await arrived(world.portfolio, north, north.sent)

        south.ended.set()
        await talking
        await asyncio.to_thread(node.stop, world.portfolio_data)
        await says_more(north, AWAY)
        await node.start(world.portfolio_data, heap_mb=HEAP_MB, detach=False)
        await arrived(world.portfolio, north, north.sent)

        os.kill(process.pid, signal.SIGKILL)
        await says_more(north, AWAY)
        assert (await behind(settings) or 0) >= HOSTS * (AWAY - 1)
        await world.start(settings)
        north.ended.set()
        await arrived(world.portfolio, north, north.sent)
        await true(lambda: caught_up(settings), "nothing is behind")

    assert max(number(record) for host in north.hosts for record in during[host]) <= cut_at
    there, own = await by_host(world.portfolio), await by_host(world.north)
    for site in (north, south):
        for host in site.hosts:
            result = seen([number(record) for record in there[host]], site.sent)
            assert (result.missing, result.ahead) == (0, 0), host
            assert result.returns <= INTERRUPTIONS, "it goes back only where it was interrupted"
    for host in north.hosts:
        assert {record.value for record in there[host]} == {record.value for record in own[host]}
        assert {record.partition for record in there[host]} == {record.partition for record in own[host]}


async def caught_up(settings: Mirror) -> bool:
    return await behind(settings) == 0


async def put(sender: Sender, topic: Topic[Any], key: bytes, payload: bytes) -> None:
    await (await sender.enqueue_encoded(topic, key, payload))


async def test_ticks_are_stamped_anew_where_they_arrive_and_figures_keep_the_site_s_stamp(world: World) -> None:
    """A topic whose broker stamps records does so again; what a producer stamped goes through as it is."""
    settings = world.settings(Profile.FIGURES)
    async with mirrored(world, settings), Sender(world.north) as sender:
        await sender.send(SITE_CAPACITY, figure("north", 1, pool()))
        await true(lambda: holds(world.portfolio, SITE_CAPACITY, 1), "the figure arrives")

    (own,), (there,) = await records(world.north, SITE_CAPACITY), await records(world.portfolio, SITE_CAPACITY)
    assert (there.timestamp, there.timestamp_type) == (own.timestamp, CREATE_TIME)
    assert (there.key, there.value, there.partition) == (own.key, own.value, own.partition)
    first_there = (await by_host(world.portfolio))["north-0"][0]
    first_own = (await by_host(world.north))["north-0"][0]
    assert (first_own.timestamp_type, first_there.timestamp_type) == (APPEND_TIME, APPEND_TIME)
    assert first_there.timestamp > first_own.timestamp


async def holds(kafka: Kafka, topic: Topic[Any], count: int) -> bool:
    return len(await records(kafka, topic)) >= count


async def test_only_figures_go_up_and_commands_come_down_only_where_they_are_wanted(world: World) -> None:
    """A second figure, sent after all the rest, says that the mirror has seen the rest and left it."""
    before = len(await records(world.portfolio, HOST_TICKS))
    async with Sender(world.north) as north, Sender(world.portfolio) as portfolio:
        await put(portfolio, COMMANDS, b"north-0", b"command")
        async with mirrored(world, world.settings(Profile.FIGURES)):
            await north.send(HOST_TICKS, tick(10_000, host="north-0", site="north"))
            await put(north, SITE_PARTIALS, b"north", b"partial")
            await north.send(SITE_CAPACITY, figure("north", 2, pool()))
            await true(lambda: holds(world.portfolio, SITE_CAPACITY, 2), "the second figure arrives")

        assert await records(world.portfolio, SITE_PARTIALS) == []
        assert len(await records(world.portfolio, HOST_TICKS)) == before
        assert await records(world.north, COMMANDS) == []

        async with mirrored(world, world.settings(Profile.FIGURES, commands=True)):
            await true(lambda: holds(world.north, COMMANDS, 1), "the command arrives")

        (command,) = await records(world.north, COMMANDS)
        assert (command.key, command.value) == (b"north-0", b"command")


async def test_a_site_that_is_away_when_the_mirror_starts_is_found_once_it_is_back(world: World) -> None:
    settings = world.settings(Profile.FIGURES)
    count = len(await records(world.portfolio, SITE_INTERVALS))
    world.line.order(REFUSE)
    world.line.reset()
    try:
        async with mirrored(world, settings), Sender(world.north) as north:
            (link,) = await mirror_progress.read(settings)
            assert (link.behind, world.line.bootstrap in (link.trouble or "")) == (None, True)
            world.line.order(PASS)

            await put(north, SITE_INTERVALS, b"north", b"interval")

            await true(lambda: holds(world.portfolio, SITE_INTERVALS, count + 1), "the interval arrives")
    finally:
        world.line.order(PASS)
