"""Calls that do not return: one GPU, several, or NVML itself. Nobody waits for them longer than agreed."""

import time

import pytest
from doubles.gpu_host import eventually
from doubles.nvml.nvml_double import State
from doubles.nvml_host import Measured, fresh, measured

from collectors import SourceError
from collectors.sources import nvml
from pipeline.messages.telemetry import Quality

TIMEOUT_S = 0.2
SLACK_S = 0.15
"""What a shared machine may take on top."""

STALE, GOOD = (Quality.STALE,), ()


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
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=2)

        assert [marks(source, second) for second in (1, 2, 3)] == [[GOOD, GOOD, STALE, GOOD]] * 3
        assert calls(host) == 1
        hung = source.reading(4)
        assert (hung.gpus[2].power_w, hung.gpus[2].energy_j, hung.gpus[3].power_w) == (None, None, 629.45)
        assert hung.troubles == (
            f"{host.uuid(2)} does not answer: the driver hangs; it is asked again when the call returns",
        )


def test_a_gpu_known_to_hang_costs_no_time() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=1)
        source.reading(1)
        started = time.monotonic()

        assert source.gpus(2)[1].quality == STALE
        assert time.monotonic() - started < TIMEOUT_S / 2


def test_a_gpu_whose_call_returns_is_read_again() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetUtilizationRates", gpu=0)
        assert marks(source, 1) == [STALE, GOOD]
        host.mend()

        eventually(lambda: marks(source, 2) == [GOOD, GOOD] or None, "the GPU is read again")


def test_several_that_hang_share_one_deadline() -> None:
    host = fresh(gpus=4)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues")

        assert marks(source, 1) == [STALE] * 4
        assert calls(host) == 4


def test_a_lost_gpu_does_not_open_nvml_anew_under_one_that_hangs() -> None:
    """Opening would hang, too, and leave the healthy ones without figures."""
    host = fresh(gpus=3)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
        source.reading(0)
        host.hang("nvmlDeviceGetFieldValues", gpu=0)
        host.lose(1)

        for second in (1, 2, 3):
            assert marks(source, second) == [STALE, (Quality.LOST,), GOOD]
        assert host.users == 1


def test_a_gpu_that_hangs_is_not_looked_for_again_either() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S, rescan_s=10)) as source:
        source.reading(0)
        host.hang("*", gpu=0)

        assert [marks(source, second) for second in (10, 20, 30)] == [[STALE, GOOD]] * 3
        assert calls(host) == 1


def test_a_look_for_other_gpus_that_hangs_is_waited_for_once_and_costs_no_figure() -> None:
    host = fresh(gpus=2)
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S, rescan_s=10)) as source:
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
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
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
    with measured(host, nvml.Settings(xids=False, timeout_s=TIMEOUT_S)) as source:
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
