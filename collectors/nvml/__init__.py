"""
NVML as collector and actuator use it: one session, GPUs by UUID, every return code looked at.

A session that has gone stale (driver reloaded, GPU off the bus) is opened again on the next use, at most once per
back-off. Everything here may block for as long as the driver does.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pynvml

from collectors import Place, SourceError
from collectors.nvml.calls import Calls, mig_uuids
from collectors.nvml.codes import LIFE_CYCLE, NVMLError, refusal

FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=1), timedelta(seconds=30)

KERNEL_GPUS = Path("/proc/driver/nvidia/gpus")
"""One folder for each GPU the driver holds, named by its PCI address; absent in some containers."""


@dataclass(frozen=True, eq=False)
class Found:
    """One GPU of an open session, found by one look through it: no more than can be asked of all of them in turn."""

    uuid: str
    index: int
    handle: Any
    calls: Calls


@dataclass(frozen=True)
class Device:
    """What one GPU is."""

    model: str
    place: Place


def identify(found: Found) -> Device:
    """Ask a GPU what it is, which may hang on one GPU alone; raise `NVMLError` if it does not answer."""
    model = pynvml.nvmlDeviceGetName(found.handle)
    minor = found.calls.ask(pynvml.nvmlDeviceGetMinorNumber, found.handle)
    return Device(model, Place(found.uuid, found.index, minor, mig_uuids(found.calls, found.handle)))


class Session:
    """NVML, opened when needed and as often as needed."""

    def __init__(self, kernel_gpus: Path = KERNEL_GPUS) -> None:
        self._kernel_gpus = kernel_gpus
        self._devices: dict[str, Found] | None = None
        self._refusal: SourceError | None = None
        """Why the last opening failed."""
        self._calls = Calls()
        self._attached: frozenset[str] = frozenset()
        self._delay = FIRST_DELAY
        self._retry_at: datetime | None = None

    def devices(self, now: datetime) -> dict[str, Found]:
        """
        Return the GPUs that answer, by UUID, opening NVML if it is not open; none where all of them are lost.

        Raise `SourceError` where there is no NVML or no GPU, in the same words where that is too recent to try again.
        """
        if self._devices is None:
            if self._refusal is not None and self._retry_at is not None and now < self._retry_at:
                raise type(self._refusal)(str(self._refusal))
            self._retry_at = now + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY)
            try:
                self._devices, self._refusal = self._open(), None
            except SourceError as refused:
                self._refusal = refused
                raise
        return self._devices

    def may_reopen(self, now: datetime) -> bool:
        """Tell whether the last opening is long enough ago for another; a GPU that stays away costs little."""
        return self._devices is not None and (self._retry_at is None or now >= self._retry_at)

    def reopen(self, now: datetime) -> None:
        """Let the next use open NVML anew, unless that was tried just now."""
        if self.may_reopen(now):
            self.close()

    @property
    def has_moved_on(self) -> bool:
        """Whether the kernel holds other GPUs than when NVML was opened, which is when NVML counts them."""
        return self._attached_now() != self._attached

    def rescan(self) -> dict[str, Found]:
        """Look through an open session again, so that whoever knows its GPUs asks them anew. Raise as `devices`."""
        try:
            self._devices = _enumerate(self._calls)
        except SourceError:
            self.close()
            raise
        return self._devices

    def healthy(self) -> None:
        """Note that all is well: the next trouble is met at once."""
        self._delay, self._retry_at = FIRST_DELAY, None

    def close(self) -> None:
        """Let go of NVML, so that the driver can be unloaded; the next use opens it without delay."""
        if self._devices is not None:
            self._devices = self._retry_at = None
            _shut_down()

    def _open(self) -> dict[str, Found]:
        self._calls, self._attached = Calls(), self._attached_now()
        try:
            pynvml.nvmlInit()
        except NVMLError as error:
            raise refusal(error) from error
        try:
            return _enumerate(self._calls)
        except SourceError:
            _shut_down()
            raise

    def _attached_now(self) -> frozenset[str]:
        try:
            return frozenset(gpu.name for gpu in self._kernel_gpus.iterdir())
        except OSError:  # not shown to this process: then nothing is known to have changed
            return frozenset()


def _enumerate(calls: Calls) -> dict[str, Found]:
    try:
        count = pynvml.nvmlDeviceGetCount()
    except NVMLError as error:
        raise refusal(error) from error
    if not count:
        raise SourceError("NVML answers but shows no GPU: is the device mount or the driver broken?")
    devices = (_find(index, calls) for index in range(count))
    return {device.uuid: device for device in devices if device is not None}


def _shut_down() -> None:
    try:
        pynvml.nvmlShutdown()
    except NVMLError as error:
        if error.value not in LIFE_CYCLE:  # else: already closed, which is what we want
            raise refusal(error) from error


def _find(index: int, calls: Calls) -> Found | None:
    """Return GPU *index*, None while it does not answer."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        return Found(pynvml.nvmlDeviceGetUUID(handle), index, handle, calls)
    except NVMLError:
        return None
