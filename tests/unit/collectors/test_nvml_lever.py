"""The NVML lever against the stand-in library."""

from datetime import timedelta

import pytest
from doubles.commands import H100, NOON
from doubles.nvml.nvml_double import NO_PERMISSION, State
from doubles.nvml_host import fresh

from collectors import SourceError
from collectors.levers import LeverError, apply, nvml


def opened(host: State) -> tuple[nvml.Nvml, str]:
    """Return a lever that knows its GPUs, and the first one's UUID."""
    lever = nvml.connect()
    lever.gpus(NOON)
    return lever, host.uuid(0)


def test_a_gpu_says_its_range_its_limit_and_its_draw() -> None:
    host = fresh(gpus=1)

    gpu = nvml.connect().gpus(NOON)[host.uuid(0)]

    assert (gpu.model, gpu.min_w, gpu.max_w) == (H100, 200, 700)
    assert (gpu.requested_w, gpu.enforced_w, gpu.power_w, gpu.binding) == (700, 700, 629.45, False)


def test_a_limit_is_set_and_read_back() -> None:
    """Under a cap of 400 W a GPU that would draw 629 W is held down: the limit binds."""
    lever, uuid = opened(fresh(gpus=1))

    gpu = apply(lever, uuid, 400)

    assert (gpu.requested_w, gpu.enforced_w, gpu.binding) == (400, 400, True)


def test_a_cap_above_the_draw_does_not_bind() -> None:
    """It frees nothing, and says so."""
    lever, uuid = opened(fresh(gpus=1))

    assert apply(lever, uuid, 650).binding is False


def test_setting_without_permission_is_an_error_that_names_the_remedy() -> None:
    """The v2 setter of nvidia-ml-py would have reported success here."""
    host = fresh(gpus=1)
    host.set_root(may_set=False)
    lever, uuid = opened(host)

    with pytest.raises(LeverError, match=f"Insufficient Permissions \\({NO_PERMISSION}\\); .* CAP_SYS_ADMIN"):
        apply(lever, uuid, 400)
    assert host.gpu(0).requested_w == 700


@pytest.mark.parametrize("limit_w", [199.9, 700.1])
def test_a_limit_out_of_range_is_refused(limit_w: float) -> None:
    lever, uuid = opened(fresh(gpus=1))

    with pytest.raises(LeverError, match="Invalid Argument"):
        apply(lever, uuid, limit_w)


def test_an_out_of_band_cap_shows_in_what_is_enforced() -> None:
    """The BMC holds 300 W; software asks for 400 W and gets 300 W."""
    host = fresh(gpus=1)
    host.set_bmc_cap_w(0, 300)
    lever, uuid = opened(host)

    gpu = apply(lever, uuid, 400)

    assert (gpu.requested_w, gpu.enforced_w) == (400, 300)


def test_a_setter_that_claims_success_and_does_nothing_is_found_out() -> None:
    """The rule answers code 0 for the setter's work: the limit stays 700 W."""
    host = fresh(gpus=1)

    class Liar(nvml.Nvml):
        def set_limit(self, uuid: str, limit_w: float) -> None:
            """Report success."""

    lever = Liar()
    lever.gpus(NOON)

    with pytest.raises(LeverError, match=r"asked for 400\.0 W, reads back 700\.0 W"):
        apply(lever, host.uuid(0), 400)


def test_a_lost_gpu_cannot_be_limited_and_the_others_can() -> None:
    host = fresh(gpus=2)
    lever, _ = opened(host)
    host.lose(0)

    with pytest.raises(LeverError, match="GPU is lost"):
        apply(lever, host.uuid(0), 400)
    assert apply(lever, host.uuid(1), 400).requested_w == 400
    assert lever.gpus(NOON).keys() == {host.uuid(1)}


def test_a_driver_reload_is_survived() -> None:
    """Every handle is stale once; the next look opens NVML anew."""
    host = fresh(gpus=1)
    lever, uuid = opened(host)
    host.reload_driver()

    assert lever.gpus(NOON + timedelta(seconds=1)) == {}
    assert lever.gpus(NOON + timedelta(seconds=2)).keys() == {uuid}
    assert apply(lever, uuid, 400).requested_w == 400


def test_a_gpu_nobody_has_seen_is_an_error() -> None:
    lever, _ = opened(fresh(gpus=1))

    with pytest.raises(LeverError, match="does not answer"):
        apply(lever, "GPU-unknown", 400)


def test_a_module_that_only_answers_as_a_whole_is_left_alone() -> None:
    """Its limit needs the v2 setter, and covers the CPU, too."""
    fresh(gpus=1, profile="module-only")

    assert nvml.connect().gpus(NOON) == {}


def test_without_a_driver_there_is_nothing_to_pull() -> None:
    host = fresh(gpus=1)
    host.set_driver(loaded=False)

    with pytest.raises(SourceError, match="Driver Not Loaded"):
        nvml.connect().gpus(NOON)
