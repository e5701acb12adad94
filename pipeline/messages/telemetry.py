"""What hosts measure, second by second, and the site figures made of it."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import msgspec

from pipeline.interval import Interval

Instant = Annotated[datetime, msgspec.Meta(tz=True)]


class Tier(StrEnum):
    """How much of a workload may wait. A GPU nobody has claimed is T0."""

    T0 = "T0"  # never touched
    T1 = "T1"  # interactive
    T2 = "T2"  # batch
    T3 = "T3"  # preemptible


class Workload(StrEnum):
    """What a GPU is doing; the learned power at a set-point differs by it."""

    TRAINING = "training"
    INFERENCE = "inference"
    IDLE = "idle"
    UNKNOWN = "unknown"


class Quality(StrEnum):
    """Why a sample must not be believed in full. No mark means good."""

    STALE = "stale"  # the device gave its last answer again, or none in time
    LOST = "lost"  # the GPU fell off the bus
    IMPLAUSIBLE = "implausible"  # outside what the device can draw; the value itself is withheld
    ENERGY_SUSPECT = "energy_suspect"  # the energy counter disagrees with integrated power; it is withheld
    ENERGY_INTEGRATED = "energy_integrated"  # no counter to be believed: the energy is integrated power
    SCOPE_MODULE = "scope_module"  # the figure covers the CPU+GPU module, not the GPU alone


class Covers(StrEnum):
    """What a meter's figure includes. Only `HOST` is the draw of the host that reports it."""

    HOST = "host"  # the whole node: BMC, or all its PDU outlets
    CPU = "cpu"  # the processor packages
    MEMORY = "memory"  # DRAM
    RACK = "rack"  # a PDU with other hosts on it
    FACILITY = "facility"  # the grid operator's side: what settlement believes


class Message(msgspec.Struct, frozen=True):
    """A fact. Never edited after it is sent."""


class GpuSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU at one instant. Every reading may be absent (None); none of them is ever a made-up zero."""

    uuid: str
    model: str
    power_w: float | None = None
    """Instantaneous draw (NVML field 186)."""
    average_w: float | None = None
    """The driver's 1 s average (NVML field 185)."""
    energy_j: float | None = None
    """Counter since driver load (NVML field 83); restarts mark a new `energy_epoch`."""
    energy_epoch: int = 0
    read_at: Instant | None = None
    """When the driver took the reading, by the host's own clock (NVML field timestamp); None: at the tick's instant."""
    enforced_w: float | None = None
    """The limit in force, out-of-band caps included (NVML field 190)."""
    requested_w: float | None = None
    """The limit software asked for (NVML field 192)."""
    min_w: float | None = None
    max_w: float | None = None
    sm_mhz: int | None = None
    memory_mhz: int | None = None
    event_reasons: int | None = None
    """Why clocks are lower than they could be: NVML's bit mask (0x4 software power cap, 0x80 power brake)."""
    capped_s: float | None = None
    """Counter: seconds that a software power cap held clocks down (NVML field 74). Cannot be missed between polls."""
    thermal_s: float | None = None
    """Counter: seconds throttled by temperature (NVML fields 269 and 270)."""
    braked_s: float | None = None
    """Counter: seconds throttled by the power brake (NVML field 271)."""
    utilization: float | None = None
    """Share of time in which a kernel ran, 0 to 1."""
    memory_used_b: int | None = None
    temperature_c: float | None = None
    mig: tuple[str, ...] = ()
    """UUIDs of the MIG instances; power is that of the whole GPU, read once, on the parent."""
    xids: tuple[int, ...] = ()
    """XID events since the tick before."""
    job: str | None = None
    tenant: str | None = None
    """On whose behalf; of several on one GPU the most protected one's."""
    tier: Tier = Tier.T0
    workload: Workload = Workload.UNKNOWN
    quality: tuple[Quality, ...] = ()


class MeterSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One power meter beside the GPUs'. Not summed with anything: `covers` says what is inside the figure."""

    meter: str
    """Unique on its host."""
    covers: Covers
    power_w: float | None = None
    energy_j: float | None = None
    energy_epoch: int = 0
    read_at: Instant | None = None
    """When the meter was asked; slow meters are asked less often than once a tick."""
    quality: tuple[Quality, ...] = ()


class LatencyBuckets(msgspec.Struct, frozen=True, kw_only=True):
    """What a latency histogram counted since the tick before. Seconds; mergeable by adding counts."""

    le_s: tuple[float, ...]
    """Upper bounds, ascending; the last one is infinite and written 1e308."""
    counts: tuple[float, ...]
    """Observations at or below each bound and above the one before: not cumulative."""


