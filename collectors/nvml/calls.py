"""
What NVML tells by calls of their own: clocks and why they are low, load, memory, temperature, MIG.

None of it is worth losing a GPU's power for: what a card or an old driver does not know is None, and a symbol that the
library lacks is looked for once per opening of NVML. Process lists and PCIe throughput are not asked for at all: they
take milliseconds, and the driver's lock with them (4.5 ms for a process list on driver 610, MangoHud#2104).
"""

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import pynvml

from collectors.nvml.codes import FUNCTION_NOT_FOUND, WHOLE_GPU, NVMLError

T = TypeVar("T")

SW_POWER_CAP = 0x4
"""Bit of the clock event reasons: clocks are down because of a power limit set by software."""


class Calls:
    """Calls that may fail, of one library as it was opened."""

    def __init__(self) -> None:
        self._missing: set[str] = set()

    def ask(self, call: Callable[..., T], *arguments: Any) -> T | None:
        """Return what *call* answers, None where it cannot; raise `NVMLError` only for the whole GPU's trouble."""
        if call.__name__ in self._missing:
            return None
        try:
            return call(*arguments)
        except NVMLError as error:
            if error.value in WHOLE_GPU:
                raise
            if error.value == FUNCTION_NOT_FOUND:
                self._missing.add(call.__name__)
            return None


class Clocks(NamedTuple):
    """How fast a GPU runs, and why not faster; follows a power limit within milliseconds."""

    sm_mhz: int | None
    memory_mhz: int | None
    event_reasons: int | None


class Load(NamedTuple):
    """What a GPU is busy with; changes slowly."""

    utilization: float | None = None
    """Share of time in which a kernel ran, 0 to 1; not known of a GPU in MIG mode."""
    memory_used_b: int | None = None
    temperature_c: float | None = None


def read_clocks(calls: Calls, handle: Any) -> Clocks:
    """Return the clocks of the GPU of *handle*."""
    return Clocks(
        sm_mhz=calls.ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        memory_mhz=calls.ask(pynvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
        event_reasons=event_reasons(calls, handle),
    )


def event_reasons(calls: Calls, handle: Any) -> int | None:
    """Return why clocks are down, as a mask; before driver 535 the call had another name."""
    reasons = calls.ask(pynvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    return calls.ask(pynvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) if reasons is None else reasons


def read_load(calls: Calls, handle: Any) -> Load:
    """Return the load of the GPU of *handle*."""
    rates = calls.ask(pynvml.nvmlDeviceGetUtilizationRates, handle)
    memory = calls.ask(pynvml.nvmlDeviceGetMemoryInfo, handle)
    return Load(
        utilization=None if rates is None else rates.gpu / 100,
        memory_used_b=None if memory is None else memory.used,
        temperature_c=calls.ask(pynvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
    )


def mig_uuids(calls: Calls, handle: Any) -> tuple[str, ...]:
    """Return the UUIDs of the MIG instances of the GPU of *handle*, in NVML's order; its numbering has holes."""
    mode = calls.ask(pynvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != pynvml.NVML_DEVICE_MIG_ENABLE:
        return ()
    places = range(calls.ask(pynvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0)
    instances = (calls.ask(pynvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place) for place in places)
    uuids = (calls.ask(pynvml.nvmlDeviceGetUUID, instance) for instance in instances if instance is not None)
    return tuple(uuid for uuid in uuids if uuid is not None)
