"""NVML coming and going underneath the source: drivers, GPUs, symbols, and letting go of it all."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from doubles.nvml import nvml_double
from doubles.nvml.nvml_double import GPU_IS_LOST, POWER_INSTANT, State
from doubles.nvml_host import fresh, measured

from collectors import RestartNeededError, SourceError
from collectors.sources import nvml
from pipeline.messages.telemetry import Quality


def test_a_lost_gpu_is_marked_and_the_others_go_on() -> None:
    host = fresh()
    with measured(host) as source:
        source.reading(0)
        host.lose(3)

        for second in (1, 2, 3):
            reading = source.reading(second)
            assert [gpu.quality for gpu in reading.gpus] == [
                (Quality.LOST,) if index == 3 else () for index in range(8)
            ]
            assert (reading.gpus[3].power_w, reading.gpus[3].energy_j) == (None, None)
            assert reading.gpus[4].power_w == 629.45
            assert reading.troubles == (
                f"{host.uuid(3)} is lost: it fell off the bus or needs a reset; see the kernel log",
            )


def test_a_gpu_that_comes_back_is_read_again() -> None:
    """Its counter started again, and is passed on as it stands."""
    host = fresh(gpus=2)
    with measured(host) as source:
        source.reading(0)
        host.lose(1)
        source.reading(1)  # opens NVML anew, and not again before a second is over
        source.reading(1.5)
        host.recover(1)

        _, back = source.gpus(40)  # finds it lost still, and opens NVML anew
        assert back.quality == (Quality.LOST,)
        _, back = source.gpus(41)
        assert (back.quality, back.power_w, back.energy_j) == ((), 629.45, 0.0)


def test_the_only_gpu_of_a_host_is_lost_and_comes_back() -> None:
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.lose(0)
        assert [source.gpus(second)[0].quality for second in (1, 2, 3, 4)] == [(Quality.LOST,)] * 4
        host.recover(0)
        source.reading(60)

        assert source.gpus(61)[0].quality == ()


def test_a_host_whose_gpus_have_never_answered_is_a_failed_reading() -> None:
    host = fresh(gpus=2)
    host.lose(0)
    host.lose(1)
    with measured(host) as source:
        with pytest.raises(SourceError, match="none of them answers"):
            source.reading(0)
        host.recover(0)
        with pytest.raises(SourceError):
            source.reading(60)
        assert [gpu.uuid for gpu in source.gpus(61)] == [host.uuid(0)]


def test_a_driver_reload_is_survived() -> None:
    """Every handle is stale once; the next reading opens NVML anew, and the counters have started again."""
    host = fresh(gpus=2)
    with measured(host) as source:
        source.reading(0)
        source.reading(10)
        host.reload_driver()

        assert {gpu.quality for gpu in source.gpus(11)} == {(Quality.LOST,)}
        assert [(gpu.quality, gpu.energy_j) for gpu in source.gpus(12)] == [((), 629.45 * 2)] * 2


def test_a_field_that_says_the_gpu_is_gone_is_the_gpu_gone() -> None:
    """The call succeeds, and one field carries the code."""
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.gpu(0).unsupported[0], host.gpu(0).field_code = POWER_INSTANT, GPU_IS_LOST

        assert source.gpus(1)[0].quality == (Quality.LOST,)


@pytest.mark.parametrize(("code", "mark"), [(10, Quality.STALE), (999, Quality.STALE), (16, Quality.LOST)])
def test_a_gpu_in_trouble_of_its_own_has_no_figures_and_the_others_have(code: int, mark: Quality) -> None:
    """10 is a timeout, 16 a reset that is needed; the first call of three has found the scope already."""
    host = fresh(gpus=2)
    with measured(host) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", code, gpu=1)
        healthy, troubled = source.gpus(1)

    assert (healthy.quality, healthy.power_w) == ((), 629.45)
    assert (troubled.quality, troubled.power_w) == ((mark,), None)


@pytest.mark.parametrize("code", [9, 12])
def test_an_absent_driver_is_said_and_tried_again_later(code: int) -> None:
    """A second after the failure, not sooner."""
    host = fresh(gpus=1)
    host.fail("nvmlInit", code)
    with measured(host) as source:
        with pytest.raises(SourceError, match=f"no NVML here: .* \\({code}\\)"):
            source.reading(0)
        host.mend()
        with pytest.raises(SourceError, match=f"no NVML here: .* \\({code}\\)"):
            source.reading(0.9)
        assert source.gpus(1)[0].power_w == 629.45


def test_why_nvml_is_away_is_said_in_the_same_words_until_it_changes() -> None:
    """Tried at 0, 1 and 3 s; in between the answer is the last one's. What changes every second fills the log."""
    host = fresh(gpus=1)
    host.set_driver(loaded=False)
    said = set()
    with measured(host) as source:
        for second in (0, 0.5, 1, 2, 3, 4):
            with pytest.raises(SourceError) as refused:
                source.reading(second)
            said.add(str(refused.value))

    assert said == {"no NVML here: Driver Not Loaded (9); load the NVIDIA driver (`nvidia-smi` must work first)"}


