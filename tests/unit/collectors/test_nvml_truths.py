"""What tests/real asks of real GPUs, asked of every card of the stand-in: neither may drift from the other."""

from collections.abc import Callable

import pytest
from doubles.nvml.nvml_double import PROFILES
from doubles.nvml_host import fresh
from real.nvml_truths import TRUTHS, closing_is_no_end, two_readings

from collectors import Reading
from collectors.sources import nvml


@pytest.fixture(scope="module", params=sorted(PROFILES))
def readings(request: pytest.FixtureRequest) -> tuple[Reading, Reading]:
    """Return two readings of a host of two such cards, by the machine's clock."""
    fresh(gpus=2, profile=request.param).set_time(0)
    source = nvml.connect(nvml.Settings(xids=False, timeout_s=1))
    try:
        return two_readings(source)
    finally:
        source.close()


@pytest.mark.parametrize("truth", TRUTHS, ids=lambda truth: truth.__name__)
def test_what_holds_everywhere_holds_of_the_stand_in(
    truth: Callable[[Reading, Reading], None], readings: tuple[Reading, Reading]
) -> None:
    truth(*readings)


def test_closing_is_no_end() -> None:
    fresh(gpus=2)
    source = nvml.connect(nvml.Settings(xids=False, timeout_s=1))
    closing_is_no_end(source)
    source.close()
