"""
The collector about itself and its host, in Prometheus' words: base units, UUIDs as labels, absent where unknown.

Everything shown is what the newest tick says, so a scrape costs no driver call and cannot be held up by a device.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families

from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, MeterSample

SHOWN_PERIODS = 3
"""A tick older than this is no longer shown: Prometheus would take the last watts for the present ones."""


class FeedState(NamedTuple):
    """How one source, mapping or engine does."""

    name: str
    is_up: bool
    errors: int


class Status(NamedTuple):
    """What the process knows of itself at one instant."""

    now: datetime
    period: timedelta
    """Between ticks."""
    host: str
    site: str
    tick: HostTick | None
    feeds: tuple[FeedState, ...]
    xids: Mapping[tuple[str, int], int]
    silent: int
    paused: bool
    appended: int
    unstored: int
    spool_ticks: int
    spool_bytes: int
    dropped: int
    set_aside: int
    oldest_at: datetime | None
    refused: int
    connected: bool
    acknowledged: int
    acknowledged_at: datetime | None


#: GPU figure → (metric, what it is). The metric's unit is its suffix.
GPU_GAUGES = {
    "power_w": ("firmwatt_gpu_power_watts", "Instantaneous draw"),
    "average_w": ("firmwatt_gpu_average_power_watts", "The driver's average over a second"),
    "enforced_w": ("firmwatt_gpu_enforced_limit_watts", "Power limit in force, out-of-band caps included"),
    "requested_w": ("firmwatt_gpu_requested_limit_watts", "Power limit that software asked for"),
    "min_w": ("firmwatt_gpu_min_limit_watts", "Lowest power limit the board takes"),
    "max_w": ("firmwatt_gpu_max_limit_watts", "Highest power limit the board takes"),
    "utilization": ("firmwatt_gpu_utilization_ratio", "Share of time in which a kernel ran"),
    "memory_used_b": ("firmwatt_gpu_memory_used_bytes", "Memory in use"),
    "temperature_c": ("firmwatt_gpu_temperature_celsius", "Temperature of the GPU"),
    "sm_mhz": ("firmwatt_gpu_sm_clock_hertz", "Clock of the streaming multiprocessors"),
    "memory_mhz": ("firmwatt_gpu_memory_clock_hertz", "Clock of the memory"),
}
GPU_COUNTERS = {
    "energy_j": ("firmwatt_gpu_energy_joules", "Energy since the counter started"),
    "capped_s": ("firmwatt_gpu_power_capped_seconds", "Time in which a software power cap held clocks down"),
    "thermal_s": ("firmwatt_gpu_thermal_throttled_seconds", "Time throttled by temperature"),
    "braked_s": ("firmwatt_gpu_power_braked_seconds", "Time throttled by the power brake"),
}
JOB_GAUGES = {
    "tokens_per_s": ("firmwatt_job_tokens_per_second", "Generated tokens a second over the engine's window"),
    "tokens_per_s_per_w": ("firmwatt_job_tokens_per_joule", "The same for each watt of the GPUs that serve the job"),
    "running": ("firmwatt_job_requests_running", "Requests in progress"),
    "waiting": ("firmwatt_job_requests_waiting", "Requests in the queue"),
}
JOB_COUNTERS = {
    "tokens_total": ("firmwatt_job_tokens", "Tokens generated, or consumed by training"),
    "prompt_tokens_total": ("firmwatt_job_prompt_tokens", "Prompt tokens"),
}
METER_GAUGES = {"power_w": ("firmwatt_meter_power_watts", "Draw by one meter; `covers` says of what")}
METER_COUNTERS = {"energy_j": ("firmwatt_meter_energy_joules", "Energy by one meter")}
MEGAHERTZ = frozenset({"sm_mhz", "memory_mhz"})


def carried(path: str) -> Iterator[Metric]:
    """Yield what another process has written to the file at *path*; nothing while it has not, or not in whole."""
    try:
        yield from text_string_to_metric_families(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return


def families(status: Status) -> Iterator[Metric]:
    """Yield every metric of *status*. Pure."""
    yield from _process(status)
    tick = status.tick
    if tick is None or status.now - tick.measured_at > SHOWN_PERIODS * status.period:
        return
    gpus = [((gpu.uuid, gpu.model), gpu) for gpu in tick.gpus]
    meters = [((meter.meter, str(meter.covers)), meter) for meter in tick.meters]
    jobs = [((job.job, job.engine or ""), job) for job in tick.jobs]
    yield from _table(("uuid", "model"), gpus, GPU_GAUGES, GPU_COUNTERS)
    yield from _table(("meter", "covers"), meters, METER_GAUGES, METER_COUNTERS)
    yield from _table(("job", "engine"), jobs, JOB_GAUGES, JOB_COUNTERS)
    yield from _marks(tick.gpus)


def _table(
    labels: tuple[str, ...],
    rows: Sequence[tuple[tuple[str, ...], GpuSample | MeterSample | JobSample]],
    gauges: Mapping[str, tuple[str, str]],
    counters: Mapping[str, tuple[str, str]],
) -> Iterator[Metric]:
    """Yield a metric for each figure, with a sample for each row that knows it."""
    for figure, (name, text) in gauges.items():
        gauge = GaugeMetricFamily(name, text, labels=labels)
        for values, row in rows:
            if (value := getattr(row, figure)) is not None:
                gauge.add_metric(values, value * 1e6 if figure in MEGAHERTZ else value)
        yield gauge
    for figure, (name, text) in counters.items():
        counter = CounterMetricFamily(name, text, labels=labels)
        for values, row in rows:
            if (value := getattr(row, figure)) is not None:
                counter.add_metric(values, value)
        yield counter


def _marks(gpus: Iterable[GpuSample]) -> Iterator[Metric]:
    info = GaugeMetricFamily(
        "firmwatt_gpu_info", "Who uses a GPU", labels=("uuid", "model", "job", "tenant", "tier", "workload", "mig")
    )
    marks = GaugeMetricFamily(
        "firmwatt_gpu_quality", "1 for every reason not to believe a GPU's figures in full", labels=("uuid", "mark")
    )
    for gpu in gpus:
        mig = str(bool(gpu.mig)).lower()
        info.add_metric((gpu.uuid, gpu.model, gpu.job or "", gpu.tenant or "", gpu.tier, gpu.workload, mig), 1)
        for mark in gpu.quality:
            marks.add_metric((gpu.uuid, mark), 1)
    yield info
    yield marks


def _process(status: Status) -> Iterator[Metric]:
    """Yield what the process knows of itself."""
    info = GaugeMetricFamily("firmwatt_collector_info", "Who speaks", labels=("host", "site"))
    info.add_metric((status.host, status.site), 1)
    yield info
    up = GaugeMetricFamily("firmwatt_feed_up", "1 while a source, mapping or engine answers", labels=("feed",))
    errors = CounterMetricFamily("firmwatt_feed_errors", "Questions that failed", labels=("feed",))
    for feed in status.feeds:
        up.add_metric((feed.name,), float(feed.is_up))
        errors.add_metric((feed.name,), feed.errors)
    yield up
    yield errors
    xids = CounterMetricFamily("firmwatt_gpu_xid_events", "XID events since the start", labels=("uuid", "xid"))
    for (uuid, xid), count in status.xids.items():
        xids.add_metric((uuid, str(xid)), count)
    yield xids
    yield GaugeMetricFamily("firmwatt_collector_paused", "1 while devices are released", value=float(status.paused))
    yield CounterMetricFamily("firmwatt_ticks", "Ticks measured", value=status.appended)
    yield CounterMetricFamily("firmwatt_ticks_silent", "Ticks at which nothing could be measured", value=status.silent)
    yield CounterMetricFamily("firmwatt_ticks_unstored", "Ticks the disk would not take", value=status.unstored)
    yield GaugeMetricFamily("firmwatt_spool_ticks", "Ticks not acknowledged by Kafka", value=status.spool_ticks)
    yield GaugeMetricFamily("firmwatt_spool_bytes", "Size of the spool on disk", value=status.spool_bytes)
    yield CounterMetricFamily("firmwatt_spool_dropped_ticks", "Ticks dropped to keep the bound", value=status.dropped)
    yield CounterMetricFamily("firmwatt_spool_files_set_aside", "Damaged spool files", value=status.set_aside)
    yield from _instant("firmwatt_spool_oldest_tick", "Oldest tick not acknowledged, measured", status.oldest_at)
    yield CounterMetricFamily("firmwatt_kafka_refused_ticks", "Ticks too large for Kafka", value=status.refused)
    yield GaugeMetricFamily("firmwatt_kafka_connected", "1 while Kafka answers", value=float(status.connected))
    yield CounterMetricFamily("firmwatt_kafka_acknowledged_ticks", "Ticks acknowledged", value=status.acknowledged)
    yield from _instant("firmwatt_kafka_last_acknowledged", "Kafka acknowledged last", status.acknowledged_at)


def _instant(name: str, text: str, at: datetime | None) -> Iterator[Metric]:
    """Yield when something was, Unix time of the shared clock; nothing if it never was."""
    if at is not None:
        yield GaugeMetricFamily(f"{name}_timestamp_seconds", f"{text} at this time", value=at.timestamp())
