"""The demo, from start to report. It starts, waits, watches and stops; what it shows is decided elsewhere."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from aiokafka.errors import KafkaError

from bidding import signing
from deploy.broker import node as broker
from deploy.demo import config, page, realhost, report, tap
from deploy.demo.children import Children, last_line
from deploy.demo.picture import Picture
from deploy.demo.plan import INTERVAL, ORIGIN, Options, bidding_lead, first_interval
from deploy.fleet import traces
from deploy.fleet.history import history
from pipeline import archive, desk, files, kafka, plugins, storage
from pipeline.clock import Clock, real_clock_from, wall
from pipeline.errors import EnvironmentProblem, FirmwattError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import HOST_TICKS, TOPICS
from pipeline.units import W_PER_KW

WORKERS = ("worker-1", "worker-2")
#: From the end of the event to both statements, seconds of the machine.
SETTLE_WITHIN_S = 90.0
CATCH_UP_WITHIN_S = 30.0
SEEN_WITHIN_S = 45.0
#: A host lets go within five stages of five seconds of the clock: four and its jitter (`collectors.lease.Bounds`).
RELEASED_WITHIN = timedelta(seconds=40)
COLLECT_WITHIN_S = 120.0


class BiddingError(FirmwattError):
    """Bidding ended before it had settled; its last line says why, its exit code is ours."""

    def __init__(self, line: str, exit_code: int) -> None:
        super().__init__(line)
        self.exit_code = exit_code


@dataclass
class Stage:
    """What the view shows beside the figures."""

    say: Callable[[str], None]
    name: str = "starting"
    described: str = "SIMULATED"
    picture: Picture = field(default_factory=Picture)
    clock: Clock = field(default_factory=Clock)
    worker_killed: bool = False
    start_took: timedelta = timedelta()
    """How long processes took to be ready, of the clock."""
    started: float = field(default_factory=wall)

    def enter(self, name: str) -> None:
        """Show *name* as what is being done now."""
        self.name = name
        self.say(f"{wall() - self.started:6.1f} s  {name}")


@contextlib.asynccontextmanager
async def background(*works: Any) -> AsyncIterator[None]:
    """Run *works* beside the body and cancel them after it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def weigh(children: Children) -> None:
    """Sample memory every half second, until cancelled."""
    while True:
        children.weigh()
        await asyncio.sleep(0.5)


def check(options: Options) -> None:
    """Refuse what cannot work before anything is started: an unknown venue, a trace that is none."""
    plugins.load("bidding.markets", options.venue)
    if options.trace is not None:
        traces.load(options.trace)


async def lay_out(options: Options, folder: Path, stage: Stage) -> config.Layout:
    """Start the broker, load the history, write keys and settings; nothing measures yet."""
    stage.enter("starting Apache Kafka")
    node = await broker.start(folder / "broker", heap_mb=512, detach=options.keep)
    await kafka.ensure_topics(node.kafka, (*TOPICS, *MARKET_TOPICS))
    layout = config.Layout(folder=folder, kafka=node.kafka, options=options)
    layout.keyring.write_text(config.keyring(signing.generate(layout.key)), encoding="utf-8")
    stage.enter(f"loading {options.history_days} simulated days of history")
    layout.archive.mkdir()
    extra_kw = realhost.GPUS * realhost.MEAN_W / W_PER_KW if realhost.possible() else 0.0
    fleet = config.fleet_settings(layout)
    past = await asyncio.to_thread(history, fleet, options.history_days, ORIGIN, INTERVAL, extra_kw=extra_kw)
    place = storage.at(layout.archive)
    archive.backfill(place, config.SITE, past, INTERVAL, Clock().now(), simulated=True)
    desk.build(layout.desk, place)
    return layout


async def start_all(layout: config.Layout, children: Children, stage: Stage) -> realhost.RealHost | None:
    """Start venue, workers, fleet and the real host; return once every one of them is ready."""
    stage.enter("starting venue, Faust workers and the fleet")
    host = realhost.prepare(layout.folder)
    stage.clock = layout.clock = real_clock_from(ORIGIN, layout.options.speed)
    if isinstance(host, realhost.RealHost):
        layout.mapping.write_text(realhost.mapping(host.uuids), encoding="utf-8")
    else:
        stage.say(host)
    layout.write()
    path = str(layout.path)
    children.start("venue", "sandbox", "--config", path)
    for worker in WORKERS:
        children.supervise(worker, "pipeline", "run", "--config", path, "--name", worker)
    layout.venue_url = await children.ready("venue")
    await asyncio.gather(*(children.ready(worker) for worker in WORKERS))
    stage.start_took = stage.clock.now() - ORIGIN
    children.start("fleet", "fleet", "--config", path)
    if isinstance(host, realhost.RealHost):
        names = realhost.start(children, host, layout.path, stage.clock)
        await asyncio.gather(*(children.ready(name) for name in names))
    stage.described = await children.ready("fleet")
    return host if isinstance(host, realhost.RealHost) else None


async def kill_a_worker(layout: config.Layout, children: Children, stage: Stage) -> None:
    """Kill the first Faust worker with -9 in the middle of the event."""
    await stage.clock.sleep_until(layout.first_interval + INTERVAL * layout.options.minutes / 2)
    children.kill(WORKERS[0])
    stage.worker_killed = True
    stage.picture.note(stage.clock.now(), f"{WORKERS[0]} killed with -9")
    stage.say(f"{WORKERS[0]} killed with -9")


