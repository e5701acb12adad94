"""
NVIDIA GPUs through NVML: one nvmlDeviceGetFieldValues per GPU and tick, no process lists, no subprocess.

Every GPU has a thread of its own, so that one in a wedged driver is stale alone. What is odd is marked, never repaired:
a GPU off the bus stays in the reading as LOST, and a draw that no such card can have is withheld. Energy is the
counter as it stands.

A reading takes no longer than agreed, whatever the driver does: what comes later is in the next one.
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

SHORTEST_LOST, LONGEST_LOST = timedelta(seconds=1), timedelta(minutes=10)
"""Between two attempts to find a lost GPU again while others are measured, doubled each time."""
CLOSING_S = 0.5
"""How long calls that are out may take to come back when NVML is closed, and closing it as long again."""


class Settings(Section, frozen=True, kw_only=True):
    """``[source.nvml]``. Spans in seconds of the shared clock unless named otherwise."""

    timeout_s: Positive = 0.15
    """
    How long a reading may take, seconds of the machine; up to half of it is for NVML to be opened.

    Below 0.2 s, which is as long as a tick at ten a second waits. A healthy GPU takes some milliseconds.
    """
    first_timeout_s: Positive = 4.0
    """The same for the first reading: drivers start slowly. Below 5 s, which is as long as the first tick waits."""
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
    hangs: bool = False

    @property
    def is_lost(self) -> bool:
        return Quality.LOST in self.sample.quality


class Nvml:
    """All GPUs of this host."""

    period_s = 0.0
    """Every tick."""

    def __init__(self, settings: Settings, session: Session | None = None) -> None:
        self._settings = settings
        self._xids = Xids() if settings.xids else None
        self._gate = Gate(session or Session(), self._xids)
        self._gpus: dict[str, Gpu] = {}
        self._timeout_s = settings.first_timeout_s
        """Of the next reading."""
        self._scanned_at: datetime | None = None
        self._lost_delay = SHORTEST_LOST
        self._reopened_at: datetime | None = None

    def read(self, now: datetime) -> Reading:
        """Measure every GPU ever seen; raise `SourceError` if NVML as a whole does not answer."""
        timeout_s, self._timeout_s = self._timeout_s, self._settings.timeout_s
        started = time.monotonic()
        devices = self._gate.devices(now, started + timeout_s / 2)
        self._ask(devices, now)
        xids = self.unsaid
        try:
            seen = [
                self._look(gpu, now, started + timeout_s, xids.get(uuid, ()))
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
        if self._xids is not None:
            self._xids.forget(xids)
        return Reading(
            gpus=tuple(each.sample for each in seen),
            places=tuple(device.place for uuid in devices if (device := self._gpus[uuid].device) is not None),
            troubles=tuple(each.trouble for each in seen if each.trouble is not None),
        )

    @property
    def unsaid(self) -> dict[str, tuple[int, ...]]:
        """XIDs that no reading has had yet, by UUID."""
        return self._xids.heard() if self._xids is not None else {}

    @property
    def hanging(self) -> tuple[str, ...]:
        """UUIDs of the GPUs whose last call has not come back."""
        return tuple(uuid for uuid, gpu in self._gpus.items() if gpu.busy)

    def close(self) -> None:
        """
        Let go of NVML, so that the driver can be replaced and MIG changed; the next `read` opens it again.

        Calls that are out may come back first. Raise `SourceError` where the driver hangs and keeps it open: only the
        end of this process helps then.
        """
        deadline = time.monotonic() + CLOSING_S
        for gpu in self._gpus.values():
            gpu.finish(deadline)
        self._gate.close(time.monotonic() + CLOSING_S)
        if self.hanging:
            raise SourceError(f"a call to {', '.join(self.hanging)} hangs in the driver and holds the device")

    def _ask(self, devices: Devices, now: datetime) -> None:
        load_period = timedelta(seconds=self._settings.slow_period_s)
        for uuid, found in devices.items():
            if uuid not in self._gpus:
                self._gpus[uuid] = Gpu(found, self._settings.timeout_s)
            self._gpus[uuid].ask(found, now, load_period)

    def _look(self, gpu: Gpu, now: datetime, deadline: float, xids: tuple[int, ...]) -> _Seen:
        """Return what *gpu* answers by *deadline*; raise `NVMLError` where it is NVML that is gone."""
        try:
            figures = gpu.figures(now, deadline)
        except TimeoutError:
            trouble = f"{gpu.uuid} does not answer: the driver hangs; it is asked again when the call returns"
            return _Seen(silent(gpu, xids, Quality.STALE), trouble, gpu.hangs(now))
        except NVMLError as error:
            if error.value in GONE:
                return _lost(gpu, xids)
            if error.value in LIFE_CYCLE:
                raise
            return _Seen(silent(gpu, xids, Quality.STALE), f"{gpu.uuid} cannot be read: {error} ({error.value})")
        is_frozen = gpu.has_frozen(figures.fields.read_at, now, timedelta(seconds=self._settings.stale_s))
        powerless = None if figures.fields.tells_power else f"{gpu.uuid} tells no power: this driver or card has none"
        return _Seen(sample(figures, xids, is_frozen=is_frozen), powerless)

    def _look_after(self, seen: list[_Seen], now: datetime) -> None:
        """
        Have NVML opened anew for lost GPUs, and looked through for new ones.

        Either may hang with a GPU that does, so nothing is risked while one hangs and others are measured.
        """
        hangs, is_lost = any(each.hangs for each in seen), any(each.is_lost for each in seen)
        if is_lost and hangs and not all(each.is_lost or each.hangs for each in seen):
            return
        if not seen or (is_lost and self._may_reopen(now, others=not all(each.is_lost for each in seen))):
            self._gate.reopen(now)
        elif not is_lost and not hangs:
            self._lost_delay, self._reopened_at = SHORTEST_LOST, None
            self._gate.healthy()
            self._rescan(now)

    def _may_reopen(self, now: datetime, *, others: bool) -> bool:
        """Tell whether to look for a lost GPU again: opening NVML takes *others* their figures for a tick or two."""
        since = self._reopened_at
        if others and since is not None and timedelta() <= now - since < self._lost_delay:
            return False
        if others and since is not None:
            self._lost_delay = min(2 * self._lost_delay, LONGEST_LOST)
        self._reopened_at = now
        return True

    def _rescan(self, now: datetime) -> None:
        if self._scanned_at is None:
            self._scanned_at = now
        if now - self._scanned_at >= timedelta(seconds=self._settings.rescan_s):
            self._scanned_at = now
            self._gate.rescan(now)


def _lost(gpu: Gpu, xids: tuple[int, ...]) -> _Seen:
    trouble = f"{gpu.uuid} is lost: it fell off the bus or needs a reset; see the kernel log"
    return _Seen(silent(gpu, xids, Quality.LOST), trouble)
