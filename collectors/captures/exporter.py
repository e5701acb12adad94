"""
The page of a GPU exporter, Prometheus text: dcgm-exporter, nvidia_gpu_exporter, nvidia_gpu_prometheus_exporter, Triton.

Series are joined by GPU: by its UUID, or by the index that other series of the page give that UUID. Where MIG is on,
dcgm-exporter repeats the GPU's power and energy for each instance (labels ``GPU_I_ID``, ``GPU_I_PROFILE``; on some
hosts for the instances alone, dcgm-exporter#561): they are one GPU's, counted once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from collectors.captures.quantities import ENERGY, POWER, gpu_uuid, quantity, switch, whole, words
from collectors.captures.smi_fields import bus_address, gpu_of
from collectors.captures.values import Capture, CaptureError, Format, Gpu, MigInstance, Snapshot

#: Metric, lower case → what it is and its unit. A name that tells its unit is right about it.
METRICS: Mapping[str, tuple[str, str]] = {
    # DCGM, dcgm_fields.h: fields 155, 157, 164, 160 to 162 in watts, 156 in millijoules
    "dcgm_fi_dev_power_usage": ("draw", "W"),
    "dcgm_fi_dev_power_usage_instant": ("instant", "W"),
    "dcgm_fi_dev_enforced_power_limit": ("in_force", "W"),
    "dcgm_fi_dev_power_mgmt_limit": ("requested", "W"),
    "dcgm_fi_dev_power_mgmt_limit_min": ("min", "W"),
    "dcgm_fi_dev_power_mgmt_limit_max": ("max", "W"),
    "dcgm_fi_dev_total_energy_consumption": ("energy", "mJ"),
    "dcgm_fi_dev_mig_mode": ("mig", ""),
    # dcgm-exporter, etc/1.x-compatibility-metrics.csv
    "dcgm_power_usage": ("draw", "W"),
    "dcgm_total_energy_consumption": ("energy", "mJ"),
    # nvidia_gpu_exporter, docs/METRICS.md
    "nvidia_smi_power_draw_watts": ("draw", "W"),
    "nvidia_smi_power_draw_instant_watts": ("instant", "W"),
    "nvidia_smi_power_draw_average_watts": ("average", "W"),
    "nvidia_smi_enforced_power_limit_watts": ("in_force", "W"),
    "nvidia_smi_power_limit_watts": ("requested", "W"),
    "nvidia_smi_power_min_limit_watts": ("min", "W"),
    "nvidia_smi_power_max_limit_watts": ("max", "W"),
    "nvidia_smi_module_power_draw_instant_watts": ("module", "W"),
    "nvidia_smi_energy_joules_total": ("energy", "J"),
    "nvidia_smi_mig_mode_current": ("mig", ""),
    # nvidia_gpu_prometheus_exporter
    "nvidia_gpu_power_usage_milliwatts": ("draw", "mW"),
    # Triton, docs/user_guide/metrics.md
    "nv_gpu_power_usage": ("draw", "W"),
    "nv_gpu_power_limit": ("requested", "W"),
    "nv_energy_consumption": ("energy", "J"),
}

_FAMILY = r"(?:dcgm_|nvidia_smi_|nvidia_gpu_|nv_gpu_|nv_energy_)\w*"
_RECOGNISED = re.compile(
    rf"^[ \t]*(?:# (?:HELP|TYPE) {_FAMILY} |{_FAMILY}(?:\{{| +[\d.]))", re.IGNORECASE | re.MULTILINE
)
_SAMPLE = re.compile(rf'\s*({_FAMILY})\s*(?:\{{((?:[^"}}]++|"(?:[^"\\]++|\\.)*+")*+)\}})?\s*(\S+)', re.IGNORECASE)
_LABEL = re.compile(r'([A-Za-z_]\w*)\s*=\s*"((?:[^"\\]++|\\.)*+)"')
_HELP_UNIT = re.compile(r"# HELP ((?i:dcgm_)\w+) .*\bin ([mk]?[WJ]|k?Wh)\b")
_ESCAPE = re.compile(r"\\(.)")

_DCGM_BLANKS = (2.0**31 - 16, 2.0**47, 2.0**63)
"""
Figures from these on, sixteen each, are no figures: DCGM's "blank", "not found", "not supported", "not permitted"
(dcgm_structs.h: DCGM_INT32_BLANK 0x7ffffff0, DCGM_FP64_BLANK 140737488355328, DCGM_INT64_BLANK 0x7ffffffffffffff0).
"""


def recognises(text: str) -> bool:
    """Return whether *text* is a page with at least one series of a GPU exporter."""
    return _RECOGNISED.search(text) is not None


def read(text: str) -> Capture:
    """Return the page's GPUs; `CaptureError` if no series names one."""
    page, end, rest = text.rpartition("\n")  # the format's last line ends with a newline, or it was cut short
    boards = _boards(page + end)
    if not boards:
        raise CaptureError("holds no series of a GPU: save the exporter's whole page")
    return Capture(
        format=Format.EXPORTER,
        driver=", ".join(sorted({board.driver for board in boards if board.driver})) or None,
        snapshots=(Snapshot(name="1", gpus=tuple(board.gpu() for board in boards)),),
        notes=("truncated: the last line, which has no end, is left out",) if rest.strip() else (),
        is_cut=bool(rest.strip()),
    )


