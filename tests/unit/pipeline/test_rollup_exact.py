"""Whatever order and batches the ticks come in, and how often, the figures equal plain sums to the millijoule."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any

import numpy as np
from doubles.golden import Figure, figures
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.ticks import NOON, gpu, job

from pipeline import frames
from pipeline.messages.telemetry import GpuSample, HostTick, IntervalCorrection, IntervalPartial, Quality
from pipeline.rollup import Partition
from pipeline.snapshot import restore, save

LENGTHS = (timedelta(seconds=20), timedelta(seconds=60))
HOSTS = 4


@dataclass
class Host:
    """A machine whose counters run, stop, restart and are doubted."""

    name: str
    chance: Random
    at: datetime
    boot: int = 0
    seq: int = 0
    joules: list[float] = field(default_factory=lambda: [1e9, 2e9])
    tokens: float = 0.0
    epoch: int = 0
    chassis_j: float = 5e9
    serving: bool = True

    def live(self) -> None:
        """Let some time pass, now and then with an accident."""
        chance = self.chance
        step = 1.0 if chance.random() < 0.9 else chance.choice([0.2, 5, 19.5, 45, 130])
        self.at += timedelta(seconds=step, microseconds=chance.randrange(2000))
        self.seq += 1 if chance.random() < 0.95 else chance.randrange(2, 5)
        self.joules = [one + chance.uniform(50, 700) * step for one in self.joules]
        self.tokens += chance.randrange(0, 400)
        self.chassis_j += chance.uniform(500, 2000) * step
        draw = chance.random()
        if draw < 0.02:
            self.boot, self.seq, self.joules, self.chassis_j = self.boot + 1, chance.randrange(1, 3), [0.0, 0.0], 0.0
        elif draw < 0.04:
            self.joules, self.epoch = [chance.uniform(0, 10), self.joules[1]], self.epoch + 1
        elif draw < 0.06:
            self.joules[0] -= 1000.0  # a counter that runs backwards without saying so
        elif draw < 0.10:
            self.serving = not self.serving

    def sample(self, index: int) -> GpuSample:
        """Return one of its GPUs, at times without a reading or with one that is doubted."""
        absent, suspect = self.chance.random() < 0.03, self.chance.random() < 0.02
        return gpu(
            f"gpu-{index}",
            600.0,
            None if absent else self.joules[index],
            energy_epoch=self.epoch if index == 0 else 0,
            quality=(Quality.ENERGY_SUSPECT,) if suspect else (),
            job="job-a" if self.serving else None,
        )

    def tick(self) -> HostTick:
        """Return what its collector sees now."""
        metered = self.name == "h1" and self.chance.random() < 0.9
        return HostTick(
            host=self.name,
            site="site-1" if self.name != "h3" else "site-2",
            boot=f"boot-{self.boot}",
            seq=self.seq,
            measured_at=self.at,
            gpus=(self.sample(0), self.sample(1)),
            jobs=(job(self.tokens, gpus=("gpu-0", "gpu-1"), engine="vllm"),) if self.serving else (),
            chassis_energy_j=self.chassis_j if metered else None,
            chassis_epoch="psu-1",
            simulated=True,
        )


def life(chance: Random, name: str) -> list[HostTick]:
    """Return a host's ticks: jobs come and go, counters stop, restart and are doubted, the machine reboots."""
    host, ticks = Host(name, chance, NOON + timedelta(milliseconds=chance.randrange(1000))), []
    for _ in range(chance.randrange(20, 90)):
        host.live()
        ticks.append(host.tick())
    return ticks


def delivered(chance: Random, ticks: list[HostTick], *, overtaking_s: float) -> list[tuple[float, HostTick]]:
    """Return when Kafka receives each tick, some twice, some overtaken; none overtakes ticks of a later boot."""
    arriving = []
    for tick in ticks:
        at = tick.measured_at.timestamp()
        late = chance.choice([0.0, 0.0, 0.0, overtaking_s]) * chance.random()
        arriving += [(at + late, tick)] * chance.choice([1, 1, 1, 2])
        if chance.random() < 0.1:
            arriving.append((at + late + chance.uniform(0, 2 * overtaking_s), tick))
    boots = {tick.boot: number for number, tick in enumerate(reversed(ticks))}
    latest: dict[str, float] = {}
    for at, tick in arriving:
        latest[tick.boot] = max(latest.get(tick.boot, 0.0), at)
    order = sorted(boots, key=lambda boot: -boots[boot])
    shifted, floor = [], 0.0
    for boot in order:
        mine = [(max(at, floor), tick) for at, tick in arriving if tick.boot == boot]
        shifted += sorted(mine, key=lambda pair: pair[0])
        floor = max(floor, latest[boot])
    return shifted


