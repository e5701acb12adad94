"""Half-open intervals in UTC."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.interval import Interval, floor

NOON = datetime(2026, 7, 23, 12, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
FIVE = timedelta(minutes=5)


def test_the_end_belongs_to_the_next_interval() -> None:
    """12:05 is not in [12:00, 12:05)."""
    interval = Interval.containing(NOON + timedelta(minutes=4, seconds=59), FIVE)

    assert interval == Interval(NOON, NOON + FIVE)
    assert NOON in interval
    assert NOON + FIVE not in interval
    assert interval.next() == Interval(NOON + FIVE, NOON + 2 * FIVE)


def test_naive_and_local_times_are_refused() -> None:
    """An interval that could mean two things is no interval."""
    with pytest.raises(ValueError, match="must be UTC"):
        Interval(NOON.replace(tzinfo=None), NOON)
    with pytest.raises((ValueError, TypeError)):
        Interval(NOON, (NOON + FIVE).astimezone(timezone(timedelta(hours=2))))


def test_an_empty_interval_is_refused() -> None:
    """Energy over no time is no energy."""
    with pytest.raises(ValueError, match="must end after it starts"):
        Interval(NOON, NOON)


def test_an_hour_is_twelve_five_minute_intervals() -> None:
    """60 / 5 = 12, each a twelfth of an hour."""
    pieces = list(Interval(NOON, NOON + timedelta(hours=1)).split(FIVE))

    assert len(pieces) == 12
    assert pieces[0].hours == pytest.approx(1 / 12)
    with pytest.raises(ValueError, match="not a multiple"):
        list(Interval(NOON, NOON + timedelta(minutes=7)).split(FIVE))


@given(st.datetimes(datetime(1971, 1, 1), datetime(2100, 1, 1)), st.integers(1, 86_400))  # noqa: DTZ001 - made aware below
def test_every_instant_lies_in_exactly_the_interval_that_contains_it(naive: datetime, seconds: int) -> None:
    """Floor is at most the instant, and less than one length before it."""
    instant = naive.replace(tzinfo=UTC)
    interval = Interval.containing(instant, timedelta(seconds=seconds))

    assert instant in interval
    assert floor(instant, interval.length) == interval.start
