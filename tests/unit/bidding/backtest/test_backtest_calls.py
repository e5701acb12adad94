"""What is learned of real events, and calls drawn from it."""

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest
from unit.bidding.backtest.backtest_world import DAY

from bidding.backtest import reserves
from bidding.backtest.calls import Call, CallModel, draw, learn
from bidding.backtest.forecast import called_h
from bidding.backtest.hourly import hours_of
from bidding.backtest.reserves import TIMEZONE, Event
from pipeline.interval import Interval

MINUTE = timedelta(minutes=1)


def event(start: datetime, minutes: int = 10, zone: str = "RTO", subzone: str = "") -> Event:
    return Event(start, minutes * MINUTE, zone, subzone)


def test_the_level_is_of_the_last_years_and_the_shape_of_all() -> None:
    """
    Two events for the RTO in three years; of three instants in all, one is in January and two are at 7 o'clock.

    Two zones at one instant are one event, and one in another subzone does not count for the level.
    """
    found = learn(
        (
            event(datetime(2005, 1, 5, 7), zone="AEP Control Zone"),  # noqa: DTZ001 - as PJM lists them
            event(datetime(2005, 1, 5, 7), zone="Dayton Control Zone"),  # noqa: DTZ001
            event(datetime(2014, 6, 5, 7, 30), 8),  # noqa: DTZ001
            event(datetime(2015, 8, 5, 18), 12),  # noqa: DTZ001
            event(datetime(2015, 8, 5, 18), 60, subzone="elsewhere"),  # noqa: DTZ001
        )
    )

    assert found.per_year == pytest.approx(2 / 3)
    assert found.month_share[1] == pytest.approx(1 / 3)
    assert found.hour_share[7] == pytest.approx(2 / 3)
    assert found.lengths == (8 * MINUTE, 12 * MINUTE)


def certain(hour: int) -> CallModel:
    """Return a model with a call every day at one hour of the local clock."""
    return CallModel(
        per_year=366.0,
        month_share=dict.fromkeys(range(1, 13), 1.0),
        hour_share={at: float(at == hour) for at in range(24)},
        lengths=(10 * MINUTE,),
        listed=1,
    )


def test_a_call_comes_at_the_hour_of_the_local_clock() -> None:
    hours = [hour for number in range(10) for hour in hours_of(date(2017, 3, 8) + DAY * number, TIMEZONE)]

    called = draw(certain(7), hours, "seed")

    assert len(called) == 10
    assert {hour.start.hour for hour in called} == {12, 11}  # 7:00 is 12:00 UTC in winter, 11:00 in summer


def test_calls_are_the_same_whichever_other_hours_are_asked() -> None:
    model = CallModel(2000.0, dict.fromkeys(range(1, 13), 1 / 12), dict.fromkeys(range(24), 1 / 24), (MINUTE,), 1)
    days = [hours_of(date(2017, 5, 1) + DAY * number, TIMEZONE) for number in range(20)]

    together = draw(model, [hour for day in days for hour in day], "seed")
    apart: dict[Interval, Call] = {}
    for day in reversed(days):
        apart |= draw(model, day, "seed")

    assert together == apart
    assert together != draw(model, [hour for day in days for hour in day], "another seed")
    assert together


@pytest.mark.parametrize(("minutes", "hours"), [(15, 0.25), (30, 0.5), (68, 0.5)])
def test_a_call_is_answered_for_half_an_hour_at_most(minutes: int, hours: float) -> None:
    assert called_h(minutes * MINUTE) == hours


def test_as_many_calls_are_drawn_as_the_real_list_has(shared_data: Path) -> None:
    """25.3 a year: 253 over ten years, and 253 ± 48 is three standard deviations."""
    model = learn(reserves.events(shared_data / "data"))
    hours = [hour for number in range(3650) for hour in hours_of(date(2010, 1, 1) + DAY * number, TIMEZONE)]

    assert model.per_year == pytest.approx(76 / 3)
    assert sum(model.month_share.values()) == pytest.approx(1)
    assert sum(model.hour_share.values()) == pytest.approx(1)
    assert abs(len(draw(model, hours, "seed")) - 253) < 48
