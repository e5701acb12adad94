"""
One tick a second: ask everything that is due, wait for what is in step, put the tick together.

    clock     12:00:00        12:00:01        12:00:02
    tick          |x              |x              |x       read just after the second; a late read skips, never doubles

A second in which nothing could be measured has no tick: silence makes the host stale, which lowers what is offered.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import msgspec

from collectors import Place, Reading, Source
from collectors.claims import merged
from collectors.counters import Counters
from collectors.feeds import Feed, answers
from collectors.jobs import jobs
from collectors.mappings import UNCLAIMED, Claim, Mapper
from collectors.process import Changes
from collectors.rates import Rates, summed
from collectors.scrape import EngineReading
from collectors.tokens import TokenBoard
from pipeline.clock import Clock, wall
from pipeline.interval import floor
from pipeline.messages.telemetry import Covers, GpuSample, HostTick, MeterSample, Quality

log = logging.getLogger(__name__)

T = TypeVar("T")

ALERT_XIDS = frozenset({48, 62, 64, 74, 79, 95, 119, 120})
"""
XIDs for which somebody should be called, of NVIDIA's XID catalogue (docs.nvidia.com/deploy/xid-errors).

Uncorrectable ECC error, halted power controller, failed row remapping, NVLink error, fallen off the bus, uncontained
memory error, GSP timeout, GSP error. A program's own faults (13, 31, 43) are not among them, nor is what is over when
it is reported (63, 92).
"""
SHORTEST_WAIT_S = 0.2
"""A clock that runs fast must not make a thread's answer come too late, seconds of the machine."""
TOKENS_PERIOD = timedelta(seconds=1)
"""How often the files of counters are read: by others' leave, and therefore in a lane like any device."""
CLOSING_S = 3.0
"""How long drivers may take to let go, seconds of the machine."""
FIRST_WAIT_S = 5.0
"""The first tick waits for everything, seconds of the machine."""


@dataclass(frozen=True)
class Identity:
    """Who is speaking."""

    host: str
    site: str
    simulated: bool


@dataclass(frozen=True)
class Seen:
    """Everything known of a host at one instant, energies in their epochs."""

    gpus: tuple[GpuSample, ...]
    meters: tuple[MeterSample, ...]
    claims: Mapping[str, Claim]
    engines: tuple[EngineReading, ...]