def test_a_try_that_takes_long_does_not_change_what_is_said() -> None:
    host = fresh(gpus=1)
    host.fail("nvmlInit", 9, hang_ms=150)
    said = []
    with measured(host, nvml.Settings(xids=False, timeout_s=0.1)) as source:
        for second in (0, 0.5, 2):
            with pytest.raises(SourceError) as refused:
                source.reading(second)
            said.append(str(refused.value))

    assert len(set(said)) == 1
    assert said[0].startswith("no NVML here")


@pytest.mark.parametrize("code", [18, 999])
def test_what_only_a_new_process_can_mend_is_said_so(code: int) -> None:
    """A driver replaced underneath, device access taken away in a container."""
    host = fresh(gpus=1)
    host.fail("nvmlInit", code)
    with measured(host) as source, pytest.raises(RestartNeededError):
        source.reading(0)


def test_a_driver_replaced_underneath_a_running_collector_needs_a_new_process() -> None:
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", 18)

        with pytest.raises(RestartNeededError):
            source.reading(1)


@pytest.mark.parametrize("code", [1, 9, 28])
def test_nvml_that_is_gone_is_opened_anew(code: int) -> None:
    """One reading fails, the next one has figures."""
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", code)
        with pytest.raises(SourceError, match=f"\\({code}\\)"):
            source.reading(1)
        host.mend()

        assert source.gpus(40)[0].power_w == 629.45


def test_no_gpu_at_all_is_a_failed_reading_and_not_an_idle_host() -> None:
    host = fresh()
    host.set_count(0)
    with measured(host) as source, pytest.raises(SourceError, match="shows no GPU"):
        source.reading(0)


def test_a_driver_unloaded_in_the_middle_is_a_failed_reading_until_it_is_back() -> None:
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        _unload(host)
        with pytest.raises(SourceError):
            source.reading(1)
        with pytest.raises(SourceError):
            source.reading(2)
        host.set_driver(loaded=True)
        host.mend()

        assert source.gpus(60)[0].power_w == 629.45


def _unload(host: State) -> None:
    host.set_driver(loaded=False)
    host.fail("nvmlDeviceGetFieldValues", 9)


def test_a_gpu_that_appears_is_found_at_the_next_look_and_no_figure_is_missed() -> None:
    host = fresh(gpus=3)
    host.set_count(2)
    with measured(host, nvml.Settings(rescan_s=60, timeout_s=1)) as source:
        source.reading(0)
        host.set_count(3)
        numbers = [len(source.gpus(second)) for second in (59, 60, 61)]

        assert numbers == [2, 2, 3]
        assert all(gpu.quality == () for gpu in source.gpus(62))


