"""
One pipeline worker: a Faust application and two batch services in one event loop, until told to stop.

Whatever fails first ends the worker with its error; the others are given a moment to leave. The exit code is the
error's: 4 the disk is full, 5 Kafka is gone, 1 a partition is stuck.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline import app, archive, archive_migrate, desk, ends, kafka, memory, pages, storage
from pipeline.agents import upkeep
from pipeline.agents.archive import Archive
from pipeline.agents.rollup import Rollup
from pipeline.clock import Clock, wall
from pipeline.errors import BrokerGoneError, FirmwattError, StuckError
from pipeline.fence import Fence, halt
from pipeline.kafka import Sender
from pipeline.market_topics import MARKET_TOPICS
from pipeline.monitor import Monitor
from pipeline.offsets import Offsets
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka, Site
from pipeline.storage import Folder, Storage
from pipeline.streams import TP, use_quick_transport
from pipeline.topics import HOST_TICKS, TOPICS
from pipeline.watchdog import GONE_AFTER_S, STUCK_AFTER_S, WAITING_AFTER_S, AgentsProgress, Progress

log = logging.getLogger(__name__)

#: How long the parts may take to leave (machine time, seconds).
LEAVE_S = 8.0
ASK_EVERY_S = 1.0


@dataclass(frozen=True)
class Worker:
    """Everything a worker has to know."""

    name: str
    kafka: Kafka
    site: Site
    settings: Pipeline
    clock: Clock

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; raise what made it impossible."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await asyncio.to_thread(self._lay_out)
        await kafka.ensure_topics(self.kafka, (*TOPICS, *MARKET_TOPICS), self.settings.replication)
        group, session_timeout_s = self.settings.group, self.settings.session_timeout_s
        rollup = Rollup(
            kafka=self.kafka,
            group=f"{group}-rollup",
            site=self.site.name,
            also=self.settings.telemetry_sites,
            lengths=self.settings.lengths(self.site),
            clock=self.clock,
            session_timeout_s=session_timeout_s,
            name=self.name,
        )
        keeper = Archive(
            kafka=self.kafka,
            group=f"{group}-archive",
            storage=self._archive,
            session_timeout_s=session_timeout_s,
            publish_every_s=self.settings.publish_every_s,
            telemetry=self.settings.archive_telemetry,
        )
        monitor = self._monitor(rollup, keeper)
        async with self._leaving() as stack:
            stack.enter_context(self._pages(monitor))
            sender = await stack.enter_async_context(Sender(self.kafka))
            faust = await stack.enter_async_context(self._faust(sender, monitor))
            offsets = await stack.enter_async_context(Offsets(self.kafka))
            await _first(
                stop.wait(),
                rollup.run(),
                keeper.run(),
                upkeep.run(self._archive, self.settings, self.clock, keeper.is_steward),
                faust.wait_until_stopped(),
                self._announce(faust, monitor),
                monitor.run(faust, offsets),
                self._watch(rollup, offsets),
                self._watch_agents(faust, rollup, offsets),
                memory.give_back(),
            )
            if faust.crash_reason is not None:
                raise _expected(faust.crash_reason) from faust.crash_reason

    @asynccontextmanager
    async def _leaving(self) -> AsyncIterator[AsyncExitStack]:
        """Close what is entered, within `LEAVE_S`; just drop it where Kafka is gone, for nobody is left to tell."""
        stack = AsyncExitStack()
        try:
            yield stack
        except BrokerGoneError:
            stack.pop_all()
            raise
        finally:
            closing = asyncio.ensure_future(stack.aclose())
            _, waiting = await asyncio.wait([closing], timeout=LEAVE_S)
        if waiting:
            raise BrokerGoneError(
                f"Kafka at {self.kafka.bootstrap} did not let {self.name} leave; nothing is lost by that"
            )

    @cached_property
    def _archive(self) -> Storage:
        return storage.at(self.settings.archive)

    def _lay_out(self) -> None:
        Path(self.settings.data).mkdir(parents=True, exist_ok=True)
        archive.prepare(self._archive)
        archive.sweep(self._archive, wall())
        archive_migrate.migrate(self._archive, Clock().now())
        desk.build(self.settings.desk_path, self._archive)

    @asynccontextmanager
    async def _faust(self, sender: Sender, monitor: Monitor) -> AsyncIterator[Any]:
        application = app.build(
            self.kafka,
            self.settings,
            monitor.passing(sender.enqueue),
            self.clock.now,
            fence=Fence.of_session(self.settings.session_timeout_s, self._halt),
            passed_over=monitor.passed_over,
        )
        use_quick_transport(application, asyncio.get_running_loop())
        await application.start()
        try:
            yield application
        finally:
            await application.stop()

    def _halt(self, stood_still_s: float) -> None:
        ends.add(self.ends_file, ends.STOOD_STILL)
        halt(stood_still_s)

    @property
    def ends_file(self) -> Path:
        """Where it is counted why this worker ended."""
        return Path(self.settings.data) / f"ends-{quote(self.name, safe='')}.json"

    def _monitor(self, rollup: Rollup, keeper: Archive) -> Monitor:
        return Monitor(
            worker=self.name,
            group=self.settings.group,
            clock=self.clock,
            partitions_expected=self.kafka.telemetry_partitions,
            sources=app.sources(self.settings),
            rollup=rollup,
            keeper=keeper,
            folder=self._archive.path if isinstance(self._archive, Folder) else None,
            ends_file=self.ends_file,
        )

    @contextmanager
    def _pages(self, monitor: Monitor) -> Iterator[None]:
        """Answer over HTTP, where that is asked for."""
        if not self.settings.listen:
            yield
            return
        served = pages.Pages(monitor, monitor.health, monitor.readiness)
        server = pages.start(self.settings.listen, served, "[pipeline] listen")
        try:
            yield
        finally:
            server.close()

    async def _announce(self, faust: Any, monitor: Monitor) -> None:
        """Say that the worker is ready, then wait for ever."""
        await monitor.rollup.assigned.wait()
        await monitor.keeper.assigned.wait()
        await faust.tables.wait_until_recovery_completed()
        monitor.recovered = True
        held = ",".join(map(str, sorted(monitor.rollup.positions())))
        print(f"ready {self.name}: telemetry partitions {held or 'none yet'}", file=sys.stderr, flush=True)  # noqa: T201 - supervisors wait for it
        await asyncio.Event().wait()

    async def _watch(self, rollup: Rollup, offsets: Offsets) -> None:
        """
        Raise once a partition is stuck or Kafka is gone.

        One that waits while others are being caught up with is given longer: they are served one after the other.
        """
        progress: Progress[Any] = Progress()
        moving: Progress[str] = Progress()
        started = wall()
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                held = {0, *rollup.positions()}  # one more, where none is held: without an answer Kafka is gone
                asking = offsets.ends([TopicPartition(HOST_TICKS.name, number) for number in held])
                ends = await asyncio.wait_for(asking, GONE_AFTER_S / 4)
            except (KafkaError, TimeoutError, OSError) as error:
                if progress.is_gone(started, wall()):
                    silence = TimeoutError(f"no answer for {GONE_AFTER_S:g} s")
                    raise kafka.gone(self.kafka.bootstrap, silence) from error
                continue
            until = {partition.partition: end for partition, end in ends.items()}
            progress = progress.seen(rollup.positions(), until, wall())
            taken = sum(rollup.positions().values())
            moving = moving.seen({"all": taken}, {"all": taken + 1}, wall())
            patience_s = STUCK_AFTER_S if moving.stuck(wall()) else WAITING_AFTER_S
            if stuck := progress.stuck(wall(), patience_s):
                numbers = ", ".join(map(str, sorted(stuck)))
                what = f"no progress on telemetry partition {numbers} for {patience_s:g} s"
                raise StuckError("rollup", f"{what}; start the worker again")

    async def _watch_agents(self, faust: Any, rollup: Rollup, offsets: Offsets) -> None:
        """Raise once Faust has left records of a partition it holds uncommitted for too long."""
        await rollup.assigned.wait()
        await faust.tables.wait_until_recovery_completed()
        sources = app.sources(self.settings)
        progress: AgentsProgress[Any] = AgentsProgress()
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            held = [TopicPartition(*partition) for partition in faust.consumer.assignment()]
            held = [partition for partition in held if partition.topic in sources]
            try:
                committed = await offsets.committed(self.settings.group, held) if held else {}
                ends = await offsets.ends(held) if held else {}
            except (KafkaError, OSError):
                continue  # `_watch` tells when Kafka is gone
            places = {partition: max(0, committed.get(partition, 0)) for partition in held}
            read = faust.monitor.tp_read_offsets
            taken = {partition: read.get(TP(*partition), places[partition] - 1) + 1 for partition in held}
            busy = faust.rebalancing or faust.in_recovery
            progress = progress.seen(taken, places, ends, wall(), rebalancing=busy)
            if stuck := progress.stuck(wall()):
                where = "; ".join(
                    f"{place.topic}:{place.partition}: took {taken[place]}, committed {places[place]} of {ends[place]}"
                    for place in sorted(stuck)
                )
                raise StuckError("faust", f"Faust stands still on {where}; start the worker again")


def _expected(crash: BaseException) -> FirmwattError:
    """Return why Faust stopped as an error with an exit code."""
    return crash if isinstance(crash, FirmwattError) else FirmwattError(f"Faust stopped: {crash!r}")


def quiet() -> None:
    """Log to standard error what went wrong, and keep the libraries' account of their retries out of it."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    for name in ("faust", "mode", "aiokafka"):
        logging.getLogger(name).setLevel(logging.CRITICAL)


async def _first(*works: Coroutine[Any, Any, Any]) -> None:
    """Run *works* until one ends, then end the others; raise what the first raised, at once where Kafka is gone."""
    tasks = [asyncio.ensure_future(work) for work in works]
    done, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    failures = [error for task in done if (error := task.exception())]
    if not any(isinstance(error, BrokerGoneError) for error in failures):
        for task in others:
            task.cancel()
        if others:
            await asyncio.wait(others, timeout=LEAVE_S)
    if failures:
        raise failures[0]
