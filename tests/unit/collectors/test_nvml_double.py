"""What only the stand-in's other users see of it: levers beside the power limit, processes, the captures behind it."""

import re
from pathlib import Path

import pynvml
import pytest
from doubles.nvml.nvml_double import NO_PERMISSION, PROFILES, State
from doubles.nvml_host import fresh


@pytest.fixture
def host() -> State:
    """Return a host of one H100, NVML open."""
    made = fresh(gpus=1)
    pynvml.nvmlInit()
    return made


def first() -> object:
    """Return the first GPU's handle."""
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def power_w() -> float:
    """Return the first GPU's instantaneous draw."""
    (field,) = pynvml.nvmlDeviceGetFieldValues(first(), [186])
    return float(field.value.uiVal) / 1000


def test_a_locked_clock_limits_the_draw_and_a_reset_frees_it(host: State) -> None:
    """Half of 1980 MHz draws 69.62 W + 559.83 W / 2 = 349.535 W, and no power limit is at work."""
    power_w()
    pynvml.nvmlDeviceSetGpuLockedClocks(first(), 210, 990)
    host.set_time(1_000_010)
    assert power_w() == pytest.approx(349.535, abs=0.001)
    assert pynvml.nvmlDeviceGetClockInfo(first(), pynvml.NVML_CLOCK_SM) == 990
    assert pynvml.nvmlDeviceGetMaxClockInfo(first(), pynvml.NVML_CLOCK_SM) == 1980
    assert pynvml.nvmlDeviceGetCurrentClocksEventReasons(first()) == 0

    pynvml.nvmlDeviceResetGpuLockedClocks(first())
    host.set_time(1_000_020)
    assert power_w() == 629.45


@pytest.mark.parametrize("set_it", ["locked clocks", "reset clocks", "persistence"])
def test_what_needs_permission_is_refused_without(host: State, set_it: str) -> None:
    host.set_root(may_set=False)
    calls = {
        "locked clocks": lambda: pynvml.nvmlDeviceSetGpuLockedClocks(first(), 210, 990),
        "reset clocks": lambda: pynvml.nvmlDeviceResetGpuLockedClocks(first()),
        "persistence": lambda: pynvml.nvmlDeviceSetPersistenceMode(first(), 0),
    }
    with pytest.raises(pynvml.NVMLError) as refused:
        calls[set_it]()

    assert refused.value.value == NO_PERMISSION


def test_persistence_is_on_until_somebody_turns_it_off(host: State) -> None:
    before = pynvml.nvmlDeviceGetPersistenceMode(first())
    pynvml.nvmlDeviceSetPersistenceMode(first(), 0)

    assert (before, pynvml.nvmlDeviceGetPersistenceMode(first())) == (1, 0)
    assert host.gpu(0).persistence == 0


def test_processes_are_listed_with_their_memory(host: State) -> None:
    host.run_processes(0, 4711, 4712)

    found = pynvml.nvmlDeviceGetComputeRunningProcesses(first())

    assert [(process.pid, process.usedGpuMemory) for process in found] == [(4711, 1 << 30), (4712, 1 << 30)]


def test_an_instance_has_a_name_and_no_power(host: State) -> None:
    host.divide(0, "MIG-a")
    instance = pynvml.nvmlDeviceGetMigDeviceHandleByIndex(first(), 0)

    assert pynvml.nvmlDeviceGetUUID(instance) == "MIG-a"
    with pytest.raises(pynvml.NVMLError_NotSupported):
        pynvml.nvmlDeviceGetPowerUsage(instance)


def test_both_versions_of_memory_and_temperature_answer_alike(host: State) -> None:
    del host
    old, new = (pynvml.nvmlDeviceGetMemoryInfo(first(), version) for version in (None, pynvml.nvmlMemory_v2))

    assert (old.used, old.total) == (new.used, new.total)
    assert pynvml.nvmlDeviceGetTemperatureV(first(), 0) == pynvml.nvmlDeviceGetTemperature(first(), 0) == 59


@pytest.mark.parametrize(
    ("profile", "capture"),
    [("h100-idle", "qx-h100.xml"), ("a100", "qx-a100.xml"), ("l40s", "qx-l40s.xml"), ("t4", "qx-t4.xml")],
)
def test_a_profile_is_what_was_captured_of_an_idle_card(profile: str, capture: str, shared_data: Path) -> None:
    """`nvidia-smi -q -x` of real cards; the first GPU of each file."""
    text = (shared_data / "data" / "nvidia_smi_captures" / "qx_hardware" / capture).read_text()
    made = PROFILES[profile]

    def number(name: str) -> float:
        found = re.search(rf"<{name}>([\d.]+) (?:W|MHz|MiB)</{name}>", text)
        assert found is not None, name
        return float(found[1])

    assert f"<product_name>{made.name}<" in text
    assert (made.min_w, made.max_w) == (number("min_power_limit"), number("max_power_limit"))
    assert made.idle_w == number("instant_power_draw")
    assert made.sm_idle_mhz == number("sm_clock")
    assert made.memory_mhz == number("mem_clock")
    assert made.memory_total_mib == number("total")
    assert ("<current_mig>N/A<" in text) == (made.mig_max == 0)
    assert ("<average_power_draw>N/A<" in text.split("module_power")[0].split("gpu_memory_power")[0]) == bool(
        made.unsupported
    )
