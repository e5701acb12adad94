"""
Power caps through NVML. Needs root, in practice CAP_SYS_ADMIN.

Only the v1 setter is used: nvidia-ml-py 13.615.71 drops the return code of nvmlDeviceSetPowerManagementLimit_v2 and
reports success whatever happened. A GPU of which only the CPU+GPU module answers needs v2 and is left alone.
"""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

import pynvml

from collectors import SourceError
from collectors.levers import GpuReading, LeverError
from collectors.nvml import Found, Session, identify
from collectors.nvml.calls import SW_POWER_CAP, event_reasons
from collectors.nvml.codes import NO_PERMISSION, NVMLError
from collectors.nvml.fields import GPU_SCOPE, Layout, layout, read_fields


def connect() -> "Nvml":
    """Return the lever; NVML is opened by the first call of `gpus`."""
    return Nvml()


class _Device(NamedTuple):
    """One GPU of an open session, and what to ask it for."""

    found: Found
    model: str
    asked: Layout


class Nvml:
    """The GPUs of this host that can be capped."""

    def __init__(self) -> None:
        self._session = Session()
        self._known: dict[str, _Device] = {}
        self._devices: dict[str, _Device] = {}
        self._missing: set[str] = set()

    def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
        """Read all GPUs; one that does not answer is left out, and looked for anew before long."""
        if self._missing:
            self._session.reopen(now)
        devices = self._session.devices(now)
        if not devices:
            self._session.reopen(now)
            raise SourceError("NVML shows GPUs, and none of them answers: see the kernel log")
        self._look(devices)
        found = {uuid: gpu for uuid, device in self._devices.items() if (gpu := _try_read(device)) is not None}
        self._missing = (self._missing | self._devices.keys()) - found.keys()
        if not self._missing:
            self._session.healthy()
        return found

    def set_limit(self, uuid: str, limit_w: float) -> None:
        """Ask for a limit, to the nearest milliwatt."""
        try:
            pynvml.nvmlDeviceSetPowerManagementLimit(self._device(uuid).found.handle, round(limit_w * 1000))
        except NVMLError as error:
            hint = "; the actuator needs CAP_SYS_ADMIN" if error.value == NO_PERMISSION else ""
            raise LeverError(f"cannot set {limit_w:.1f} W: {error} ({error.value}){hint}") from error

    def read(self, uuid: str) -> GpuReading:
        """Read one GPU."""
        try:
            return _read(self._device(uuid))
        except NVMLError as error:
            raise LeverError(f"cannot read: {error} ({error.value})") from error

    def _look(self, found: Mapping[str, Found]) -> None:
        """Ask those that NVML has just found what they are."""
        for uuid, gpu in found.items():
            if uuid not in self._known or self._known[uuid].found is not gpu:
                self._known.pop(uuid, None)
                with suppress(NVMLError):  # the next look finds it, or it is lost
                    self._known[uuid] = _Device(gpu, identify(gpu).model, layout(gpu.calls, gpu.handle))
        known = {uuid: device for uuid, device in self._known.items() if uuid in found}
        self._devices = {uuid: device for uuid, device in known.items() if _can_be_limited(device)}

    def _device(self, uuid: str) -> _Device:
        if uuid not in self._devices:
            raise LeverError("does not answer")
        return self._devices[uuid]


def _can_be_limited(device: _Device) -> bool:
    return device.asked.scope == GPU_SCOPE and device.asked.max_w is not None


def _try_read(device: _Device) -> GpuReading | None:
    try:
        return _read(device)
    except (NVMLError, LeverError):
        return None


def _read(device: _Device) -> GpuReading:
    found, asked = device.found, device.asked
    fields = read_fields(found.calls, found.handle, asked)
    if asked.min_w is None or asked.max_w is None or fields.requested_w is None:
        raise LeverError("this card has no power limit to set")
    return GpuReading(
        uuid=found.uuid,
        model=device.model,
        min_w=asked.min_w,
        max_w=asked.max_w,
        requested_w=fields.requested_w,
        enforced_w=fields.enforced_w,
        power_w=fields.power_w,
        binding=_binding(found),
    )


def _binding(found: Found) -> bool | None:
    """Tell whether a power limit holds the clocks down; None where card or driver does not say."""
    reasons = event_reasons(found.calls, found.handle)
    return None if reasons is None else bool(reasons & SW_POWER_CAP)
