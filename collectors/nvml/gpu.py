"""One GPU between readings: asked in a lane of its own, so that one that hangs holds up no other."""

import time
from concurrent.futures import Future
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from collectors.lanes import Lane
from collectors.nvml import Device
from collectors.nvml.calls import Clocks, Load, read_clocks, read_load
from collectors.nvml.fields import MODULE_SCOPE, Fields, read_fields
from pipeline.messages.telemetry import GpuSample, Quality

PLAUSIBLE_SHARE = 1.5
"""A draw above this share of the maximum limit is garbage: 593 W at idle was seen on a laptop card (g-helper#5819)."""


class Figures(NamedTuple):
    """All that one GPU answers."""

    fields: Fields
    clocks: Clocks
    load: Load


class Gpu:
    """What must be remembered of a GPU, and the thread that talks to it."""

    def __init__(self, device: Device) -> None:
        self.device = device
        self._lane = Lane[Figures](f"nvml {device.uuid}")
        self._answer: Future[Figures] | None = None
        self._load = Load()
        self._load_at: datetime | None = None
        self._read_at: datetime | None = None
        self._moved_at: datetime | None = None

    @property
    def hangs(self) -> bool:
        """Whether a call to it has not come back."""
        return self._lane.busy

    def ask(self, device: Device, now: datetime, load_period: timedelta) -> None:
        """Begin to measure *device*, this GPU as it was found last; nothing is asked of it while it hangs."""
        self.device = device
        self._answer = None if self.hangs else self._lane.call(partial(self._measure, device, now, load_period))

    def figures(self, deadline: float) -> Figures:
        """Return what it answers; raise `TimeoutError` where nothing comes, `NVMLError` where it cannot."""
        if self._answer is None:
            raise TimeoutError
        return self._answer.result(max(0.0, deadline - time.monotonic()))

    def has_frozen(self, read_at: datetime | None, now: datetime, stale_after: timedelta) -> bool:
        """Tell whether the driver has given one reading, that of *read_at*, for longer than *stale_after*."""
        if read_at is None or read_at != self._read_at or self._moved_at is None:
            self._read_at, self._moved_at = read_at, now
        return read_at is not None and now - self._moved_at > stale_after

    def _measure(self, device: Device, now: datetime, load_period: timedelta) -> Figures:
        """Return what the GPU answers; called in its lane."""
        fields = read_fields(device.handle, device.asked)
        if self._load_at is None or now - self._load_at >= load_period:
            self._load, self._load_at = read_load(device.calls, device.handle), now
        return Figures(fields, read_clocks(device.calls, device.handle), self._load)


def sample(device: Device, figures: Figures, xids: tuple[int, ...], *, is_frozen: bool) -> GpuSample:
    """Return what *figures* say about *device*, garbage withheld and marked. Pure."""
    fields, clocks, load = figures
    power_w, average_w = _plausible(fields.power_w, device.max_w), _plausible(fields.average_w, device.max_w)
    marks = {
        Quality.STALE: is_frozen,
        Quality.IMPLAUSIBLE: (power_w, average_w) != (fields.power_w, fields.average_w),
        Quality.SCOPE_MODULE: device.asked.scope == MODULE_SCOPE,
    }
    return GpuSample(
        uuid=device.uuid,
        model=device.model,
        power_w=power_w,
        average_w=average_w,
        energy_j=fields.energy_j,
        read_at=fields.read_at,
        enforced_w=fields.enforced_w,
        requested_w=fields.requested_w,
        min_w=device.min_w,
        max_w=device.max_w,
        sm_mhz=clocks.sm_mhz,
        memory_mhz=clocks.memory_mhz,
        event_reasons=clocks.event_reasons,
        capped_s=fields.capped_s,
        thermal_s=fields.thermal_s,
        braked_s=fields.braked_s,
        utilization=load.utilization,
        memory_used_b=load.memory_used_b,
        temperature_c=load.temperature_c,
        mig=device.place.mig,
        xids=xids,
        quality=tuple(mark for mark, holds in marks.items() if holds),
    )


def silent(device: Device, xids: tuple[int, ...], mark: Quality) -> GpuSample:
    """Return a sample of a GPU that gave no figures. Pure."""
    return GpuSample(uuid=device.uuid, model=device.model, mig=device.place.mig, xids=xids, quality=(mark,))


def _plausible(power_w: float | None, max_w: float | None) -> float | None:
    if power_w is None or (max_w and power_w > PLAUSIBLE_SHARE * max_w):
        return None
    return power_w
