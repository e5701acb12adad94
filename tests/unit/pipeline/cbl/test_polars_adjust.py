"""Adjustment, sign and rounding in Polars: like days of 10 kW, and an event's day that differs."""

from collections.abc import Mapping
from datetime import date, timedelta

import pytest
from msgspec.structs import replace as changed
from unit.pipeline.cbl.polars_cases import ask, at, column, day_rows, flat, hours, request, shortfall, used, why

from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching

RULE = DayMatching(look_back_days=14, days=2, other_days=2, minimum_days=2, minimum_other_days=2)
RATIO = changed(RULE, adjustment="ratio", adjust_from_hours=3, adjust_to_hours=1)
ADDED = changed(RATIO, adjustment="additive")
THURSDAY = date(2026, 7, 23)
EVENT = hours(THURSDAY, 17, 19)
LIKE_DAYS = flat({date(2026, 7, 22): 10.0, date(2026, 7, 21): 10.0})


def today(by_hour: Mapping[int, float | None]) -> Request:
    return request(LIKE_DAYS + day_rows(THURSDAY, by_hour), EVENT)


def adjustment(rule: DayMatching, asked: Request) -> tuple[str, float | None, float, bool]:
    kind, raw, applied, is_capped = ask(rule, asked).adjustments.select("kind", "raw", "applied", "capped").row(0)
    return kind, raw, applied, is_capped


WARM = today({14: 11.0, 15: 14.0, 16: 99.0, 17: 6.0, 18: 8.0})


def test_without_an_adjustment_the_factor_is_one() -> None:
    assert adjustment(RULE, WARM) == ("none", None, 1.0, False)
    assert column(ask(RULE, WARM), "baseline_kw") == [10.0, 10.0]


def test_a_ratio_is_of_sums_over_the_window_and_skips_the_hour_before() -> None:
    """(11 + 14) ÷ 20."""
    assert adjustment(RATIO, WARM) == ("ratio", 1.25, 1.25, False)
    assert column(ask(RATIO, WARM), "baseline_kw") == [12.5, 12.5]


def test_an_addition_is_the_mean_difference_over_the_window() -> None:
    """(1 + 4) ÷ 2."""
    assert adjustment(ADDED, WARM) == ("additive", 2.5, 2.5, False)
    assert column(ask(ADDED, WARM), "baseline_kw") == [12.5, 12.5]


@pytest.mark.parametrize(
    ("rule", "lowest", "highest", "load", "applied"),
    [
        (RATIO, 0.8, 1.2, 13.0, 1.2),
        (RATIO, 0.8, 1.2, 7.0, 0.8),
        (RATIO, None, 1.2, 7.0, 0.7),
        (RATIO, 0.8, None, 13.0, 1.3),
        (ADDED, -0.2, 0.2, 13.0, 2.0),
        (ADDED, -0.2, 0.2, 7.0, -2.0),
        (ADDED, None, 0.2, 7.0, -3.0),
    ],
)
def test_an_adjustment_is_limited_on_either_side(
    rule: DayMatching, lowest: float | None, highest: float | None, load: float, applied: float
) -> None:
    """The limits of an addition are shares of 10 kW, the mean over the event."""
    rule = changed(rule, adjust_lowest=lowest, adjust_highest=highest)
    _, raw, found, capped = adjustment(rule, today({14: load, 15: load}))

    assert found == pytest.approx(applied, abs=1e-12)
    assert capped == (found != raw)


def test_the_limits_of_an_addition_to_a_site_that_exports_are_the_same_size() -> None:
    """−10 kW on like days and −15 on the event's: −5 is limited to −2, a fifth of what is exported."""
    rows = flat({date(2026, 7, 22): -10.0, date(2026, 7, 21): -10.0, THURSDAY: -15.0})
    rule = changed(ADDED, adjust_lowest=-0.2, adjust_highest=0.2)

    assert column(ask(rule, request(rows, EVENT)), "baseline_kw") == [-12.0, -12.0]


def test_a_ratio_to_nothing_is_not_defined_and_one_is_applied() -> None:
    rows = flat({date(2026, 7, 22): 0.0, date(2026, 7, 21): 0.0}) + day_rows(THURSDAY, {14: 1.0, 15: 1.0})

    assert adjustment(RATIO, request(rows, EVENT)) == ("ratio", None, 1.0, False)
    assert column(ask(RATIO, request(rows, EVENT)), "baseline_kw") == [0.0, 0.0]


@pytest.mark.parametrize("missing", [None, float("nan"), float("-inf")])
def test_a_gap_in_the_window_of_the_events_day_is_a_shortfall(missing: float | None) -> None:
    expected = (2, 1, "metering intervals in the adjustment hours of the event day")

    assert shortfall(ask(RATIO, today({14: missing, 15: 14.0}))) == expected
    assert used(ask(RATIO, today({15: 14.0}))) == [date(2026, 7, 22), date(2026, 7, 21)]


