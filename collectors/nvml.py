"""
NVML as collector and actuator use it: one session, GPUs by UUID, every return code looked at.

A session that has gone stale (driver reloaded, GPU off the bus) is opened again on the next use, at most once per
back-off. Numbers are NVML's own, nvml.h of API 13; milliwatts and millijoules stay in this file.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import pynvml

from collectors import RestartNeededError, SourceError

NVMLError = pynvml.NVMLError
"""Unhashable, and equal to nothing but its like: compare `.value`."""

SUCCESS, UNINITIALIZED, NOT_SUPPORTED, NO_PERMISSION = 0, 1, 3, 4
DRIVER_NOT_LOADED, LIBRARY_NOT_FOUND, FUNCTION_NOT_FOUND = 9, 12, 13
GPU_IS_LOST, RESET_REQUIRED, LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND, UNKNOWN = 15, 16, 18, 28, 999

LIFE_CYCLE = frozenset({UNINITIALIZED, DRIVER_NOT_LOADED, GPU_IS_LOST, LIB_RM_VERSION_MISMATCH, GPU_NOT_FOUND})
"""Codes after which handles are worth nothing until NVML has been shut down and initialised again."""

ONLY_RESTART_HELPS = {
    LIB_RM_VERSION_MISMATCH: "the driver was replaced underneath; a new process loads the new library",
    UNKNOWN: "device access was taken away, as after a daemon reload in a container; restart the container",
}
REMEDY = {
    DRIVER_NOT_LOADED: "load the NVIDIA driver (`nvidia-smi` must work first)",
    LIBRARY_NOT_FOUND: "no libnvidia-ml.so.1 on this host: install the NVIDIA driver, or mount it into the container",
}

POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT, ENERGY = 186, 185, 190, 192, 83
GPU_SCOPE, MODULE_SCOPE = 0, 1
SW_POWER_CAP = 0x4
"""Bit of the clock event reasons: clocks are down because of a power limit set by software."""

FIRST_DELAY, LONGEST_DELAY = timedelta(seconds=1), timedelta(seconds=30)


@dataclass(frozen=True)
class Device:
    """One GPU of an open session."""

    uuid: str
    model: str
    handle: Any
    scope: int
    """The power scope that answers: the GPU's own, or that of its CPU+GPU module."""
    min_w: float | None
    max_w: float | None


class Fields(NamedTuple):
    """One answer of nvmlDeviceGetFieldValues. Watts and joules; what the card does not know is None."""

    power_w: float | None
    average_w: float | None
    enforced_w: float | None
    requested_w: float | None
    energy_j: float | None


class Session:
    """NVML, opened when needed and as often as needed."""

    def __init__(self) -> None:
        self._devices: dict[str, Device] | None = None
        self._delay = FIRST_DELAY
        self._retry_at: datetime | None = None

    def devices(self, now: datetime) -> dict[str, Device]:
        """
        Return the GPUs that answer, by UUID, opening NVML if it is not open.

        Raise `SourceError` where there is no NVML, no GPU, or where the last failure is too recent to try again.
        """
        if self._devices is None:
            if self._retry_at is not None and now < self._retry_at:
                raise SourceError(f"NVML is away, next try at {self._retry_at.isoformat()}")
            self._retry_at = now + self._delay
            self._delay = min(2 * self._delay, LONGEST_DELAY)
            self._devices = _open()
        return self._devices

    def reopen(self, now: datetime) -> None:
        """Let the next use open NVML anew, unless that was tried just now; a GPU that stays away costs little."""
        if self._devices is not None and (self._retry_at is None or now >= self._retry_at):
            self._devices, self._retry_at = None, None
            _close()

    def healthy(self) -> None:
        """Note that all is well: the next trouble is met at once."""
        self._delay, self._retry_at = FIRST_DELAY, None


def read_fields(device: Device) -> Fields:
    """Return what *device* measures now, in one driver call; raise `NVMLError` if it cannot answer at all."""
    ids = [(field, device.scope) for field in (POWER_INSTANT, POWER_AVERAGE, ENFORCED_LIMIT, REQUESTED_LIMIT)]
    values = [_number(field) for field in pynvml.nvmlDeviceGetFieldValues(device.handle, [*ids, ENERGY])]
    return Fields(*(None if number is None else number / 1000 for number in values))


def _number(field: Any) -> int | None:
    """Return a field's integer, None where the card has none; a life-cycle code is the whole device's trouble."""
    if field.nvmlReturn in LIFE_CYCLE:
        raise NVMLError(field.nvmlReturn)
    if field.nvmlReturn != SUCCESS:
        return None
    is_wide = field.valueType == pynvml.NVML_VALUE_TYPE_UNSIGNED_LONG_LONG
    return int(field.value.ullVal if is_wide else field.value.uiVal)


def _open() -> dict[str, Device]:
    try:
        pynvml.nvmlInit()
    except NVMLError as error:
        raise refusal(error) from error
    try:
        return _enumerate()
    except SourceError:
        _close()
        raise


def _enumerate() -> dict[str, Device]:
    try:
        count = pynvml.nvmlDeviceGetCount()
    except NVMLError as error:
        raise refusal(error) from error
    devices = [device for index in range(count) if (device := _device(index)) is not None]
    if not devices:
        raise SourceError("NVML answers but shows no GPU: is the device mount or the driver broken?")
    return {device.uuid: device for device in devices}


def _close() -> None:
    try:
        pynvml.nvmlShutdown()
    except NVMLError as error:
        if error.value not in LIFE_CYCLE:  # else: already closed, which is what we want
            raise refusal(error) from error


def refusal(error: pynvml.NVMLError) -> SourceError:
    """Say in one line what NVML's *error* means for whoever runs this host."""
    code = error.value
    if code in ONLY_RESTART_HELPS:
        return RestartNeededError(f"NVML: {error} ({code}): {ONLY_RESTART_HELPS[code]}")
    return SourceError(f"no NVML here: {error} ({code}); {REMEDY.get(code, 'see the kernel log')}")


def _device(index: int) -> Device | None:
    """Return GPU *index*, None while it does not answer."""
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        uuid, model = pynvml.nvmlDeviceGetUUID(handle), pynvml.nvmlDeviceGetName(handle)
        min_w, max_w = _constraints_w(handle)
        return Device(uuid, model, handle, _scope(handle), min_w, max_w)
    except NVMLError as error:
        if error.value == FUNCTION_NOT_FOUND:
            raise SourceError(
                f"this driver is too old for firmwatt: {error}; 530 or newer reads power fields"
            ) from error
        return None


def _constraints_w(handle: Any) -> tuple[float | None, float | None]:
    """Return the range a limit may be set to, None where the card or the driver does not say."""
    try:
        min_mw, max_mw = pynvml.nvmlDeviceGetPowerManagementLimitConstraints(handle)
    except NVMLError as error:
        if error.value not in {NOT_SUPPORTED, FUNCTION_NOT_FOUND}:
            raise
        return None, None
    return min_mw / 1000, max_mw / 1000


def _scope(handle: Any) -> int:
    """Return the first power scope that answers: some superchips know only the module's."""
    for scope in (GPU_SCOPE, MODULE_SCOPE):
        probes = pynvml.nvmlDeviceGetFieldValues(handle, [(POWER_INSTANT, scope), (POWER_AVERAGE, scope)])
        if any(probe.nvmlReturn == SUCCESS for probe in probes):
            return scope
    return GPU_SCOPE
