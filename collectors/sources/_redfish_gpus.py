"""
The GPUs of an HGX board as its BMC measures them: found by the names an operator gave UUIDs to, read one by one.

    /redfish/v1/Systems/HGX_Baseboard_0/Processors/GPU_SXM_1/EnvironmentMetrics     (B200: GPU_1)

Source: NVIDIA DPS documentation, "Redfish API".
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import NamedTuple

import msgspec

from collectors import PLAUSIBLE_SHARE
from collectors.sources._redfish_power import Collection, EnvironmentMetrics, Get, Limit, Link, environment, value
from pipeline.messages.telemetry import GpuSample, Quality

SYSTEMS = "/redfish/v1/Systems"
MOST_W = 2900.0
"""The limit of a whole GB300 module (k8s-test-infra#676), for a GPU that tells none."""


class System(msgspec.Struct, rename="pascal"):
    """A computer, or a board that the BMC shows as one."""

    processors: Link | None = None


class Processor(msgspec.Struct, rename="pascal"):
    """A processor, as far as we read it."""

    model: str | None = None
    environment_metrics: Link | None = None


class Gpu(NamedTuple):
    """A GPU the BMC measures."""

    name: str
    uuid: str
    model: str
    path: str
    """Of its EnvironmentMetrics."""


def gpus(get: Get, uuids: Mapping[str, str]) -> Iterator[Gpu]:
    """Yield the GPUs that *uuids* names and the BMC measures."""
    for link in _processors(get) if uuids else ():
        if link.name in uuids and (found := get(link.path, Processor)) and found.environment_metrics:
            yield Gpu(link.name, uuids[link.name], found.model or "unknown", found.environment_metrics.path)


def sample(gpu: Gpu, found: EnvironmentMetrics | None, now: datetime) -> GpuSample:
    """Return what *found* says of *gpu*, garbage withheld and marked. Pure."""
    power_w, energy_j = environment(found)
    limit = (found.power_limit_watts if found else None) or Limit()
    garbage = power_w is not None and not 0 <= power_w <= PLAUSIBLE_SHARE * (limit.allowable_max or MOST_W)
    return GpuSample(
        uuid=gpu.uuid,
        model=gpu.model,
        power_w=None if garbage else power_w,
        energy_j=energy_j,
        read_at=now,
        requested_w=limit.set_point,
        min_w=limit.allowable_min,
        max_w=limit.allowable_max,
        temperature_c=value(found.temperature_celsius) if found else None,
        quality=(Quality.IMPLAUSIBLE,) if garbage else (),
    )


def _processors(get: Get) -> Iterator[Link]:
    systems = get(SYSTEMS, Collection)
    for link in systems.members if systems else ():
        system = get(link.path, System)
        processors = get(system.processors.path, Collection) if system and system.processors else None
        yield from processors.members if processors else ()
