"""The demo, from start to report. It starts, waits, watches and stops; what it shows is decided elsewhere."""

import asyncio
import contextlib
import json
import os
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bidding import signing
from deploy.broker import node as broker
from deploy.demo import config, page, realhost, report, tap
from deploy.demo.children import Children, last_line
from deploy.demo.picture import Picture
from deploy.demo.plan import INTERVAL, ORIGIN, Options, first_interval
from deploy.fleet import traces
from deploy.fleet.history import history
from pipeline import archive, desk, kafka, plugins
from pipeline.clock import Clock, real_clock_from, wall
from pipeline.errors import EnvironmentProblem, FirmwattError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import HOST_TICKS, TOPICS

WORKERS = ("worker-1", "worker-2")
#: From the end of the event to both statements, seconds of the machine.
SETTLE_WITHIN_S = 90.0
CATCH_UP_WITHIN_S = 30.0
SEEN_WITHIN_S = 45.0


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
    await kafka.ensure_topics(node.bootstrap, (*TOPICS, *MARKET_TOPICS))
    layout = config.Layout(folder=folder, bootstrap=node.bootstrap, options=options)
    layout.keyring.write_text(config.keyring(signing.generate(layout.key)), encoding="utf-8")
    stage.enter(f"loading {options.history_days} simulated days of history")
    layout.archive.mkdir()
    extra_kw = realhost.GPUS * realhost.MEAN_W / 1000 if realhost.possible() else 0.0
    fleet = config.fleet_settings(layout)
    past = await asyncio.to_thread(history, fleet, options.history_days, ORIGIN, INTERVAL, extra_kw=extra_kw)
    archive.backfill(layout.archive, config.SITE, past, INTERVAL, simulated=True)
    desk.build(layout.desk, layout.archive)
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
        children.start(worker, "pipeline", "run", "--config", path, "--name", worker)
    layout.venue_url = await children.ready("venue")
    await asyncio.gather(*(children.ready(worker) for worker in WORKERS))
    children.start("fleet", "fleet", "--config", path)
    if isinstance(host, realhost.RealHost):
        await asyncio.gather(*(children.ready(name) for name in realhost.start(children, host, layout.path)))
    stage.described = await children.ready("fleet")
    return host if isinstance(host, realhost.RealHost) else None


async def kill_a_worker(layout: config.Layout, children: Children, stage: Stage) -> None:
    """Kill the first Faust worker with -9 in the middle of the event."""
    await stage.clock.sleep_until(layout.first_interval + INTERVAL * layout.options.minutes / 2)
    children.kill(WORKERS[0])
    stage.picture.note(stage.clock.now(), f"{WORKERS[0]} killed with -9")
    stage.say(f"{WORKERS[0]} killed with -9")


async def seen_by_the_pipeline(picture: Picture, hosts: int) -> None:
    """Return once the site figures hold *hosts* hosts; raise `EnvironmentProblem` when they do not appear."""
    try:
        async with asyncio.timeout(SEEN_WITHIN_S):
            while picture.capacity is None or picture.capacity.hosts < hosts:  # noqa: ASYNC110 - polled, it is a figure
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
    await seen_by_the_pipeline(stage.picture, options.hosts)
    layout.first_interval = first_interval(stage.clock.now())
    layout.write()
    end = layout.first_interval + INTERVAL * options.minutes
    children.start("bid", "bid", "run", "--config", str(layout.path), "--venue", options.venue)
    stage.enter(f"bidding; the event runs {layout.first_interval:%H:%M} to {end:%H:%M} UTC of the simulated clock")
    async with background(*[kill_a_worker(layout, children, stage)] if options.kill_worker else []):
        left_s = stage.clock.wall_seconds(end - stage.clock.now())
        code = await children.finished("bid", left_s + SETTLE_WITHIN_S)
    if code:
        raise BiddingError(last_line(children.log("bid")), code)


async def collect_run(layout: config.Layout, children: Children, stage: Stage) -> report.Run:
    """Stop measuring, let the pipeline catch up, and read everything back."""
    stage.enter("stopping the fleet, letting the pipeline catch up")
    async with httpx.AsyncClient(base_url=layout.venue_url or "", timeout=10, trust_env=False) as venue:
        audit = (await venue.get("/v1/audit")).json()
    await children.stop("fleet", "collect", "actuate")
    produced = await tap.records_on(layout.bootstrap, HOST_TICKS)
    await tap.caught_up(layout.bootstrap, produced, report.ticks_aggregated, CATCH_UP_WITHIN_S)
    run = report.Run(
        speed=layout.options.speed,
        description=stage.described,
        ticks_produced=produced,
        audit=audit,
        machine={
            "elapsed_s": round(wall() - stage.started, 1),
            "peak_memory_mb": round(children.peak_bytes / 2**20),
            "speed": layout.options.speed,
            "seed": layout.options.seed,
            "faust_workers": len(WORKERS),
            "fleet_ticks_acknowledged": fleet_count(layout.folder / "fleet.json"),
            "worker_killed": layout.options.kill_worker,
            "venue_loses_replies": layout.options.lose_replies,
            "run": layout.folder.name,
        },
    )
    return await tap.read_run(layout.bootstrap, run)


def fleet_count(summary: Path) -> int | None:
    """Return how many ticks the fleet saw acknowledged: a second count beside the broker's, without the real host."""
    try:
        return int(json.loads(summary.read_text(encoding="utf-8"))["ticks_produced"])
    except (OSError, ValueError, KeyError):
        return None


def publish(path: Path, text: str) -> None:
    """Write *text* to *path* by atomic rename: a reader sees all of it or nothing."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def point_latest_to(folder: Path) -> None:
    """Let `latest` beside *folder* lead to it, by atomic rename."""
    draft = folder.parent / f".latest.{os.getpid()}"
    draft.symlink_to(folder.name)
    draft.replace(folder.parent / "latest")


async def run(options: Options, folder: Path, stage: Stage) -> dict[str, Any]:
    """Run the loop once in *folder* and return the report; everything it started has ended when it returns."""
    children = Children(folder)
    point_latest_to(folder)
    try:
        layout = await lay_out(options, folder, stage)
        host = await start_all(layout, children, stage)
        works = [tap.listen(layout.bootstrap, stage.picture, stage.clock), weigh(children)]
        async with background(*works, *[realhost.breathe(host, stage.clock)] if host else []):
            await trade(layout, children, stage)
            found = await collect_run(layout, children, stage)
        await children.stop()
        figures = report.summarise(found)
        publish(folder / "report.html", page.render(found, figures))
        publish(folder / "report.json", json.dumps(figures, indent=2))
    finally:
        await children.stop()
        if options.keep:
            stage.say(f"the broker goes on: firmwatt broker stop --data {folder / 'broker'}")
        else:
            await asyncio.to_thread(broker.stop, folder / "broker")
            shutil.rmtree(folder / "broker", ignore_errors=True)
    return figures
