"""The NVML source against the stand-in library, called through nvidia-ml-py as on a GPU host."""

from datetime import timedelta

import pytest
from doubles.commands import H100, NOON
from doubles.nvml.nvml_double import ENERGY, GPU_IS_LOST, POWER_INSTANT, State
from doubles.nvml_host import fresh

from collectors import RestartNeededError, SourceError
from collectors.sources import nvml
from pipeline.messages.telemetry import GpuSample, Quality


def after(seconds: float) -> "timedelta":
    """Return a span of the shared clock."""
    return timedelta(seconds=seconds)


def samples(source: nvml.Nvml, seconds: float = 0) -> tuple[GpuSample, ...]:
    """Read at *seconds* past noon."""
    return source.read(NOON + after(seconds)).gpus


def test_a_healthy_gpu_is_read_in_watts_and_joules() -> None:
    """The H100 capture: 629.45 W under load, limits 200 to 700 W. Ten seconds of it are 6294.5 J."""
    host = fresh(gpus=1)
    source = nvml.connect()
    samples(source)
    host.set_time(1_000_010)

    assert samples(source) == (
        GpuSample(
            uuid=host.uuid(0),
            model=H100,
            power_w=629.45,
            average_w=629.45,
            energy_j=6294.5,
            energy_epoch=0,
            enforced_w=700.0,
            requested_w=700.0,
            min_w=200.0,
            max_w=700.0,
        ),
    )


def test_reading_twice_counts_no_energy_twice() -> None:
    fresh(gpus=1)
    source = nvml.connect()

    assert samples(source) == samples(source)


def test_a_field_that_the_card_does_not_know_is_absent_and_not_zero() -> None:
    """An A100 has no 1 s average; the other fields are there."""
    fresh(gpus=1, profile="a100")

    (a100,) = samples(nvml.connect())

    assert a100.average_w is None
    assert a100.power_w == 388.0
    assert a100.quality == ()


def test_a_card_without_energy_counter_has_no_energy() -> None:
    host = fresh(gpus=1)
    host.gpu(0).unsupported[0] = ENERGY

    assert samples(nvml.connect())[0].energy_j is None


def test_a_superchip_answers_for_its_module_and_is_marked() -> None:
    """Scope 0 answers nothing; scope 1 draws 800 W, CPU included."""
    fresh(gpus=1, profile="module-only")

    (module,) = samples(nvml.connect())

    assert module.power_w == 800.0
    assert module.quality == (Quality.SCOPE_MODULE,)


def test_a_draw_that_no_such_card_can_have_is_withheld() -> None:
    """1051 W is above 1.5 × 700 W; 1050 W is not."""
    host = fresh(gpus=2)
    host.set_reported_w(0, 1051)
    host.set_reported_w(1, 1050)

    garbage, high = samples(nvml.connect())

    assert (garbage.power_w, garbage.average_w, garbage.quality) == (None, None, (Quality.IMPLAUSIBLE,))
    assert (high.power_w, high.quality) == (1050.0, ())


def test_energy_that_runs_backwards_opens_a_new_epoch() -> None:
    host = fresh(gpus=1)
    source = nvml.connect()
    epochs = []
    for energy_j in (5000, 6000, 100, 200):
        host.set_energy_j(0, energy_j)
        epochs.append((samples(source)[0].energy_j, samples(source)[0].energy_epoch))

    assert epochs == [(5000, 0), (6000, 0), (100, 1), (200, 1)]


def test_a_lost_gpu_is_marked_and_the_others_go_on() -> None:
    host = fresh()
    source = nvml.connect()
    samples(source)
    host.lose(3)

    for second in (1, 2, 3):
        found = samples(source, second)
        assert [gpu.quality for gpu in found] == [(Quality.LOST,) if index == 3 else () for index in range(8)]
        assert found[3].power_w is None
        assert found[4].power_w == 629.45


