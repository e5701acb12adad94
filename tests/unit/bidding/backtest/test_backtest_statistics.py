"""Risk figures and the interval of a gain, on numbers small enough to check."""

from datetime import date

import pytest
from unit.bidding.backtest.backtest_world import DAY

from bidding.backtest.statistics import cvar, deviation, gain

MONDAY = date(2021, 3, 1)


def test_the_tail_is_the_mean_of_the_worst_days() -> None:
    assert cvar(list(range(20, 0, -1))) == 1
    assert cvar(list(range(1, 31))) == pytest.approx((1 + 2 * 0.5) / 1.5)
    assert cvar([-100.0, *[50.0] * 39]) == pytest.approx((-100 + 50) / 2)
    assert cvar([]) == 0


def test_the_deviation_of_two_days_is_their_distance_over_root_two() -> None:
    assert deviation([1.0, 3.0]) == pytest.approx(2**0.5)
    assert deviation([7.0]) == 0


def test_a_gain_that_every_week_shows_is_certain() -> None:
    """10 weeks in which each day is worth 3 against 2: 70 more, half as much again, whichever weeks are drawn."""
    days = [MONDAY + DAY * number for number in range(70)]

    found = gain(dict.fromkeys(days, 3.0), dict.fromkeys(days, 2.0), 7)

    assert (found.difference, found.low, found.high) == (70, 70, 70)
    assert (found.ratio, found.ratio_low, found.ratio_high) == (1.5, 1.5, 1.5)
    assert (found.weeks, found.certain) == (10, True)


def test_a_gain_that_one_week_makes_is_not_certain() -> None:
    """All of the 100 comes from the first of ten weeks: drawn without it, and that is a third of draws, it is 0."""
    days = [MONDAY + DAY * number for number in range(70)]
    ours = {day: 102.0 if day == MONDAY else 2.0 for day in days}

    found = gain(ours, dict.fromkeys(days, 2.0), 7)

    assert (found.difference, found.low) == (100, 0)
    assert found.high >= 200
    assert not found.certain


def test_over_nothing_there_is_no_ratio() -> None:
    assert gain({MONDAY: 5.0}, {MONDAY: 0.0}, 7).ratio is None
