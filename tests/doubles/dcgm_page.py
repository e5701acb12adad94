"""
A page as dcgm-exporter renders it, GPU by GPU.

    dcgm_page.text(Gpu(0, power_w=412.5), Gpu(1, power_w=68.9, xid=79))

Labels and their order: dcgm-exporter, internal/pkg/rendermetrics/render_metrics.go; fields: etc/default-counters.csv.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_COUNTERS = {
    "DCGM_FI_DEV_SM_CLOCK": ("gauge", "SM clock frequency (in MHz)."),
    "DCGM_FI_DEV_MEM_CLOCK": ("gauge", "Memory clock frequency (in MHz)."),
    "DCGM_FI_DEV_GPU_TEMP": ("gauge", "GPU temperature (in C)."),
    "DCGM_FI_DEV_POWER_USAGE": ("gauge", "Power draw (in W)."),
    "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ("counter", "Total energy consumption since boot (in mJ)."),
    "DCGM_FI_DEV_GPU_UTIL": ("gauge", "GPU utilization (in %)."),
    "DCGM_FI_DEV_XID_ERRORS": ("gauge", "Value of the last XID error encountered."),
    "DCGM_FI_DEV_FB_USED": ("gauge", "Framebuffer memory used (in MiB)."),
}


def uuid(number: int) -> str:
    """Return the UUID of GPU *number*."""
    return f"GPU-00000000-0000-0000-0000-{number:012d}"


@dataclass(frozen=True)
class Gpu:
    """One GPU's series."""

    number: int
    power_w: float = 412.5
    energy_mj: int = 1_234_567_890
    xid: int = 0
    host: str = "node-1"
    instance: str = ""
    """`GPU_I_ID` of a MIG instance."""
    memory_mib: int = 40_960
    pod: str = ""
    more: Mapping[str, float | str] = field(default_factory=dict)
    """Fields that the default leaves out, or other values for those it has; "" leaves the field out."""

    def fields(self) -> dict[str, float | str]:
        """Return the values by field."""
        return {
            "DCGM_FI_DEV_SM_CLOCK": 1980,
            "DCGM_FI_DEV_MEM_CLOCK": 2619,
            "DCGM_FI_DEV_GPU_TEMP": 54,
            "DCGM_FI_DEV_POWER_USAGE": f"{self.power_w:.6f}",
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": self.energy_mj,
            "DCGM_FI_DEV_GPU_UTIL": 0 if self.instance else 93,
            "DCGM_FI_DEV_XID_ERRORS": self.xid,
            "DCGM_FI_DEV_FB_USED": self.memory_mib,
            **self.more,
        }

    def labels(self) -> str:
        """Return the labels, in braces."""
        pairs = {
            "gpu": self.number,
            "UUID": uuid(self.number),
            "pci_bus_id": f"00000000:{self.number + 1:02X}:00.0",
            "device": f"nvidia{self.number}",
            "modelName": "NVIDIA H100 80GB HBM3",
            **({"GPU_I_PROFILE": "3g.40gb", "GPU_I_ID": self.instance} if self.instance else {}),
            "Hostname": self.host,
            **({"pod": self.pod} if self.pod else {}),
        }
        return "{" + ",".join(f'{name}="{value}"' for name, value in pairs.items()) + "}"


def text(*gpus: Gpu) -> str:
    """Return the page."""
    lines = []
    for name in dict.fromkeys(name for gpu in gpus for name in gpu.fields()):
        kind, about = DEFAULT_COUNTERS.get(name, ("gauge", name))
        lines += [f"# HELP {name} {about}", f"# TYPE {name} {kind}"]
        lines += [f"{name}{gpu.labels()} {value}" for gpu in gpus if (value := gpu.fields().get(name, "")) != ""]
    return "\n".join([*lines, ""])
