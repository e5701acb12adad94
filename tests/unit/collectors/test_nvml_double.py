"""What only the stand-in's other users see of it: levers beside the power limit, processes, the captures behind it."""

import itertools
import os
import re
import threading
import time
from pathlib import Path

import pynvml
import pytest
from doubles.gpu_host import eventually
from doubles.nvml import competitor
from doubles.nvml.nvml_double import (
    GPU_IS_LOST,
    INVALID_ARGUMENT,
    MAX_SETS,
    NO_PERMISSION,
    NOT_SUPPORTED,
    PROFILES,
    State,
    What,
)
from doubles.nvml_host import STARTED_S, folder, fresh

H100 = PROFILES["h100"]


@pytest.fixture
def host() -> State:
    """Return a host of one H100, NVML open."""
    made = fresh(gpus=1)
    pynvml.nvmlInit()
    return made


def first() -> object:
    """Return the first GPU's handle."""
    return pynvml.nvmlDeviceGetHandleByIndex(0)


def limit(limit_w: float, gpu: int = 0) -> None:
    """Set a limit through the library."""
    pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(gpu), round(limit_w * 1000))


def lock(lowest: int, highest: int) -> None:
    """Lock the first GPU's clocks through the library."""
    pynvml.nvmlDeviceSetGpuLockedClocks(first(), lowest, highest)


def sm_mhz() -> int:
    """Return the first GPU's SM clock."""
    mhz: int = pynvml.nvmlDeviceGetClockInfo(first(), pynvml.NVML_CLOCK_SM)
    return mhz


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


@pytest.mark.parametrize(
    ("lowest", "highest"), [(0, 0), (990, 975), (210, 1996)], ids=["nothing", "upside down", "beyond the next step"]
)
def test_clocks_that_the_card_does_not_have_are_refused(host: State, lowest: int, highest: int) -> None:
    """An H100 runs at 1980 MHz at most; 1995 MHz would be its next step."""
    with pytest.raises(pynvml.NVMLError) as refused:
        lock(lowest, highest)

    assert refused.value.value == INVALID_ARGUMENT
    assert (sm_mhz(), host.gpu(0).locked_max_mhz) == (1980, 0)


@pytest.mark.parametrize(("asked", "held"), [(1004, 990), (990, 990), (1995, 1980), (100, 345)])
def test_clocks_are_taken_down_to_a_step_of_the_card(host: State, asked: int, held: int) -> None:
    """990 MHz is 66 steps of 15 MHz; the card has none below 345 MHz."""
    lock(0, asked)

    assert host.gpu(0).locked_max_mhz == held


def test_a_locked_clock_holds_at_once_and_the_draw_follows(host: State) -> None:
    power_w()
    lock(345, 990)

    assert (sm_mhz(), power_w()) == (990, 629.45)


def test_a_card_whose_clocks_cannot_be_locked_says_so() -> None:
    """Before Volta; without permission, too."""
    host = fresh(gpus=1, profile=H100._replace(lockable=False))
    pynvml.nvmlInit()

    for may_set in (True, False):
        host.set_root(may_set=may_set)
        with pytest.raises(pynvml.NVMLError_NotSupported):
            lock(345, 990)
    assert [made.code for made in host.sets()] == [NOT_SUPPORTED] * 2


def test_clocks_that_can_be_locked_are_listed_from_the_highest_down(host: State) -> None:
    """(1980 - 345) / 15 steps, and the first."""
    del host
    (memory,) = pynvml.nvmlDeviceGetSupportedMemoryClocks(first())
    clocks = pynvml.nvmlDeviceGetSupportedGraphicsClocks(first(), memory)

    assert (memory, len(clocks), clocks[:3], clocks[-1]) == (2619, 110, [1980, 1965, 1950], 345)


def test_a_bmc_s_cap_shows_in_what_is_enforced_and_in_the_draw(host: State) -> None:
    """The BMC holds 300 W where 400 W are asked for; what was asked for is still told."""
    power_w()
    host.set_bmc_cap_w(0, 300)
    limit(400)
    host.set_time(STARTED_S + 10)

    enforced, requested = pynvml.nvmlDeviceGetFieldValues(first(), [190, 192])
    assert (enforced.value.uiVal, requested.value.uiVal) == (300_000, 400_000)
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(first()) == 300_000
    assert pynvml.nvmlDeviceGetPowerManagementLimit(first()) == 400_000
    assert power_w() == pytest.approx(300)

    host.set_bmc_cap_w(0, 0)
    host.set_time(STARTED_S + 20)
    assert power_w() == pytest.approx(400)


