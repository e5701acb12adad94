"""`doubles.redelivery`: the judge of every transport test must itself catch what can go wrong."""

import pytest
from doubles.redelivery import Seen, seen


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        pytest.param([1, 2, 3, 4, 5], Seen(missing=0, ahead=0, again=0, returns=0), id="as sent"),
        pytest.param([1, 2, 3, 2, 3, 4, 5], Seen(missing=0, ahead=0, again=2, returns=1), id="two came again"),
        pytest.param([1, 2, 4, 5], Seen(missing=1, ahead=1, again=0, returns=0), id="one is lost"),
        pytest.param([1, 2, 3, 4], Seen(missing=1, ahead=0, again=0, returns=0), id="the last is lost"),
        pytest.param([1, 2, 4, 3, 5], Seen(missing=0, ahead=1, again=1, returns=1), id="two changed places"),
    ],
)
def test_losses_repeats_and_disorder_are_told_apart(numbers: list[int], found: Seen) -> None:
    assert seen(numbers, 5) == found
