"""Builders of host ticks with counters a reader can follow in the head."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from pipeline.messages.telemetry import GpuSample, HostTick, JobSample, Tier, Workload

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
H100 = "NVIDIA H100 80GB HBM3"


def at(seconds: float) -> datetime:
    """Return an instant *seconds* after noon."""
    return NOON + timedelta(seconds=seconds)


def gpu(uuid: str = "gpu-0", power_w: float | None = 600.0, energy_j: float | None = 0.0, **fields: Any) -> GpuSample:
    """Return a GPU that may be capped: tier T3, 200 to 700 W."""
    settings: dict[str, Any] = {
        "tier": Tier.T3,
        "workload": Workload.TRAINING,
        "job": "job-a",
        "min_w": 200.0,
        "max_w": 700.0,
    }
    return GpuSample(uuid=uuid, model=H100, power_w=power_w, energy_j=energy_j, **(settings | fields))


def job(tokens_total: float | None, name: str = "job-a", **fields: Any) -> JobSample:
    """Return a training job on one GPU."""
    settings: dict[str, Any] = {
        "tier": Tier.T3,
        "workload": Workload.TRAINING,
        "served_model": "llama-70b",
        "gpus": ("gpu-0",),
    }
    return JobSample(job=name, tokens_total=tokens_total, **(settings | fields))


def tick(seq: int, seconds: float | None = None, host: str = "h1", **fields: Any) -> HostTick:
    """Return a host's tick *seq*, measured that many seconds after noon; one GPU at 600 W."""
    moment = float(seq if seconds is None else seconds)
    settings: dict[str, Any] = {
        "site": "site-1",
        "boot": "boot-1",
        "simulated": True,
        "gpus": (gpu(energy_j=600.0 * moment),),
    }
    return HostTick(host=host, seq=seq, measured_at=at(moment), **(settings | fields))


def steady(
    seconds: int, power_w: float = 600.0, host: str = "h1", start: datetime = NOON, gpus: int = 1, **fields: Any
) -> Iterator[HostTick]:
    """Yield one tick a second for *seconds*, each GPU's counter growing by *power_w* joules a second, 10 tokens/s."""
    settings: dict[str, Any] = {"site": "site-1", "boot": "boot-1", "simulated": True}
    for second in range(seconds + 1):
        yield HostTick(
            host=host,
            seq=second + 1,
            measured_at=start + timedelta(seconds=second),
            gpus=tuple(gpu(f"gpu-{index}", power_w, power_w * second) for index in range(gpus)),
            jobs=(job(10.0 * second),),
            **(settings | fields),
        )
