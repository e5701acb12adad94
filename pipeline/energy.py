"""
Energy and tokens between two ticks of one host, from the devices' own counters. Pure.

Never negative and never invented: where a counter restarted, was absent or is under suspicion, the span is not covered.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeAlias

from pipeline.interval import floor
from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Quality, Tier, Workload

#: (tier, workload, GPU model, served model)
PoolKey: TypeAlias = tuple[Tier, Workload, str, str | None]

#: A job whose GPUs the host does not report.
UNKNOWN_MODEL = "unknown"
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Delta:
    """What happened on a host between two neighbouring ticks."""

    covered_us: float
    """Microseconds measured; where only some GPUs' counters held, their share of it."""
    energy_j: float
    pools: list[tuple[PoolKey, float]]
    """Joules."""
    tokens: list[tuple[PoolKey, float]]


@dataclass
class PoolShare:
    """One pool's part of a host's interval."""

    energy_j: float = 0.0
    tokens: float | None = None


@dataclass
class HostShare:
    """One host's part of one interval."""

    site: str
    covered_us: float = 0.0
    energy_j: float = 0.0
    ticks: int = 0
    ticks_missing: int = 0
    simulated: bool = False
    pools: dict[PoolKey, PoolShare] = field(default_factory=dict)

    def add(self, delta: Delta, part: float) -> None:
        """Add *part* (0 to 1) of *delta*."""
        self.covered_us += delta.covered_us * part
        self.energy_j += delta.energy_j * part
        pools = self.pools
        for key, joules in delta.pools:
            if (pool := pools.get(key)) is None:
                pool = pools[key] = PoolShare()
            pool.energy_j += joules * part
        for key, tokens in delta.tokens:
            pool = pools.setdefault(key, PoolShare())
            pool.tokens = (pool.tokens or 0.0) + tokens * part


def parts_between(earlier: datetime, later: datetime, length: timedelta) -> Iterator[tuple[datetime, float]]:
    """Yield the start of every interval of *length* that the span touches, with its part of the span (0 to 1)."""
    start = floor(earlier, length)
    span = later - earlier
    while start < later:
        yield start, (min(later, start + length) - max(earlier, start)) / span
        start += length


def delta(earlier: HostTick, later: HostTick) -> Delta | None:
    """Return the counters' differences, None where none of them spans the two ticks."""
    if earlier.boot != later.boot or later.measured_at <= earlier.measured_at:
        return None
    span_us = (later.measured_at - earlier.measured_at) / MICROSECOND
    pools, held = _gpu_joules(earlier, later)
    tokens = list(_tokens(earlier, later)) if later.jobs else []
    same = earlier.chassis_epoch == later.chassis_epoch
    chassis = _difference(earlier.chassis_energy_j, later.chassis_energy_j) if same else None
    if chassis is not None:
        return Delta(span_us, chassis, pools, tokens)
    if not pools and not tokens:
        return None
    covered = span_us * held / len(later.gpus) if later.gpus else 0.0
    return Delta(covered, sum(joules for _, joules in pools), pools, tokens)


def tokens_between(earlier: HostTick, later: HostTick) -> list[tuple[PoolKey, float]]:
    """Return the tokens of each pool between two ticks of the same boot, nothing where nobody counts."""
    return list(_tokens(earlier, later)) if earlier.boot == later.boot else []


def _gpu_joules(earlier: HostTick, later: HostTick) -> tuple[list[tuple[PoolKey, float]], int]:
    """Return joules by pool, and how many GPUs' counters held; neighbouring GPUs of one job share an entry."""
    served = {job.job: job.served_model for job in earlier.jobs}
    pools: list[tuple[PoolKey, float]] = []
    last: GpuSample | None = None
    joules, held = 0.0, 0
    for before, after in _paired(earlier.gpus, later.gpus):
        if before.energy_epoch != after.energy_epoch or Quality.ENERGY_SUSPECT in after.quality:
            continue
        if (moved := _difference(before.energy_j, after.energy_j)) is None:
            continue
        held += 1
        if last is not None and _alike(last, before):
            joules += moved
            continue
        if last is not None:
            pools.append((_key(last, served), joules))
        last, joules = before, moved
    if last is not None:
        pools.append((_key(last, served), joules))
    return pools, held


def _paired(earlier: tuple[GpuSample, ...], later: tuple[GpuSample, ...]) -> Iterable[tuple[GpuSample, GpuSample]]:
    """Yield each GPU's two samples; hosts list their GPUs in one order, and where they do not they are looked up."""
    if [gpu.uuid for gpu in earlier] == [gpu.uuid for gpu in later]:
        return zip(earlier, later, strict=True)
    known = {gpu.uuid: gpu for gpu in earlier}
    return [(known[gpu.uuid], gpu) for gpu in later if gpu.uuid in known]


def _alike(one: GpuSample, other: GpuSample) -> bool:
    return (
        one.job == other.job and one.tier is other.tier and one.workload is other.workload and one.model == other.model
    )


def _key(gpu: GpuSample, served: dict[str, str | None]) -> PoolKey:
    return gpu.tier, gpu.workload, gpu.model, served.get(gpu.job) if gpu.job else None


def _tokens(earlier: HostTick, later: HostTick) -> Iterator[tuple[PoolKey, float]]:
    known = {job.job: job for job in earlier.jobs}
    for job in later.jobs:
        before = known.get(job.job)
        if before is None or before.epoch != job.epoch:
            continue
        if (tokens := _difference(before.tokens_total, job.tokens_total)) is not None:
            yield from _spread(before, tokens, earlier.gpus)


def _spread(job: JobSample, tokens: float, gpus: tuple[GpuSample, ...]) -> Iterator[tuple[PoolKey, float]]:
    """Put a job's tokens where its joules are: evenly over its GPUs' pools."""
    own = [gpu for gpu in gpus if gpu.uuid in job.gpus]
    if not own:
        yield (job.tier, job.workload, UNKNOWN_MODEL, job.served_model), tokens
    elif all(_alike(own[0], gpu) for gpu in own):
        yield (own[0].tier, own[0].workload, own[0].model, job.served_model), tokens
    else:
        for gpu in own:
            yield (gpu.tier, gpu.workload, gpu.model, job.served_model), tokens / len(own)


def _difference(earlier: float | None, later: float | None) -> float | None:
    """Return what a counter moved, None where it is absent or ran backwards (NaN compares false)."""
    if earlier is None or later is None or not later >= earlier:
        return None
    return later - earlier
