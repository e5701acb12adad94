"""
A collector that is killed with -9 again and again while Kafka is away, and what it cost.

    machine     0 s ──────────────────────────────────────────────▶
    Kafka       ████████│             away             │███████████
    collector   ████✗████✗██✗███████✗██████✗✗█████████✗████████████    each restarted at once
    GPUs        ─┬──────────────────────────────────────────────┬──    the counters stand still twice, for two ticks:
                 └ first                                    last ┘     what they moved in between is the truth

Wrong is: a number that is missing or means two ticks, a tick that a spool held at a kill and Kafka never got, energy
that is not what the counters moved, a moment that no pair of ticks covers.
"""

import asyncio
import shutil
import signal
import subprocess
import time
import urllib.request
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

from doubles.gpu_host import GpuHost
from doubles.rolled import close_at, feed, fresh

from collectors.spool import Spool
from deploy.broker import node
from pipeline.clock import Clock, real_clock_from
from pipeline.codec import Codec
from pipeline.kafka import consumer, ensure_topics
from pipeline.messages.telemetry import HostTick
from pipeline.rollup import LATENESS
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS

HEAP_MB = 256
ORIGIN = datetime.fromisoformat("2026-07-23T12:00:00+00:00")
LENGTH = timedelta(hours=1)
PLATEAU = timedelta(seconds=4)
"""At 200 W a GPU the jump to its end is less than what the collector takes for another counter."""
TOLERANCE = 1e-6
WAITING = "firmwatt_spool_ticks "
FEW = 60
SPOOL_BYTES = 512_000_000
CODEC = Codec(HOST_TICKS)
DRAIN_S = 600.0
J_PER_KWH = 3.6e6
DEMAND_W = (80.0, 200.0)
"""Below the share of the limit from which a counter is compared with the draw: on a clock that runs 60 times as fast
the milliseconds between a tick's instant and its reading are a tenth of the window."""
BRIEF_LIFE = 0.2
"""Of the kills come before the process says that it is ready."""


@dataclass
class Toll:
    """What the kills cost. Spans in seconds of the shared clock unless named otherwise."""

    kills: int
    seed: int
    speed: float
    away_s: float
    boots: int = 0
    ticks: int = 0
    duplicates: int = 0
    """Ticks that Kafka has more than once."""
    held_at_kills: int = 0
    """Ticks that were in the spool at some kill, all kills together."""
    most_held: int = 0
    skipped_share: float = 0.0
    """Of the seconds in which a process was ready: those without a tick."""
    energy_j: float = 0.0
    energy_error: float = 0.0
    """Of the counters' own figure."""
    drained_machine_s: float = 0.0
    failures: list[str] = field(default_factory=list)


