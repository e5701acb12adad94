"""
AMD GPUs through AMD SMI: power, energy, cap, clocks, use, memory and temperature of each, by one thread at a time.

The library is not thread-safe before ROCm 7.2; a source's lane never calls it twice at once. What a card does not
measure is absent: current power on MI200 and earlier, average power on MI300 (amdsmi.h, amdsmi_power_info_t).
"""

import importlib
import io
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from datetime import datetime
from typing import Annotated, Any, NamedTuple, TypeVar

import msgspec

from collectors import PLAUSIBLE_SHARE, Place, Reading, SourceError
from collectors.sources._meters import need
from pipeline.messages.telemetry import GpuSample, Quality
from pipeline.settings import Section

T = TypeVar("T")

UNMEASURED = frozenset({"N/A", 0xFFFF, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})
"""The library fills what a card lacks with the largest number of the field; the wheel turns some of them into "N/A"."""
NOT_OFFERED = frozenset({2, 3, 40})
"""AMDSMI_STATUS_NOT_SUPPORTED, _NOT_YET_IMPLEMENTED, _NO_DATA: this card has no such figure."""
GONE = frozenset({31, 34, 51, 52})
"""AMDSMI_STATUS_NOT_FOUND, _DRIVER_NOT_LOADED, _NO_DRV, _FILE_NOT_FOUND: the card is no longer there."""
TWO_DIES = "MI250"
"""Cards of two GPUs: the first one's power is that of both, the second one reads 0 (ml-energy/zeus#203)."""


class Settings(Section, frozen=True, kw_only=True):
    """``[source.amd]``. The library is found as the amdsmi wheel finds it: ROCM_HOME, ROCM_PATH, the loader's paths."""

    period_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


def connect(settings: Settings) -> "Amd":
    """Return the source; raise `ConfigError` where amdsmi is missing. The library is opened by the first reading."""
    need("amdsmi", "amd")
    return Amd(settings)


class Gpu(NamedTuple):
    """One GPU that the library names."""

    handle: Any  # a ctypes pointer
    number: int
    """Its place in the library's order, from 0."""
    uuid: str
    model: str


class Amd:
    """All AMD GPUs of this host."""

    def __init__(self, settings: Settings) -> None:
        self.period_s = settings.period_s
        self._smi: Any = None  # amdsmi ships no types
        self._gpus: tuple[Gpu, ...] = ()
        self._nameless: tuple[str, ...] = ()

    def read(self, now: datetime) -> Reading:  # noqa: ARG002 - AMD SMI stamps nothing with the host's clock
        """Measure every GPU; raise `SourceError` if there is none, or none of them answers."""
        if self._smi is None:
            self._open()
        samples, troubles = list[GpuSample](), list[str]()
        for gpu in self._gpus:
            try:
                samples.append(sample(self._smi, gpu))
            except self._smi.AmdSmiLibraryException as error:
                mark = Quality.LOST if error.get_error_code() in GONE else Quality.STALE
                samples.append(GpuSample(uuid=gpu.uuid, model=gpu.model, quality=(mark,)))
                troubles.append(f"GPU {gpu.uuid}: {named(error)}")
        nameless = self._nameless
        if len(troubles) == len(samples):
            self.close()
            raise SourceError("; ".join((*troubles, *nameless)) or "AMD SMI finds no GPU: is the amdgpu driver loaded?")
        places = tuple(Place(gpu.uuid, gpu.number) for gpu in self._gpus)
        return Reading(gpus=tuple(samples), places=places, troubles=(*troubles, *nameless))

    def close(self) -> None:
        """Let go of the library, so that the driver can be replaced."""
        if self._smi is not None:
            with suppress(self._smi.AmdSmiLibraryException):  # it was gone already
                self._smi.amdsmi_shut_down()
            self._smi, self._gpus, self._nameless = None, (), ()

    def _open(self) -> None:
        smi = library()
        try:
            smi.amdsmi_init(smi.AmdSmiInitFlags.INIT_AMD_GPUS)
            self._smi = smi
            self._gpus, self._nameless = found(smi)
        except smi.AmdSmiLibraryException as error:
            self.close()
            raise SourceError(f"AMD SMI does not start: {named(error)}; is the amdgpu driver loaded?") from error


def library() -> Any:
    """Return the module amdsmi, bound to the libamd_smi.so of this host; raise `SourceError` where they do not fit."""
    try:
        with redirect_stdout(io.StringIO()):  # the wheel prints why it found no library
            return importlib.import_module("amdsmi")
    except (KeyError, OSError) as error:
        raise SourceError("no libamd_smi.so: install ROCm's amd-smi-lib, or set ROCM_PATH to where ROCm is") from error
    except AttributeError as error:
        raise SourceError(f"install the amdsmi wheel of this host's ROCm release: {error}") from error