def test_a_window_reaches_into_the_day_before() -> None:
    """An event at 1:00, adjusted by 22:00 and 23:00 of the evening before: 20 there against 10 on like evenings."""
    days = {date(2026, 7, day): 10.0 for day in (20, 21, 22)}
    rows = [
        row for row in flat(days | {THURSDAY: 5.0}) if row[1] not in {at(date(2026, 7, 22), hour) for hour in (22, 23)}
    ]
    rows += day_rows(date(2026, 7, 22), {22: 20.0, 23: 20.0})
    found = ask(changed(RATIO, adjust_from_hours=3), request(rows, hours(THURSDAY, 1, 2)))

    assert found.adjustments["raw"][0] == 2.0
    assert used(found) == [date(2026, 7, 22), date(2026, 7, 21)]


def test_a_like_day_lacking_a_reading_in_the_evening_before_it_is_incomplete() -> None:
    days = {date(2026, 7, day): 10.0 for day in (17, 20, 21, 22)}
    rows = [row for row in flat(days | {THURSDAY: 5.0}) if row[1] != at(date(2026, 7, 21), 23)]
    rule = changed(RATIO, adjust_from_hours=2, look_back_days=2, days=2, minimum_days=1)
    found = ask(rule, request(rows, hours(THURSDAY, 1, 2)))

    assert used(found) == [date(2026, 7, 21)]
    assert why(found) == {date(2026, 7, 22): "incomplete"}


def test_an_adjustment_without_hours_takes_those_that_days_are_compared_by() -> None:
    """
    Midnight to the event, 17 hours: 20 then, against 10 on like days.

    It needs no ranking by these hours. With the hours after the event, 24 − 2 − 2 × 1 of gap: 16 × 20 and 4 × 30 less.
    """
    rule = changed(RULE, adjustment="ratio")
    asked = today(dict.fromkeys(range(17), 20.0) | dict.fromkeys(range(17, 24), 30.0))

    assert adjustment(rule, asked)[1] == 2.0
    assert adjustment(changed(rule, rank_by="shape", keep="nearest", k=2), asked)[1] == 2.0
    outside = changed(rule, match="outside-event", match_gap_hours=1)
    assert adjustment(outside, asked)[1] == pytest.approx((16 * 20 + 4 * 30) / 200, abs=1e-12)


def test_a_window_that_is_no_multiple_of_the_interval_holds_the_intervals_that_begin_in_it() -> None:
    """2.5 hours before 17:00 is 14:30; the intervals of 15:00 and 16:00 begin after it."""
    rule = changed(RATIO, adjust_from_hours=2.5, adjust_to_hours=0)

    assert adjustment(rule, today({14: 999.0, 15: 11.0, 16: 14.0}))[1] == 1.25


def test_a_reduction_is_baseline_less_load_and_none_where_nothing_was_metered() -> None:
    assert column(ask(RULE, today({17: 6.0})), "reduction_kw") == [4.0, None]
    assert column(ask(RULE, today({17: 6.0, 18: float("nan")})), "load_kw") == [6.0, None]


def test_a_negative_reduction_is_kept_or_is_nothing_as_the_rule_says() -> None:
    asked = today({17: 13.0, 18: 6.0})

    assert column(ask(RULE, asked), "reduction_kw") == [-3.0, 4.0]
    assert column(ask(changed(RULE, negative="zero"), asked), "reduction_kw") == [0.0, 4.0]


def test_what_a_generator_supplies_is_above_its_baseline() -> None:
    rule = changed(RULE, supply=True)
    asked = today({17: 13.0, 18: 6.0})

    assert column(ask(rule, asked), "reduction_kw") == [3.0, -4.0]
    assert column(ask(changed(rule, negative="zero"), asked), "reduction_kw") == [3.0, 0.0]


def test_each_figure_is_rounded_by_itself_half_away_from_zero() -> None:
    """10 × 1.25 = 12.5, less 15 is −2.5: 13 and −3, though 13 − 15 is −2."""
    asked = today({14: 12.5, 15: 12.5, 17: 15.0, 18: 0.25})
    found = ask(changed(RATIO, decimals=0), asked)

    assert column(found, "baseline_unadjusted_kw") == [10.0, 10.0]
    assert column(found, "baseline_kw") == [13.0, 13.0]
    assert column(found, "reduction_kw") == [-3.0, 12.0]
    assert column(found, "load_kw") == [15.0, 0.25]
    assert found.adjustments["applied"][0] == 1.25
    assert column(ask(changed(RATIO, decimals=1), asked), "reduction_kw") == [-2.5, 12.3]


def test_a_quarter_hour_grid_is_matched_quarter_by_quarter() -> None:
    days = [date(2026, 7, 22), date(2026, 7, 21), THURSDAY]
    rows = [("", at(day, 17 + quarter / 4), float(10 * quarter)) for day in days for quarter in range(4)]
    found = ask(RULE, request(rows, hours(THURSDAY, 17, 18), grid=timedelta(minutes=15)))

    assert column(found, "baseline_kw") == [0.0, 10.0, 20.0, 30.0]