def test_a_setter_applies_only_when_its_time_is_over(host: State) -> None:
    host.set_latency(300)
    began = time.monotonic()
    setter = threading.Thread(target=limit, args=(400,))
    setter.start()

    assert host.gpu(0).requested_w == 700
    setter.join()
    assert host.gpu(0).requested_w == 400
    assert time.monotonic() - began >= 0.3


def test_a_slow_gpu_does_not_slow_the_others() -> None:
    host = fresh(gpus=2)
    pynvml.nvmlInit()
    host.set_latency(60_000, gpu=1)

    limit(400)

    assert host.gpu(0).requested_w == 400


def test_a_gpu_lost_while_it_is_set_keeps_what_it_had(host: State) -> None:
    host.set_latency(200)
    refused: list[int] = []

    def set_it() -> None:
        try:
            limit(400)
        except pynvml.NVMLError as error:
            refused.append(error.value)

    setter = threading.Thread(target=set_it)
    host.fail("nvmlDeviceSetPowerManagementLimit", 0)  # counts
    setter.start()
    eventually(lambda: host.hits(0) or None, "the setter is in the library")
    host.lose(0)
    setter.join()

    assert refused == [GPU_IS_LOST]
    assert host.gpu(0).requested_w == 700


def test_a_driver_reload_forgets_what_was_set() -> None:
    """Limits, locks and counters; not the BMC's cap. Handles are stale until NVML is opened anew."""
    host = fresh(gpus=2)
    pynvml.nvmlInit()
    handle = first()
    limit(400, gpu=0)
    limit(300, gpu=1)
    lock(0, 990)
    host.set_bmc_cap_w(1, 250)
    host.set_time(STARTED_S + 10)
    power_w()

    host.reload_driver()

    with pytest.raises(pynvml.NVMLError_GpuIsLost):
        pynvml.nvmlDeviceGetEnforcedPowerLimit(handle)
    pynvml.nvmlShutdown()
    pynvml.nvmlInit()
    assert [gpu.requested_w for gpu in host.gpus] == [700, 700]
    assert host.gpu(0).locked_max_mhz == 0
    assert pynvml.nvmlDeviceGetTotalEnergyConsumption(first()) == 0
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(pynvml.nvmlDeviceGetHandleByIndex(1)) == 250_000


def test_a_reset_forgets_what_was_set_on_that_gpu_alone() -> None:
    host = fresh(gpus=2)
    pynvml.nvmlInit()
    for gpu in (0, 1):
        limit(400, gpu)
    lock(0, 990)

    host.reset_gpu(0)

    assert [gpu.requested_w for gpu in host.gpus] == [700, 400]
    assert host.gpu(0).locked_max_mhz == 0
    assert pynvml.nvmlDeviceGetEnforcedPowerLimit(first()) == 700_000


@pytest.mark.parametrize(("persistence", "pids", "kept_w"), [(1, (), 400), (0, (), 700), (0, (4711,), 400)])
def test_a_driver_that_nobody_keeps_forgets_limits_with_its_last_user(
    host: State, persistence: int, pids: tuple[int, ...], kept_w: float
) -> None:
    """Persistence mode keeps it, and so does a process that computes."""
    host.run_processes(0, *pids)
    pynvml.nvmlDeviceSetPersistenceMode(first(), persistence)
    pynvml.nvmlInit()
    limit(400)

    pynvml.nvmlShutdown()
    assert host.gpu(0).requested_w == 400
    pynvml.nvmlShutdown()
    assert host.gpu(0).requested_w == kept_w


