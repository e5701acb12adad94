"""Local days: business or not, 23, 24 or 25 hours long."""

from datetime import date, timedelta

import pytest

from pipeline.calendar import NERC_HOLIDAYS, Calendar
from pipeline.errors import ConfigError

PACIFIC = Calendar("America/Los_Angeles")


@pytest.mark.parametrize(
    ("day", "hours"),
    [(date(2026, 3, 8), 23), (date(2026, 7, 23), 24), (date(2026, 11, 1), 25)],
)
def test_a_local_day_has_as_many_hours_as_the_clock_shows(day: date, hours: int) -> None:
    assert PACIFIC.bounds(day).length == timedelta(hours=hours)


@pytest.mark.parametrize(
    ("day", "business"),
    [
        (date(2026, 7, 23), True),  # a Thursday
        (date(2026, 7, 25), False),  # a Saturday
        (date(2026, 9, 7), False),  # Labor Day
        (date(2027, 7, 5), False),  # Independence Day falls on a Sunday and is kept on Monday
        (date(2026, 7, 3), True),  # one on a Saturday is not kept on Friday
    ],
)
def test_a_business_day_is_a_weekday_and_no_holiday(day: date, business: bool) -> None:  # noqa: FBT001 - a table of cases
    assert PACIFIC.is_business_day(day) is business


@pytest.mark.parametrize("year", range(2024, 2031))
def test_the_holiday_list_holds_six_days_a_year_on_the_weekdays_they_are_known_by(year: int) -> None:
    days = sorted(day for day in NERC_HOLIDAYS if day.year == year)

    assert len(days) == 6
    assert [days[1].weekday(), days[3].weekday(), days[4].weekday()] == [0, 0, 3]
    assert (days[1] + timedelta(days=7)).month == 6
    assert days[3].day <= 7
    assert 22 <= days[4].day <= 28
    assert all(days[index].weekday() != 6 for index in (0, 2, 5))


def test_another_list_takes_the_place_of_the_default() -> None:
    veterans = Calendar("America/Los_Angeles", NERC_HOLIDAYS | {date(2026, 11, 11)})

    assert PACIFIC.is_business_day(date(2026, 11, 11))
    assert not veterans.is_business_day(date(2026, 11, 11))


def test_a_zone_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigError, match="Mars/Olympus"):
        Calendar("Mars/Olympus")