def test_nvml_is_opened_anew_where_the_kernel_has_another_gpu(tmp_path: Path) -> None:
    """NVML counts GPUs when it is opened: the number of its users falls to none on the way."""
    host = fresh(gpus=2)
    (tmp_path / "0000:01:00.0").mkdir()
    with measured(host, nvml.Settings(rescan_s=60, timeout_s=1), kernel_gpus=tmp_path) as source:
        source.reading(0)
        host.fail("nvmlInit", -1)  # counts
        source.reading(60)
        source.reading(61)
        assert host.hits(0) == 0
        (tmp_path / "0000:02:00.0").mkdir()
        source.reading(120)

        assert [gpu.quality for gpu in source.gpus(121)] == [(), ()]
        assert (host.hits(0), host.users) == (1, 1)


def test_instances_made_while_it_runs_are_found_at_the_next_look() -> None:
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(rescan_s=60, timeout_s=1)) as source:
        source.reading(0)
        host.divide(0, "MIG-a")

        assert [source.gpus(second)[0].mig for second in (59, 60, 61)] == [(), (), ("MIG-a",)]


def test_a_mount_that_breaks_while_it_runs_is_a_failed_reading() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(rescan_s=60, timeout_s=1)) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetCount", 999)
        source.reading(60)
        with pytest.raises(RestartNeededError):
            source.reading(61)


def test_closing_lets_go_of_nvml_and_the_next_reading_takes_it_up_again() -> None:
    """So that the driver can be unloaded and a GPU divided; the thread that hears events lets go, too."""
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(timeout_s=1)) as source:
        source.reading(0)
        assert host.users == 1
        source.source.close()
        assert host.users == 0
        source.source.close()
        assert host.users == 0

        assert len(source.gpus(1)) == 2
        assert host.users == 1
    assert host.users == 0


READ = """
from datetime import UTC, datetime
from collectors import SourceError
from collectors.sources import nvml
try:
    gpus = nvml.connect(nvml.Settings()).read(datetime.now(UTC)).gpus
    absent = {name for name in gpus[0].__struct_fields__ if getattr(gpus[0], name) is None}
    print(sorted(absent - {"job", "tenant"}))
except SourceError as error:
    print(error)
"""


def read_elsewhere(folder: Path, *without: str) -> str:
    """Return what a process says whose library lacks the symbols *without*."""
    if nvml_double.compile(folder, without) is None:
        pytest.skip("the NVML stand-in needs a C compiler (cc)")
    host = State.create(folder / "gpus", gpus=1)
    environment = os.environ | nvml_double.environment(folder, host)
    run = subprocess.run(
        [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


def test_an_old_driver_s_missing_symbols_cost_their_own_figures_only(tmp_path: Path) -> None:
    """The older name of the event reasons is tried where the newer one is missing."""
    missing = ("nvmlDeviceGetMemoryInfo", "nvmlDeviceGetCurrentClocksEventReasons", "nvmlEventSetCreate")

    assert read_elsewhere(tmp_path, *missing, "nvmlDeviceGetMigMode") == "['memory_used_b']"


def test_a_driver_without_power_fields_is_said_to_be_too_old(tmp_path: Path) -> None:
    assert "too old for firmwatt" in read_elsewhere(tmp_path, "nvmlDeviceGetFieldValues")


def test_a_gpu_that_stays_lost_costs_the_others_ever_fewer_openings() -> None:
    """
    Ten minutes with GPU 1 off the bus: NVML is opened again after 1, 2, 4 … seconds, not every 30.

    1 + 2 + … + 256 s are 511 s: nine attempts after the first, and the first opening.
    """
    host = fresh(gpus=2)
    with measured(host) as source:
        source.reading(0)
        host.lose(1)
        host.fail("nvmlInit", 0)
        for second in range(1, 601):
            source.reading(second)

        assert 9 <= host.hits(0) <= 11
