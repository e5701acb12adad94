"""
Power caps through NVML. Needs root, in practice CAP_SYS_ADMIN.

Only the v1 setter is used: nvidia-ml-py 13.615.71 drops the return code of nvmlDeviceSetPowerManagementLimit_v2 and
reports success whatever happened. A GPU of which only the CPU+GPU module answers needs v2 and is left alone.
"""

from collections.abc import Mapping
from datetime import datetime

import pynvml

from collectors import SourceError
from collectors.levers import GpuReading, LeverError
from collectors.nvml import Device, Session
from collectors.nvml.calls import SW_POWER_CAP, event_reasons
from collectors.nvml.codes import NO_PERMISSION, NVMLError
from collectors.nvml.fields import GPU_SCOPE, read_fields


def connect() -> "Nvml":
    """Return the lever; NVML is opened by the first call of `gpus`."""
    return Nvml()


class Nvml:
    """The GPUs of this host that can be capped."""

    def __init__(self) -> None:
        self._session = Session()
        self._devices: dict[str, Device] = {}
        self._missing: set[str] = set()

    def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
        """Read all GPUs; one that does not answer is left out, and looked for anew before long."""
        if self._missing:
            self._session.reopen(now)
        devices = self._session.devices(now)
        if not devices:
            self._session.reopen(now)
            raise SourceError("NVML shows GPUs, and none of them answers: see the kernel log")
        self._devices = {uuid: device for uuid, device in devices.items() if _can_be_limited(device)}
        found = {uuid: gpu for uuid, device in self._devices.items() if (gpu := _try_read(device)) is not None}
        self._missing = (self._missing | self._devices.keys()) - found.keys()
        if not self._missing:
            self._session.healthy()
        return found

    def set_limit(self, uuid: str, limit_w: float) -> None:
        """Ask for a limit, to the nearest milliwatt."""
        try:
            pynvml.nvmlDeviceSetPowerManagementLimit(self._device(uuid).handle, round(limit_w * 1000))
        except NVMLError as error:
            hint = "; the actuator needs CAP_SYS_ADMIN" if error.value == NO_PERMISSION else ""
            raise LeverError(f"cannot set {limit_w:.1f} W: {error} ({error.value}){hint}") from error

    def read(self, uuid: str) -> GpuReading:
        """Read one GPU."""
        try:
            return _read(self._device(uuid))
        except NVMLError as error:
            raise LeverError(f"cannot read: {error} ({error.value})") from error

    def _device(self, uuid: str) -> Device:
        if uuid not in self._devices:
            raise LeverError("does not answer")
        return self._devices[uuid]


def _can_be_limited(device: Device) -> bool:
    return device.asked.scope == GPU_SCOPE and device.max_w is not None


def _try_read(device: Device) -> GpuReading | None:
    try:
        return _read(device)
    except (NVMLError, LeverError):
        return None


def _read(device: Device) -> GpuReading:
    fields = read_fields(device.handle, device.asked)
    if device.min_w is None or device.max_w is None or fields.requested_w is None:
        raise LeverError("this card has no power limit to set")
    return GpuReading(
        uuid=device.uuid,
        model=device.model,
        min_w=device.min_w,
        max_w=device.max_w,
        requested_w=fields.requested_w,
        enforced_w=fields.enforced_w,
        power_w=fields.power_w,
        binding=_binding(device),
    )


def _binding(device: Device) -> bool | None:
    """Tell whether a power limit holds the clocks down; None where card or driver does not say."""
    reasons = event_reasons(device.calls, device.handle)
    return None if reasons is None else bool(reasons & SW_POWER_CAP)
