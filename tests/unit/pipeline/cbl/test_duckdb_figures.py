"""The SQL engine's figures: the same-day adjustment, reductions, rounding, and the two days of a clock change."""

from datetime import date

import polars as pl
import pytest
from unit.pipeline.cbl.duckdb_cases import (
    EVENT_DAY,
    HOUR,
    answered,
    asked,
    at,
    before,
    column,
    flat,
    july,
    loads,
    matching,
    passed,
    short,
    used,
)

from pipeline.cbl.request import EVENTS, LOADS, ONE, Request

#: Midnight to the event 100 kW, in its two hours 100 and 200.
YESTERDAY = loads({july(22): dict.fromkeys(range(18), 100.0) | {18: 200.0}})
WINDOW = {"adjust_from_hours": 3, "adjust_to_hours": 1}


def today(*figures: float | None) -> pl.DataFrame:
    """Return the event day's readings: two hours of the window, the one that is skipped, two of the event."""
    return loads({EVENT_DAY: dict(zip((14, 15, 16, 17, 18), figures, strict=True))})


def evening(*figures: float | None, history: pl.DataFrame = YESTERDAY) -> Request:
    """Return a request about 17:00 to 19:00."""
    return asked(pl.concat([history, today(*figures)]), hours=(17, 19))


@pytest.mark.parametrize(
    ("limits", "applied", "capped"),
    [((None, None), 0.5, False), ((0.8, 1.2), 0.8, True), ((None, 1.2), 0.5, False), ((0.8, None), 0.8, True)],
)
def test_a_ratio_is_of_sums_and_limited(
    limits: tuple[float | None, float | None], applied: float, *, capped: bool
) -> None:
    """(40 + 60) / (100 + 100) = 0.5."""
    ratio = matching(adjustment="ratio", adjust_lowest=limits[0], adjust_highest=limits[1], **WINDOW)

    found = answered(ratio, evening(40, 60, 999, 10, 20))

    assert found.adjustments.row(0) == (0, ONE, "ratio", 0.5, applied, capped)
    assert column(found, "baseline_unadjusted_kw") == [100, 200]
    assert column(found, "baseline_kw") == [100 * applied, 200 * applied]


@pytest.mark.parametrize(
    ("morning", "raw", "applied", "capped"), [(190, 90, 30, True), (70, -30, -15, True), (110, 10, 10, False)]
)
def test_an_addition_is_limited_to_a_share_of_the_event_before_it(
    morning: float, raw: float, applied: float, *, capped: bool
) -> None:
    """The event's unadjusted mean is 150: from −0.1, −15 kW, to 0.2, 30 kW."""
    additive = matching(adjustment="additive", adjust_lowest=-0.1, adjust_highest=0.2, **WINDOW)

    found = answered(additive, evening(morning, morning, 999, 10, 20))

    assert found.adjustments.row(0) == (0, ONE, "additive", raw, applied, capped)
    assert column(found, "baseline_kw") == [100 + applied, 200 + applied]


def test_an_addition_without_limits_is_the_mean_difference() -> None:
    found = answered(matching(adjustment="additive", **WINDOW), evening(90, 130, 999, 10, 20))

    assert column(found, "baseline_kw") == [110, 210]


def test_there_is_no_ratio_to_a_baseline_of_zero() -> None:
    idle = loads({july(22): {14: 0, 15: 0, 17: 100, 18: 200}})
    ratio = matching(adjustment="ratio", adjust_lowest=1.1, **WINDOW)

    found = answered(ratio, evening(40, 60, 999, 10, 20, history=idle))

    assert found.adjustments.row(0) == (0, ONE, "ratio", None, 1.0, False)
    assert column(found, "baseline_kw") == [100, 200]


def test_without_an_adjustment_there_is_nothing_raw_and_one_is_applied() -> None:
    found = answered(matching(), evening(40, 60, 999, 10, 20))

    assert found.adjustments.row(0) == (0, ONE, "none", None, 1.0, False)


def test_a_reading_missing_in_the_window_is_a_shortfall() -> None:
    found = answered(matching(adjustment="ratio", **WINDOW), evening(40, None, 999, 10, 20))

    assert short(found) == [(2, 1, "metering intervals in the adjustment hours of the event day")]
    assert used(found) == [july(22)]
    assert found.adjustments.is_empty()