@dataclass
class Collector:
    """The shell around sources, mappings, engines and token counters; it knows nothing of Kafka."""

    identity: Identity
    clock: Clock
    sources: Mapping[str, Source]
    mappings: Mapping[str, Mapper] = field(default_factory=dict)
    engines: Sequence[Feed[EngineReading]] = ()
    board: TokenBoard = field(default_factory=TokenBoard)
    period: timedelta = timedelta(seconds=1)
    fast_period: timedelta = timedelta(seconds=0.1)
    last: HostTick | None = None
    """The newest tick."""
    fast_until: datetime | None = None
    paused_until: datetime | None = None
    silent: int = 0
    """Ticks at which nothing could be measured."""
    places: tuple[Place, ...] = ()
    changes: Changes = field(default_factory=lambda: Changes(log))

    def __post_init__(self) -> None:
        self.feeds = [
            Feed(name, source.read, timedelta(seconds=source.period_s)) for name, source in self.sources.items()
        ]
        self.mapping_feeds = [
            Feed(name, self._asking(mapping), timedelta(seconds=mapping.period_s))
            for name, mapping in self.mappings.items()
        ]
        self._counted = Feed("tokens", lambda _: self.board.read(wall()), TOKENS_PERIOD)
        self.xids: Counter[tuple[str, int]] = Counter()
        self._counters = Counters()
        self._rates = Rates()
        self._first = True
        self._said: dict[str, datetime | None] = {}
        self._node_source: str | None = None
        self._node: dict[str, None] = {}

    def go_on(self, last: HostTick) -> None:
        """Continue the counters of an earlier run whose newest tick was *last*."""
        self.last = last
        self._counters = Counters(last)
        self._rates = Rates(last.jobs)

    @property
    def current_period(self) -> timedelta:
        """The span between ticks now."""
        is_fast = self.fast_until is not None and self.clock.now() < self.fast_until
        return self.fast_period if is_fast else self.period

    @property
    def everything(self) -> "tuple[Feed[Any], ...]":
        """All that is asked."""
        return (*self.feeds, *self.engines, *self.mapping_feeds, self._counted)

    async def tick(self, boot: str, seq: int) -> HostTick | None:
        """
        Measure once; None while there is nothing to publish, and the log says why.

        Raise `RestartNeededError` where only a new process can measure again.
        """
        now = self.clock.now()
        if self._paused(now):
            return None
        seen = await self._look(now)
        if not seen.gpus and not seen.meters:
            self.silent += 1
            return None
        tokens, problems = self._counted.take(now) or ({}, ())
        self.changes.note("token files", "; ".join(problems) or None)
        jobs_now = jobs(now, seen.gpus, seen.claims, tokens, seen.engines, self._rates)
        chassis = node(seen.meters, self._node)
        self.last = HostTick(
            host=self.identity.host,
            site=self.identity.site,
            boot=boot,
            seq=seq,
            measured_at=now,
            gpus=seen.gpus,
            jobs=jobs_now,
            meters=seen.meters,
            chassis_w=chassis.power_w,
            chassis_energy_j=chassis.energy_j,
            chassis_epoch=chassis.epoch,
            simulated=self.identity.simulated,
        )
        return self.last

    async def next_period(self) -> None:
        """Return just after the next full period of the shared clock, never just before."""
        due = floor(self.clock.now(), self.current_period) + self.current_period
        while due - self.current_period <= self.clock.now() < due:  # a clock set back must not silence the host
            await self.clock.sleep_until(due)

    def release(self, span: timedelta) -> "dict[str, Future[Any]]":
        """
        Let go of all devices for *span*, so that drivers can be replaced and GPUs partitioned.

        Return for each source when it has let go.
        """
        self.paused_until = self.clock.now() + span
        log.info("released: devices are let go of until %s", self.paused_until.isoformat(timespec="seconds"))
        return self.close()

    def resume(self) -> None:
        """Measure again at once."""
        self.paused_until = None

    def fast(self, span: timedelta) -> None:
        """Measure at the fast period for *span*."""
        self.fast_until = self.clock.now() + span
        log.info("fast: every %g s until %s", self.fast_period.total_seconds(), self.fast_until.isoformat())

    def close(self) -> "dict[str, Future[Any]]":
        """Let go of all devices; one that hangs lets go when its call returns."""
        return {feed.name: feed.leave(self.sources[feed.name].close) for feed in self.feeds}

    async def _look(self, now: datetime) -> Seen:
        """Ask what is due and return what is known."""
        slack = self.current_period / 2
        self._counted.ask(now, slack)
        for source in self.feeds:
            source.ask(now, slack)
        for engine in self.engines:
            engine.ask(now, slack)
        patience_s = max(self.clock.wall_seconds(self.current_period / 2), SHORTEST_WAIT_S)
        await answers(self.feeds, FIRST_WAIT_S if self._first else patience_s, now, every=self._first)
        readings = [reading for feed in self.feeds if (reading := self._reading(feed, now)) is not None]
        self.places = tuple(place for reading in readings for place in reading.places) or self.places
        for mapping in self.mapping_feeds:
            mapping.ask(now, slack)
        if self._first:
            await answers(self.everything, FIRST_WAIT_S, now, every=True)
        self._first = False
        claims = merged(
            [claims for known in self.mapping_feeds if (claims := known.take(now)) is not None], self.places
        )
        engines = tuple(seen for engine in self.engines if (seen := engine.take(now)) is not None)
        gpus = self._counters.gpus(_once((gpu for r in readings for gpu in r.gpus), lambda gpu: gpu.uuid), now)
        meters = self._counters.meters(_once((m for r in readings for m in r.meters), lambda meter: meter.meter), now)
        self._note(readings, gpus)
        return Seen(tuple(claimed(gpu, claims) for gpu in gpus), meters, claims, engines)

    def _asking(self, mapping: Mapper) -> Callable[[datetime], Mapping[str, Claim]]:
        return lambda now: mapping.claims(now, self.places)

    def _reading(self, feed: Feed[Reading], now: datetime) -> Reading | None:
        """Return what *feed* says; remember which meters measure the whole node, by the first source that has any."""
        reading = feed.take(now)
        if reading is None:
            return None
        nodes = [meter.meter for meter in reading.meters if meter.covers is Covers.HOST]
        if nodes and self._node_source in {None, feed.name}:
            self._node_source = feed.name
            self._node |= dict.fromkeys(nodes)
        is_new = self._said.get(feed.name) != feed.answered_at
        self._said[feed.name] = feed.answered_at
        return reading if is_new else _without_xids(reading)

    def _paused(self, now: datetime) -> bool:
        if self.paused_until is not None and now >= self.paused_until:
            self.resume()
        self.changes.note("paused", None if self.paused_until is None else "devices are released; nothing is measured")
        return self.paused_until is not None

    def _note(self, readings: Iterable[Reading], gpus: Iterable[GpuSample]) -> None:
        """Log what has changed for the worse or the better."""
        for feed in self.everything:
            self.changes.note(feed.name, feed.trouble)
        troubles = [trouble for reading in readings for trouble in reading.troubles]
        troubles += [trouble for mapping in self.mappings.values() for trouble in mapping.troubles]
        self.changes.note("parts", "; ".join(troubles) or None)
        for mark in (Quality.LOST, Quality.STALE, Quality.IMPLAUSIBLE):
            marked = [gpu.uuid for gpu in gpus if mark in gpu.quality]
            self.changes.note(f"GPUs {mark}", ", ".join(marked) or None)
        self.changes.note("energy counters not believed", ", ".join(self._counters.suspects()) or None)
        for gpu in gpus:
            self.xids.update((gpu.uuid, xid) for xid in gpu.xids)
            for xid in gpu.xids:
                level = logging.ERROR if xid in ALERT_XIDS else logging.INFO
                log.log(level, "XID %d on %s; the kernel log says more", xid, gpu.uuid, extra={"xid": xid})


