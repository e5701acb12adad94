"""What a capture says: GPUs, snapshots, totals, and why a capture cannot be read."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from collectors import PLAUSIBLE_SHARE
from pipeline.errors import FirmwattError


class CaptureError(FirmwattError):
    """A capture holds no whole GPU; the text says why and what to save in its place."""

    exit_code = 3


class Format(StrEnum):
    """How the figures were written."""

    XML = "nvidia-smi-xml"
    TEXT = "nvidia-smi-text"
    EXPORTER = "prometheus"


class MigInstance(msgspec.Struct, frozen=True, kw_only=True):
    """One MIG instance. It has no power of its own: only the whole GPU's is measured."""

    uuid: str | None = None
    profile: str | None = None
    gpu_instance: int | None = None
    compute_instance: int | None = None


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU in one snapshot. Whatever the capture does not say is None."""

    uuid: str | None = None
    name: str | None = None
    power_w: float | None = None
    """Draw of the whole GPU: the instantaneous one where given, else the plain one, else the average."""
    limit_w: float | None = None
    """The limit in force; where the capture does not say, the one that was asked for."""
    energy_j: float | None = None
    """The driver's counter, joules."""
    mig: bool | None = None
    """Whether MIG is on; None on boards without MIG."""
    mig_instances: tuple[MigInstance, ...] = ()
    instant_w: float | None = None
    average_w: float | None = None
    module_w: float | None = None
    """Draw of a superchip's whole module. The GPU is inside it: never added to `power_w`."""
    requested_w: float | None = None
    min_w: float | None = None
    max_w: float | None = None
    index: int | None = None
    pci_bus_id: str | None = None

    def is_same(self, other: "Gpu") -> bool:
        """Return whether both are one board: by PCI address, else UUID, else index, whichever both have."""
        for mine, theirs in (
            (self.pci_bus_id, other.pci_bus_id),  # first, because published captures mask every UUID with zeros
            (self.uuid, other.uuid),
            (self.index, other.index),
        ):
            if mine is not None and theirs is not None:
                return mine == theirs
        return False

    def updated(self, newer: "Gpu") -> "Gpu":
        """Return this GPU with all that *newer* knows; the draws of one reading stay together."""
        known = {field: value for field, value in msgspec.structs.asdict(newer).items() if value not in (None, ())}
        if newer.power_w is not None:
            known |= {"instant_w": newer.instant_w, "average_w": newer.average_w}
        return msgspec.structs.replace(self, **known)


@dataclass(frozen=True)
class Snapshot:
    """All GPUs at one moment: a state with a name (``idle``, ``load``) or the n-th of a loop."""

    name: str
    gpus: tuple[Gpu, ...]
    taken_at: str | None = None
    """As it was written: local time of a place that the capture does not tell."""


@dataclass(frozen=True)
class Capture:
    """A file's snapshots, oldest first, never none of them, and what its reader should know."""

    format: Format
    snapshots: tuple[Snapshot, ...]
    driver: str | None = None
    notes: tuple[str, ...] = ()
    is_cut: bool = False
    """The file ends before the text does."""

    @property
    def newest(self) -> Snapshot:
        """The last snapshot; of a file that was cut short, the last of those in which most GPUs have their power."""
        if not self.is_cut:
            return self.snapshots[-1]
        return max(reversed(self.snapshots), key=lambda snapshot: len(known(gpu.power_w for gpu in snapshot.gpus)))


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """Sums over whole GPUs of what is known; None where it is known of none."""

    gpus: int
    power_w: float | None
    limit_w: float | None
    energy_j: float | None
    gpus_without_power: int
    gpus_without_limit: int
    gpus_without_energy: int

    @classmethod
    def of(cls, gpus: Sequence[Gpu]) -> "Totals":
        """Add up *gpus*."""
        power_w = known(gpu.power_w for gpu in gpus)
        limit_w = known(gpu.limit_w for gpu in gpus)
        energy_j = known(gpu.energy_j for gpu in gpus)
        return cls(
            gpus=len(gpus),
            power_w=total(power_w),
            limit_w=total(limit_w),
            energy_j=total(energy_j),
            gpus_without_power=len(gpus) - len(power_w),
            gpus_without_limit=len(gpus) - len(limit_w),
            gpus_without_energy=len(gpus) - len(energy_j),
        )


def known(figures: Iterable[float | None]) -> list[float]:
    """Return the figures that are there."""
    return [figure for figure in figures if figure is not None]


def total(figures: Sequence[float]) -> float | None:
    """Return the sum, rounded to a millionth: decimal figures then add up as they do on paper. None of nothing."""
    return round(math.fsum(figures), 6) if figures else None


def believable(gpu: Gpu) -> Gpu:
    """Return *gpu* without draws above what the board can draw, as the collector withholds them."""
    if gpu.max_w is None:
        return gpu
    ceiling_w = PLAUSIBLE_SHARE * gpu.max_w
    draws = {name: getattr(gpu, name) for name in ("power_w", "instant_w", "average_w")}
    return msgspec.structs.replace(gpu, **{name: None for name, w in draws.items() if w is not None and w > ceiling_w})


def completed(gpu: Gpu, listed: Sequence[Gpu]) -> Gpu:
    """Return *gpu* with the index and the MIG instances' names that ``nvidia-smi -L`` gave it, if it is in no doubt."""
    matching = [other for other in listed if other.is_same(gpu)]
    if len(matching) != 1:
        return gpu
    names = matching[0].mig_instances
    if len(names) == len(gpu.mig_instances):  # both are in the driver's order
        instances = tuple(
            msgspec.structs.replace(instance, uuid=instance.uuid or name.uuid, profile=instance.profile or name.profile)
            for instance, name in zip(gpu.mig_instances, names, strict=True)
        )
    else:
        instances = gpu.mig_instances or names
    return msgspec.structs.replace(matching[0].updated(gpu), mig_instances=instances)
