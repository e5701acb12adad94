"""
The oracle of the rollup: all ticks of all hosts in a list, sorted, pair by pair, in plain Python.

It shares no code with `pipeline.rollup`; it knows no partitions, batches, lateness or order of arrival. What the
rollup's closed figures and corrections come to together must equal this, to the millijoule.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import TypeAlias

from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Quality

#: tier, workload, GPU model, served model, engine
Key: TypeAlias = tuple[str, str, str, str | None, str | None]
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
LONGEST_US = 45 * 60_000_000


@dataclass
class Figure:
    """One site and interval."""

    energy_mj: int = 0
    covered_us: int = 0
    ticks: int = 0
    missing: int = 0
    gpu_mj: defaultdict[Key, int] = field(default_factory=lambda: defaultdict(int))
    tokens_milli: defaultdict[Key, int] = field(default_factory=lambda: defaultdict(int))


def figures(ticks: Iterable[HostTick], length: timedelta) -> dict[tuple[str, datetime], Figure]:
    """Return the figure of each site and start of an interval."""
    found: defaultdict[tuple[str, datetime], Figure] = defaultdict(Figure)
    hosts: defaultdict[str, dict[tuple[str, int], HostTick]] = defaultdict(dict)
    begun: defaultdict[str, dict[str, datetime]] = defaultdict(dict)
    for tick in ticks:
        hosts[tick.host].setdefault((tick.boot, tick.seq), tick)
        first = begun[tick.host].setdefault(tick.boot, tick.measured_at)
        begun[tick.host][tick.boot] = min(first, tick.measured_at)
    for host, own in hosts.items():
        ordered = sorted(own.values(), key=lambda tick: (begun[host][tick.boot], tick.seq))
        _host(ordered, round(length / MICROSECOND), found)
    return dict(found)


def _host(ticks: list[HostTick], length_us: int, found: dict[tuple[str, datetime], Figure]) -> None:
    for earlier, tick in zip([None, *ticks], ticks, strict=False):
        figure = found[tick.site, _start(_us(tick.measured_at), length_us)]
        figure.ticks += 1
        if earlier is not None:
            figure.missing += tick.seq - 1 - (earlier.seq if earlier.boot == tick.boot else 0)
    for earlier, later in pairwise(ticks):
        for start_us, first_us, last_us in _pieces(earlier, later, length_us):
            _add(found[earlier.site, _start(start_us, length_us)], earlier, later, first_us, last_us)


def _us(instant: datetime) -> int:
    return (instant - EPOCH) // MICROSECOND


def _start(us: int, length_us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us // length_us * length_us)


def _pieces(earlier: HostTick, later: HostTick, length_us: int) -> Iterator[tuple[int, int, int]]:
    """Yield, for each interval between two ticks of one boot, its start and the part of the span that is in it."""
    begin, end = _us(earlier.measured_at), _us(later.measured_at)
    if earlier.boot != later.boot or not 0 < end - begin <= LONGEST_US:
        return
    start = begin // length_us * length_us
    while start < end:
        yield start, max(begin, start) - begin, min(end, start + length_us) - begin
        start += length_us


def _add(figure: Figure, earlier: HostTick, later: HostTick, first_us: int, last_us: int) -> None:
    span_us = (later.measured_at - earlier.measured_at) // MICROSECOND

    def part(amount: int) -> int:
        return amount * last_us // span_us - amount * first_us // span_us

    jobs = {job.job: job for job in earlier.jobs}
    moved = [(gpu, _gpu_mj(gpu, later)) for gpu in earlier.gpus]
    for gpu, millijoules in moved:
        if millijoules is not None:
            figure.gpu_mj[_key(gpu, jobs.get(gpu.job or ""))] += part(millijoules)
    same = earlier.chassis_epoch == later.chassis_epoch
    chassis = _moved(earlier.chassis_energy_j, later.chassis_energy_j) if same else None
    if chassis is not None:
        figure.energy_mj += part(chassis)
        figure.covered_us += last_us - first_us
    else:
        held = [millijoules for _, millijoules in moved if millijoules is not None]
        figure.energy_mj += part(sum(held))
        of = max(len(earlier.gpus), 1)
        if earlier.chassis_epoch or later.chassis_epoch:
            held = []  # a meter that does not answer: the GPUs are a part of the host's energy, and cover nothing
        figure.covered_us += last_us * len(held) // of - first_us * len(held) // of
    for job in earlier.jobs:
        _add_tokens(figure, job, earlier, later, part)


def _add_tokens(figure: Figure, job: JobSample, earlier: HostTick, later: HostTick, part: Callable[[int], int]) -> None:
    other = next((one for one in later.jobs if (one.job, one.epoch) == (job.job, job.epoch)), None)
    tokens = None if other is None else _moved(job.tokens_total, other.tokens_total)
    own = [gpu for gpu in earlier.gpus if gpu.uuid in job.gpus]
    if tokens is not None:
        assert own, "the oracle knows only jobs whose GPUs are listed"
        assert len({(gpu.tier, gpu.workload, gpu.model) for gpu in own}) == 1, "nor jobs over several pools"
        figure.tokens_milli[_key(own[0], job)] += part(tokens)


def _gpu_mj(gpu: GpuSample, later: HostTick) -> int | None:
    for other in later.gpus:
        if (other.uuid, other.energy_epoch) == (gpu.uuid, gpu.energy_epoch):
            suspect = Quality.ENERGY_SUSPECT in other.quality
            return None if suspect else _moved(gpu.energy_j, other.energy_j)
    return None


def _key(gpu: GpuSample, job: JobSample | None) -> Key:
    return gpu.tier, gpu.workload, gpu.model, job.served_model if job else None, job.engine if job else None


def _moved(earlier: float | None, later: float | None) -> int | None:
    if earlier is None or later is None:
        return None
    difference = round(later * 1000) - round(earlier * 1000)
    return difference if difference >= 0 else None
