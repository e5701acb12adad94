"""The venue's 10-in-10 against figures worked out by hand."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.sandbox.baseline import EventBaseline, Grid, Missing, event_baseline, events
from bidding.sandbox.daytypes import holidays, is_business_day

PACIFIC = ZoneInfo("America/Los_Angeles")
HOURLY = Grid(timedelta(hours=1), PACIFIC)
EVENT_DAY = date(2026, 7, 23)
HOURS_ENDING = (14, 15, 16, 18, 19, 20)

#: Worked example: load by day in MWh for hours ending 14, 15, 16 and 18, 19, 20.
HISTORY = {
    "07-22": "40 41 42 43 42 41",
    "07-21": "39 40 41 42 41 40",
    "07-20": "38 39 40 41 40 39",
    "07-17": "41 42 43 44 43 42",
    "07-16": "40 41 42 30 29 28",  # event
    "07-15": "40.5 41.5 42.5 43.5 42.5 41.5",
    "07-14": "37 38 39 40 39 38",
    "07-13": "42 43 44 45 44 43",
    "07-10": "41 42 43 29 28 30",  # event
    "07-09": "39.5 40.5 41.5 42.5 41.5 40.5",
    "07-08": "40 41 42 43 42 41",
    "07-07": "38 39 40 41 40 39",
    "07-06": "36 37 38 39 38 37",  # the eleventh day
}
EVENT_DAYS = frozenset({date(2026, 7, 16), date(2026, 7, 10)})
TEN_DAYS = tuple(date.fromisoformat(f"2026-{day}") for day in HISTORY if day not in {"07-16", "07-10", "07-06"})


def hour_ending(day: date, hour: int) -> datetime:
    """Return the start, UTC, of the local hour that ends at *hour*."""
    return datetime(day.year, day.month, day.day, hour - 1, tzinfo=PACIFIC).astimezone(UTC)


def metered(days: Mapping[str, str]) -> dict[datetime, Decimal]:
    """Return kWh by hour of days written as in the worked example."""
    return {
        hour_ending(date.fromisoformat(f"2026-{day}"), hour): Decimal(mwh) * 1000
        for day, text in days.items()
        for hour, mwh in zip(HOURS_ENDING, text.split(), strict=False)
    }


def worked_example(before_event: str) -> EventBaseline:
    event = tuple(hour_ending(EVENT_DAY, hour) for hour in (18, 19, 20))
    found = event_baseline(event, metered(HISTORY | {"07-23": before_event}), EVENT_DAYS, HOURLY)
    assert isinstance(found, EventBaseline)
    return found


def test_the_ten_newest_like_days_without_an_event_are_used() -> None:
    """07-16 and 07-10 had events; the weekends of 07-18 and 07-11 are no business days; 07-06 would be the eleventh."""
    assert worked_example("42 43 44").days == TEN_DAYS


def test_the_worked_example_with_an_adjustment_inside_the_cap() -> None:
    """43 / 40.5 = 1.061728…: 42.5, 41.5, 40.5 become 45.123457, 44.061728, 43.0; 34, 33, 35 metered: 30.185185 MWh."""
    found = worked_example("42 43 44")

    mwh = [found.kwh(hour_ending(EVENT_DAY, hour)) / 1000 for hour in (18, 19, 20)]
    assert found.ratio == Fraction(430, 405)
    assert [round(float(each), 6) for each in mwh] == [45.123457, 44.061728, 43.0]
    assert round(float(sum(mwh) - (34 + 33 + 35)), 6) == 30.185185


def test_the_worked_example_with_an_adjustment_at_the_cap() -> None:
    """51 / 40.5 = 1.259…, capped at 1.2: 51.0, 49.8, 48.6; reductions 17.0, 16.8, 13.6, in all 47.4 MWh."""
    found = worked_example("50 51 52")

    mwh = [found.kwh(hour_ending(EVENT_DAY, hour)) / 1000 for hour in (18, 19, 20)]
    assert found.ratio == Fraction(12, 10)
    assert mwh == [51, Fraction("49.8"), Fraction("48.6")]
    assert sum(mwh) - (34 + 33 + 35) == Fraction("47.4")


def test_an_adjustment_downwards_is_limited_too() -> None:
    """27 / 40.5 = 2/3, limited to 0.8."""
    assert worked_example("26 27 28").ratio == Fraction(8, 10)


def test_the_hour_before_the_event_does_not_count() -> None:
    """Hour ending 17 is skipped: it may be metered or not."""
    event = (hour_ending(EVENT_DAY, 18),)
    meter = metered(HISTORY | {"07-23": "42 43 44"})

    with_it = event_baseline(event, meter | {hour_ending(EVENT_DAY, 17): Decimal(99_000)}, EVENT_DAYS, HOURLY)

    assert with_it == event_baseline(event, meter, EVENT_DAYS, HOURLY)


def test_a_gap_before_the_event_is_no_baseline() -> None:
    found = event_baseline((hour_ending(EVENT_DAY, 18),), metered(HISTORY | {"07-23": "42 43"}), EVENT_DAYS, HOURLY)

    assert found == Missing("1 of 3 readings before the event are missing, first 2026-07-23T22:00:00Z")


def test_a_day_with_a_gap_gives_way_to_an_older_one() -> None:
    """Without 07-22's last hour the eleventh day, 07-06, is the tenth."""
    meter = metered(HISTORY | {"07-22": "40 41 42 43 42", "07-23": "42 43 44"})
    event = tuple(hour_ending(EVENT_DAY, hour) for hour in (18, 19, 20))

    found = event_baseline(event, meter, EVENT_DAYS, HOURLY)

    assert isinstance(found, EventBaseline)
    assert found.days == (*TEN_DAYS[1:], date(2026, 7, 6))


