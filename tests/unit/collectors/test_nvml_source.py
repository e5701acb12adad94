"""What the NVML source says of a GPU, against the stand-in library, called through nvidia-ml-py as on a GPU host."""

from datetime import UTC, datetime

import pynvml
import pytest
from doubles.commands import H100
from doubles.nvml import nvml_double
from doubles.nvml.nvml_double import ENERGY, NEW_SLOWDOWNS, OLD_SLOWDOWNS, POWER_INSTANT
from doubles.nvml_host import STARTED_S, fresh, measured

from collectors import Place
from collectors.nvml.calls import Calls
from collectors.sources import nvml
from pipeline.messages.telemetry import GpuSample, Quality

MIB = 1 << 20
CLAIM = {"job", "tenant"}
"""What no driver knows."""


def test_a_healthy_gpu_is_read_in_watts_joules_and_seconds() -> None:
    """The H100 capture: 629.45 W under load, limits 200 to 700 W. Ten seconds of it are 6294.5 J."""
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading()
        assert source.gpus(10) == (
            GpuSample(
                uuid=host.uuid(0),
                model=H100,
                power_w=629.45,
                average_w=629.45,
                energy_j=6294.5,
                read_at=datetime.fromtimestamp(STARTED_S + 10, UTC),
                enforced_w=700.0,
                requested_w=700.0,
                min_w=200.0,
                max_w=700.0,
                sm_mhz=1980,
                memory_mhz=2619,
                event_reasons=0,
                capped_s=0.0,
                thermal_s=0.0,
                braked_s=0.0,
                utilization=1.0,
                memory_used_b=19818 * MIB,
                temperature_c=59,
            ),
        )


def test_reading_twice_counts_no_energy_twice() -> None:
    with measured(fresh(gpus=1)) as source:
        assert source.gpus() == source.gpus()


def test_one_driver_call_fetches_all_fields() -> None:
    """A rule that lets everything pass counts the calls: after opening, one a reading."""
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS)
        source.reading(1)
        source.reading(2)

        assert host.hits(0) == 2


@pytest.mark.parametrize(
    ("profile", "absent"),
    [
        ("h100", set()),
        ("a100", {"average_w", "thermal_s", "braked_s"}),
        ("l40s", set()),
        ("t4", {"average_w"}),
    ],
)
def test_what_a_card_does_not_know_is_absent_and_not_zero(profile: str, absent: set[str]) -> None:
    """As in the captures of these cards."""
    with measured(fresh(gpus=1, profile=profile)) as source:
        (gpu,) = source.gpus()

    assert {name for name in gpu.__struct_fields__ if getattr(gpu, name) is None} - CLAIM == absent
    assert gpu.quality == ()


def test_a_card_without_energy_counter_has_no_energy() -> None:
    host = fresh(gpus=1)
    host.gpu(0).unsupported[0] = ENERGY
    with measured(host) as source:
        assert source.gpus()[0].energy_j is None


def test_a_card_that_answers_one_power_field_has_the_other_s() -> None:
    host = fresh(gpus=1)
    host.gpu(0).unsupported[0] = POWER_INSTANT
    with measured(host) as source:
        (gpu,) = source.gpus()

    assert (gpu.power_w, gpu.average_w) == (None, 629.45)
    assert gpu.read_at is not None


POWER_FIELDS = (185, 186, 190, 192, ENERGY)


def without_power_fields(profile: str) -> nvml_double.State:
    """Return a host of one GPU whose driver has no fields of power and energy, as driver 515."""
    host = fresh(gpus=1, profile=profile)
    host.gpu(0).unsupported[: len(POWER_FIELDS)] = POWER_FIELDS
    return host


@pytest.mark.parametrize(
    ("profile", "power_w", "average_w"),
    [("l40s", None, 110.01), ("h100", None, 629.45), ("a100", 388.0, None), ("t4", 70.0, None)],
)
def test_a_driver_without_power_fields_is_asked_by_calls_of_their_own(
    profile: str, power_w: float | None, average_w: float | None
) -> None:
    """What nvmlDeviceGetPowerUsage tells is the instant up to GA100, and the mean of a second on later chips."""
    host = without_power_fields(profile)
    with measured(host) as source:
        source.reading()
        reading = source.reading(10)
    (gpu,) = reading.gpus

    assert (gpu.power_w, gpu.average_w) == (power_w, average_w)
    assert gpu.energy_j == pytest.approx(10 * (power_w or average_w or 0))
    assert (gpu.enforced_w, gpu.requested_w) == (gpu.max_w, gpu.max_w)
    assert (gpu.quality, reading.troubles) == ((), ())


def test_a_gpu_that_tells_no_power_at_all_is_said() -> None:
    host = without_power_fields("l40s")
    host.fail("nvmlDeviceGetPowerUsage", nvml_double.NOT_SUPPORTED)
    with measured(host) as source:
        reading = source.reading()

    assert (reading.gpus[0].power_w, reading.gpus[0].average_w, reading.gpus[0].requested_w) == (None, None, 350)
    assert reading.troubles == (f"{host.uuid(0)} tells no power: this driver or card has none",)


