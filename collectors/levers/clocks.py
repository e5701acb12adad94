"""
SM clock ceilings through NVML (nvmlDeviceSetGpuLockedClocks, Volta and later). Needs root, in practice CAP_SYS_ADMIN.

For what a power cap does not reach: decode of language models draws 137 to 300 W of an H200's 700 W, so that no cap
binds, and a lower clock saves up to a third of its energy (arXiv 2605.11999).

NVML has no call that tells a lock. A lock of ours is believed while the SM clock does not exceed it; a lock that an
operator had set before us cannot be known, so the way back ends unlocked unless `restore_mhz` says otherwise.
"""

import time
from collections.abc import Callable, Collection
from datetime import datetime

import pynvml

from collectors.levers import FREE, TOLERANCE, Found, LeverError, Reading
from collectors.levers._nvml_gpus import Device, Gpus, note
from collectors.nvml.calls import event_reasons
from pipeline.messages.control import Kind, Trouble
from pipeline.settings import Positive, Section

APPLICATIONS_CLOCKS = 0x2
"""Bit of the clock event reasons: clocks are down because software set them so (nvml.h)."""


SETTLE_S = 1.0
"""How long a clock may take to come down before it proves anything, seconds of the machine."""


class Settings(Section, frozen=True, kw_only=True):
    """``[lever.clocks]``."""

    restore_mhz: int = 0
    """Where operators lock clocks themselves: what to leave behind; 0: unlocked."""
    timeout_s: Positive = 1.0
    """A call that is out for longer hangs."""


def connect(settings: Settings | None = None) -> "Clocks":
    """Return the lever; NVML is opened by the first call of `find`."""
    return Clocks(settings or Settings())


class Clocks:
    """The GPUs of this host whose clocks can be locked."""

    kind = Kind.CLOCK

    def __init__(self, settings: Settings, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self.patience_s = settings.timeout_s
        self._gpus = Gpus()
        self._restored = float(settings.restore_mhz) or FREE
        self._set: dict[str, tuple[float, float]] = {}
        """What was asked for last, and when by `time.monotonic`; by UUID."""

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:  # noqa: ARG002 - GPUs are no jobs
        """Return the GPUs that answer; whether a card can be locked shows when it is."""
        return self._gpus.find(now, lambda _: True)

    def read(self, subject: str) -> Reading:
        """Return the ceiling as far as it can be told, megahertz."""
        return self._gpus.ask(subject, self._read)

    def set(self, subject: str, level: float) -> None:
        """Let the SM clock rise to *level* megahertz and no further; `FREE` is what `restore_mhz` says."""
        ceiling = self._restored if level == FREE else level

        def ask(device: Device) -> None:
            if ceiling == FREE:
                pynvml.nvmlDeviceResetGpuLockedClocks(device.found.handle)
            else:
                pynvml.nvmlDeviceSetGpuLockedClocks(device.found.handle, 0, int(ceiling))

        try:
            self._gpus.ask(subject, ask)
        except LeverError as error:
            raise LeverError(f"cannot lock clocks at {ceiling:g} MHz: {error}", error.trouble) from error
        self._set[subject] = level, self._now_s()

    def close(self) -> None:
        """Let go of NVML."""
        self._gpus.close()

    def _read(self, device: Device) -> Reading:
        found = device.found
        highest = found.calls.ask(pynvml.nvmlDeviceGetMaxClockInfo, found.handle, pynvml.NVML_CLOCK_SM)
        now_mhz = found.calls.ask(pynvml.nvmlDeviceGetClockInfo, found.handle, pynvml.NVML_CLOCK_SM)
        if highest is None:
            raise LeverError("this card does not tell its highest clock", Trouble.NOT_SUPPORTED)
        reasons = event_reasons(found.calls, found.handle)
        return Reading(
            subject=found.uuid,
            lowest=0.0,
            highest=float(highest),
            requested=self._requested(found.uuid, now_mhz),
            binding=None if reasons is None else bool(reasons & APPLICATIONS_CLOCKS),
            model=device.model,
            note=note(device),
        )

    def _requested(self, uuid: str, now_mhz: float | None) -> float | None:
        """Return what was set, or `FREE` where the clock itself proves that it no longer holds."""
        if uuid not in self._set:
            return None
        asked, at_s = self._set[uuid]
        is_proof = now_mhz is not None and self._now_s() - at_s > SETTLE_S
        return FREE if is_proof and now_mhz is not None and now_mhz > asked + TOLERANCE[Kind.CLOCK] else asked
