"""
One pipeline worker: a Faust application and two batch services in one event loop, until told to stop.

Whatever fails first ends the worker with its error; the others are given a moment to leave. The exit code is the
error's: 4 the disk is full, 5 Kafka is gone, 1 a partition is stuck.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from pipeline import app, archive, desk, kafka
from pipeline.agents.archive import Archive
from pipeline.agents.rollup import Rollup
from pipeline.clock import Clock, wall
from pipeline.errors import BrokerGoneError, FirmwattError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Site
from pipeline.streams import use_quick_transport
from pipeline.topics import INTERVAL_PARTIALS, SITE_CAPACITY, SITE_INTERVALS, SITE_PARTIALS, TOPICS
from pipeline.watchdog import FAUST_STUCK_AFTER_S, GONE_AFTER_S, STUCK_AFTER_S, Progress

log = logging.getLogger(__name__)

#: How long the parts may take to leave (machine time, seconds).
LEAVE_S = 8.0
ASK_EVERY_S = 1.0


@dataclass(frozen=True)
class Worker:
    """Everything a worker has to know."""

    name: str
    bootstrap: str
    site: Site
    settings: Pipeline
    clock: Clock

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT; raise what made it impossible."""
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await asyncio.to_thread(self._lay_out)
        await kafka.ensure_topics(self.bootstrap, (*TOPICS, *MARKET_TOPICS), self.settings.replication)
        group, session_timeout_s = self.settings.group, self.settings.session_timeout_s
        rollup = Rollup(
            bootstrap=self.bootstrap,
            group=f"{group}-rollup",
            site=self.site.name,
            length=self.site.interval,
            clock=self.clock,
            session_timeout_s=session_timeout_s,
        )
        keeper = Archive(
            bootstrap=self.bootstrap,
            group=f"{group}-archive",
            folder=self.settings.archive_path,
            session_timeout_s=session_timeout_s,
        )
        async with self._leaving() as stack:
            sender = await stack.enter_async_context(kafka.Sender(self.bootstrap))
            faust = await stack.enter_async_context(self._faust(sender))
            await _first(
                stop.wait(),
                rollup.run(sender),
                keeper.run(),
                faust.wait_until_stopped(),
                self._announce(faust, rollup, keeper),
                self._watch(rollup),
                self._watch_agents(faust, rollup),
            )
            if faust.crash_reason is not None:
                raise FirmwattError(f"Faust stopped: {faust.crash_reason!r}") from faust.crash_reason

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
            raise BrokerGoneError(f"Kafka at {self.bootstrap} did not let {self.name} leave; nothing is lost by that")

    def _lay_out(self) -> None:
        archive.prepare(self.settings.archive_path)
        archive.sweep(self.settings.archive_path, wall())
        desk.build(self.settings.desk_path, self.settings.archive_path)

    @asynccontextmanager
    async def _faust(self, sender: kafka.Sender) -> AsyncIterator[Any]:
        application = app.build(
            self.bootstrap,
            self.settings,
            partial(sender.send, SITE_CAPACITY),
            partial(sender.send, SITE_INTERVALS),
            self.clock.now,
        )
        use_quick_transport(application, asyncio.get_running_loop())
        await application.start()
        try:
            yield application
        finally:
            await application.stop()

    async def _announce(self, faust: Any, rollup: Rollup, keeper: Archive) -> None:
        """Say that the worker is ready, then wait for ever."""
        await rollup.assigned.wait()
        await keeper.assigned.wait()
        await faust.tables.wait_until_recovery_completed()
        held = ",".join(str(partition.partition) for partition in sorted(rollup.positions()))
        print(f"ready {self.name}: telemetry partitions {held or 'none yet'}", file=sys.stderr, flush=True)  # noqa: T201 - supervisors wait for it
        await asyncio.Event().wait()

    async def _watch(self, rollup: Rollup) -> None:
        """Raise once a partition is stuck or Kafka is gone."""
        progress: Progress[Any] = Progress()
        started = wall()
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            try:
                ends = await asyncio.wait_for(rollup.ends(), GONE_AFTER_S / 4)
            except (KafkaError, TimeoutError, OSError) as error:
                if progress.is_gone(started, wall()):
                    silence = TimeoutError(f"no answer for {GONE_AFTER_S:g} s")
                    raise kafka.gone(self.bootstrap, silence) from error
                continue
            progress = progress.seen(rollup.positions(), ends, wall())
            if stuck := progress.stuck(wall()):
                numbers = ", ".join(str(partition.partition) for partition in sorted(stuck))
                what = f"no progress on telemetry partition {numbers} for {STUCK_AFTER_S:g} s"
                raise FirmwattError(f"{what}; start the worker again")

    async def _watch_agents(self, faust: Any, rollup: Rollup) -> None:
        """Raise once Faust has left records of a partition it holds uncommitted for `FAUST_STUCK_AFTER_S`."""
        await rollup.assigned.wait()
        await faust.tables.wait_until_recovery_completed()
        sources = {SITE_PARTIALS.name, INTERVAL_PARTIALS.name}
        progress: Progress[Any] = Progress()
        while True:
            await asyncio.sleep(ASK_EVERY_S)
            held = [TopicPartition(*partition) for partition in faust.consumer.assignment()]
            held = [partition for partition in held if partition.topic in sources]
            try:
                committed, ends = await rollup.lag_of(self.settings.group, held) if held else ({}, {})
            except (KafkaError, OSError):
                continue  # `_watch` tells when Kafka is gone
            progress = progress.seen({partition: committed.get(partition, 0) for partition in held}, ends, wall())
            if stuck := progress.stuck(wall(), FAUST_STUCK_AFTER_S):
                where = ", ".join(f"{partition.topic}:{partition.partition}" for partition in sorted(stuck))
                raise FirmwattError(f"Faust stands still on {where} (faust-streaming #629); start the worker again")


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
