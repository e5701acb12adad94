"""The text of ``nvidia-smi -q``: a head, then one entry for each GPU, four spaces deeper with each table."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from collectors.captures.quantities import whole, words
from collectors.captures.smi_fields import gpu_of_log
from collectors.captures.values import Gpu, MigInstance

_BEGIN = re.compile(r"=+NVSMI LOG=+\s*$")
_GPU = re.compile(r"GPU ([0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-9A-Fa-f])\s*$")
_LINE = re.compile(r"( *)([^\s:][^:]*)(:(?: (.*))?)?$")
_INDENT = 4
_INSTANCE = "mig_device"


@dataclass(frozen=True)
class Log:
    """One output of ``nvidia-smi -q``."""

    gpus: tuple[Gpu, ...]
    taken_at: str | None
    driver: str | None


def begins(line: str) -> bool:
    """Return whether *line* begins a log."""
    return _BEGIN.match(line) is not None


def begins_gpu(line: str) -> bool:
    """Return whether *line* begins a GPU's entry, as in ``GPU 00000000:53:00.0``."""
    return _GPU.match(line) is not None


@dataclass
class _Entry:
    """One GPU's entry."""

    bus_id: str
    fields: dict[str, str | None] = field(default_factory=dict)
    instances: list[dict[str, str | None]] = field(default_factory=list)
    table: str = ""

    def take(self, depth: int, name: str, text: str | None) -> None:
        """Learn one line; tables within tables say nothing about power."""
        if depth == 1:
            self.table = name
            self.fields.setdefault(name, text)
            if name == _INSTANCE:
                self.instances.append({})
        elif depth == 2 and self.table == _INSTANCE:  # noqa: PLR2004 - within a table
            self.instances[-1].setdefault(name, text)
        elif depth == 2:  # noqa: PLR2004 - the same
            self.fields.setdefault(f"{self.table}.{name}", text)

    def gpu(self) -> Gpu:
        instances = (
            MigInstance(
                uuid=words(instance.get("uuid") or instance.get("mig_uuid")),
                gpu_instance=whole(instance.get("gpu_instance_id")),
                compute_instance=whole(instance.get("compute_instance_id")),
            )
            for instance in self.instances
        )
        return gpu_of_log(self.fields, tuple(instances), self.bus_id)


def parse(lines: Iterable[str]) -> Log:
    """Return what *lines* say; what does not look like an entry's line is passed over."""
    head: dict[str, str | None] = {}
    entries: list[_Entry] = []
    inside = False
    for line in lines:
        if match := _GPU.match(line):
            entries.append(_Entry(match[1]))
            inside = True
        elif match := _LINE.match(line):
            depth, name = len(match[1]) // _INDENT, match[2].strip().lower().replace(" ", "_")
            inside = inside and depth > 0  # a line at the margin is no longer the GPU's
            if inside:
                entries[-1].take(depth, name, match[4])
            elif not entries:
                head.setdefault(name, match[4])
    return Log(
        gpus=tuple(entry.gpu() for entry in entries),
        taken_at=words(head.get("timestamp")),
        driver=words(head.get("driver_version")),
    )