def test_every_call_of_a_setter_is_written_down() -> None:
    """In order, with what it returned; 101 is the code of a failure rule. The model's clock says when."""
    host = fresh(gpus=2)
    pynvml.nvmlInit()
    host.fail("nvmlDeviceSetPowerManagementLimit", 101, gpu=1)

    limit(400)
    host.set_time(STARTED_S + 1)
    lock(345, 1000)
    pynvml.nvmlDeviceResetGpuLockedClocks(first())
    for limit_w, gpu in ((100, 0), (500, 1)):
        with pytest.raises(pynvml.NVMLError):
            limit(limit_w, gpu)
    host.set_root(may_set=False)
    with pytest.raises(pynvml.NVMLError):
        limit(600)

    made = host.sets()
    assert [(one.number, one.gpu, one.what, one.value, one.lowest, one.code) for one in made] == [
        (1, 0, What.LIMIT, 400, 0, 0),
        (2, 0, What.CLOCKS, 1000, 345, 0),
        (3, 0, What.RESET_CLOCKS, 0, 0, 0),
        (4, 0, What.LIMIT, 100, 0, INVALID_ARGUMENT),
        (5, 1, What.LIMIT, 500, 0, 101),
        (6, 0, What.LIMIT, 600, 0, NO_PERMISSION),
    ]
    assert [one.at_s for one in made] == [STARTED_S, *[STARTED_S + 1] * 5]
    assert made[0].raw_ns <= made[1].raw_ns <= time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)
    assert {one.pid for one in made} == {os.getpid()}
    assert host.limits_set_w(0) == [400]
    assert host.limits_set_w(0, after=1) == []
    assert host.sets_made == 6


def test_the_log_keeps_the_last_256(host: State) -> None:
    for _ in range(300):
        limit(400)

    assert [made.number for made in host.sets()] == list(range(300 - MAX_SETS + 1, 301))
    assert host.sets_made == 300


def test_limits_set_from_many_threads_are_written_down_in_the_order_in_which_they_hold(host: State) -> None:
    """The last one of the log is the one that holds."""

    def set_twenty(first_w: int) -> None:
        for more_w in range(20):
            limit(first_w + more_w)

    threads = [threading.Thread(target=set_twenty, args=(first_w,)) for first_w in (200, 300, 400, 500)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    taken = host.limits_set_w(0)
    assert sorted(taken) == sorted(float(first_w + n) for first_w in (200, 300, 400, 500) for n in range(20))
    assert host.gpu(0).requested_w == taken[-1]


def library() -> Path:
    """Return the folder of the compiled stand-in."""
    where = folder()
    assert where is not None
    return where


def test_another_controller_sets_its_limit_again_and_again() -> None:
    """It is another process; whatever we set to 400 W is 650 W again, and ours is in the log between."""
    host = fresh(gpus=3)
    pynvml.nvmlInit()
    with competitor.running(library(), host, gpus=(0, 2), limit_w=650, every_ms=5) as other:
        limit(400)
        eventually(lambda: host.gpu(0).requested_w == 650 or None, "the other one has raised it again")
        assert [gpu.requested_w for gpu in host.gpus] == [650, 700, 650]

    assert [made.pid for made in host.sets() if made.value == 400] == [os.getpid()]
    assert {made.pid for made in host.sets() if made.value == 650} == {other.pid}
    count = host.sets_made
    limit(400)
    assert (host.gpu(0).requested_w, host.sets_made) == (400, count + 1)


def test_another_controller_that_sets_twice_ends_by_itself() -> None:
    host = fresh(gpus=1)
    with competitor.running(library(), host, limit_w=300, every_ms=1, times=2) as other:
        assert other.wait() == 0

    assert (host.limits_set_w(0), host.users) == ([300, 300], 0)


def test_another_controller_does_not_last_for_ever() -> None:
    host = fresh(gpus=1)
    with competitor.running(library(), host, limit_w=300, every_ms=1, seconds=0.2) as other:
        assert other.wait() == 0


def test_another_controller_survives_a_driver_reload() -> None:
    host = fresh(gpus=1)
    with competitor.running(library(), host, limit_w=300, every_ms=5):
        host.reload_driver()
        count = host.sets_made
        eventually(lambda: host.limits_set_w(0, after=count) or None, "it has opened NVML anew")


def test_another_controller_without_permission_is_refused() -> None:
    host = fresh(gpus=1)
    host.set_root(may_set=False)
    with competitor.running(library(), host, limit_w=300, times=1):
        assert [made.code for made in host.sets()] == [NO_PERMISSION]


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
    clocks = [int(mhz) for mhz in re.findall(r"<supported_graphics_clock>(\d+) MHz<", text)]
    assert (made.sm_lowest_mhz, made.sm_mhz) == (min(clocks), max(clocks))
    assert {high - low for high, low in itertools.pairwise(clocks) if high > low} == {15}
    assert made.memory_total_mib == number("total")
    assert ("<current_mig>N/A<" in text) == (made.mig_max == 0)
    assert ("<average_power_draw>N/A<" in text.split("module_power")[0].split("gpu_memory_power")[0]) == bool(
        made.unsupported
    )