class JobSample(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One job's share on this host: token counters since `epoch`, as its engine counts them."""

    job: str
    tier: Tier
    workload: Workload
    served_model: str | None = None
    """The language model being served or trained."""
    engine: str | None = None
    tokens_total: float | None = None
    """Generated tokens of inference, consumed tokens of training. A counter; None where nobody counts."""
    prompt_tokens_total: float | None = None
    epoch: int = 0
    counted_at_finish: bool = False
    """The engine counts a request's tokens when it ends: rates mean something over minutes, not over a second."""
    tokens_per_s: float | None = None
    """Generated tokens a second over the engine's window or bursts; None where that holds a restart or a gap."""
    tokens_per_s_per_w: float | None = None
    """Tokens over joules of the GPUs that serve the job, over the same span."""
    running: float | None = None
    """Requests in progress."""
    waiting: float | None = None
    """Requests in the queue."""
    ttft: LatencyBuckets | None = None
    """Time to first token."""
    itl: LatencyBuckets | None = None
    """Inter-token latency."""
    gpus: tuple[str, ...] = ()


class HostTick(Message, frozen=True, kw_only=True, omit_defaults=True, tag="host-tick.v1"):
    """One host, one second. A gauge: the newest tick replaces the one before, redelivery changes nothing."""

    host: str
    site: str
    boot: str
    """New for every start of the machine, and where numbers could not be kept; `seq` counts from 1 within it."""
    seq: int
    measured_at: Instant
    gpus: tuple[GpuSample, ...]
    jobs: tuple[JobSample, ...] = ()
    meters: tuple[MeterSample, ...] = ()
    chassis_w: float | None = None
    """Whole-node draw where a BMC or PDU measures it; GPUs are part of it."""
    chassis_energy_j: float | None = None
    """Whole-node energy counter of the same meter…"""
    chassis_epoch: str = ""
    """…in this epoch: which meters are in it and in which epochs of theirs."""
    simulated: bool = False


#: The cap levels, as shares of a GPU's maximum limit, at which every pool's relief is published.
CAP_SHARES: tuple[float, ...] = tuple(round(1.0 - 0.05 * step, 2) for step in range(15))  # 1.0, 0.95 … 0.3


class PoolLoad(msgspec.Struct, frozen=True, kw_only=True):
    """
    GPUs that one cap level treats alike: same tier, workload and GPU model. Sums over GPUs, hence mergeable.

    ``relief_kw[i]`` is the power that would be let go *now* if every GPU of the pool were capped at
    ``CAP_SHARES[i]`` of its maximum limit: measured draw minus the draw at the set-point, summed over fresh GPUs
    only, floors of the device and of the tier respected. A cap above the draw frees nothing.
    """

    tier: Tier
    workload: Workload
    gpu_model: str
    gpus: int
    power_kw: float
    relief_kw: tuple[float, ...]
    max_w: float
    """The GPUs' maximum limit, watts; shares become caps with it."""
    tokens_per_s: float | None = None


class SitePartial(Message, frozen=True, kw_only=True, tag="site-partial.v1"):
    """What one telemetry partition knows of one site, once a second. A gauge by (site, partition)."""

    site: str
    partition: int
    as_of: Instant
    hosts: int
    hosts_stale: int
    """
    Hosts silent for longer than `capacity.STALE_AFTER`, of a wrong clock, or with a meter that does not answer.

    Their last load still counts, their relief does not.
    """
    gpus: int
    load_kw: float
    """Whole-node draw; GPU draw where a host has no chassis meter."""
    pools: tuple[PoolLoad, ...]
    ticks_open: int
    """Distinct ticks of this partition in intervals that are not closed yet."""
    age_p50_ms: float | None
    age_p99_ms: float | None
    """
    Age of the newest ticks at `as_of` of the hosts that are not stale, milliseconds of the clock; None: all are.

    A host that is switched off is one of `hosts_stale`; it says nothing of how fast ticks arrive.
    """
    simulated: bool
    hosts_skewed: int = 0
    """Hosts whose clock is off by more than `skew.FLAG`…"""
    hosts_quarantined: int = 0
    """…and by more than `skew.QUARANTINE`: nothing of theirs is sold."""


class SiteCapacity(Message, frozen=True, kw_only=True, tag="site-capacity.v1"):
    """One site, once a second: what it draws and what it could let go. A gauge by site."""

    site: str
    as_of: Instant
    """The oldest partial in it."""
    known_at: Instant
    partitions: int
    partitions_expected: int
    hosts: int
    hosts_stale: int
    gpus: int
    load_kw: float
    pools: tuple[PoolLoad, ...]
    ticks_open: int
    age_p50_ms: float | None
    age_p99_ms: float | None
    """Upper bound: the worst partition's p99, plus the way from partial to here."""
    simulated: bool
    hosts_skewed: int = 0
    hosts_quarantined: int = 0


class PortfolioCapacity(Message, frozen=True, kw_only=True, tag="portfolio-capacity.v1"):
    """All sites together, about once a second. A gauge by portfolio; a site that is missing adds nothing."""

    portfolio: str
    as_of: Instant
    """The oldest site figure in it."""
    known_at: Instant
    sites: tuple[str, ...]
    sites_missing: tuple[str, ...]
    """Expected, and silent or too old."""
    hosts: int
    hosts_stale: int
    gpus: int
    load_kw: float
    pools: tuple[PoolLoad, ...]
    simulated: bool


class PoolInterval(msgspec.Struct, frozen=True, kw_only=True):
    """Energy and tokens of one pool, served model and engine over an interval, from counter differences."""

    tier: Tier
    workload: Workload
    gpu_model: str
    served_model: str | None
    gpu_energy_kwh: float
    tokens: float | None
    """None where nobody counted: a gap, not zero tokens."""
    engine: str | None = None
    gpu_s: float = 0.0
    """GPU-seconds that the pool was there…"""
    covered_gpu_s: float = 0.0
    """…and for how many of them the energy is measured."""


class IntervalPartial(Message, frozen=True, kw_only=True, tag="interval-partial.v1"):
    """One partition's part of a closed interval. Natural key (site, partition, interval)."""

    site: str
    partition: int
    interval: Interval
    energy_kwh: float
    hosts: int
    hosts_partial: int
    """Hosts whose counters do not span the whole interval: their hole is missing from `energy_kwh`."""
    covered_share: float
    """Host-seconds covered ÷ host-seconds in the interval, 0 to 1."""
    ticks: int
    ticks_missing: int
    """Holes in the hosts' sequence numbers."""
    pools: tuple[PoolInterval, ...]
    simulated: bool
    covered_host_s: float = 0.0
    """Host-seconds measured, what `covered_share` is made of."""
    offset: int = -1
    """The telemetry record up to which it holds; of two figures of one key the higher offset counts."""


class IntervalCorrection(Message, frozen=True, kw_only=True, tag="interval-correction.v1"):
    """
    What ticks that came after an interval was closed add to one partition's part of it, all of them together.

    Natural key (site, partition, interval): a newer correction replaces the one before. Figures are additions and may
    be negative: a tick that fills a hole moves energy over an interval's boundary.
    """

    site: str
    partition: int
    interval: Interval
    energy_kwh: float
    covered_host_s: float
    hosts: int
    """Hosts that the closed figure did not expect."""
    ticks: int
    ticks_missing: int
    pools: tuple[PoolInterval, ...]
    first_late: Instant
    """When the first of the late ticks was measured…"""
    last_late: Instant
    """…and the last."""
    simulated: bool
    offset: int
    """The telemetry record up to which it holds; of two corrections of one key the higher offset counts."""


class SiteInterval(Message, frozen=True, kw_only=True, tag="site-interval.v1"):
    """
    What a site drew over one closed interval. Natural key (site, interval, revision); the highest revision holds.

    A late partial makes a new revision, never a silent rewrite.
    """

    site: str
    interval: Interval
    revision: int
    energy_kwh: float
    hosts: int
    hosts_partial: int
    covered_share: float
    partitions: int
    partitions_expected: int
    ticks: int
    ticks_missing: int
    pools: tuple[PoolInterval, ...]
    simulated: bool
    source: str = "metered"
    """`metered`, or `backfill` for history that was loaded rather than streamed."""
    covered_host_s: float = 0.0
    corrected: bool = False
    """Ticks that came after the interval was closed are in it."""

    @property
    def load_kw(self) -> float:
        """Mean draw over the interval."""
        return self.energy_kwh / self.interval.hours


class HostPool(msgspec.Struct, frozen=True, kw_only=True):
    """How many GPUs of a pool a host holds."""

    tier: Tier
    workload: Workload
    gpu_model: str
    gpus: int


class HostRecord(Message, frozen=True, kw_only=True, tag="host-record.v1"):
    """Which pools live on which host: sent when it changes, kept by compaction. A gauge by host."""

    host: str
    site: str
    pools: tuple[HostPool, ...]
    seen_at: Instant