@dataclass
class Run:
    """One host, one broker, and what was seen of them."""

    host: GpuHost
    folder: Path
    random: Random
    clock: Clock
    toll: Toll
    collector: "subprocess.Popen[bytes] | None" = None
    held: dict[tuple[str, int], bytes] = field(default_factory=dict)
    """By boot and seq: what spools held at kills."""
    ready_s: float = 0.0
    ready_since_s: float = 0.0

    @property
    def broker(self) -> Path:
        """The folder of the broker."""
        return self.folder / "broker"

    @property
    def spool(self) -> Path:
        """The folder of the spool."""
        return self.host.folder / "spool"

    def start(self) -> None:
        """Start the collector and wait until it is ready."""
        self.collector = self.host.start("collect")
        self.ready_since_s = time.monotonic()

    def kill(self) -> None:
        """Kill the collector, start another one, and look at what the spool held in between."""
        assert self.collector
        self.collector.kill()
        self.collector.wait()
        self.ready_s += time.monotonic() - self.ready_since_s
        self._complain_of_log()
        copy = self.folder / "held"
        shutil.copytree(self.spool, copy, ignore=shutil.ignore_patterns("*.sock"))
        if self.random.random() < BRIEF_LIFE:
            brief = subprocess.Popen(
                self.host._line("collect"), env=self.host._environment(), stderr=subprocess.DEVNULL
            )
            time.sleep(self.random.uniform(0.05, 0.8))
            brief.kill()
            brief.wait()
        self.start()
        self._look(copy)
        for gpu in range(len(self.host.state.gpus)):
            self.host.state.set_demand_w(gpu, self.random.uniform(*DEMAND_W))

    def end(self) -> None:
        """Stop the collector as a service manager does."""
        assert self.collector
        self.collector.send_signal(signal.SIGTERM)
        code = self.collector.wait(30)
        self.ready_s += time.monotonic() - self.ready_since_s
        self._complain_of_log()
        if code:
            self.toll.failures.append(f"the collector ended with {code}")

    def _look(self, copy: Path) -> None:
        with Spool.open(copy, SPOOL_BYTES) as spool:
            held = [(tick.payload, CODEC.decode(tick.payload)) for tick in spool.pending(10_000_000)]
        shutil.rmtree(copy)
        self.held |= {(tick.boot, tick.seq): payload for payload, tick in held}
        self.toll.held_at_kills += len(held)
        self.toll.most_held = max(self.toll.most_held, len(held))

    def _complain_of_log(self) -> None:
        log = self.host.log("collect")
        if "Traceback" in log or "spool:" in log:
            self.toll.failures.append(f"the collector said: {log[-2000:]}")

    def stand_still(self) -> int:
        """Hold the counters still for some ticks; return what they show, millijoules in all, as NVML gives them."""
        state = self.host.state
        until = self.clock.now() + PLATEAU
        state.set_time(until.timestamp())
        time.sleep(self.clock.wall_seconds(PLATEAU))
        return sum(gpu.energy_uj // 1000 for gpu in state.gpus)

    def go_on(self) -> None:
        """Let the counters run with the clock again, which has caught up with them."""
        self.host.state.set_time(0)

    def waiting(self) -> int:
        """Return how many ticks the running collector says are in its spool."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.host.port}/metrics", timeout=10) as page:
            (line,) = (line for line in page.read().decode().splitlines() if line.startswith(WAITING))
        return int(float(line.split()[-1]))


def kill_again_and_again(folder: Path, kills: int, seed: int, away: timedelta, speed: float) -> Toll:
    """Return what so many kills come to while Kafka is *away*, and for a fifth of that span before and after."""
    random, clock = Random(seed), real_clock_from(ORIGIN, speed)
    host = GpuHost.make(f"killed-{seed}", folder, gpus=2)
    host.listen()
    run = Run(host, folder, random, clock, Toll(kills, seed, speed, away.total_seconds()))
    for gpu in range(len(host.state.gpus)):
        host.state.set_demand_w(gpu, random.uniform(*DEMAND_W))
    try:
        asyncio.run(_run(run, away))
    finally:
        host.stop()
        node.stop(run.broker)
    return run.toll


async def _run(run: Run, away: timedelta) -> None:
    broker = await node.start(run.broker, heap_mb=HEAP_MB, detach=False)
    await ensure_topics(broker.kafka, [HOST_TICKS])
    run.host.configure(broker.kafka, run.clock)
    run.start()
    await run.clock.sleep(10 * PLATEAU)
    first_mj = run.stand_still()
    run.go_on()

    before = run.clock.now()
    after = before + away * 1.4
    leave, back = before + away * 0.2, before + away * 1.2
    moments = [before + (after - before) * run.random.random() for _ in range(run.toll.kills)]
    kafka_is_there = True
    for moment in sorted([*moments, leave, back]):
        await run.clock.sleep_until(moment)
        if moment not in {leave, back}:
            run.kill()
        elif kafka_is_there:
            node.stop(run.broker)
            kafka_is_there = False
        else:
            await node.start(run.broker, heap_mb=HEAP_MB, detach=False)
    await _drained(run)

    last_mj = run.stand_still()
    run.end()
    judge(run, await ticks_in(broker.kafka, run.host.name), first_mj, last_mj)


async def _drained(run: Run) -> None:
    """Return once the spool holds no more than what is on its way."""
    began_s, backlog = time.monotonic(), run.waiting()
    while run.waiting() > FEW:
        if time.monotonic() - began_s > DRAIN_S:
            run.toll.failures.append(f"{run.waiting()} of {backlog} ticks are left after {DRAIN_S} s")
            return
        await asyncio.sleep(0.2)
    run.toll.drained_machine_s = round(time.monotonic() - began_s, 2)


async def ticks_in(kafka: Kafka, host: str) -> list[tuple[HostTick, bytes]]:
    """Return all ticks of *host*, in their order in Kafka."""
    found = []
    async with consumer(kafka, HOST_TICKS) as reader:
        ends = await reader.end_offsets(list(reader.assignment()))
        while any([await reader.position(partition) < end for partition, end in ends.items()]):
            for records in (await reader.getmany(timeout_ms=200)).values():
                found += [(CODEC.decode(r.value), r.value) for r in records if r.key == host.encode()]
    return found


def judge(run: Run, arrived: list[tuple[HostTick, bytes]], first_mj: int, last_mj: int) -> None:
    """Add to the toll what is wrong with what has *arrived* in Kafka."""
    toll, distinct = run.toll, dict[tuple[str, int], bytes]()
    for tick, payload in arrived:
        if distinct.setdefault((tick.boot, tick.seq), payload) != payload:
            toll.failures.append(f"{tick.boot} {tick.seq} means two ticks")
    toll.ticks, toll.duplicates = len(distinct), len(arrived) - len(distinct)
    numbers = defaultdict(list)
    for boot, seq in distinct:
        numbers[boot].append(seq)
    toll.boots = len(numbers)
    for boot, seqs in numbers.items():
        if seqs != list(range(1, len(seqs) + 1)):
            toll.failures.append(f"{boot}: {len(seqs)} ticks up to number {max(seqs)}, or not in order")
    missing = [key for key, payload in run.held.items() if distinct.get(key) != payload]
    if missing:
        toll.failures.append(f"{len(missing)} ticks that a spool held are not in Kafka, the first {min(missing)}")
    up_s = run.ready_s * toll.speed
    toll.skipped_share = round(max(0.0, 1 - toll.ticks / up_s), 4)
    judge_energy(toll, [tick for tick, _ in arrived], first_mj, last_mj)


def judge_energy(toll: Toll, ticks: list[HostTick], first_mj: int, last_mj: int) -> None:
    """Compare what the pipeline makes of *ticks* between two plateaus of the counters with what these showed there."""
    on_first = [index for index, tick in enumerate(ticks) if counted_mj(tick) == first_mj]
    if not on_first or counted_mj(ticks[-1]) != last_mj:
        toll.failures.append("no tick shows what the counters stood at")
        return
    ticks = ticks[on_first[-1] :]
    first, last = ticks[0].measured_at, ticks[-1].measured_at
    figures, _ = close_at(feed(fresh(0, LENGTH), ticks), last + LENGTH + LATENESS)
    covered_s = sum(figure.covered_host_s for figure in figures)
    energy_j, counted_j = sum(figure.energy_kwh for figure in figures) * J_PER_KWH, (last_mj - first_mj) / 1000
    toll.energy_j, toll.energy_error = round(energy_j, 3), abs(energy_j / counted_j - 1)
    if toll.energy_error > TOLERANCE:
        toll.failures.append(f"{energy_j} J, and the counters moved {counted_j} J")
    if abs(covered_s / (last - first).total_seconds() - 1) > TOLERANCE:
        toll.failures.append(f"{covered_s} s of {last - first} are covered")
    if any(figure.ticks_missing for figure in figures):
        toll.failures.append("the pipeline misses ticks")


def counted_mj(tick: HostTick) -> int:
    """Return the sum of the counters in *tick*, millijoules."""
    return sum(round((gpu.energy_j or 0.0) * 1000) for gpu in tick.gpus)