def found(smi: Any) -> tuple[tuple[Gpu, ...], tuple[str, ...]]:
    """
    Return the GPUs in the library's order, and a line for each that does not give its name.

    Where two answer to one UUID, as partitions of one card may, the first stands for it.
    """
    gpus, nameless = dict[str, Gpu](), list[str]()
    for number, handle in enumerate(smi.amdsmi_get_processor_handles()):
        try:
            uuid = smi.amdsmi_get_gpu_device_uuid(handle)
            asic = offered(smi, smi.amdsmi_get_gpu_asic_info, handle) or {}
        except smi.AmdSmiLibraryException as error:
            nameless.append(f"GPU {number} is not measured, it does not give its UUID: {named(error)}")
        else:
            gpus.setdefault(uuid, Gpu(handle, number, uuid, asic.get("market_name", "AMD GPU")))
    return tuple(gpus.values()), tuple(nameless)


def sample(smi: Any, gpu: Gpu) -> GpuSample:
    """Return what *gpu* measures; raise the library's exception where it does not answer for its power."""
    handle = gpu.handle
    power = power_of(smi, handle)
    energy = offered(smi, smi.amdsmi_get_energy_count, handle) or {}
    cap = offered(smi, smi.amdsmi_get_power_cap_info, handle) or {}
    use = offered(smi, smi.amdsmi_get_gpu_activity, handle) or {}
    sm = offered(smi, smi.amdsmi_get_clock_info, handle, smi.AmdSmiClkType.GFX) or {}
    memory = offered(smi, smi.amdsmi_get_clock_info, handle, smi.AmdSmiClkType.MEM) or {}
    used_b = offered(smi, smi.amdsmi_get_gpu_memory_usage, handle, smi.AmdSmiMemoryType.VRAM)
    hotspot = smi.AmdSmiTemperatureType.HOTSPOT, smi.AmdSmiTemperatureMetric.CURRENT
    temperature_c = offered(smi, smi.amdsmi_get_temp_metric, handle, *hotspot)

    power_w, average_w = drawn(power.get("current_socket_power")), drawn(power.get("average_socket_power"))
    max_w = capped(cap.get("max_power_cap"))
    garbage = [w for w in (power_w, average_w) if w is not None and max_w is not None and w > PLAUSIBLE_SHARE * max_w]
    measures = power_w is not None or average_w is not None
    marks = {Quality.IMPLAUSIBLE: bool(garbage), Quality.SCOPE_MODULE: measures and TWO_DIES in gpu.model}
    return GpuSample(
        uuid=gpu.uuid,
        model=gpu.model,
        power_w=None if power_w in garbage else power_w,
        average_w=None if average_w in garbage else average_w,
        energy_j=joules(energy) if measures else joules(energy) or None,  # a second die's counter stands at 0, too
        enforced_w=capped(cap.get("power_cap")),
        min_w=capped(cap.get("min_power_cap")),
        max_w=max_w,
        sm_mhz=measured(sm.get("clk")),
        memory_mhz=measured(memory.get("clk")),
        utilization=share(use.get("gfx_activity")),
        memory_used_b=used_b,
        temperature_c=None if temperature_c is None else float(temperature_c),
        quality=tuple(mark for mark, holds in marks.items() if holds),
    )


def measured(figure: Any) -> Any:
    """Return *figure*, None where it stands for "not measured"."""
    return None if figure is None or figure in UNMEASURED else figure


def drawn(power_w: Any) -> float | None:
    """Return socket power, watts; 0 is what a card without a sensor of its own says, not a draw."""
    given = measured(power_w)
    return float(given) if given else None


def joules(energy: dict[str, Any]) -> float | None:
    """Return the counter times its resolution, which is in microjoules a count (15.259 on MI200 and MI300)."""
    count = measured(energy.get("energy_accumulator"))
    return None if count is None else float(count * energy["counter_resolution"] / 1e6)


def capped(cap_uw: Any) -> float | None:
    """Return a cap in watts of one in microwatts, the unit on bare metal (amdsmi_power_cap_info_t); 0 is none."""
    given = measured(cap_uw)
    return given / 1e6 if given else None


def share(percent: Any) -> float | None:
    """Return a use in percent as a share; more than 100 is none."""
    given = measured(percent)
    return None if given is None or given > 100 else given / 100  # noqa: PLR2004 - percent


def offered(smi: Any, call: Callable[..., T], *of: object) -> T | None:
    """Return what *call* says *of* a card; None where it fails, as it does for what a card or a user has not."""
    try:
        return call(*of)
    except smi.AmdSmiLibraryException:
        return None


def power_of(smi: Any, handle: Any) -> dict[str, Any]:
    """Return socket power as the library gives it, empty where it does not; raise where the card does not answer."""
    try:
        power: dict[str, Any] = smi.amdsmi_get_power_info(handle)
    except smi.AmdSmiLibraryException as error:
        if error.get_error_code() not in NOT_OFFERED:
            raise
        return {}
    return power


def named(error: Any) -> str:
    """Return the library's name of *error*, on one line."""
    return f"{error.get_error_info(detailed=False)} ({error.get_error_code()})"