@pytest.mark.parametrize(
    "function",
    ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit", "nvmlDeviceGetTotalEnergyConsumption"],
)
def test_a_driver_with_power_fields_pays_for_no_other_call(function: str) -> None:
    host = fresh(gpus=1)
    host.fail(function, nvml_double.HANGS)  # counts
    with measured(host) as source:
        source.reading(0)
        source.reading(1)

        assert host.hits(0) == 0


def test_a_superchip_answers_for_its_module_and_is_marked() -> None:
    """Scope 0 answers nothing; scope 1 draws 800 W, CPU included, and 10 s of it are 8000 J."""
    with measured(fresh(gpus=1, profile="module-only")) as source:
        source.reading()
        (module,) = source.gpus(10)

    assert (module.power_w, module.energy_j) == (800.0, 8000.0)
    assert module.quality == (Quality.SCOPE_MODULE,)


@pytest.mark.parametrize(
    ("module_w", "draw_w", "power_w", "max_w"),
    [((0, 0), 1100, 1100, None), ((300, 800), 1200, 1200, 800), ((300, 800), 1201, None, 800)],
)
def test_a_module_s_draw_is_measured_by_the_module_s_own_range(
    module_w: tuple[float, float], draw_w: float, power_w: float | None, max_w: float | None
) -> None:
    """Its GPU alone may have 700 W. 1200 W is 1.5 × 800 W; where the module tells no range nothing is implausible."""
    host = fresh(gpus=1)
    gpu = host.gpu(0)
    gpu.scope_mask = 0b10
    gpu.module_min_mw, gpu.module_max_mw = map(nvml_double.milliwatts, module_w)
    host.set_reported_w(0, draw_w)
    with measured(host) as source:
        (module,) = source.gpus()

    assert (module.power_w, module.min_w, module.max_w) == (power_w, module_w[0] or None, max_w)
    assert (Quality.IMPLAUSIBLE in module.quality) == (power_w is None)


def test_scope_probing_asks_for_the_gpus_own_power_first() -> None:
    """Where both scopes answer, the GPU's own is read."""
    host = fresh(gpus=1)
    host.gpu(0).scope_mask = 0b11
    with measured(host) as source:
        assert source.gpus()[0].quality == ()


def test_a_draw_that_no_such_card_can_have_is_withheld() -> None:
    """1051 W is above 1.5 × 700 W; 1050 W is not."""
    host = fresh(gpus=2)
    host.set_reported_w(0, 1051)
    host.set_reported_w(1, 1050)
    with measured(host) as source:
        garbage, high = source.gpus()

    assert (garbage.power_w, garbage.average_w, garbage.quality) == (None, None, (Quality.IMPLAUSIBLE,))
    assert (high.power_w, high.quality) == (1050.0, ())


def test_energy_is_the_counter_as_it_stands_backwards_too() -> None:
    """Epochs are not the source's to give."""
    host = fresh(gpus=1)
    found = []
    with measured(host) as source:
        for energy_j in (5000, 6000, 100, 200):
            host.set_energy_j(0, energy_j)
            (gpu,) = source.gpus()
            found.append((gpu.energy_j, gpu.energy_epoch))

    assert found == [(5000, 0), (6000, 0), (100, 0), (200, 0)]


def test_an_out_of_band_cap_shows_as_enforced_below_requested() -> None:
    """The BMC holds 500 W, software asks for 700 W: a GPU that would draw 629 W is held down for 10 s."""
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        host.set_bmc_cap_w(0, 500)
        (gpu,) = source.gpus(10)

    assert (gpu.enforced_w, gpu.requested_w) == (500.0, 700.0)
    assert gpu.power_w == pytest.approx(500, abs=0.01)
    assert gpu.event_reasons == 0x4
    assert gpu.capped_s == 10.0


def test_slowdowns_are_counted_by_their_cause() -> None:
    """2 s of software thermal slowdown, 3 s of hardware's, 1 s of power brake: 5 s of heat, 1 s of brake."""
    host = fresh(gpus=1)
    gpu = host.gpu(0)
    with measured(host) as source:
        source.reading(0)
        gpu.sw_thermal = 1
        source.reading(2)
        gpu.sw_thermal, gpu.hw_thermal = 0, 1
        source.reading(5)
        gpu.hw_thermal, gpu.brake = 0, 1
        (found,) = source.gpus(6)

    assert (found.thermal_s, found.braked_s) == (5.0, 1.0)
    assert found.event_reasons == 0x88


@pytest.mark.parametrize(("counters", "smoothing"), [(NEW_SLOWDOWNS, OLD_SLOWDOWNS), (OLD_SLOWDOWNS, NEW_SLOWDOWNS)])
def test_slowdown_counters_are_found_under_either_numbering(counters: int, smoothing: int) -> None:
    """The other three ids are settings of power smoothing to the same driver: 1, and no nanoseconds."""
    host = fresh(gpus=1)
    gpu = host.gpu(0)
    gpu.slowdown_field, gpu.smoothing_field, gpu.brake_ns = counters, smoothing, 4_000_000_000
    with measured(host) as source:
        (found,) = source.gpus()

    assert (found.thermal_s, found.braked_s) == (0.0, 4.0)


