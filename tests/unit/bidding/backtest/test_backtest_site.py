"""What the simulated site is made from is refused where it is not whole."""

from pathlib import Path

import numpy as np
import pytest

from bidding.backtest import site_data
from pipeline.errors import ConfigError


def test_demand_is_a_share_of_the_highest_window() -> None:
    """Two days of 144 windows at 50 requests a second, one at 200: shares of a quarter, and of one."""
    requests = np.full(288, 50.0)
    requests[150] = 200.0

    found = site_data.demand(requests)

    assert found.shape == (2, 144)
    assert (found[0, 0], found[1, 6]) == (0.25, 1.0)


@pytest.mark.parametrize(
    ("windows", "lowest", "says"),
    [(288, 0.0, "a hole of the record"), (287, 1.0, "no whole days"), (0, 1.0, "no whole")],
)
def test_a_record_with_a_hole_or_half_a_day_is_refused(windows: int, lowest: float, says: str) -> None:
    requests = np.full(windows, 50.0)
    requests[:1] = lowest

    with pytest.raises(ConfigError, match=says):
        site_data.demand(requests)


def test_the_real_inputs_are_what_the_page_says(shared_data: Path) -> None:
    found = site_data.load(shared_data / "data")

    assert found.demand.shape == (14, 144)
    assert len(found.training_w) == 1000
    assert found.engine_w == pytest.approx(2547.5, abs=0.1)
    assert found.engine_tokens_per_s == pytest.approx(6827.2, abs=0.1)