async def seen_by_the_pipeline(picture: Picture, hosts: int, children: Children) -> None:
    """Return once the site figures hold *hosts* hosts; raise `EnvironmentProblem` when they do not appear."""
    try:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while picture.capacity is None or picture.capacity.hosts < hosts:
                children.check()
                await asyncio.sleep(0.1)
    except TimeoutError as error:
        seen = picture.capacity.hosts if picture.capacity else 0
        raise EnvironmentProblem(
            f"only {seen} of {hosts} hosts reached the site figures; see the worker logs"
        ) from error


async def trade(layout: config.Layout, children: Children, stage: Stage) -> None:
    """Start bidding and let it offer, be dispatched, deliver and settle; return when it has settled."""
    options = layout.options
    stage.enter("waiting for the first ticks of every host")
    await seen_by_the_pipeline(stage.picture, options.hosts, children)
    layout.first_interval = first_interval(stage.clock.now(), bidding_lead(stage.start_took))
    layout.write()
    end = layout.first_interval + INTERVAL * options.minutes
    children.start("bid", "bid", "run", "--config", str(layout.path), "--venue", options.venue)
    stage.enter(f"bidding; the event runs {layout.first_interval:%H:%M} to {end:%H:%M} UTC of the simulated clock")
    async with background(*[kill_a_worker(layout, children, stage)] if options.kill_worker else []):
        left_s = stage.clock.wall_seconds(end - stage.clock.now())
        code = await children.finished("bid", left_s + SETTLE_WITHIN_S)
    if code:
        raise BiddingError(last_line(children.log("bid")), code)


async def released(stage: Stage, children: Children) -> None:
    """Return once every host that was capped has let go, in stages and by itself; or after `RELEASED_WITHIN`."""
    picture = stage.picture
    deadline = stage.clock.now() + RELEASED_WITHIN
    while picture.commanded_hosts - picture.released_hosts and stage.clock.now() < deadline:
        children.check()
        await asyncio.sleep(0.1)


async def collect_run(layout: config.Layout, children: Children, stage: Stage) -> report.Run:
    """Let the hosts release, stop measuring, let the pipeline catch up, and read everything back."""
    stage.enter("hosts release in stages")
    await released(stage, children)
    stage.enter("stopping the fleet, letting the pipeline catch up")
    async with httpx.AsyncClient(base_url=layout.venue_url or "", timeout=10, trust_env=False) as venue:
        audit = (await venue.get("/v1/audit")).json()
    await children.stop("fleet", "collect", "actuate")
    produced = await tap.records_on(layout.kafka, HOST_TICKS)
    await tap.caught_up(layout.kafka, produced, report.ticks_aggregated, CATCH_UP_WITHIN_S)
    run = report.Run(
        speed=layout.options.speed,
        description=stage.described,
        ticks_produced=produced,
        intervals_planned=layout.options.minutes,
        audit=audit,
        machine={
            "elapsed_s": round(wall() - stage.started, 1),
            "peak_memory_mb": round(children.peak_bytes / 2**20),
            "speed": layout.options.speed,
            "seed": layout.options.seed,
            "faust_workers": len(WORKERS),
            "fleet_ticks_acknowledged": fleet_count(layout.folder / "fleet.json"),
            "worker_killed": stage.worker_killed,
            "workers_restarted": children.restarts,
            "venue_loses_replies": layout.options.lose_replies,
            "run": layout.folder.name,
        },
    )
    return await tap.read_run(layout.kafka, run)


async def collected(layout: config.Layout, children: Children, stage: Stage) -> report.Run:
    """Do `collect_run`; a broker or a venue that dies meanwhile is one line."""
    try:
        async with asyncio.timeout(COLLECT_WITHIN_S):
            return await collect_run(layout, children, stage)
    except (KafkaError, TimeoutError) as error:
        raise kafka.gone(layout.kafka.bootstrap, error) from error
    except httpx.HTTPError as error:
        raise EnvironmentProblem(f"the venue at {layout.venue_url} stopped answering: {error}") from error


def fleet_count(summary: Path) -> int | None:
    """Return how many ticks the fleet saw acknowledged: a second count beside the broker's, without the real host."""
    try:
        return int(json.loads(summary.read_text(encoding="utf-8"))["ticks_produced"])
    except (OSError, ValueError, KeyError):
        return None


def point_latest_to(folder: Path) -> None:
    """Let `latest` beside *folder* lead to it, by atomic rename."""
    draft = folder.parent / f".latest.{os.getpid()}"
    draft.symlink_to(folder.name)
    draft.replace(folder.parent / "latest")


async def run(options: Options, folder: Path, stage: Stage) -> dict[str, Any]:
    """Run the loop once in *folder* and return the report; everything it started has ended when it returns."""
    children = Children(folder)
    point_latest_to(folder)
    kept = False
    try:
        layout = await lay_out(options, folder, stage)
        host = await start_all(layout, children, stage)
        works = [tap.listen(layout.kafka, stage.picture, stage.clock), weigh(children)]
        async with background(*works, *[realhost.breathe(host, stage.clock)] if host else []):
            await trade(layout, children, stage)
            found = await collected(layout, children, stage)
        await children.stop()
        figures = report.summarise(found)
        files.replace(folder / "report.html", page.render(found, figures).encode())
        files.replace(folder / "report.json", json.dumps(figures, indent=2).encode())
        kept = options.keep
    finally:
        await children.stop()
        if not kept:
            await asyncio.to_thread(broker.stop, folder / "broker")
            shutil.rmtree(folder / "broker", ignore_errors=True)
    return figures
