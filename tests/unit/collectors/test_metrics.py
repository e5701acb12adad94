"""What Prometheus reads of a collector."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from doubles.commands import NOON
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from collectors.metrics import FeedState, Status, families
from pipeline.messages.telemetry import Covers, GpuSample, HostTick, JobSample, MeterSample, Quality, Tier, Workload

SERVING = Workload.INFERENCE
TICK = HostTick(
    host="gpu-17",
    site="site-1",
    boot="b",
    seq=3,
    measured_at=NOON,
    gpus=(
        GpuSample(
            uuid="GPU-a", model="H100", power_w=629.45, energy_j=6294.5, enforced_w=500.0, sm_mhz=1980, capped_s=1.5,
            utilization=0.97, job="chat", tenant="acme", tier=Tier.T1, workload=SERVING, mig=("MIG-1",),
        ),
        GpuSample(uuid="GPU-b", model="H100", quality=(Quality.LOST,)),
    ),
    jobs=(JobSample(job="chat", tier=Tier.T1, workload=SERVING, engine="vllm", tokens_total=5e6, waiting=3),),
    meters=(MeterSample(meter="bmc", covers=Covers.HOST, power_w=8100.0),),
)  # fmt: skip


def status(tick: HostTick | None = TICK, now: datetime = NOON) -> Status:
    """Return a process that has measured *tick*."""
    return Status(
        now=now,
        period=timedelta(seconds=2),
        host="gpu-17",
        site="site-1",
        tick=tick,
        feeds=(FeedState("nvml", is_up=True, errors=2), FeedState("redfish", is_up=False, errors=9)),
        xids={("GPU-b", 79): 1},
        silent=4,
        paused=False,
        appended=3,
        unstored=0,
        spool_ticks=1,
        spool_bytes=4096,
        dropped=7,
        set_aside=0,
        oldest_at=NOON,
        refused=0,
        connected=True,
        acknowledged=2,
        acknowledged_at=NOON,
    )


class Page(Collector):
    """One status as a registry asks for it."""

    def __init__(self, shown: Status) -> None:
        self.shown = shown

    def collect(self) -> Iterator[Metric]:
        """Yield its metrics."""
        return families(self.shown)


def shown(of: Status) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every sample of the page that Prometheus would read."""
    registry = CollectorRegistry()
    registry.register(Page(of))
    page = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def key(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    """Return how a sample is found in `shown`."""
    return name, frozenset(labels.items())


def test_figures_are_in_base_units_by_uuid() -> None:
    page = shown(status())
    gpu = {"uuid": "GPU-a", "model": "H100"}

    assert page[key("firmwatt_gpu_power_watts", **gpu)] == 629.45
    assert page[key("firmwatt_gpu_energy_joules_total", **gpu)] == 6294.5
    assert page[key("firmwatt_gpu_sm_clock_hertz", **gpu)] == 1.98e9
    assert page[key("firmwatt_gpu_utilization_ratio", **gpu)] == 0.97
    assert page[key("firmwatt_gpu_power_capped_seconds_total", **gpu)] == 1.5
    assert page[key("firmwatt_meter_power_watts", meter="bmc", covers="host")] == 8100.0
    assert page[key("firmwatt_job_tokens_total", job="chat", engine="vllm")] == 5e6
    assert page[key("firmwatt_job_requests_waiting", job="chat", engine="vllm")] == 3


def test_what_is_unknown_is_not_shown_and_never_zero() -> None:
    """GPU-b is lost, GPU-a's temperature was not read, nobody counted prompt tokens."""
    page = shown(status())

    assert not [
        name for name, labels in page if ("uuid", "GPU-b") in labels and name.endswith(("watts", "joules_total"))
    ]
    assert not [name for name, _ in page if "temperature" in name or "prompt" in name]


def test_who_uses_a_gpu_and_why_it_is_not_believed() -> None:
    page = shown(status())

    assert page[key("firmwatt_gpu_quality", uuid="GPU-b", mark="lost")] == 1
    assert not [labels for name, labels in page if name == "firmwatt_gpu_quality" and ("uuid", "GPU-a") in labels]
    info = {
        "uuid": "GPU-a",
        "model": "H100",
        "job": "chat",
        "tier": "T1",
        "workload": "inference",
        "mig": "true",
        "tenant": "acme",
    }
    assert page[key("firmwatt_gpu_info", **info)] == 1


def test_the_process_tells_of_itself() -> None:
    page = shown(status())

    assert page[key("firmwatt_feed_up", feed="redfish")] == 0
    assert page[key("firmwatt_feed_errors_total", feed="redfish")] == 9
    assert page[key("firmwatt_gpu_xid_events_total", uuid="GPU-b", xid="79")] == 1
    assert page[key("firmwatt_ticks_silent_total")] == 4
    assert page[key("firmwatt_spool_ticks")] == 1
    assert page[key("firmwatt_spool_dropped_ticks_total")] == 7
    assert page[key("firmwatt_kafka_acknowledged_ticks_total")] == 2


def test_old_watts_are_not_shown_as_present_ones() -> None:
    """Three periods of 2 s after the tick they are there, then only the process is."""
    fresh, old = shown(status(now=NOON + timedelta(seconds=6))), shown(status(now=NOON + timedelta(seconds=6.1)))

    assert key("firmwatt_meter_power_watts", meter="bmc", covers="host") in fresh
    assert not [name for name, _ in old if name.startswith(("firmwatt_gpu_power", "firmwatt_meter", "firmwatt_job"))]
    assert old[key("firmwatt_spool_ticks")] == 1


def test_before_the_first_tick_there_is_a_page_already() -> None:
    assert shown(status(None))[key("firmwatt_collector_info", host="gpu-17", site="site-1")] == 1
