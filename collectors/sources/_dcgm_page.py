"""
What a dcgm-exporter page says of each GPU: series of one GPU put together, DCGM's blanks left out. Pure.

    POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="1"} 412.5   one GPU in two MIG instances: the parent's figure,
    POWER_USAGE{gpu="0",UUID="GPU-a",GPU_I_ID="2"} 412.5   said twice (dcgm-exporter#257) and counted once

Names and units: dcgm-exporter, etc/default-counters.csv and DCGM, dcgmlib/dcgm_fields.h; labels: dcgm-exporter,
internal/pkg/rendermetrics/render_metrics.go. A GPU that serves several pods has each series once for every pod.
"""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from collectors import SourceError
from collectors.exposition import Sample

POWER = "DCGM_FI_DEV_POWER_USAGE"
POWER_INSTANT = "DCGM_FI_DEV_POWER_USAGE_INSTANT"
ENERGY = "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION"
ENFORCED = "DCGM_FI_DEV_ENFORCED_POWER_LIMIT"
REQUESTED = "DCGM_FI_DEV_POWER_MGMT_LIMIT"
MIN_LIMIT = "DCGM_FI_DEV_POWER_MGMT_LIMIT_MIN"
MAX_LIMIT = "DCGM_FI_DEV_POWER_MGMT_LIMIT_MAX"
SM_CLOCK = "DCGM_FI_DEV_SM_CLOCK"
MEM_CLOCK = "DCGM_FI_DEV_MEM_CLOCK"
REASONS = "DCGM_FI_DEV_CLOCKS_EVENT_REASONS"
REASONS_BEFORE_4 = "DCGM_FI_DEV_CLOCK_THROTTLE_REASONS"
TEMPERATURE = "DCGM_FI_DEV_GPU_TEMP"
UTILIZATION = "DCGM_FI_DEV_GPU_UTIL"
MEMORY_USED = "DCGM_FI_DEV_FB_USED"
XID = "DCGM_FI_DEV_XID_ERRORS"

WANTED = frozenset(
    {POWER, POWER_INSTANT, ENERGY, ENFORCED, REQUESTED, MIN_LIMIT, MAX_LIMIT, SM_CLOCK, MEM_CLOCK}
    | {REASONS, REASONS_BEFORE_4, TEMPERATURE, UTILIZATION, MEMORY_USED, XID}
)

BLANKS = (2**31 - 16, 2**47, 2**63 - 16)
"""
DCGM's 32-bit, floating and 64-bit "blank": dcgm_structs.h. The next three numbers after each mean not found, not
supported and not permitted; as a floating-point number those of 64 bits are all 2⁶³.
"""
BLANK_KINDS = 16

_DEVICE = re.compile(r"nvidia(\d+)")


class Figures(NamedTuple):
    """One GPU on the page. Values in the page's own units: W, mJ, MHz, °C, percent, MiB."""

    model: str
    number: int | None
    """NVML's index, which DCGM keeps."""
    minor: int | None
    values: Mapping[str, float]


def figures(samples: Iterable[Sample], hostname: str) -> dict[str, Figures]:
    """
    Return what *samples* say, by GPU UUID; raise `SourceError` for a page of several hosts of which none is named.

    *hostname* is the one whose GPUs are meant; empty: the only one of the page.
    """
    of_gpus = [sample for sample in samples if _uuid(sample)]
    ours = _of_host(of_gpus, hostname)
    by_gpu: dict[str, list[Sample]] = {}
    for sample in ours:
        by_gpu.setdefault(_uuid(sample), []).append(sample)
    return {uuid: _figures(series) for uuid, series in sorted(by_gpu.items())}


def is_blank(value: float) -> bool:
    """Return whether *value* is one of DCGM's ways to say that there is none."""
    return any(blank <= value <= blank + BLANK_KINDS for blank in BLANKS)


def _uuid(sample: Sample) -> str:
    """Return the GPU's UUID; the label was written in small letters before dcgm-exporter 2.0."""
    return sample.labels.get("UUID") or sample.labels.get("uuid") or ""


def _of_host(samples: list[Sample], hostname: str) -> list[Sample]:
    hosts = {sample.labels.get("Hostname", "") for sample in samples}
    if hostname:
        if hosts and hostname not in hosts:
            raise SourceError(f"the page has no GPU of hostname {hostname!r}, only of {', '.join(sorted(hosts))}")
        return [sample for sample in samples if sample.labels.get("Hostname", "") == hostname]
    if len(hosts) > 1:
        raise SourceError(f"the page has GPUs of {len(hosts)} hosts: set hostname to one of {', '.join(sorted(hosts))}")
    return samples


def _figures(series: list[Sample]) -> Figures:
    """Return one GPU's figures: its own series where there is one, else its first MIG instance's."""
    values: dict[str, dict[str, float]] = {}
    for sample in series:
        if not is_blank(sample.value):
            values.setdefault(sample.name, {}).setdefault(sample.labels.get("GPU_I_ID", ""), sample.value)
    whole = {name: of.get("", of[min(of)]) for name, of in values.items()}
    if instances := {sample.labels["GPU_I_ID"] for sample in series if "GPU_I_ID" in sample.labels}:
        whole.pop(UTILIZATION, None)  # there is none for a GPU in instances; 0 is printed (dcgm-exporter#216)
        whole.pop(MEMORY_USED, None)
        whole |= _memory(values.get(MEMORY_USED, {}), instances)
    labels = series[0].labels
    index, device = labels.get("gpu", ""), _DEVICE.fullmatch(labels.get("device", ""))
    return Figures(
        model=labels.get("modelName") or "unknown",
        number=int(index) if index.isdecimal() else None,
        minor=int(device[1]) if device else None,
        values=whole,
    )


def _memory(used: Mapping[str, float], instances: set[str]) -> dict[str, float]:
    """Return the GPU's own figure, else the sum of its *instances'*: each has its part of the memory to itself."""
    if "" in used:
        return {MEMORY_USED: used[""]}
    return {MEMORY_USED: sum(used[each] for each in instances)} if instances <= used.keys() else {}
