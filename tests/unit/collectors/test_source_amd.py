"""AMD GPUs through the amdsmi wheel, bound to a library of our own."""

import ctypes
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from doubles.amd import amd_double

from collectors import Place, Reading, SourceError
from collectors.sources import amd
from pipeline.messages.telemetry import GpuSample, Quality

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)


@contextmanager
def measured(*profiles: str) -> Iterator[tuple[amd_double.State, amd.Amd]]:
    """Yield a fresh host and the source on it, closed afterwards."""
    host = amd_double.fresh(*profiles)
    source = amd.connect(amd.Settings())
    try:
        yield host, source
    finally:
        source.close()


def reading(*profiles: str) -> Reading:
    """Return one reading of a host of healthy GPUs."""
    with measured(*profiles) as (_, source):
        return source.read(NOON)


def test_an_mi300x_gives_current_power_and_no_average() -> None:
    """65 536 000 000 counts of 15.259 µJ are 1 000 013.8 J; the cap of 750 000 000 µW is 750 W."""
    (gpu,) = reading("mi300x").gpus

    assert gpu.energy_j == pytest.approx(1_000_013.8, abs=0.1)
    assert msgspec.structs.replace(gpu, energy_j=None) == GpuSample(
        uuid="00ff74a1-0000-1000-8000-000000000000",
        model="AMD Instinct MI300X",
        power_w=717.0,
        average_w=None,
        enforced_w=750.0,
        max_w=750.0,
        sm_mhz=2100,
        memory_mhz=1300,
        utilization=0.99,
        memory_used_b=64 * 2**30,
        temperature_c=71.0,
    )


def test_an_mi210_gives_average_power_and_no_current_one() -> None:
    (gpu,) = reading("mi210").gpus

    assert (gpu.power_w, gpu.average_w) == (None, 94.0)


def test_the_second_die_of_an_mi250_draws_nothing_of_its_own() -> None:
    """It reads 0 W and 0 J: that is no reading. The first one's 89 W are those of both, and are marked so."""
    first, second = reading("mi250-first", "mi250-second").gpus

    assert (first.average_w, first.quality) == (89.0, (Quality.SCOPE_MODULE,))
    assert (second.power_w, second.average_w, second.energy_j, second.max_w) == (None, None, None, None)


def test_a_limit_that_software_lowered_is_the_one_in_force() -> None:
    with measured("mi300x") as (host, source):
        host.gpu(0).cap_uw, host.gpu(0).min_uw = 500_000_000, 200_000_000
        (gpu,) = source.read(NOON).gpus

    assert (gpu.enforced_w, gpu.min_w, gpu.max_w) == (500.0, 200.0, 750.0)


def test_what_a_card_does_not_measure_is_absent() -> None:
    with measured("mi300x") as (host, source):
        gpu = host.gpu(0)
        gpu.current_w, gpu.gfx_percent, gpu.gfx_mhz = amd_double.NOT_MEASURED, 0xFFFF, 0xFFFF_FFFF
        gpu.resolution_uj = 0  # the energy counter is not supported
        (sample,) = source.read(NOON).gpus

    assert (sample.power_w, sample.average_w, sample.energy_j) == (None, None, None)
    assert (sample.utilization, sample.sm_mhz, sample.memory_mhz) == (None, None, 1300)


def test_a_card_without_power_is_not_a_card_that_is_gone() -> None:
    """AMDSMI_STATUS_NOT_SUPPORTED is an answer."""
    with measured("mi300x", "mi300x") as (host, source):
        source.read(NOON)
        host.gpu(1).code = amd_double.NOT_SUPPORTED
        given = source.read(NOON)

    assert [(gpu.power_w, gpu.quality) for gpu in given.gpus] == [(717.0, ()), (None, ())]
    assert given.troubles == ()


def test_a_draw_that_no_such_card_can_have_is_withheld_and_marked() -> None:
    """1.5 × 750 W is 1 125 W."""
    with measured("mi300x", "mi300x") as (host, source):
        host.gpu(0).current_w, host.gpu(1).current_w = 1126, 1125
        garbage, barely = source.read(NOON).gpus

    assert (garbage.power_w, garbage.quality) == (None, (Quality.IMPLAUSIBLE,))
    assert (barely.power_w, barely.quality) == (1125.0, ())


@pytest.mark.parametrize(
    ("code", "mark"), [(amd_double.NOT_FOUND, Quality.LOST), (amd_double.IO, Quality.STALE)], ids=["gone", "io error"]
)
def test_one_gpu_that_fails_is_marked_and_the_others_are_measured(code: int, mark: Quality) -> None:
    with measured("mi300x", "mi300x") as (host, source):
        source.read(NOON)
        host.gpu(1).code = code
        given = source.read(NOON)
        host.gpu(1).code = 0
        back = source.read(NOON)

    assert [(gpu.power_w, gpu.quality) for gpu in given.gpus] == [(717.0, ()), (None, (mark,))]
    assert given.troubles[0].startswith("GPU 01ff74a1-0000-1000-8000-000000000000: AMDSMI_STATUS_")
    assert [gpu.power_w for gpu in back.gpus] == [717.0, 717.0]


