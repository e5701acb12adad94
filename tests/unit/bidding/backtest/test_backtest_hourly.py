"""Local days, gaps, and what is known when."""

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.bidding.backtest.backtest_world import DAY, HOUR, ZONE, prices

from bidding.backtest.hourly import hours_of, label, like

SPRING, AUTUMN = date(2021, 3, 14), date(2021, 11, 7)


@pytest.mark.parametrize(("day", "count"), [(SPRING, 23), (AUTUMN, 25), (date(2021, 6, 1), 24)])
def test_a_local_day_has_the_hours_that_its_clock_shows(day: date, count: int) -> None:
    hours = hours_of(day, ZONE)

    assert len(hours) == count
    assert label(hours[0], ZONE) == (0, 0)
    assert label(hours[-1], ZONE)[0] == 23


def test_the_hour_that_a_clock_shows_twice_is_told_apart() -> None:
    assert [label(hour, ZONE) for hour in hours_of(AUTUMN, ZONE)[:4]] == [(0, 0), (1, 0), (1, 1), (2, 0)]


def test_an_hour_is_known_once_it_has_ended() -> None:
    """At 06:00 UTC of 1 June the hours that began at 04:00 and 05:00 have ended, the one from 06:00 has not."""
    series = prices(date(2021, 6, 1), 1, lambda _, number: str(number))

    known = series.known_at(datetime(2021, 6, 1, 6, 30, tzinfo=UTC))

    assert list(known.by_start.values()) == [Decimal(0), Decimal(1)]


def test_a_gap_is_no_price_and_not_zero() -> None:
    series = prices(date(2021, 6, 1), 2, lambda day, number: None if (day.day, number) == (2, 5) else "7")

    assert len(series.of(date(2021, 6, 2))) == 23
    assert series.missing() == 1
    assert series.whole(date(2021, 6, 1))
    assert not series.whole(date(2021, 6, 2))


def test_a_short_day_goes_like_a_long_one_by_the_local_clock() -> None:
    """The pattern's price is the hour's number; on 14 March the clock goes from 1:59 to 3:00, so number 2 is 3:00."""
    whole = prices(date(2021, 3, 11), 1, lambda _, number: str(number)).of(date(2021, 3, 11))

    gone = like(SPRING, whole, ZONE)

    assert [int(price) for price in gone[:4]] == [0, 1, 3, 4]
    assert len(gone) == 23


def test_a_long_day_takes_an_hour_twice_and_a_skipped_hour_takes_the_one_before() -> None:
    whole = prices(date(2021, 11, 4), 1, lambda _, number: str(number)).of(date(2021, 11, 4))
    short = prices(SPRING, 1, lambda _, number: str(number)).of(SPRING)

    assert [int(price) for price in like(AUTUMN, whole, ZONE)[:4]] == [0, 1, 1, 2]
    assert [int(price) for price in like(date(2021, 3, 18), short, ZONE)[:4]] == [0, 1, 1, 2]


@given(
    st.dates(date(2019, 1, 1), date(2024, 12, 31)), st.sampled_from([ZONE, "America/Chicago", "America/Los_Angeles"])
)
def test_local_days_follow_each_other_without_gap_or_overlap(day: date, timezone: str) -> None:
    today, tomorrow = hours_of(day, timezone), hours_of(day + DAY, timezone)

    assert today[-1].end == tomorrow[0].start
    assert all(hour.length == HOUR for hour in today)
