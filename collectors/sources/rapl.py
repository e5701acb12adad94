"""
Processor packages and their memory through RAPL: the kernel's powercap tree, Intel and AMD alike.

    /sys/class/powercap/intel-rapl:0      package-0     covers the CPU
                        intel-rapl:0:0    dram          covers the memory; `core` and `uncore` are inside the package

A zone counts microjoules and begins again at its range, every few minutes under load: here it goes on. `psys` is left
out: which parts of the platform it holds is the vendor's choice and not told, so that it can stand neither for the node
nor beside the packages that are in it.

Source: Linux, Documentation/power/powercap/powercap.rst and Documentation/ABI/testing/sysfs-class-powercap. AMD's
processors appear under the same names (drivers/powercap/intel_rapl_msr.c).
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec

from collectors import Reading, SourceError
from pipeline.messages.telemetry import Covers, MeterSample, Quality
from pipeline.settings import Section

UJ_PER_J = 1_000_000
CEILING_W = 1000.0
"""No package draws more; a zone unseen for longer than its range lasts at this draw may have wrapped more than once."""

_ZONE = re.compile(r"intel-rapl:\d+(:\d+)?")
"""Not `intel-rapl-mmio:N`, which shows the same package a second time."""


class Settings(Section, frozen=True, kw_only=True):
    """``[source.rapl]``."""

    root: str = "/sys/class/powercap"
    period_s: Annotated[float, msgspec.Meta(gt=0, le=30)] = 1.0
    """Seconds; a small zone wraps within a minute at full draw."""


class Zone(NamedTuple):
    """A part of the processor that is counted."""

    meter: str
    covers: Covers
    energy: Path
    range_uj: int


class Count(NamedTuple):
    """Where a zone's counter stood, and how often it had begun again."""

    at: datetime
    raw_uj: int
    wraps: int = 0

    def after(self, now: datetime, raw_uj: int) -> "Count":
        """Return the count at *now*; a counter lower than before has wrapped once."""
        return Count(now, raw_uj, self.wraps + (raw_uj < self.raw_uj))


def connect(settings: Settings) -> "Rapl":
    """Return the source; the tree is read by the first reading."""
    return Rapl(settings)


class Rapl:
    """The zones of this host. Holds no file open; its counts outlive `close`."""

    def __init__(self, settings: Settings) -> None:
        self.period_s = settings.period_s
        self._root = Path(settings.root)
        self._zones: tuple[Zone, ...] = ()
        self._counts: dict[str, Count] = {}

    def read(self, now: datetime) -> Reading:
        """Return every zone's energy; raise `SourceError` if none can be read."""
        self._zones = self._zones or tuple(zones(self._root))
        if not self._zones:
            raise SourceError(
                f"no RAPL zone under {self._root}: load the kernel module intel_rapl_msr; "
                "in a container mount /sys/class/powercap and /sys/devices/virtual/powercap from the host"
            )
        meters, troubles = [], []
        for zone in self._zones:
            try:
                meters.append(self._meter(zone, number(zone.energy), now))
            except SourceError as error:
                troubles.append(str(error))
        if not meters:
            self._zones = ()
            raise SourceError(troubles[0])
        return Reading(meters=tuple(meters), troubles=tuple(troubles))

    def close(self) -> None:
        """Look for the zones again at the next reading."""
        self._zones = ()

    def _meter(self, zone: Zone, raw_uj: int, now: datetime) -> MeterSample:
        before = self._counts.get(zone.meter)
        self._counts[zone.meter] = count = before.after(now, raw_uj) if before else Count(now, raw_uj)
        if before and now - before.at > sure_for(zone):
            return MeterSample(meter=zone.meter, covers=zone.covers, read_at=now, quality=(Quality.LOST,))
        energy_j = (count.wraps * zone.range_uj + raw_uj) / UJ_PER_J
        return MeterSample(meter=zone.meter, covers=zone.covers, energy_j=energy_j, read_at=now)


def sure_for(zone: Zone) -> timedelta:
    """Return how long *zone* may go unread and cannot have wrapped twice; after longer its energy begins anew."""
    return timedelta(seconds=zone.range_uj / UJ_PER_J / CEILING_W)


def zones(root: Path) -> Iterator[Zone]:
    """Yield the packages under *root*, and the memory of each that counts it; what cannot be read is no zone."""
    names = {folder.name: name for folder in _folders(root) if (name := _text(folder / "name"))}
    for folder, name in sorted(names.items()):
        package = names.get(folder.rpartition(":")[0], "")
        if name.startswith("package-"):
            meter, covers = name, Covers.CPU
        elif name == "dram":
            meter, covers = f"{package}-dram", Covers.MEMORY
        else:
            continue
        yield Zone(meter, covers, root / folder / "energy_uj", number(root / folder / "max_energy_range_uj"))


def number(file: Path) -> int:
    """Return the number in *file*; raise `SourceError` that says how to be allowed to."""
    try:
        return int(file.read_text(encoding="ascii"))
    except PermissionError as error:
        raise SourceError(
            f"{file} is its owner's alone (mode 0400 since CVE-2020-8694): give the collector CAP_DAC_READ_SEARCH"
        ) from error
    except OSError as error:
        raise SourceError(f"cannot read {file}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{file} holds no number") from error


def _folders(root: Path) -> list[Path]:
    try:
        return [folder for folder in root.iterdir() if _ZONE.fullmatch(folder.name)]
    except OSError:
        return []


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
