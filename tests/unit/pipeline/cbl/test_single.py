"""One event of one resource, as bidding asks: by which rules, on which grid, in which years."""

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest

from bidding.performance import calendar_of
from pipeline.calendar import Calendar
from pipeline.cbl import methods
from pipeline.cbl.single import Event, method
from pipeline.errors import ConfigError
from pipeline.interval import Interval

HOUR = timedelta(hours=1)
FITTING = ("aemo-10-of-10", "caiso-10-in-10", "gb-bl01", "isone", "miso-10-day", "nyiso-average-day", "pjm-high-4-of-5")


@pytest.mark.parametrize("name", sorted(set(methods.names()) - {*FITTING, "caiso-5-in-10"}))
def test_a_rule_that_wants_more_than_the_hours_bidding_fetches_is_refused_at_the_start(name: str) -> None:
    """Whole days, hours after the event, temperatures, nominations: it would find too little history for ever."""
    with pytest.raises(ConfigError, match="bidding settles by day matching"):
        method(name)


@pytest.mark.parametrize("name", FITTING)
def test_day_matching_by_the_hours_of_the_event_is_what_bidding_settles_by(name: str) -> None:
    found = method(name)

    assert found.look_back >= timedelta(days=30)
    assert found.reach <= timedelta(hours=6)


def test_hourly_readings_in_utc_serve_where_local_midnight_is_at_half_past() -> None:
    """In India 12:30 local time is 7:00 UTC: on the meter's grid, though not on the hour of any local clock."""
    start = datetime(2026, 7, 23, 7, tzinfo=UTC)
    history = pl.DataFrame(
        {"start": [start - HOUR * hours for hours in range(-1, 24 * 40)], "load_kw": 500.0},
        schema={"start": pl.Datetime("us", "UTC"), "load_kw": pl.Float64},
    )

    found = method("caiso-10-in-10")(history, Event(Interval(start, start + HOUR)), Calendar("Asia/Kolkata"))

    assert found.baseline_kw == pytest.approx(500.0)


def test_a_year_of_which_the_venue_names_no_holidays_is_refused() -> None:
    """Christmas would pass for a business day."""
    rules: Any = SimpleNamespace(timezone="America/Los_Angeles", holidays=(date(2026, 12, 25), date(2027, 1, 1)))

    assert not calendar_of(rules).is_business_day(date(2026, 12, 25))
    with pytest.raises(ConfigError, match="no holidays are known of 2028"):
        calendar_of(rules).is_business_day(date(2028, 12, 25))
