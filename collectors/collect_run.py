"""
The collector as a process: a tick a second goes to the spool, from there to Kafka, and to whoever scrapes /metrics.

    devices ─▶ tick ─▶ spool (disk) ─▶ Kafka          only Kafka's acknowledgement retires a tick
                  └──▶ /metrics, /readyz
"""

import asyncio
import logging
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from prometheus_client.core import Metric

from collectors import build, control, metrics, process, serve, settings
from collectors.forward import Forwarder
from collectors.metrics import FeedState
from collectors.runner import Collector
from collectors.spool import Spool
from pipeline.clock import wall
from pipeline.codec import Codec
from pipeline.messages.telemetry import HostTick
from pipeline.settings import Kafka, load
from pipeline.topics import HOST_TICKS

log = logging.getLogger(__name__)

RELEASE_BY_SIGNAL = timedelta(seconds=60)
"""For how long SIGUSR1 lets go of the devices."""
HEALTHY_FOR = timedelta(seconds=30)
"""A collector that has not even tried a tick for so long is stuck."""
CLOSING_S = 3.0
"""How long a release waits for the drivers, seconds of the machine."""
READY_FOR = timedelta(seconds=30)
"""Kafka counts as away when it has not acknowledged anything for so long."""


def main(config: Path, host: str) -> int:
    """Run until SIGTERM or SIGINT."""
    section = load(config, "collector", settings.Collector)
    collector = build.collector(config, host)  # what cannot work is said before the spool is touched
    bootstrap = load(config, "kafka", Kafka).bootstrap
    process.run(lambda stop: run(collector, section, bootstrap, stop), section.log)
    return 0


async def run(collector: Collector, section: settings.Collector, bootstrap: str, stop: asyncio.Event) -> None:
    """Measure, store and forward until *stop*."""
    host = collector.identity.host
    codec = Codec(HOST_TICKS)
    with Spool.open(settings.state_folder(section, host), round(section.spool_mb * 1e6)) as spool:
        if spool.last is not None:
            collector.go_on(codec.decode(spool.last))
        forwarder = Forwarder(bootstrap, spool, section.drain_per_s, collector.clock)
        agent = Agent(collector, spool, forwarder, codec)
        async with agent.reachable(section):
            work = [asyncio.create_task(agent.measure(stop)), asyncio.create_task(forwarder.run(stop))]
            try:
                for done in (await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION))[0]:
                    done.result()
            finally:
                for task in work:
                    task.cancel()
                collector.close()
                log.info(
                    "stopped: %d ticks measured, %d acknowledged, %d left in the spool",
                    agent.appended,
                    forwarder.acknowledged_total,
                    spool.depth,
                )


class Agent:
    """The running collector: its loop, and what it says of itself."""

    def __init__(self, collector: Collector, spool: Spool, forwarder: Forwarder, codec: "Codec[HostTick]") -> None:
        self.collector = collector
        self.spool = spool
        self.forwarder = forwarder
        self.codec = codec
        self.appended = 0
        self.ready = False

    async def measure(self, stop: asyncio.Event) -> None:
        """Put a tick into the spool every period until *stop*."""
        while not stop.is_set():
            tick = await self.collector.tick(self.spool.boot, self.spool.next_seq)
            if tick is not None:
                self.spool.append(tick.seq, self.codec.encode(tick))
                self.appended += 1
                self.forwarder.wake()
            if not self.ready:
                self.ready = True
                who, period_s = self.collector.identity, self.collector.period.total_seconds()
                log.info("ready: %s of %s, a tick every %g s", who.host, who.site, period_s)
            self.collector.changes.note("Kafka", self.forwarder.trouble)
            self.collector.changes.note("spool", self.spool.trouble)
            await self.collector.next_period()

    @asynccontextmanager
    async def reachable(self, section: settings.Collector) -> AsyncIterator[None]:
        """Answer on the control socket, to SIGUSR1 and over HTTP."""
        listening = await control.serve(settings.socket_path(section, self.collector.identity.host), self.obey)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, self.collector.release, RELEASE_BY_SIGNAL)
        server = serve.start(section.listen, self.pages(push=section.push)) if section.listen else None
        try:
            yield
        finally:
            listening.close()
            if server is not None:
                server.shutdown()

    async def obey(self, request: control.Request) -> str:
        """Do what an operator asks; return what could not be done."""
        span = timedelta(seconds=request.seconds)
        match request.do:
            case "release":
                return await _let_go(self.collector.release(span))
            case "resume":
                self.collector.resume()
            case "fast":
                self.collector.fast(span)
        return ""

    def pages(self, *, push: bool) -> serve.Pages:
        """Return what is served over HTTP."""
        return serve.Pages(
            metrics=self,
            health=self.health,
            readiness=self.readiness,
            push=self.push if push else None,
        )

    def push(self, name: str, text: str) -> None:
        """Take token counters; raise `ValueError` if they are none."""
        self.collector.board.push(name, text, wall())

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics (the protocol of prometheus_client's registry)."""
        return metrics.families(self.status())

    def health(self) -> list[str]:
        """Return why this process should be killed; nothing: it should not."""
        tried = self.collector.looked_at
        if tried is not None and self.collector.clock.now() - tried > HEALTHY_FOR:
            return [f"no tick has been tried since {tried.isoformat()}"]
        return []

    def readiness(self) -> list[str]:
        """Return what keeps ticks from being measured and acknowledged."""
        now = self.collector.clock.now()
        reasons = [f"{feed.name}: {feed.trouble}" for feed in self.collector.feeds if feed.trouble]
        if self.collector.paused_until is not None:
            reasons.append(f"paused until {self.collector.paused_until.isoformat()}")
        if self.forwarder.last_ack_at is None or now - self.forwarder.last_ack_at > READY_FOR:
            reasons.append(self.forwarder.trouble or "Kafka has not acknowledged a tick lately")
        return reasons

    def status(self) -> metrics.Status:
        """Return what /metrics shows."""
        collector, spool, forwarder = self.collector, self.spool, self.forwarder
        return metrics.Status(
            now=collector.clock.now(),
            host=collector.identity.host,
            site=collector.identity.site,
            tick=collector.last if self.appended else None,
            feeds=tuple(FeedState(feed.name, feed.trouble is None, feed.errors) for feed in collector.everything),
            xids=dict(collector.xids),
            silent=collector.silent,
            paused=collector.paused_until is not None,
            appended=self.appended,
            unstored=spool.unstored_total,
            spool_ticks=spool.depth,
            spool_bytes=spool.size_bytes,
            dropped=spool.dropped_total,
            connected=forwarder.connected,
            acknowledged=forwarder.acknowledged_total,
            acknowledged_at=forwarder.last_ack_at,
        )


async def _let_go(closing: "Mapping[str, Future[Any] | None]") -> str:
    """Return which devices are still held after a while, and why; nothing if none is."""
    out = [future for future in closing.values() if future is not None]
    await asyncio.to_thread(wait, out, CLOSING_S)
    held = []
    for name, future in closing.items():
        if future is None or not future.done():
            held.append(f"{name} hangs in its driver")
        elif (error := future.exception()) is not None:
            held.append(f"{name}: {error}")
    return f"measuring is paused, but not let go of: {'; '.join(held)}" if held else ""