def test_a_gpu_that_comes_back_is_read_again_in_a_new_epoch() -> None:
    """Its counter went on from zero; even had it gone on from more, the epoch would be new."""
    host = fresh(gpus=2)
    source = nvml.connect()
    samples(source)
    host.lose(1)
    samples(source, 1)
    host.recover(1)
    host.set_energy_j(1, 9999)

    healthy, back = samples(source, 40)

    assert (healthy.energy_epoch, back.energy_epoch) == (0, 1)
    assert (back.quality, back.energy_j) == ((), 9999)


def test_a_driver_reload_is_survived() -> None:
    """Every handle is stale once; the next reading opens NVML anew, and all counters are in a new epoch."""
    host = fresh(gpus=2)
    source = nvml.connect()
    samples(source)
    host.reload_driver()

    assert {gpu.quality for gpu in samples(source, 1)} == {(Quality.LOST,)}
    assert [(gpu.quality, gpu.energy_epoch) for gpu in samples(source, 2)] == [((), 1), ((), 1)]


def test_a_field_that_says_the_gpu_is_gone_is_the_gpu_gone() -> None:
    """The call succeeds, and one field carries the code."""
    host = fresh(gpus=1)
    source = nvml.connect()
    samples(source)
    host.gpu(0).unsupported[0], host.gpu(0).field_code = POWER_INSTANT, GPU_IS_LOST

    assert samples(source, 1)[0].quality == (Quality.LOST,)


def test_a_gpu_in_passing_trouble_is_stale() -> None:
    """Code 10 is a timeout: no figures this second, and no reason to open NVML anew."""
    host = fresh(gpus=2)
    host.fail("nvmlDeviceGetFieldValues", 10, gpu=1, after=1)  # the first call looks for its scope

    healthy, late = samples(nvml.connect())

    assert healthy.quality == ()
    assert (late.quality, late.power_w) == ((Quality.STALE,), None)


@pytest.mark.parametrize("code", [9, 12])
def test_an_absent_driver_is_said_and_tried_again_later(code: int) -> None:
    """A second after the failure, not sooner."""
    host = fresh(gpus=1)
    host.fail("nvmlInit", code)
    source = nvml.connect()

    with pytest.raises(SourceError, match=f"no NVML here: .* \\({code}\\)"):
        samples(source)
    host.mend()
    with pytest.raises(SourceError, match="NVML is away, next try at 2026-07-23T12:00:01"):
        samples(source, 0.9)
    assert samples(source, 1)[0].power_w == 629.45


@pytest.mark.parametrize("code", [18, 999])
def test_what_only_a_new_process_can_mend_is_said_so(code: int) -> None:
    """A driver replaced underneath, device access taken away in a container."""
    host = fresh(gpus=1)
    host.fail("nvmlInit", code)

    with pytest.raises(RestartNeededError):
        samples(nvml.connect())


def test_no_gpu_at_all_is_a_failed_reading_and_not_an_idle_host() -> None:
    host = fresh()
    host.set_count(0)

    with pytest.raises(SourceError, match="shows no GPU"):
        samples(nvml.connect())


def test_a_driver_unloaded_in_the_middle_is_a_failed_reading_until_it_is_back() -> None:
    host = fresh(gpus=1)
    source = nvml.connect()
    samples(source)
    _unload(host)

    with pytest.raises(SourceError):
        samples(source, 1)
    with pytest.raises(SourceError):
        samples(source, 2)
    host.set_driver(loaded=True)
    host.mend()
    assert samples(source, 60)[0].power_w == 629.45


def _unload(host: State) -> None:
    host.set_driver(loaded=False)
    host.fail("nvmlDeviceGetFieldValues", 9)


def test_scope_probing_asks_for_the_gpus_own_power_first() -> None:
    """Where both scopes answer, the GPU's own is read."""
    host = fresh(gpus=1)
    host.gpu(0).scope_mask = 0b11

    assert samples(nvml.connect())[0].quality == ()


def test_a_card_that_answers_no_power_field_has_no_power() -> None:
    host = fresh(gpus=1)
    host.gpu(0).unsupported[0] = POWER_INSTANT

    (gpu,) = samples(nvml.connect())

    assert (gpu.power_w, gpu.average_w) == (None, 629.45)