def test_a_gpu_that_does_not_give_its_name_does_not_stop_the_others() -> None:
    with measured("mi300x", "mi300x") as (host, source):
        host.gpu(0).code = amd_double.IO
        given = source.read(NOON)

    assert given.places == (Place("01ff74a1-0000-1000-8000-000000000000", 1),)
    assert [gpu.power_w for gpu in given.gpus] == [717.0]
    assert "GPU 0 is not measured" in given.troubles[0]


def test_all_gpus_gone_is_an_error_and_the_library_is_opened_again() -> None:
    with measured("mi300x") as (host, source):
        source.read(NOON)
        host.gpu(0).code = amd_double.NOT_FOUND
        with pytest.raises(SourceError, match=r"AMDSMI_STATUS_NOT_FOUND \(31\)"):
            source.read(NOON)
        host.gpu(0).code = 0

        assert source.read(NOON).gpus[0].power_w == 717.0
        assert host.inits == 2


def test_no_driver_is_an_error_that_says_so_until_there_is_one() -> None:
    with measured("mi300x") as (host, source):
        host.refuse_init(amd_double.DRIVER_NOT_LOADED)
        with pytest.raises(SourceError, match="is the amdgpu driver loaded"):
            source.read(NOON)
        host.refuse_init(0)

        assert source.read(NOON).gpus[0].power_w == 717.0


def test_a_host_without_gpus_is_an_error() -> None:
    with pytest.raises(SourceError, match="finds no GPU"):
        reading()


def test_the_library_is_let_go_of_and_opened_again() -> None:
    with measured("mi300x") as (host, source):
        source.read(NOON)
        source.close()
        source.close()
        source.read(NOON)

        assert host.inits == 2


@pytest.mark.parametrize(
    ("struct", "size"),
    [
        ("amdsmi_power_info_t", 192),
        ("amdsmi_power_cap_info_t", 64),
        ("amdsmi_engine_usage_t", 64),
        ("amdsmi_clk_info_t", 32),
        ("amdsmi_asic_info_t", 896),
    ],
)
def test_the_stand_in_fills_the_structs_that_the_wheel_declares(struct: str, size: int) -> None:
    """`amd_smi.c` asserts the same sizes."""
    amd_double.fresh()

    wrapper = importlib.import_module("amdsmi.amdsmi_wrapper")

    assert ctypes.sizeof(getattr(wrapper, struct)) == size


# ---- across the boundary of a process: the library is found, or not, as on a real host ----

READ_ONCE = """
from datetime import UTC, datetime
from collectors import SourceError
from collectors.sources import amd
try:
    print([gpu.power_w for gpu in amd.connect(amd.Settings()).read(datetime(2026, 7, 23, 12, tzinfo=UTC)).gpus])
except SourceError as error:
    print("SourceError:", error)
"""


def in_a_process(environment: dict[str, str]) -> str:
    """Return what a process prints that reads the source once."""
    ended = subprocess.run(
        [sys.executable, "-c", READ_ONCE], env=os.environ | environment, capture_output=True, text=True, check=True
    )
    assert ended.stderr == ""
    return ended.stdout.strip()


def compiled(folder: Path, without: str = "") -> Path:
    """Return *folder*, a ROCm of our own; skip where there is no C compiler."""
    if amd_double.compile_into(folder, without) is None:
        pytest.skip("the AMD SMI stand-in needs a C compiler (cc)")
    return folder


def test_the_wheel_finds_the_library_of_rocm_path(tmp_path: Path) -> None:
    host = amd_double.State.create(tmp_path / "gpus", "mi300x", "mi300x")

    assert in_a_process(amd_double.environment(compiled(tmp_path), host)) == "[717.0, 717.0]"


def test_no_library_is_an_error_that_says_what_to_install(tmp_path: Path) -> None:
    """The wheel prints its own lines to stdout and fails with a KeyError: neither is seen."""
    shown = in_a_process(amd_double.environment(tmp_path))

    assert shown == "SourceError: no libamd_smi.so: install ROCm's amd-smi-lib, or set ROCM_PATH to where ROCm is"


def test_a_library_of_another_release_is_an_error_that_names_what_it_lacks(tmp_path: Path) -> None:
    folder = compiled(tmp_path, without="amdsmi_get_lib_version")

    shown = in_a_process(amd_double.environment(folder))

    assert shown.startswith("SourceError: install the amdsmi wheel of this host's ROCm release")
    assert "undefined symbol: amdsmi_get_lib_version" in shown


def test_amdsmi_is_not_imported_before_it_is_needed() -> None:
    script = (
        "import sys; from collectors.sources import amd; amd.connect(amd.Settings()); print('amdsmi' in sys.modules)"
    )

    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert ended.stdout == "False\n"
