"""
NVIDIA GPUs through NVML: one nvmlDeviceGetFieldValues per GPU and tick, no process lists, no subprocess.

Every GPU has a thread of its own, so that one in a wedged driver is stale alone. What is odd is marked, never repaired:
a GPU off the bus stays in the reading as LOST, and a draw that no such card can have is withheld. Energy is the
counter as it stands.
"""

import time
from datetime import datetime, timedelta
from typing import NamedTuple

from collectors import Reading, SourceError
from collectors.nvml import Session
from collectors.nvml.codes import GONE, LIFE_CYCLE, NVMLError, refusal
from collectors.nvml.gate import Devices, Gate
from collectors.nvml.gpu import Gpu, sample, silent
from collectors.nvml.xids import Xids
from pipeline.messages.telemetry import GpuSample, Quality
from pipeline.settings import Positive, Section


class Settings(Section, frozen=True, kw_only=True):
    """``[source.nvml]``. Spans in seconds of the shared clock unless named otherwise."""

    timeout_s: Positive = 0.4
    """
    How long the GPUs together may take, seconds of the machine; opening NVML may take as long again.

    Less than half a tick, which is what the collector waits for its sources. A healthy GPU takes some milliseconds.
    """
    rescan_s: Positive = 60.0
    """How often to look for other GPUs and MIG instances."""
    slow_period_s: Positive = 0.9
    """How often to ask for utilisation, memory and temperature; in between, the last figures stand."""
    stale_s: Positive = 3.0
    """A reading that the driver has given for longer is stale."""
    xids: bool = True
    """Listen for XID events."""


def connect(settings: Settings) -> "Nvml":
    """Return the source; NVML is opened by the first reading."""
    return Nvml(settings)


class _Seen(NamedTuple):
    sample: GpuSample
    trouble: str | None = None


class Nvml:
    """All GPUs of this host."""

    period_s = 0.0
    """Every tick."""

    def __init__(self, settings: Settings, session: Session | None = None) -> None:
        self._settings = settings
        self._xids = Xids() if settings.xids else None
        self._gate = Gate(session or Session(), self._xids)
        self._gpus: dict[str, Gpu] = {}
        self._scanned_at: datetime | None = None

    def read(self, now: datetime) -> Reading:
        """Measure every GPU ever seen; raise `SourceError` if NVML as a whole does not answer."""
        devices = self._gate.devices(now, self._deadline())
        self._ask(devices, now)
        deadline = self._deadline()
        xids = self._xids.take() if self._xids is not None else {}
        try:
            seen = [
                self._look(gpu, now, deadline, xids.get(uuid, ()))
                if uuid in devices
                else _lost(gpu, xids.get(uuid, ()))
                for uuid, gpu in sorted(self._gpus.items())
            ]
        except NVMLError as error:
            self._gate.reopen(now)
            raise refusal(error) from error
        self._look_after(seen, now)
        if not seen:
            raise SourceError("NVML shows GPUs, and none of them answers: see the kernel log")
        return Reading(
            gpus=tuple(each.sample for each in seen),
            places=tuple(device.place for device in devices.values()),
            troubles=tuple(each.trouble for each in seen if each.trouble is not None),
        )

    @property
    def hanging(self) -> tuple[str, ...]:
        """UUIDs of the GPUs whose last call has not come back."""
        return tuple(uuid for uuid, gpu in self._gpus.items() if gpu.hangs)

    def close(self) -> None:
        """
        Let go of NVML, so that the driver can be replaced and MIG changed; the next `read` opens it again.

        Raise `SourceError` where the driver hangs and keeps it open: only the end of this process helps then.
        """
        self._gate.close(self._deadline() + 1.0)  # a wait for events ends first
        if self.hanging:
            raise SourceError(f"a call to {', '.join(self.hanging)} hangs in the driver and holds the device")

    def _deadline(self) -> float:
        return time.monotonic() + self._settings.timeout_s

    def _ask(self, devices: Devices, now: datetime) -> None:
        load_period = timedelta(seconds=self._settings.slow_period_s)
        for uuid, device in devices.items():
            if uuid not in self._gpus:
                self._gpus[uuid] = Gpu(device)
            self._gpus[uuid].ask(device, now, load_period)

    def _look(self, gpu: Gpu, now: datetime, deadline: float, xids: tuple[int, ...]) -> _Seen:
        """Return what *gpu* answers by *deadline*; raise `NVMLError` where it is NVML that is gone."""
        uuid = gpu.device.uuid
        try:
            figures = gpu.figures(deadline)
        except TimeoutError:
            trouble = f"{uuid} does not answer: the driver hangs; it is asked again when the call returns"
            return _Seen(silent(gpu.device, xids, Quality.STALE), trouble)
        except NVMLError as error:
            if error.value in GONE:
                return _lost(gpu, xids)
            if error.value in LIFE_CYCLE:
                raise
            return _Seen(silent(gpu.device, xids, Quality.STALE), f"{uuid} cannot be read: {error} ({error.value})")
        is_frozen = gpu.has_frozen(figures.fields.read_at, now, timedelta(seconds=self._settings.stale_s))
        return _Seen(sample(gpu.device, figures, xids, is_frozen=is_frozen))

    def _look_after(self, seen: list[_Seen], now: datetime) -> None:
        """Have NVML opened anew for lost GPUs, and looked through for new ones; nothing of it while a GPU hangs."""
        if self.hanging:
            return
        if not seen or any(Quality.LOST in each.sample.quality for each in seen):
            self._gate.reopen(now)
            return
        self._gate.healthy()
        if self._scanned_at is None:
            self._scanned_at = now
        if now - self._scanned_at >= timedelta(seconds=self._settings.rescan_s):
            self._scanned_at = now
            self._gate.rescan(now)


def _lost(gpu: Gpu, xids: tuple[int, ...]) -> _Seen:
    trouble = f"{gpu.device.uuid} is lost: it fell off the bus or needs a reset; see the kernel log"
    return _Seen(silent(gpu.device, xids, Quality.LOST), trouble)
