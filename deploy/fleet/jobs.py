"""
Who works where: pools, their engines and the GPUs under them.

Whole hosts belong to a pool. An *engine* is what one slow GPU slows down as a whole: the GPUs that serve one copy of a
model, or all GPUs of a training job, which spans several hosts. A *share* is one job's part on one host, the unit
that counts tokens. GPUs are numbered host by host, so engines and shares are runs of consecutive GPUs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from deploy.fleet import curves
from deploy.fleet.curves import ServingCurve, ThroughputCurve
from pipeline.messages.telemetry import Tier, Workload

Indices = npt.NDArray[np.int64]

#: Hosts of one synchronous training job.
TRAINING_JOB_HOSTS = 5
#: Engines of a pool do not carry the same load: a router spreads them over this many levels around the mean.
LOAD_LEVELS = (0.92, 0.98, 1.02, 1.08)


@dataclass(frozen=True)
class Pool:
    """Hosts that do one kind of work."""

    name: str
    tier: Tier
    workload: Workload
    share: float
    """Of the fleet's hosts."""
    serving: ServingCurve | None = None
    served_model: str | None = None
    standing: float = 0.0
    """Utilisation of an inference pool when demand is zero: long requests, and queued batch work."""
    under_cap: ThroughputCurve = curves.SERVING_UNDER_CAP
    jobs_per_host: int = 1
    """Independent jobs on each host; a training job spans hosts instead."""


#: The fleet's mix is an assumption, chosen so that about 30 % of the site's load can be let go by T2 and T3; what comes
#: out at 200 hosts is in the README.
POOLS: tuple[Pool, ...] = (
    Pool("protected", Tier.T0, Workload.INFERENCE, 0.10, curves.LLAMA_70B, "Llama-3.1-70B", 0.20, jobs_per_host=2),
    Pool("chat", Tier.T1, Workload.INFERENCE, 0.20, curves.LLAMA_70B, "Llama-3.1-70B", 0.10, jobs_per_host=2),
    Pool("batch", Tier.T2, Workload.INFERENCE, 0.13, curves.LLAMA_8B, "Llama-3.1-8B", 0.50),
    Pool("agents", Tier.T2, Workload.INFERENCE, 0.10, curves.QWEN_30B_A3B, "Qwen3-30B-A3B", 0.50),
    Pool("train", Tier.T3, Workload.TRAINING, 0.42, served_model="Llama-3.1-8B", under_cap=curves.TRAINING_UNDER_CAP),
    Pool("spare", Tier.T0, Workload.IDLE, 0.05),
)


@dataclass(frozen=True)
class Share:
    """One job's part on one host."""

    job: str
    pool: int
    host: int
    first_gpu: int
    gpus: int


@dataclass(frozen=True)
class Engine:
    """A run of GPUs that work in step, and which load group it belongs to."""

    pool: int
    first_gpu: int
    gpus: int
    group: int


@dataclass(frozen=True)
class Group:
    """Engines with the same expected draw per GPU: a pool at one load level, or one training job."""

    pool: int
    level: float
    """Times the pool's utilisation; 1 for training."""
    number: int
    """Of the training job, which has its own times of stopping."""
    gpus: int


@dataclass(frozen=True)
class Layout:
    """The fleet on paper."""

    hosts: int
    gpus_per_host: int
    shares: tuple[Share, ...]
    engines: tuple[Engine, ...]
    groups: tuple[Group, ...]

    @property
    def gpus(self) -> int:
        """All GPUs."""
        return self.hosts * self.gpus_per_host

    def engine_of_gpu(self) -> Indices:
        """Return each GPU's engine."""
        return np.repeat(np.arange(len(self.engines)), [engine.gpus for engine in self.engines])

    def pool_of_gpu(self) -> Indices:
        """Return each GPU's pool."""
        return np.repeat([engine.pool for engine in self.engines], [engine.gpus for engine in self.engines])


def hosts_per_pool(hosts: int) -> tuple[int, ...]:
    """Split *hosts* by the pools' shares, largest remainder first; ties go to the pool named first."""
    exact = [pool.share * hosts for pool in POOLS]
    counts = [int(quota) for quota in exact]
    order = sorted(range(len(POOLS)), key=lambda pool: (counts[pool] - exact[pool], pool))
    for pool in order[: hosts - sum(counts)]:
        counts[pool] += 1
    return tuple(counts)


def lay_out(hosts: int, gpus_per_host: int) -> Layout:
    """Return the fleet of *hosts*: pool after pool, host after host."""
    ends = np.cumsum([0, *hosts_per_pool(hosts)])
    shares: list[Share] = []
    engines: list[Engine] = []
    groups: list[Group] = []
    for number, (begin, end) in enumerate(pairwise(int(end) for end in ends)):
        spans = list(_jobs(number, begin, end))
        shares += [share for job, span in spans for share in _shares(job, number, span, gpus_per_host)]
        new = list(_engines(number, spans, gpus_per_host, len(groups)))
        engines += new
        groups += _groups(number, new, len(groups))
    return Layout(hosts, gpus_per_host, tuple(shares), tuple(engines), tuple(groups))


def _jobs(number: int, begin: int, end: int) -> Iterator[tuple[str, range]]:
    """Yield job names and their hosts: several hosts a job in training, one otherwise."""
    pool = POOLS[number]
    hosts_a_job = TRAINING_JOB_HOSTS if pool.workload is Workload.TRAINING else 1
    for index, first in enumerate(range(begin, end, hosts_a_job)):
        yield f"{pool.name}-{index:03d}", range(first, min(first + hosts_a_job, end))


def _shares(job: str, number: int, hosts: range, gpus_per_host: int) -> Iterator[Share]:
    pool = POOLS[number]
    if pool.workload is Workload.IDLE:
        return
    parts = max(1, min(pool.jobs_per_host, gpus_per_host // 4))
    each = gpus_per_host // parts
    for host in hosts:
        for part in range(parts):
            name = f"{job}{'abcd'[part]}" if parts > 1 else job
            gpus = each if part < parts - 1 else gpus_per_host - each * part
            yield Share(name, number, host, host * gpus_per_host + each * part, gpus)


def _engines(number: int, jobs: list[tuple[str, range]], gpus_per_host: int, group: int) -> Iterator[Engine]:
    """Yield the engines of one pool; *group* is the first number free for its groups."""
    pool = POOLS[number]
    for index, (_, hosts) in enumerate(jobs):
        first, gpus = hosts.start * gpus_per_host, len(hosts) * gpus_per_host
        if pool.serving is None:
            yield Engine(number, first, gpus, group + (index if pool.workload is Workload.TRAINING else 0))
            continue
        for copy, begin in enumerate(range(first, first + gpus, pool.serving.gpus)):
            level = (index * (gpus // pool.serving.gpus) + copy) % len(LOAD_LEVELS)
            yield Engine(number, begin, pool.serving.gpus, group + level)


def _groups(number: int, engines: list[Engine], offset: int) -> Iterator[Group]:
    """Yield the load groups of one pool's engines, in the order their numbers were given out."""
    pool = POOLS[number]
    for group in range(offset, max((engine.group for engine in engines), default=offset - 1) + 1):
        level = LOAD_LEVELS[group - offset] if pool.serving is not None else 1.0
        gpus = sum(engine.gpus for engine in engines if engine.group == group)
        yield Group(number, level, group - offset, gpus)
