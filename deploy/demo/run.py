"""The demo, from start to report. It starts, waits, watches and stops; what it shows is decided elsewhere."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from bidding import signing
from deploy.broker import node as broker
from deploy.demo import config, page, realhost, report, tap
from deploy.demo.children import Children
from deploy.demo.picture import Picture
from deploy.demo.plan import INTERVAL, NOTICE, ORIGIN, Options, first_interval
from deploy.fleet.history import history
from pipeline import archive, desk, kafka
from pipeline.clock import Clock, real_clock_from, wall
from pipeline.errors import EnvironmentProblem, FirmwattError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import HOST_TICKS, TOPICS

WORKERS = ("worker-1", "worker-2")
SETTLE_WITHIN_S = 90.0


@dataclass
class Stage:
    """What the view shows beside the figures."""

    say: Callable[[str], None]
    name: str = "starting"
    described: str = "SIMULATED"
    picture: Picture = field(default_factory=Picture)
    clock: Clock = field(default_factory=Clock)

    def enter(self, name: str) -> None:
        """Show *name* as what is being done now."""
        self.name = name
        self.say(name)


@contextlib.asynccontextmanager
async def background(*works: Any) -> AsyncIterator[list["asyncio.Task[Any]"]]:
    """Run *works* beside the body and cancel them after it."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def weigh(children: Children) -> None:
    """Sample memory every half second, until cancelled."""
    while True:
        children.weigh()
        await asyncio.sleep(0.5)


async def lay_out(options: Options, folder: Path, stage: Stage) -> config.Layout:
    """Start the broker, load the history, write keys and settings; nothing measures yet."""
    stage.enter("starting Apache Kafka")
    node = await broker.start(folder / "broker", heap_mb=512, detach=False)
    await kafka.ensure_topics(node.bootstrap, (*TOPICS, *MARKET_TOPICS))
    layout = config.Layout(folder=folder, bootstrap=node.bootstrap, options=options)
    layout.keyring.write_text(config.keyring(signing.generate(layout.key)), encoding="utf-8")
    stage.enter(f"loading {options.history_days} simulated days of history")
    layout.archive.mkdir()
    fleet = config.fleet_settings(layout)
    past = await asyncio.to_thread(history, fleet, options.history_days, ORIGIN, INTERVAL)
    if not past.is_empty():
        archive.backfill(layout.archive, layout.site, past, INTERVAL, simulated=True)
    desk.build(layout.desk, layout.archive)
    return layout


async def start_all(layout: config.Layout, children: Children, stage: Stage) -> realhost.RealHost | str:
    """Start venue, workers, fleet and the real host; return once every one of them is ready."""
    stage.enter("starting venue, Faust workers and the fleet")
    host = realhost.prepare(layout.folder)
    stage.clock = real_clock_from(ORIGIN, layout.options.speed)
    layout.clock = stage.clock
    if isinstance(host, realhost.RealHost):
        layout.mapping.write_text(realhost.mapping(host.uuids), encoding="utf-8")
    layout.write()
    path = str(layout.path)
    children.start("venue", "sandbox", "--config", path, *config.venue_flags(layout))
    for worker in WORKERS:
        children.start(worker, "pipeline", "run", "--config", path, "--name", worker)
    layout.venue_url = await children.ready("venue")
    await asyncio.gather(*(children.ready(worker) for worker in WORKERS))
    children.start("fleet", "fleet", "--config", path)
    names = ("fleet", *(realhost.start(children, host, layout.path) if isinstance(host, realhost.RealHost) else ()))
    await asyncio.gather(*(children.ready(name) for name in names))
    return host


async def kill_a_worker(layout: config.Layout, children: Children, stage: Stage) -> None:
    """Kill the first Faust worker with -9 in the middle of the event."""
    middle = layout.first_interval + INTERVAL * layout.options.minutes / 2
    await stage.clock.sleep_until(middle)
    children.kill(WORKERS[0])
    stage.picture.note(stage.clock.now(), f"{WORKERS[0]} killed with -9")
    stage.say(f"{WORKERS[0]} killed with -9")


async def trade(layout: config.Layout, children: Children, stage: Stage) -> None:
    """Start bidding and let it offer, be dispatched, deliver and settle; return when it has settled."""
    layout.first_interval = first_interval(stage.clock.now())
    layout.write()
    event = INTERVAL * layout.options.minutes
    children.start("bid", "bid", "run", "--config", str(layout.path), "--venue", layout.options.venue)
    end = stage.clock.wall_seconds(layout.first_interval + event - stage.clock.now())
    stage.enter(f"bidding; the event runs {layout.first_interval:%H:%M} to {layout.first_interval + event:%H:%M} UTC")
    killer = [kill_a_worker(layout, children, stage)] if layout.options.kill_worker else []
    async with background(*killer):
        code = await children.finished("bid", end + SETTLE_WITHIN_S)
    if code != 0:
        from deploy.demo.children import last_line

        raise EnvironmentProblem(f"bidding stopped (exit {code}): {last_line(children.log('bid'))}")


async def collect_run(
    layout: config.Layout, children: Children, stage: Stage, sentence: str, started: float
) -> report.Run:
    """Stop measuring, let the pipeline catch up, and read everything back."""
    stage.enter("stopping the fleet, letting the pipeline catch up")
    async with httpx.AsyncClient(base_url=layout.venue_url, timeout=10) as venue:
        audit = (await venue.get("/v1/audit")).json()
    await children.stop("fleet", "collect", "actuate")
    produced = await tap.records_on(layout.bootstrap, HOST_TICKS)
    await tap.caught_up(layout.bootstrap, produced, report.ticks_aggregated, timeout_s=20)
    machine = {
        "elapsed_s": round(wall() - started, 1),
        "peak_memory_mb": round(children.peak_bytes / 2**20),
        "speed": layout.options.speed,
        "seed": layout.options.seed,
        "faust_workers": len(WORKERS),
        "worker_killed": layout.options.kill_worker,
        "venue_loses_replies": layout.options.lose_replies,
        "run": layout.folder.name,
    }
    run = report.Run(
        speed=layout.options.speed, description=sentence, ticks_produced=produced, audit=audit, machine=machine
    )
    return await tap.read_run(layout.bootstrap, run)


def publish(path: Path, text: str) -> None:
    """Write *text* to *path* by atomic rename: a reader sees all of it or nothing."""
    scratch = path.with_suffix(path.suffix + f".{os.getpid()}.tmp")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)


async def run(options: Options, folder: Path, stage: Stage) -> dict[str, Any]:
    """Run the loop once in *folder* and return the report; everything it started has ended when it returns."""
    started = wall()
    children = Children(folder)
    try:
        layout = await lay_out(options, folder, stage)
        host = await start_all(layout, children, stage)
        if isinstance(host, str):
            stage.say(host)
        stage.described = config.describe(layout)
        works = [tap.listen(layout.bootstrap, stage.picture, stage.clock), weigh(children)]
        if isinstance(host, realhost.RealHost):
            works.append(realhost.breathe(host, stage.clock))
        async with background(*works):
            await trade(layout, children, stage)
            found = await collect_run(layout, children, stage, stage.described, started)
        await children.stop()
        figures = report.summarise(found)
        publish(folder / "report.json", json.dumps(figures, indent=2))
        publish(folder / "report.html", page.render(found, figures))
    finally:
        await children.stop()
        await broker.stop(folder / "broker")
    return figures


__all__ = ["NOTICE", "FirmwattError", "Stage", "run"]