class Published:
    """Adds up what a partition publishes, as a reader of its topics would: the newest of each key counts."""

    def __init__(self) -> None:
        self.partials: dict[Any, IntervalPartial] = {}
        self.corrections: dict[Any, IntervalCorrection] = {}

    def take(self, partials: list[IntervalPartial], corrections: list[IntervalCorrection]) -> None:
        for partial in partials:
            key = partial.site, partial.interval
            known = self.partials.setdefault(key, partial)
            assert known == partial, "a closed figure was rewritten"
        self.corrections |= {(one.site, one.interval): one for one in corrections}

    def figures(self, length: timedelta) -> dict[Any, Figure]:
        """Return all of them as the oracle writes them, empty ones left out."""
        found: defaultdict[Any, Figure] = defaultdict(Figure)
        every: list[IntervalPartial | IntervalCorrection] = [*self.partials.values(), *self.corrections.values()]
        for one in every:
            if one.interval.length != length:
                continue
            figure = found[one.site, one.interval.start]
            figure.energy_mj += round(one.energy_kwh * 3.6e9)
            figure.covered_us += round(one.covered_host_s * 1e6)
            figure.ticks += one.ticks
            figure.missing += one.ticks_missing
            for pool in one.pools:
                key = pool.tier, pool.workload, pool.gpu_model, pool.served_model, pool.engine
                figure.gpu_mj[key] += round(pool.gpu_energy_kwh * 3.6e9)
                figure.tokens_milli[key] += round((pool.tokens or 0.0) * 1000)
        return dict(found)


def plain(found: dict[Any, Figure]) -> dict[Any, Any]:
    """Return figures without zeros, so that what was never there and what came to nothing compare alike."""
    return {
        key: (
            figure.energy_mj,
            figure.covered_us,
            figure.ticks,
            figure.missing,
            {pool: value for pool, value in sorted(figure.gpu_mj.items(), key=str) if value},
            {pool: value for pool, value in sorted(figure.tokens_milli.items(), key=str) if value},
        )
        for key, figure in sorted(found.items())
        if figure.ticks or figure.energy_mj or figure.covered_us
    }


def batches(chance: Random, arriving: list[tuple[float, HostTick]]) -> Iterator[list[tuple[float, HostTick]]]:
    rest = sorted(arriving, key=lambda pair: pair[0])
    while rest:
        size = chance.choice([1, 2, 7, 40, 1000])
        yield rest[:size]
        rest = rest[size:]


def rolled_up(
    chance: Random, arriving: list[tuple[float, HostTick]], state: Partition, *, killed: float = 0.0
) -> Published:
    """Roll up; with probability *killed* after a batch, go on from the last snapshot and the records after it."""
    out, offset, saved = Published(), 0, save(state)
    log = list(batches(chance, arriving))
    place = kept = 0
    while place < len(log):
        batch, place = log[place], place + 1
        offset += len(batch)
        received = np.array([round(at * 1e6) for at, _ in batch], dtype=np.int64)
        state.add([frames.encode(tick) for _, tick in batch], received, offset)
        if chance.random() < 0.5:
            out.take(*state.published())
        if chance.random() < 0.3:
            state.tidy()
            saved, kept = save(state), place
        if chance.random() < killed:
            state, place = restore(saved, 0, LENGTHS, "site-1"), kept
            offset = state.offset
    state.close(state.received_us + 600_000_000)
    out.take(*state.published())
    return out


@given(st.integers(0, 2**32), st.sampled_from([0.0, 3.0, 30.0, 200.0]))
@settings(max_examples=30)
def test_every_order_and_repetition_gives_the_plain_sums(seed: int, overtaking_s: float) -> None:
    chance = Random(seed)
    lives = [life(chance, f"h{number}") for number in range(HOSTS)]
    arriving = [pair for ticks in lives for pair in delivered(chance, ticks, overtaking_s=overtaking_s)]

    out = rolled_up(chance, arriving, Partition(0, LENGTHS, "site-1"))

    everything = [tick for ticks in lives for tick in ticks]
    for length in LENGTHS:
        assert plain(out.figures(length)) == plain(figures(everything, length))


@given(st.integers(0, 2**32), st.sampled_from([0.0, 30.0]))
@settings(max_examples=20)
def test_a_worker_killed_again_and_again_gives_the_plain_sums(seed: int, overtaking_s: float) -> None:
    chance = Random(seed)
    lives = [life(chance, f"h{number}") for number in range(HOSTS)]
    arriving = [pair for ticks in lives for pair in delivered(chance, ticks, overtaking_s=overtaking_s)]

    out = rolled_up(chance, arriving, Partition(0, LENGTHS, "site-1"), killed=0.15)

    everything = [tick for ticks in lives for tick in ticks]
    for length in LENGTHS:
        assert plain(out.figures(length)) == plain(figures(everything, length))
