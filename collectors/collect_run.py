"""
The collector as a process: a tick a second goes to the spool, from there to Kafka, and to whoever scrapes /metrics.

    devices ─▶ tick ─▶ spool (disk) ─▶ Kafka          only Kafka's acknowledgement retires a tick
                  └──▶ /metrics, /readyz
"""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec
from prometheus_client.core import Metric

from collectors import build, control, metrics, process, serve, settings
from collectors.forward import Forwarder
from collectors.metrics import FeedState
from collectors.runner import Collector, let_go
from collectors.spool import Spool
from pipeline.clock import wall
from pipeline.codec import Codec, DecodeError
from pipeline.errors import FirmwattError
from pipeline.messages.telemetry import HostTick
from pipeline.settings import Kafka, load
from pipeline.topics import HOST_TICKS

log = logging.getLogger(__name__)

RELEASE_BY_SIGNAL = timedelta(seconds=60)
"""For how long SIGUSR1 lets go of the devices."""
HEALTHY_FOR_S = 30.0
"""A collector that has not even tried a tick for so long is stuck, seconds of the machine."""
READY_FOR = timedelta(seconds=30)
"""Kafka counts as away when it has not acknowledged anything for so long, by the shared clock."""


def main(config: Path, host: str) -> int:
    """Run until SIGTERM or SIGINT."""
    section = load(config, "collector", settings.Collector)
    collector = build.collector(config, host)  # what cannot work is said before the spool is touched
    kafka = load(config, "kafka", Kafka)
    try:
        process.run(lambda stop: run(collector, section, kafka, stop), section.log)
    except FirmwattError as error:
        if section.log == "text":
            raise
        log.critical("%s", error, extra={"exit_code": error.exit_code})
        return error.exit_code
    return 0


async def run(collector: Collector, section: settings.Collector, kafka: Kafka, stop: asyncio.Event) -> None:
    """Measure, store and forward until *stop*."""
    host = collector.identity.host
    codec = Codec(HOST_TICKS)
    with Spool.open(settings.state_folder(section, host), round(section.spool_mb * 1e6)) as spool:
        _go_on(collector, codec, spool.last)
        forwarder = Forwarder(kafka, spool, section.drain_per_s, collector.clock)
        agent = Agent(collector, spool, forwarder, codec, section.actuator_metrics)
        async with agent.reachable(section):
            work = [asyncio.create_task(agent.measure(stop)), asyncio.create_task(forwarder.run(stop))]
            try:
                for done in (await asyncio.wait(work, return_when=asyncio.FIRST_EXCEPTION))[0]:
                    done.result()
            finally:
                for task in work:
                    task.cancel()
                if held := await let_go(collector.close()):
                    log.warning("not let go of: %s", held)
                counts = agent.appended, forwarder.acknowledged_total, spool.depth
                log.info("stopped: %d ticks measured, %d acknowledged, %d left in the spool", *counts)


def _go_on(collector: Collector, codec: "Codec[HostTick]", last: bytes | None) -> None:
    """Let *collector* continue the epochs of the *last* tick; one that a newer version wrote may not be understood."""
    if last is None:
        return
    try:
        collector.go_on(codec.decode(last))
    except DecodeError as error:
        log.warning("the spool's last tick cannot be read, so energy and tokens begin new epochs: %s", error)


class Agent:
    """The running collector: its loop, and what it says of itself."""

    def __init__(
        self, collector: Collector, spool: Spool, forwarder: Forwarder, codec: "Codec[HostTick]", carries: str
    ) -> None:
        """*carries*: the file of the actuator's metrics, empty if there is none."""
        self.carries = carries
        self.collector = collector
        self.spool = spool
        self.forwarder = forwarder
        self.codec = codec
        self.appended = 0
        self.ready = False
        self.tried_s = time.monotonic()

    async def measure(self, stop: asyncio.Event) -> None:
        """Put a tick into the spool every period until *stop*."""
        while not stop.is_set():
            self.tried_s = time.monotonic()
            tick = await self.collector.tick("", 0)
            if tick is not None:
                self._store(tick)
            if not self.ready:
                self.ready = True
                who, period_s = self.collector.identity, self.collector.period.total_seconds()
                log.info("ready: %s of %s, a tick every %g s", who.host, who.site, period_s)
            self.collector.changes.note("Kafka", self.forwarder.trouble)
            self.collector.changes.note("spool", self.spool.trouble)
            await self.collector.next_period()

    def _store(self, tick: HostTick) -> None:
        """Put *tick* into the spool, numbered as the spool does at this moment."""
        boot, seq = self.spool.boot, self.spool.next_seq
        self.spool.append(seq, self.codec.encode(msgspec.structs.replace(tick, boot=boot, seq=seq)))
        self.appended += 1
        self.forwarder.wake()

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
                server.server_close()

    async def obey(self, request: control.Request) -> str:
        """Do what an operator asks; return what could not be done."""
        span = timedelta(seconds=request.seconds)
        match request.do:
            case "release":
                held = await let_go(self.collector.release(span))
                return f"measuring is paused, but not let go of: {held}" if held else ""
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
        yield from metrics.families(self.status())
        if self.carries:
            yield from metrics.carried(self.carries)

    def health(self) -> list[str]:
        """Return why this process should be killed; nothing: it should not."""
        silent_s = time.monotonic() - self.tried_s
        return [f"no tick has been tried for {silent_s:.0f} s"] if silent_s > HEALTHY_FOR_S else []

    def readiness(self) -> list[str]:
        """Return what keeps ticks from being measured and acknowledged."""
        now = self.collector.clock.now()
        reasons = [f"{feed.name}: {trouble}" for feed in self.collector.feeds if (trouble := feed.trouble)]
        if (paused_until := self.collector.paused_until) is not None:
            reasons.append(f"paused until {paused_until.isoformat()}")
        acknowledged_at = self.forwarder.last_ack_at
        if acknowledged_at is None or now - acknowledged_at > READY_FOR:
            reasons.append(self.forwarder.trouble or "Kafka has not acknowledged a tick lately")
        return reasons

    def status(self) -> metrics.Status:
        """Return what /metrics shows."""
        collector, spool, forwarder = self.collector, self.spool, self.forwarder
        return metrics.Status(
            now=collector.clock.now(),
            period=collector.period,
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
            set_aside=spool.set_aside_total,
            oldest_at=spool.oldest_at,
            refused=forwarder.refused_total,
            connected=forwarder.connected,
            acknowledged=forwarder.acknowledged_total,
            acknowledged_at=forwarder.last_ack_at,
        )
