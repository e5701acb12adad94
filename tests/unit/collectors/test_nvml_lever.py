"""The NVML levers against the stand-in library: power limits, and clocks at the end."""

from datetime import timedelta

import pytest
from doubles.commands import H100, NOON
from doubles.nvml.nvml_double import NO_PERMISSION, State
from doubles.nvml_host import fresh

from collectors import SourceError
from collectors.levers import FREE, LeverError, apply, clocks, nvml
from pipeline.messages.control import Trouble


def opened(host: State) -> tuple[nvml.Nvml, str]:
    """Return a lever that knows its GPUs, and the first one's UUID."""
    lever = nvml.connect()
    lever.find(NOON, ())
    return lever, host.uuid(0)


def test_a_gpu_says_its_range_its_limit_and_its_draw() -> None:
    lever, uuid = opened(fresh(gpus=1))

    gpu = lever.read(uuid)

    assert (gpu.model, gpu.lowest, gpu.highest) == (H100, 200, 700)
    assert (gpu.requested, gpu.enforced, gpu.power_w, gpu.binding, gpu.note) == (700, 700, 629.45, False, "")


def test_a_limit_is_set_and_read_back() -> None:
    """Under a cap of 400 W a GPU that would draw 629 W is held down: the limit binds."""
    lever, uuid = opened(fresh(gpus=1))

    gpu = apply(lever, uuid, 400)

    assert (gpu.requested, gpu.enforced, gpu.binding) == (400, 400, True)


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

    assert (gpu.requested, gpu.enforced) == (400, 300)


def test_a_setter_that_claims_success_and_does_nothing_is_found_out() -> None:
    """The rule answers code 0 for the setter's work: the limit stays 700 W."""
    host = fresh(gpus=1)

    class Liar(nvml.Nvml):
        def set(self, subject: str, level: float) -> None:
            """Report success."""

    lever = Liar()
    lever.find(NOON, ())

    with pytest.raises(LeverError, match="asked for 400, reads back 700") as raised:
        apply(lever, host.uuid(0), 400)
    assert raised.value.trouble is Trouble.NOT_TAKEN


def test_a_lost_gpu_cannot_be_limited_and_the_others_can() -> None:
    host = fresh(gpus=2)
    lever, _ = opened(host)
    host.lose(0)

    with pytest.raises(LeverError, match="GPU is lost"):
        apply(lever, host.uuid(0), 400)
    assert apply(lever, host.uuid(1), 400).requested == 400


def test_a_driver_reload_is_survived() -> None:
    """Every handle is stale once; the next look opens NVML anew."""
    host = fresh(gpus=1)
    lever, uuid = opened(host)
    host.reload_driver()

    with pytest.raises(LeverError, match="GPU is lost") as raised:
        lever.read(uuid)
    assert raised.value.trouble is Trouble.LOST
    assert [found.subject for found in lever.find(NOON + timedelta(seconds=2), ())] == [uuid]
    assert apply(lever, uuid, 400).requested == 400


def test_a_gpu_nobody_has_seen_is_an_error() -> None:
    lever, _ = opened(fresh(gpus=1))

    with pytest.raises(LeverError, match="does not answer"):
        apply(lever, "GPU-unknown", 400)


def test_a_module_that_only_answers_as_a_whole_is_left_alone() -> None:
    """Its limit needs the v2 setter, and covers the CPU, too."""
    fresh(gpus=1, profile="module-only")

    assert nvml.connect().find(NOON, ()) == ()


def test_without_a_driver_there_is_nothing_to_pull() -> None:
    host = fresh(gpus=1)
    host.set_driver(loaded=False)

    with pytest.raises(SourceError, match="Driver Not Loaded"):
        nvml.connect().find(NOON, ())


def test_a_gpu_without_persistence_mode_is_said_to_forget() -> None:
    host = fresh(gpus=1)
    host.gpu(0).persistence = 0
    lever, uuid = opened(host)

    assert lever.read(uuid).note == "persistence mode is off: the driver may forget what is set"


def test_a_gpu_says_where_it_sits_and_what_its_instances_are() -> None:
    """Mappings that know GPUs by number, and claims on MIG instances, need it."""
    host = fresh(gpus=2)
    host.divide(1, "MIG-a", "MIG-b")

    places = [found.place for found in nvml.connect().find(NOON, ())]

    assert [(place.index, place.mig) for place in places if place] == [(0, ()), (1, ("MIG-a", "MIG-b"))]


def locking(host: State, settings: clocks.Settings | None = None) -> tuple[clocks.Clocks, str]:
    """Return the lever for clocks that knows its GPUs, and the first one's UUID."""
    lever = clocks.connect(settings)
    lever.find(NOON, ())
    return lever, host.uuid(0)


def test_a_clock_is_locked_believed_and_let_go() -> None:
    """Before the first lock nobody knows whether there is one; an H100's SM clock reaches 1980 MHz."""
    host = fresh(gpus=1)
    lever, uuid = locking(host)
    before = lever.read(uuid)

    locked = apply(lever, uuid, 990)
    mhz = host.gpu(0).locked_max_mhz
    free = apply(lever, uuid, FREE)

    assert (before.requested, before.highest, before.model) == (None, 1980, H100)
    assert (locked.requested, mhz) == (990, 990)
    assert (free.requested, host.gpu(0).locked_max_mhz) == (FREE, 0)


def test_a_lock_that_somebody_takes_away_is_found_out() -> None:
    """The SM clock above the ceiling proves it, once it has had a second to come down."""
    host, seconds = fresh(gpus=1), [0.0]
    lever = clocks.Clocks(clocks.Settings(), lambda: seconds[0])
    lever.find(NOON, ())
    apply(lever, host.uuid(0), 990)
    host.gpu(0).locked_max_mhz = 0
    host.set_time(1_000_001)

    at_once = lever.read(host.uuid(0)).requested
    seconds[0] = 1.1

    assert at_once == 990
    assert lever.read(host.uuid(0)).requested == FREE


def test_where_operators_lock_clocks_themselves_their_lock_is_left_behind() -> None:
    host = fresh(gpus=1)
    lever, uuid = locking(host, clocks.Settings(restore_mhz=1500))
    apply(lever, uuid, 990)

    lever.set(uuid, FREE)

    assert host.gpu(0).locked_max_mhz == 1500


def test_a_clock_that_may_not_be_locked_is_an_error_that_names_the_remedy() -> None:
    host = fresh(gpus=1)
    host.set_root(may_set=False)
    lever, uuid = locking(host)

    with pytest.raises(LeverError, match=r"cannot lock clocks at 990 MHz: .* CAP_SYS_ADMIN") as raised:
        lever.set(uuid, 990)
    assert raised.value.trouble is Trouble.NO_PERMISSION