def test_who_is_short_of_days_is_told_nothing_of_the_window() -> None:
    found = answered(matching(minimum_days=2, adjustment="ratio", **WINDOW), evening(40, None, 999, 10, 20))

    assert short(found) == [(2, 1, "like days with complete readings within 10 days of the event")]


def test_a_day_without_a_reading_in_the_window_is_passed_over() -> None:
    history = pl.concat(
        [loads({july(22): {14: 1, 17: 1, 18: 1}}), loads({july(21): {14: 100, 15: 100, 17: 50, 18: 50}})]
    )

    found = answered(matching(adjustment="ratio", **WINDOW), evening(100, 100, 999, 10, 20, history=history))

    assert passed(found)[july(22)] == "incomplete"
    assert column(found, "baseline_kw") == [50, 50]


def test_a_window_without_hours_of_its_own_is_the_hours_that_are_compared() -> None:
    """Midnight to 16:00, an hour before the event: 16 × 120 ÷ (16 × 100)."""
    mornings = pl.concat([flat({EVENT_DAY: 120}, range(16)), loads({EVENT_DAY: {16: 999, 17: 10, 18: 20}})])
    ratio = matching(adjustment="ratio", match_gap_hours=1)

    found = answered(ratio, asked(pl.concat([YESTERDAY, mornings]), hours=(17, 19)))

    assert column(found, "baseline_kw") == [120, 240]


def test_a_window_reaches_into_the_day_before_of_every_day() -> None:
    """
    An event at 1:00 with the three hours before it: 22:00 and 23:00 of the day before, and midnight.

    For 23 July: 22 July 30, 30 and 23 July 30. For 22 July: 21 July 20, 20 and 22 July 20. 1:00 drew 10 on 22 July.
    """
    readings = loads({july(21): {22: 20, 23: 20}, july(22): {0: 20, 1: 10, 22: 30, 23: 30}, EVENT_DAY: {0: 30, 1: 4}})
    ratio = matching(adjustment="ratio", adjust_from_hours=3)

    found = answered(ratio, asked(readings, hours=(1, 2)))

    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([15.0], [11.0])


def test_a_reduction_below_nothing_is_kept_or_zero_and_a_hole_is_neither() -> None:
    more = evening(0, 0, 0, 130, None)

    assert column(answered(matching(), more), "reduction_kw") == [-30, None]
    assert column(answered(matching(negative="zero"), more), "reduction_kw") == [0, None]


def test_a_reading_of_the_event_that_is_no_number_is_no_load() -> None:
    found = answered(matching(negative="zero"), evening(0, 0, 0, float("nan"), float("inf")))

    assert (column(found, "load_kw"), column(found, "reduction_kw")) == ([None, None], [None, None])


def test_a_generator_counts_for_what_it_gave_above_its_baseline() -> None:
    found = answered(matching(supply=True, negative="zero"), evening(0, 0, 0, 130, 150))

    assert column(found, "reduction_kw") == [30, 0]


def test_figures_are_rounded_at_the_end_half_away_from_zero_each_by_itself() -> None:
    """2.5 becomes 3; 2.5 − 1.2 becomes 1, while 3 − 1.2 would become 2; −2.5 becomes −3."""
    history = loads({july(22): {17: 2.5, 18: 2.5}})

    found = answered(matching(decimals=0), evening(0, 0, 0, 1.2, 5.0, history=history))

    assert column(found, "baseline_unadjusted_kw") == [3, 3]
    assert column(found, "baseline_kw") == [3, 3]
    assert column(found, "load_kw") == [1.2, 5.0]
    assert column(found, "reduction_kw") == [1, -3]


def test_a_rounded_baseline_does_not_round_its_adjustment() -> None:
    """0.4 adjusted by 2 is 0.8 and rounds to 1; rounded before it would be 0."""
    history = loads({july(22): {14: 1, 15: 1, 17: 0.4, 18: 0.4}})
    ratio = matching(adjustment="ratio", decimals=0, **WINDOW)

    found = answered(ratio, evening(2, 2, 0, 0, 0, history=history))

    assert (column(found, "baseline_unadjusted_kw"), column(found, "baseline_kw")) == ([0, 0], [1, 1])


