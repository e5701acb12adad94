"""The NVML source on this machine's own GPUs; only where ``FIRMWATT_REAL_NVML=1``. Nothing is set, only read."""

import os
from collections.abc import Callable, Iterator

import pynvml
import pytest
from real.nvml_truths import TRUTHS, closing_is_no_end, two_readings

from collectors import Reading
from collectors.sources import nvml

STAND_IN = "the stand-in is this process's NVML already: run tests/real by itself"


@pytest.fixture(scope="module")
def source() -> Iterator[nvml.Nvml]:
    """Yield the source on the machine's GPUs; skip where there are none, or nobody asked for them."""
    if os.environ.get("FIRMWATT_REAL_NVML") != "1":
        pytest.skip("set FIRMWATT_REAL_NVML=1 to read this machine's GPUs")
    if pynvml.nvmlLib is not None and pynvml.nvmlLib._name != "libnvidia-ml.so.1":
        pytest.skip(STAND_IN)
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        pytest.skip(f"no NVML on this machine: {error}")
    pynvml.nvmlShutdown()
    made = nvml.connect(nvml.Settings(timeout_s=10))  # the first opening of a driver without persistence takes seconds
    yield made
    made.close()


@pytest.fixture(scope="module")
def readings(source: nvml.Nvml) -> tuple[Reading, Reading]:
    """Return two readings of it."""
    return two_readings(source)


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.__name__)
def test_what_holds_everywhere_holds_here(
    truth: Callable[[Reading, Reading], None], readings: tuple[Reading, Reading]
) -> None:
    truth(*readings)


def test_closing_is_no_end(source: nvml.Nvml) -> None:
    closing_is_no_end(source)