async def let_go(closing: Mapping[str, "Future[Any]"]) -> str:
    """Return which devices are still held after `CLOSING_S`, and why; nothing if none is."""
    await asyncio.to_thread(wait, closing.values(), CLOSING_S)
    held = []
    for name, future in closing.items():
        if not future.done():
            held.append(f"{name} is still waiting for its device")
        elif (error := future.exception()) is not None:
            held.append(f"{name}: {error}")
    return "; ".join(held)


def claimed(sample: GpuSample, claims: Mapping[str, Claim]) -> GpuSample:
    """Return *sample* with who uses it."""
    claim = claims.get(sample.uuid, UNCLAIMED)
    return msgspec.structs.replace(sample, job=claim.job, tenant=claim.tenant, tier=claim.tier, workload=claim.workload)


@dataclass(frozen=True)
class Node:
    """The whole node's draw, its energy, and the epoch in which that may be subtracted."""

    power_w: float | None
    energy_j: float | None
    epoch: str


def node(meters: Iterable[MeterSample], names: Iterable[str]) -> Node:
    """
    Return the sum of the meters *names*, absent if one of them is; another meter or epoch in it is another epoch.

    Also of a meter that does not answer the epoch tells the name: the host has one, and what it draws is not known.
    """
    known = {meter.meter: meter for meter in meters}
    parts = [known.get(name) for name in sorted(names)]
    return Node(
        power_w=summed(part.power_w if part else None for part in parts),
        energy_j=summed(part.energy_j if part else None for part in parts),
        epoch=",".join(
            f"{name}@{part.energy_epoch if part else ''}" for name, part in zip(sorted(names), parts, strict=True)
        ),
    )


def _without_xids(reading: Reading) -> Reading:
    """Return *reading* as it is said a second time: its events happened once."""
    return replace(reading, gpus=tuple(msgspec.structs.replace(gpu, xids=()) for gpu in reading.gpus))


def _once(items: Iterable[T], name: Callable[[T], str]) -> list[T]:
    """Return *items* without those whose name an earlier one has."""
    return list({name(item): item for item in reversed(list(items))}.values())[::-1]
