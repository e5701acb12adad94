"""
One GPU between readings: asked in a lane of its own, so that one that hangs holds up no other.

    reading   x         x         x         x         x
    quick     ─ok       ─ok       ──────hangs…                  waited for; STALE from the first answer that is missed
    slow      ───────ok ───────ok ───────ok ───────ok           not waited for: each reading has what was asked before
"""

import time
from concurrent.futures import Future, wait
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from collectors import PLAUSIBLE_SHARE
from collectors.lanes import Lane
from collectors.nvml import Device, Found, identify
from collectors.nvml.calls import Clocks, Load, read_clocks, read_load
from collectors.nvml.fields import MODULE_SCOPE, Fields, Layout, layout, read_fields
from pipeline.messages.telemetry import GpuSample, Quality

LATE = timedelta(seconds=1.5)
"""How old the figures of a GPU that answers late may be, by the shared clock: those of the tick before, not older."""

UNKNOWN_MODEL = "unknown"
"""Of a GPU that has hung since NVML was opened."""


class Figures(NamedTuple):
    """All that one GPU answers."""

    device: Device
    asked: Layout
    fields: Fields
    clocks: Clocks
    load: Load


class Gpu:
    """What must be remembered of a GPU, and the thread that talks to it."""

    def __init__(self, found: Found, patience_s: float) -> None:
        """Know a GPU as it was *found*; one whose calls take longer than *patience_s* is waited for no more."""
        self.found = found
        self.device: Device | None = None
        """What it is, as soon as it has told."""
        self._patience_s = patience_s
        self._lane = Lane[Figures](f"nvml {found.uuid}")
        self._call: Future[Figures] | None = None
        """What is out, or has come back unseen."""
        self._asked_at: datetime | None = None
        self._asked_of: Found | None = None
        self._last: Future[Figures] | None = None
        self._last_at: datetime | None = None
        """When the last answer was asked for."""
        self._is_overdue = False
        """What is out has been waited for in vain."""
        self._is_slow = False
        """The last answer came, and took longer than anybody waits."""
        self._looked_at: Found | None = None
        self._asked: Layout | None = None
        self._took_s = 0.0
        self._load = Load()
        self._load_at: datetime | None = None
        self._read_at: datetime | None = None
        self._moved_at: datetime | None = None

    @property
    def uuid(self) -> str:
        """The GPU's own name."""
        return self.found.uuid

    @property
    def busy(self) -> bool:
        """Whether a call to it has not come back."""
        return self._lane.busy

    def hangs(self, now: datetime) -> bool:
        """Whether its call is out for longer than such a call takes on this GPU."""
        return self.busy and not (self._may_be_late and self._is_fresh(self._asked_at, now))

    def ask(self, found: Found, now: datetime, load_period: timedelta) -> None:
        """Begin to measure the GPU, *found* as NVML holds it now; nothing is asked of it while it hangs."""
        self.found = found
        self._settle()
        if not self.busy:
            self._asked_at, self._asked_of = now, found
            self._call = self._lane.call(partial(self._measure, found, now, load_period))

    def figures(self, now: datetime, deadline: float) -> Figures:
        """
        Return what it answers; raise `TimeoutError` where nothing comes, `NVMLError` where it cannot.

        A GPU known to be slow, or just looked at anew, has its last answer while that is not older than `LATE`.
        """
        if self._call is not None:
            is_waited_for = not (self._is_overdue or self._is_slow)
            wait((self._call,), max(0.0, deadline - time.monotonic()) if is_waited_for else 0)
            self._is_overdue = not self._call.done()
        self._settle()
        is_good = self._call is None or self._may_be_late
        if self._last is None or not is_good or not self._is_fresh(self._last_at, now):
            raise TimeoutError
        return self._last.result()

    def finish(self, deadline: float) -> None:
        """Wait for the call that is out."""
        if self._call is not None:
            wait((self._call,), max(0.0, deadline - time.monotonic()))

    def has_frozen(self, read_at: datetime | None, now: datetime, stale_after: timedelta) -> bool:
        """Tell whether the driver has given one reading, that of *read_at*, for longer than *stale_after*."""
        if read_at is None or read_at != self._read_at or self._moved_at is None:
            self._read_at, self._moved_at = read_at, now
        return read_at is not None and now - self._moved_at > stale_after

    @property
    def _may_be_late(self) -> bool:
        return self._is_slow or self._looked_at is not self.found

    @staticmethod
    def _is_fresh(at: datetime | None, now: datetime) -> bool:
        return at is not None and now - at <= LATE

    def _settle(self) -> None:
        """Take the answer that has come back; what failed on a handle that is no longer held says nothing."""
        if self._call is not None and self._call.done():
            self._is_overdue, self._is_slow = False, self._took_s > self._patience_s
            if self._asked_of is not self.found and self._call.exception() is not None:
                self._call = None
                return
            self._last, self._last_at, self._call = self._call, self._asked_at, None

    def _measure(self, found: Found, now: datetime, load_period: timedelta) -> Figures:
        """Return what the GPU answers; called in its lane."""
        device, asked = self._look(found)
        started = time.monotonic()
        try:
            fields = read_fields(found.calls, found.handle, asked)
            if self._load_at is None or now - self._load_at >= load_period:
                self._load, self._load_at = read_load(found.calls, found.handle), now
            return Figures(device, asked, fields, read_clocks(found.calls, found.handle), self._load)
        finally:
            self._took_s = time.monotonic() - started

    def _look(self, found: Found) -> tuple[Device, Layout]:
        """Return what the GPU is and what to ask it for, found out once for each time that it is *found*."""
        if self._looked_at is not found or self.device is None or self._asked is None:
            self.device = identify(found)
            self._asked = layout(found.calls, found.handle)
            self._looked_at = found
        return self.device, self._asked


def sample(figures: Figures, xids: tuple[int, ...], *, is_frozen: bool) -> GpuSample:
    """Return what *figures* say about a GPU, garbage withheld and marked. Pure."""
    device, asked, fields, clocks, load = figures
    power_w, average_w = _plausible(fields.power_w, asked.max_w), _plausible(fields.average_w, asked.max_w)
    marks = {
        Quality.STALE: is_frozen,
        Quality.IMPLAUSIBLE: (power_w, average_w) != (fields.power_w, fields.average_w),
        Quality.SCOPE_MODULE: asked.scope == MODULE_SCOPE,
    }
    return GpuSample(
        uuid=device.place.uuid,
        model=device.model,
        power_w=power_w,
        average_w=average_w,
        energy_j=fields.energy_j,
        read_at=fields.read_at,
        enforced_w=fields.enforced_w,
        requested_w=fields.requested_w,
        min_w=asked.min_w,
        max_w=asked.max_w,
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


def silent(gpu: Gpu, xids: tuple[int, ...], mark: Quality) -> GpuSample:
    """Return a sample of a GPU that gave no figures."""
    if gpu.device is None:
        return GpuSample(uuid=gpu.uuid, model=UNKNOWN_MODEL, xids=xids, quality=(mark,))
    return GpuSample(uuid=gpu.uuid, model=gpu.device.model, mig=gpu.device.place.mig, xids=xids, quality=(mark,))


def _plausible(power_w: float | None, max_w: float | None) -> float | None:
    if power_w is None or (max_w and power_w > PLAUSIBLE_SHARE * max_w):
        return None
    return power_w