def test_too_few_days_are_filled_up_with_the_highest_event_days() -> None:
    """Four days without events: the fifth is 07-16 (87 MWh in the event's hours), as high as 07-10 (87), but newer."""
    days = {day: HISTORY[day] for day in ("07-22", "07-21", "07-20", "07-17", "07-16", "07-10")}
    event = tuple(hour_ending(EVENT_DAY, hour) for hour in (18, 19, 20))

    found = event_baseline(event, metered(days | {"07-23": "42 43 44"}), EVENT_DAYS, HOURLY)

    assert isinstance(found, EventBaseline)
    assert [day.day for day in found.days] == [22, 21, 20, 17, 16]


def test_a_history_too_short_says_so() -> None:
    days = {day: HISTORY[day] for day in ("07-22", "07-21", "07-20", "07-17")}

    found = event_baseline((hour_ending(EVENT_DAY, 18),), metered(days | {"07-23": "42 43 44"}), EVENT_DAYS, HOURLY)

    assert found == Missing(
        "history too short: 5 business days with complete meter data are needed in the 45 days before, there are 4"
    )


def test_days_older_than_45_are_not_looked_at() -> None:
    """46 days before 07-23 is 06-07; a history that ends there is no history."""
    meter = {
        hour_ending(EVENT_DAY - timedelta(days=back), hour): Decimal(1)
        for back in range(46, 60)
        for hour in HOURS_ENDING
    } | metered({"07-23": "42 43 44"})

    found = event_baseline((hour_ending(EVENT_DAY, 18),), meter, frozenset(), HOURLY)

    assert isinstance(found, Missing)
    assert "there are 0" in found.reason


def test_a_weekend_event_uses_four_weekend_days() -> None:
    """Saturday 2026-07-25: 19, 18, 12, 11 July."""
    saturday = date(2026, 7, 25)
    meter = {
        hour_ending(saturday - timedelta(days=back), hour): Decimal(100) for back in range(40) for hour in HOURS_ENDING
    }

    found = event_baseline((hour_ending(saturday, 18),), meter, frozenset(), HOURLY)

    assert isinstance(found, EventBaseline)
    assert [day.day for day in found.days] == [19, 18, 12, 11]


