"""
NVIDIA GPUs through NVML: one nvmlDeviceGetFieldValues per GPU and tick, no process lists, no subprocess.

What is odd is marked, never repaired: a GPU off the bus stays in the reading as LOST, a draw that no such card can have
is withheld, and an energy counter that runs backwards opens a new epoch instead of making negative energy.
"""

from datetime import datetime
from typing import NamedTuple

from collectors import Reading
from collectors.nvml import (
    GPU_IS_LOST,
    LIFE_CYCLE,
    MODULE_SCOPE,
    RESET_REQUIRED,
    Device,
    Fields,
    NVMLError,
    Session,
    read_fields,
    refusal,
)
from pipeline.messages.telemetry import GpuSample, Quality

PLAUSIBLE_SHARE = 1.5
"""A draw above this share of the maximum limit is garbage: 593 W at idle was seen on a laptop card (g-helper#5819)."""


class Counter(NamedTuple):
    """What must be remembered of a GPU between readings."""

    model: str
    energy_j: float | None = None
    epoch: int = 0
    lost: bool = False

    def after(self, energy_j: float | None) -> "Counter":
        """Return the counter after a reading: lower than before, or back from the bus, is a new epoch."""
        restarted = self.lost or (energy_j is not None and self.energy_j is not None and energy_j < self.energy_j)
        kept_j = self.energy_j if energy_j is None else energy_j
        return Counter(self.model, kept_j, self.epoch + restarted)


def connect() -> "Nvml":
    """Return the source; NVML is opened by the first reading."""
    return Nvml()


class Nvml:
    """All GPUs of this host."""

    def __init__(self) -> None:
        self._session = Session()
        self._counters: dict[str, Counter] = {}

    def read(self, now: datetime) -> Reading:
        """Measure every GPU ever seen; raise `SourceError` if NVML as a whole does not answer."""
        devices = self._session.devices(now)
        samples = {uuid: self._sample(device, now) for uuid, device in devices.items()}
        for uuid in self._counters.keys() - devices.keys():
            samples[uuid] = self._lost(uuid)
        if any(Quality.LOST in sample.quality for sample in samples.values()):
            self._session.reopen(now)
        else:
            self._session.healthy()
        return Reading(gpus=tuple(samples[uuid] for uuid in sorted(samples)))

    def _sample(self, device: Device, now: datetime) -> GpuSample:
        counter = self._counters.setdefault(device.uuid, Counter(device.model))
        try:
            fields = read_fields(device)
        except NVMLError as error:
            if error.value in {GPU_IS_LOST, RESET_REQUIRED}:
                return self._lost(device.uuid)
            if error.value in LIFE_CYCLE:
                self._session.reopen(now)
                raise refusal(error) from error
            return GpuSample(uuid=device.uuid, model=device.model, energy_epoch=counter.epoch, quality=(Quality.STALE,))
        self._counters[device.uuid] = counter = counter.after(fields.energy_j)
        return sample(device, fields, counter.epoch)

    def _lost(self, uuid: str) -> GpuSample:
        self._counters[uuid] = counter = self._counters[uuid]._replace(lost=True)
        return GpuSample(uuid=uuid, model=counter.model, energy_epoch=counter.epoch, quality=(Quality.LOST,))


def sample(device: Device, fields: Fields, epoch: int) -> GpuSample:
    """Return what *fields* say about *device*, garbage withheld and marked. Pure."""
    ceiling_w = PLAUSIBLE_SHARE * device.max_w if device.max_w else float("inf")
    power_w = None if fields.power_w is None or fields.power_w > ceiling_w else fields.power_w
    average_w = None if fields.average_w is None or fields.average_w > ceiling_w else fields.average_w
    is_implausible = (power_w, average_w) != (fields.power_w, fields.average_w)
    marks = (Quality.IMPLAUSIBLE,) if is_implausible else ()
    scope = (Quality.SCOPE_MODULE,) if device.scope == MODULE_SCOPE else ()
    return GpuSample(
        uuid=device.uuid,
        model=device.model,
        power_w=power_w,
        average_w=average_w,
        energy_j=fields.energy_j,
        energy_epoch=epoch,
        enforced_w=fields.enforced_w,
        requested_w=fields.requested_w,
        min_w=device.min_w,
        max_w=device.max_w,
        quality=(*marks, *scope),
    )