SPRING, AUTUMN = date(2026, 3, 8), date(2026, 11, 1)


def test_a_day_whose_clock_skipped_the_hour_has_no_reading_of_it() -> None:
    readings = flat({date(2026, 3, 9): 5, SPRING: 99, date(2026, 3, 7): 10})

    found = answered(matching(), asked(readings, date(2026, 3, 9), (2, 3)))

    assert used(found) == [date(2026, 3, 7)]
    assert passed(found)[SPRING] == "incomplete"


def autumn(first: float | None, second: float | None) -> pl.DataFrame:
    """Return 1:00 of the day that has it twice, first of summer time, and 10 kW at 1:00 the day before."""
    hours = [at(date(2026, 10, 31), 1), at(AUTUMN, 1), at(AUTUMN, 1) + HOUR]
    return pl.DataFrame({"resource": ONE, "start": hours, "load_kw": [10, first, second]}, schema_overrides=LOADS)


@pytest.mark.parametrize(
    ("first", "second", "baseline"), [(20, 90, 15), (None, 90, 50), (20, None, 15), (None, None, 10)]
)
def test_of_an_hour_that_the_clock_showed_twice_the_first_reading_stands(
    first: float | None, second: float | None, baseline: float
) -> None:
    found = answered(matching(), asked(autumn(first, second), date(2026, 11, 2), (1, 2)))

    assert column(found, "baseline_kw") == [baseline]


def test_an_event_in_the_hour_that_comes_twice_is_metered_by_instant() -> None:
    """Both of its hours are 1:00 to other days; its own readings are two: 20 and 90."""
    start = at(AUTUMN, 1)
    events = pl.DataFrame({"event": [0], "start": [start], "end": [start + 2 * HOUR]}, schema=EVENTS)

    found = answered(matching(negative="keep"), asked(autumn(20, 90), AUTUMN, events=events))

    assert found.intervals["start"].to_list() == [start, start + HOUR]
    assert column(found, "baseline_kw") == [10, 10]
    assert column(found, "reduction_kw") == [-10, -80]


def test_an_event_over_the_hour_that_is_skipped_has_one_interval_less() -> None:
    """1:00 and 3:00: two hours by any meter."""
    readings = loads({date(2026, 3, 7): {1: 10, 2: 20, 3: 30}, SPRING: {1: 1, 3: 3}})

    found = answered(matching(), asked(readings, SPRING, (1, 4)))

    assert column(found, "baseline_kw") == [10, 30]
    assert column(found, "reduction_kw") == [9, 27]


@pytest.mark.parametrize(("changed", "hours"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_of_23_or_25_hours_is_complete_with_as_many_readings(changed: date, hours: int) -> None:
    """The mean of the day is of all its instants; one reading less and it is passed over."""
    instants = [at(changed, 0) + hour * HOUR for hour in range(hours)]
    whole = pl.DataFrame({"resource": ONE, "start": instants, "load_kw": 10.0}, schema_overrides=LOADS)
    by_day = matching(rank_by="day", keep="highest", k=1)
    monday = date.fromordinal(changed.toordinal() + 1)

    assert used(answered(by_day, asked(whole, monday))) == [changed]
    assert passed(answered(by_day, asked(whole.head(hours - 1), monday)))[changed] == "incomplete"


@pytest.mark.parametrize("minutes", [5, 15, 60])
def test_intervals_of_any_length_are_answered_one_by_one(minutes: int) -> None:
    """Interval n of 22 July drew 10 + n: that is the baseline of interval n."""
    step = HOUR * minutes / 60
    counts = range(60 // minutes)
    rows = [(ONE, at(july(22), 17) + n * step, 10.0 + n) for n in counts]

    found = answered(matching(), asked(pl.DataFrame(rows, schema=LOADS, orient="row"), grid=step))

    assert column(found, "baseline_kw") == [10.0 + n for n in counts]


def test_the_order_of_readings_does_not_matter() -> None:
    readings = pl.concat([flat(before(10, 20, 40)), today(1, 2, 3, 4, 5)])
    ratio = matching(adjustment="ratio", **WINDOW)

    forwards = answered(ratio, asked(readings, hours=(17, 19)))
    backwards = answered(ratio, asked(readings.reverse(), hours=(17, 19)))

    assert forwards.intervals.equals(backwards.intervals)
