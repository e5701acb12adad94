"""Calls that do not return: one GPU, several, or NVML itself. Nobody waits for them longer than agreed."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from doubles.gpu_host import eventually
from doubles.nvml import nvml_double
from doubles.nvml.nvml_double import State
from doubles.nvml_host import STARTED_S, Measured, fresh, measured

from collectors import SourceError
from collectors.nvml.codes import UNINITIALIZED
from collectors.sources import nvml
from pipeline.messages.telemetry import Quality

TIMEOUT_S = 0.2
SLACK_S = 0.15
"""What a shared machine may take on top."""

NVML_SLOW_MS = 300
"""How long a call takes that is slow, and returns."""

STALE, GOOD = (Quality.STALE,), ()


def impatient(*, first_timeout_s: float = 1, rescan_s: float = 60) -> nvml.Settings:
    """Return settings by which no reading but the first takes longer than `TIMEOUT_S`."""
    return nvml.Settings(xids=False, timeout_s=TIMEOUT_S, first_timeout_s=first_timeout_s, rescan_s=rescan_s)


def marks(source: Measured, second: float) -> list[tuple[Quality, ...]]:
    """Return the marks of all GPUs; it may take `TIMEOUT_S`."""
    started = time.monotonic()
    found = [gpu.quality for gpu in source.gpus(second)]
    assert time.monotonic() - started < TIMEOUT_S + SLACK_S
    return found


def calls(host: State) -> int:
    """Return how often the rule that hangs was met."""
    return host.hits(0)


def test_a_gpu_that_hangs_is_stale_alone_and_is_asked_nothing_more() -> None:
    host = fresh(gpus=4)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=2)

        assert [marks(source, second) for second in (1, 2, 3)] == [[GOOD, GOOD, STALE, GOOD]] * 3
        assert calls(host) == 1
        hung = source.reading(4)
        assert (hung.gpus[2].power_w, hung.gpus[2].energy_j, hung.gpus[3].power_w) == (None, None, 629.45)
        assert hung.troubles == (
            f"{host.uuid(2)} does not answer: the driver hangs; it is asked again when the call returns",
        )


@pytest.mark.parametrize("function", ["nvmlDeviceGetFieldValues", "nvmlDeviceGetMigMode", "nvmlDeviceGetName"])
def test_a_gpu_that_hangs_when_nvml_is_opened_is_stale_alone(function: str) -> None:
    """Its model and its place are known where it has told them before it hung."""
    host = fresh(gpus=3)
    host.hang(function, gpu=1)
    with measured(host, impatient(first_timeout_s=TIMEOUT_S)) as source:
        assert [marks(source, second) for second in (0, 1, 2)] == [[GOOD, STALE, GOOD]] * 3
        reading = source.reading(3)
        told = function == "nvmlDeviceGetFieldValues"
        assert reading.gpus[1].model == (reading.gpus[0].model if told else "unknown")
        assert [place.index for place in reading.places] == ([0, 1, 2] if told else [0, 2])
        assert calls(host) == 1
        host.mend()

        eventually(lambda: marks(source, 4) == [GOOD] * 3 or None, "the GPU is read")
        assert [place.index for place in source.reading(5).places] == [0, 1, 2]


def test_nvml_closed_and_opened_again_under_a_gpu_that_hangs_measures_the_others() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=1)
        source.reading(1)
        with pytest.raises(SourceError, match="hangs in the driver"):
            source.source.close()

        eventually(lambda: _reads(source, 5) or None, "NVML is open")
        assert marks(source, 6) == [GOOD, STALE]


def test_a_gpu_that_answers_late_is_told_by_its_last_answer_and_waited_for_once() -> None:
    """A second apart, 300 ms a call: the first late answer is missed, and then each reading has the one before."""
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, gpu=1, hang_ms=NVML_SLOW_MS)
        assert marks(source, 1) == [GOOD, STALE]
        for second in (2, 3, 4):
            eventually(lambda: not source.source.hanging or None, "the late answer is there")
            started = time.monotonic()
            reading = source.reading(second)

            assert time.monotonic() - started < TIMEOUT_S / 2
            assert [gpu.quality for gpu in reading.gpus] == [GOOD, GOOD]
            assert reading.gpus[1].read_at == datetime.fromtimestamp(STARTED_S + second, UTC) - timedelta(seconds=1)


def test_at_ten_a_second_a_slow_gpu_keeps_its_last_figures_and_holds_up_nobody() -> None:
    """A reading waits for it once; from its first late answer on it is good, because no answer is 1.5 s old."""
    host = fresh(gpus=2)
    found, longest_s = [], 0.0
    with measured(host, nvml.Settings(xids=False)) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, gpu=1, hang_ms=NVML_SLOW_MS)
        begun = time.monotonic()
        for tick in range(1, 16):
            time.sleep(max(0.0, begun + tick / 10 - time.monotonic()))  # ticks of the machine's clock
            started = time.monotonic()
            found.append(tuple(gpu.quality for gpu in source.gpus(tick / 10)))
            longest_s = max(longest_s, time.monotonic() - started)

    assert {healthy for healthy, _ in found} == {GOOD}
    slow = [quality for _, quality in found]
    assert slow == sorted(slow, reverse=True)  # STALE, and then good for good
    assert (slow[0], slow[-1]) == (STALE, GOOD)
    assert longest_s < 0.2


def test_a_slow_gpu_whose_last_answer_is_too_old_is_stale() -> None:
    """1.5 s of the shared clock is what it may be old."""
    host = fresh(gpus=1)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, hang_ms=NVML_SLOW_MS)
        source.reading(1)
        eventually(lambda: not source.source.hanging or None, "the late answer is there")
        host.mend()
        host.hang("nvmlDeviceGetFieldValues")

        assert [marks(source, second) for second in (2.5, 2.6)] == [[GOOD], [STALE]]


def test_a_gpu_that_is_quick_again_is_waited_for_again() -> None:
    host = fresh(gpus=1)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, hang_ms=NVML_SLOW_MS)
        source.reading(1)
        eventually(lambda: not source.source.hanging or None, "the late answer is there")
        host.mend()
        for second in (2, 3):
            source.reading(second)
            eventually(lambda: not source.source.hanging or None, "it has answered")

        assert source.gpus(4)[0].read_at == datetime.fromtimestamp(STARTED_S + 4, UTC)


def test_closing_waits_for_a_gpu_that_is_only_slow() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, gpu=1, hang_ms=NVML_SLOW_MS)
        source.reading(1)
        source.source.close()

        assert host.users == 0
        assert marks(source, 2)[0] == GOOD


def test_a_slow_gpu_does_not_keep_others_from_being_found() -> None:
    host = fresh(gpus=2)
    host.set_count(1)
    with measured(host, impatient(rescan_s=5)) as source:
        host.fail("nvmlDeviceGetFieldValues", nvml_double.HANGS, gpu=0, hang_ms=NVML_SLOW_MS)
        source.reading(0)
        host.set_count(2)
        for second in (1, 2, 3, 4, 5):
            source.reading(second)
            eventually(lambda: not source.source.hanging or None, "the late answer is there")

        assert marks(source, 6) == [GOOD, GOOD]


def test_a_gpu_known_to_hang_costs_no_time() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=1)
        source.reading(1)
        started = time.monotonic()

        assert source.gpus(2)[1].quality == STALE
        assert time.monotonic() - started < TIMEOUT_S / 2


def test_a_gpu_whose_call_returns_is_read_again() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetUtilizationRates", gpu=0)
        assert marks(source, 1) == [STALE, GOOD]
        host.mend()

        eventually(lambda: marks(source, 2) == [GOOD, GOOD] or None, "the GPU is read again")


def test_several_that_hang_share_one_deadline() -> None:
    host = fresh(gpus=4)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues")

        assert marks(source, 1) == [STALE] * 4
        assert calls(host) == 4


def test_a_lost_gpu_does_not_open_nvml_anew_under_one_that_hangs() -> None:
    """Opening would hang, too, and leave the healthy ones without figures."""
    host = fresh(gpus=3)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("*", gpu=0)
        host.lose(1)

        for second in (1, 2, 3):
            assert marks(source, second) == [STALE, (Quality.LOST,), GOOD]
        assert host.users == 1


def test_a_driver_reloaded_under_a_gpu_that_hangs_gives_the_others_back() -> None:
    """There is no figure to lose: NVML is opened anew."""
    host = fresh(gpus=3)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=0)
        assert marks(source, 1) == [STALE, GOOD, GOOD]
        host.reload_driver()

        assert marks(source, 3) == [STALE, (Quality.LOST,), (Quality.LOST,)]
        eventually(lambda: marks(source, 4) == [STALE, GOOD, GOOD] or None, "the others are back")
        assert host.users == 1


def test_nvml_that_says_it_is_closed_is_opened_anew_under_a_gpu_that_hangs() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=0)
        source.reading(1)
        host.fail("nvmlDeviceGetFieldValues", UNINITIALIZED, gpu=1)
        with pytest.raises(SourceError):
            source.reading(2)
        host.mend()
        host.hang("nvmlDeviceGetFieldValues", gpu=0)

        assert marks(source, 3)[1] == GOOD


def test_a_gpu_that_hangs_is_not_looked_for_again_either() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient(rescan_s=10)) as source:
        source.reading(0)
        host.hang("*", gpu=0)

        assert [marks(source, second) for second in (10, 20, 30)] == [[STALE, GOOD]] * 3
        assert calls(host) == 1


def test_a_look_for_other_gpus_that_hangs_is_waited_for_once_and_costs_no_figure() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient(rescan_s=10)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetCount")
        source.reading(10)
        assert marks(source, 11) == [GOOD, GOOD]
        started = time.monotonic()
        assert marks(source, 12) == [GOOD, GOOD]
        assert time.monotonic() - started < TIMEOUT_S / 2


def test_closing_does_not_wait_for_a_gpu_that_hangs_and_says_that_it_is_held() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=0)
        source.reading(1)
        started = time.monotonic()
        with pytest.raises(SourceError, match=f"a call to {host.uuid(0)} hangs in the driver"):
            source.source.close()

        assert time.monotonic() - started < 1 + SLACK_S
        assert host.users == 0


@pytest.mark.parametrize("function", ["nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex"])
def test_opening_that_hangs_is_an_error_until_it_returns(function: str) -> None:
    host = fresh(gpus=2)
    with measured(host, impatient(first_timeout_s=TIMEOUT_S)) as source:
        host.hang(function)
        for second in (1, 2):
            started = time.monotonic()
            with pytest.raises(SourceError, match="NVML does not answer"):
                source.reading(second)
            assert time.monotonic() - started < TIMEOUT_S + SLACK_S
        assert calls(host) == 1
        host.mend()

        eventually(lambda: _reads(source, 3) or None, "NVML is open")
        assert host.users == 1


def test_closing_that_hangs_is_said_and_ends_when_the_driver_does() -> None:
    host = fresh(gpus=2)
    with measured(host, impatient()) as source:
        source.reading(0)
        host.hang("nvmlShutdown")
        with pytest.raises(SourceError, match="NVML does not answer"):
            source.source.close()
        host.mend()

        eventually(lambda: host.users == 0 or None, "NVML is closed")
        assert len(source.gpus(1)) == 2


def _reads(source: Measured, second: float) -> bool:
    try:
        return len(source.gpus(second)) == 2
    except SourceError:
        return False