class _Sample(NamedTuple):
    metric: str
    labels: dict[str, str]
    """By name in lower case: exporters do not agree on it."""
    figure: str

    @property
    def uuid(self) -> str | None:
        return next(filter(None, (gpu_uuid(self.labels.get(name)) for name in ("uuid", "gpu_uuid"))), None)

    @property
    def place(self) -> tuple[str, str] | None:
        """Host and index of the GPU."""
        index = self.label("gpu", "index", "minor_number", "minor")
        return (self.labels.get("hostname", ""), index) if index is not None else None

    @property
    def is_of_an_instance(self) -> bool:
        return self.label("gpu_i_id", "gpu_instance_id") is not None

    def label(self, *names: str) -> str | None:
        return next(filter(None, (words(self.labels.get(name)) for name in names)), None)


@dataclass
class _Board:
    """One GPU, as its series tell it bit by bit."""

    uuid: str | None
    name: str | None = None
    driver: str | None = None
    bus_id: str | None = None
    index: int | None = None
    figures: dict[str, float] = field(default_factory=dict)
    instance_figures: dict[str, float] = field(default_factory=dict)
    """The same, told of an instance: used where nobody tells it of the GPU."""
    instances: dict[str, MigInstance] = field(default_factory=dict)
    mig: bool | None = None

    def take(self, sample: _Sample, units: Mapping[str, str]) -> None:
        """Learn what *sample* says; the first word on anything counts."""
        self.name = self.name or sample.label("modelname", "model_name", "name")
        self.driver = self.driver or sample.label("dcgm_fi_driver_version", "driver_version")
        self.bus_id = self.bus_id or bus_address(sample.labels.get("pci_bus_id"))
        self.index = whole(sample.label("gpu", "index")) if self.index is None else self.index
        if (instance := _instance(sample)) is not None:
            self.instances.setdefault(instance.uuid or f"{instance.gpu_instance}", instance)
        kind, unit = METRICS.get(sample.metric, ("", ""))
        if kind == "mig":
            self.mig = switch(sample.figure) if self.mig is None else self.mig
        elif kind and (figure := _figure(sample.figure, kind, (units.get(sample.metric, ""), unit))) is not None:
            (self.instance_figures if sample.is_of_an_instance else self.figures).setdefault(kind, figure)

    def gpu(self) -> Gpu:
        figures = self.instance_figures | self.figures
        return gpu_of(
            instant_w=figures.get("instant"),
            draw_w=figures.get("draw"),
            average_w=figures.get("average"),
            in_force_w=figures.get("in_force"),
            rest=Gpu(
                uuid=self.uuid,
                name=self.name,
                energy_j=figures.get("energy"),
                mig=True if self.instances else self.mig,
                mig_instances=tuple(self.instances.values()),
                module_w=figures.get("module"),
                requested_w=figures.get("requested"),
                min_w=figures.get("min"),
                max_w=figures.get("max"),
                index=self.index,
                pci_bus_id=self.bus_id,
            ),
        )


def _boards(page: str) -> list[_Board]:
    """Return the GPUs of *page* in its order."""
    lines = page.split("\n")
    units = {match[1].lower(): match[2] for line in lines if (match := _HELP_UNIT.match(line.strip()))}
    samples = [sample for line in lines if (sample := _sample(line)) is not None]
    uuids = {sample.place: sample.uuid for sample in samples if sample.place and sample.uuid}
    boards: dict[object, _Board] = {}
    for sample in samples:
        uuid = sample.uuid or (uuids.get(sample.place) if sample.place else None)
        key = uuid or sample.place
        if key is not None:
            boards.setdefault(key, _Board(uuid)).take(sample, units)
    return list(boards.values())


def _sample(line: str) -> _Sample | None:
    match = _SAMPLE.match(line)
    if match is None:
        return None
    return _Sample(match[1].lower(), dict(_labels(match[2] or "")), match[3])


def _labels(text: str) -> Iterator[tuple[str, str]]:
    for name, content in _LABEL.findall(text):
        yield name.lower(), _ESCAPE.sub(lambda escape: "\n" if escape[1] == "n" else escape[1], content)


def _instance(sample: _Sample) -> MigInstance | None:
    """Return the MIG instance that *sample* identifies, if it does; series about an instance need not."""
    if sample.label("gpu_i_id", "mig_uuid") is None:
        return None
    return MigInstance(
        uuid=sample.label("mig_uuid"),
        profile=sample.label("gpu_i_profile", "profile"),
        gpu_instance=whole(sample.label("gpu_i_id", "gpu_instance_id")),
        compute_instance=whole(sample.label("compute_instance_id")),
    )


def _figure(text: str, kind: str, units: tuple[str, str]) -> float | None:
    """Return the figure in watts or joules, in the first of *units* that fits; None for DCGM's blanks."""
    scales = ENERGY if kind == "energy" else POWER
    bare = quantity(text, {"": (1, 1)})
    if bare is None or any(blank <= bare <= blank + 15 for blank in _DCGM_BLANKS):
        return None
    return quantity(text, scales, next(unit for unit in units if unit in scales))