def test_a_baseline_of_zero_is_not_adjusted() -> None:
    meter = dict.fromkeys(metered(HISTORY), Decimal(0)) | metered({"07-23": "42 43 44"})

    found = event_baseline((hour_ending(EVENT_DAY, 18),), meter, EVENT_DAYS, HOURLY)

    assert isinstance(found, EventBaseline)
    assert found.ratio == 1
    assert found.kwh(hour_ending(EVENT_DAY, 18)) == 0


@settings(deadline=None)  # a busy machine is no failure
@given(st.decimals(min_value="0.1", max_value=10, places=3))
def test_a_load_twice_as_high_has_a_baseline_twice_as_high(factor: Decimal) -> None:
    event = tuple(hour_ending(EVENT_DAY, hour) for hour in (18, 19, 20))
    meter = metered(HISTORY | {"07-23": "42 43 44"})

    found = event_baseline(event, meter, EVENT_DAYS, HOURLY)
    scaled = event_baseline(event, {at: kwh * factor for at, kwh in meter.items()}, EVENT_DAYS, HOURLY)

    assert isinstance(found, EventBaseline)
    assert isinstance(scaled, EventBaseline)
    assert [scaled.kwh(at) for at in event] == [found.kwh(at) * Fraction(factor) for at in event]


# ------------------------------------------------------------------------------------------------- time


def test_contiguous_intervals_of_a_day_are_one_event_and_a_pause_begins_another() -> None:
    one, two, four = (hour_ending(EVENT_DAY, hour) for hour in (13, 14, 16))

    assert events([four, two, one, two], HOURLY) == [(one, two), (four,)]


def test_local_midnight_divides_an_event() -> None:
    last = hour_ending(EVENT_DAY, 24)

    assert events([last, last + timedelta(hours=1)], HOURLY) == [(last,), (last + timedelta(hours=1),)]


def test_the_same_local_time_is_found_across_a_clock_change() -> None:
    """12:00 in Los Angeles is 20:00 UTC on Saturday 7 March 2026 and 19:00 UTC on Monday the 9th."""
    monday_noon = datetime(2026, 3, 9, 19, tzinfo=UTC)

    assert HOURLY.days_earlier(monday_noon, 2) == datetime(2026, 3, 7, 20, tzinfo=UTC)


def test_a_time_that_a_short_day_lacks_is_nothing() -> None:
    """On 8 March 2026 there is no 02:30."""
    assert HOURLY.days_earlier(datetime(2026, 3, 9, 9, 30, tzinfo=UTC), 1) is None


def test_of_a_repeated_hour_the_first_stands_for_the_day() -> None:
    """On 1 November 2026 01:30 comes twice: at 08:30 and 09:30 UTC."""
    assert HOURLY.days_earlier(datetime(2026, 11, 2, 9, 30, tzinfo=UTC), 1) == datetime(2026, 11, 1, 8, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("year", "expected"),
    [
        (2026, ["01-01", "05-25", "07-04", "09-07", "11-26", "12-25"]),
        (2027, ["01-01", "05-31", "07-05", "09-06", "11-25", "12-25"]),  # the Fourth is a Sunday
        (2023, ["01-02", "05-29", "07-04", "09-04", "11-23", "12-25"]),  # New Year is a Sunday
    ],
)
def test_the_six_holidays_of_a_year(year: int, expected: list[str]) -> None:
    assert [f"{day:%m-%d}" for day in holidays(year)] == expected


def test_a_business_day_is_monday_to_friday_and_no_holiday() -> None:
    """Thursday 23 July, Saturday 25 July, Christmas Day 2026, a Friday."""
    assert [is_business_day(date(2026, *day)) for day in ((7, 23), (7, 25), (12, 25))] == [True, False, False]