def test_settings_of_power_smoothing_are_not_taken_for_counters() -> None:
    host = fresh(gpus=1)
    host.gpu(0).slowdown_field, host.gpu(0).smoothing_field = 0, NEW_SLOWDOWNS
    with measured(host) as source:
        (found,) = source.gpus()

    assert (found.thermal_s, found.braked_s) == (None, None)


def test_clocks_follow_the_draw() -> None:
    """
    Half of what is above idle is half of the clock.

    69.62 W idle and 629.45 W demanded; a limit of 349.535 W leaves half of the 559.83 W between: 990 of 1980 MHz.
    """
    host = fresh(gpus=1)
    with measured(host) as source:
        source.reading(0)
        pynvml.nvmlDeviceSetPowerManagementLimit(pynvml.nvmlDeviceGetHandleByIndex(0), 349_535)
        (gpu,) = source.gpus(10)

    assert (gpu.sm_mhz, gpu.memory_mhz) == (990, 2619)


def test_slow_figures_stand_between_two_looks_at_them() -> None:
    """At 10 Hz memory is asked for once a second, power every time."""
    host = fresh(gpus=1)
    with measured(host, nvml.Settings(slow_period_s=0.9, timeout_s=1)) as source:
        source.reading(0)
        host.gpu(0).memory_used_b = 5 * MIB
        host.set_reported_w(0, 321)
        (soon,) = source.gpus(0.1)
        (late,) = source.gpus(1)

    assert (soon.power_w, soon.memory_used_b) == (321.0, 19818 * MIB)
    assert late.memory_used_b == 5 * MIB


@pytest.mark.parametrize(
    ("function", "absent"),
    [
        ("nvmlDeviceGetClockInfo", {"sm_mhz", "memory_mhz"}),
        ("nvmlDeviceGetCurrentClocksEventReasons", {"event_reasons"}),
        ("nvmlDeviceGetUtilizationRates", {"utilization"}),
        ("nvmlDeviceGetMemoryInfo", {"memory_used_b"}),
        ("nvmlDeviceGetTemperature", {"temperature_c"}),
        ("nvmlDeviceGetPowerManagementLimitConstraints", {"min_w", "max_w"}),
    ],
)
@pytest.mark.parametrize("code", [nvml_double.NOT_SUPPORTED, 999])
def test_a_call_that_fails_costs_its_own_figure_only(function: str, absent: set[str], code: int) -> None:
    host = fresh(gpus=1)
    host.fail(function, code)
    with measured(host) as source:
        (gpu,) = source.gpus()

    assert {name for name in gpu.__struct_fields__ if getattr(gpu, name) is None} - CLAIM == absent
    assert gpu.power_w == 629.45


def test_a_symbol_that_is_missing_is_looked_for_once() -> None:
    """Until NVML is opened anew; what a card does not support is asked every time."""
    asked = []

    def missing(code: int) -> None:
        asked.append(code)
        raise pynvml.NVMLError(code)

    calls = Calls()
    answers = [calls.ask(missing, code) for code in (3, 3, 13, 13, 3)]

    assert answers == [None] * 5
    assert asked == [3, 3, 13]


def test_a_divided_gpu_names_its_instances_and_is_measured_as_a_whole() -> None:
    """The numbering of instances has a hole; utilisation is not known of a GPU in MIG mode."""
    host = fresh(gpus=2)
    host.divide(1, "MIG-a", "", "MIG-c")
    with measured(host) as source:
        reading = source.reading()

    whole, divided = reading.gpus
    assert (whole.mig, divided.mig) == ((), ("MIG-a", "MIG-c"))
    assert (divided.power_w, divided.energy_j, divided.utilization) == (629.45, 0.0, None)
    assert [place.mig for place in reading.places] == [(), ("MIG-a", "MIG-c")]


def test_a_place_tells_minor_from_index() -> None:
    """/dev/nvidia1 is NVML's GPU 0 on some hosts."""
    host = fresh(gpus=2)
    host.gpu(0).minor, host.gpu(1).minor = 1, 0
    with measured(host) as source:
        assert source.reading().places == (Place(host.uuid(0), 0, 1), Place(host.uuid(1), 1, 0))


def test_a_reading_that_the_driver_repeats_for_longer_than_three_seconds_is_stale() -> None:
    """The figures are the last ones still, and marked; once the timestamp moves they are good again."""
    host = fresh(gpus=2)
    with measured(host) as source:
        host.freeze_readings(0, STARTED_S)
        marks = [source.gpus(second)[0].quality for second in (0, 1, 2, 3, 3.1)]
        stale, moving = source.gpus(4)
        host.freeze_readings(0, 0)
        back = source.gpus(5)[0]

    assert marks == [(), (), (), (), (Quality.STALE,)]
    assert (stale.power_w, stale.quality, moving.quality) == (629.45, (Quality.STALE,), ())
    assert back.quality == ()
