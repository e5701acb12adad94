"""Lines through history in Polars: by degree days, and by the level of the hours before."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from msgspec.structs import replace as changed
from unit.pipeline.cbl.polars_cases import (
    Row,
    ask,
    at,
    column,
    day_rows,
    flat,
    hours,
    request,
    shortfall,
    used,
    warm,
)

from pipeline.cbl.request import Request, days_of
from pipeline.cbl.rule import Regression
from pipeline.errors import ConfigError

DEGREES = Regression(terms="degree-days", look_back_days=14, minimum_days=3, base_celsius=18.0, like_days=2)
LEVEL = Regression(terms="level", look_back_days=14, minimum_days=2, like_days=1, level_hours=2, gap_hours=1)
THURSDAY = date(2026, 7, 23)
EVENT = hours(THURSDAY, 17, 18)


def july(*days: int) -> list[date]:
    return [date(2026, 7, day) for day in days]


def by_degrees(celsius: Mapping[int, float], load: Mapping[int, float], today: float = 28.0) -> Request:
    """Return flat days of July with a temperature each, and the event's day."""
    rows = flat({date(2026, 7, day): kw for day, kw in load.items()} | {THURSDAY: 50.0})
    degrees = {date(2026, 7, day): one for day, one in celsius.items()}
    return warm(request(rows, EVENT), degrees | {THURSDAY: today})


WARM = {22: 20.0, 21: 23.0, 20: 14.0, 17: 16.0, 16: 18.0}
#: 100 + 2 × degrees above 18 + 3 × degrees below.
LOADS = {22: 104.0, 21: 110.0, 20: 112.0, 17: 106.0, 16: 100.0}


def test_cooling_and_heating_degrees_have_a_slope_each() -> None:
    """28 °C are ten cooling degrees: 100 + 2 × 10; 8 °C ten heating degrees: 100 + 3 × 10."""
    for today, expected in ((28.0, 120.0), (8.0, 130.0), (18.0, 100.0)):
        found = ask(DEGREES, by_degrees(WARM, LOADS, today))
        assert column(found, "baseline_kw") == pytest.approx([expected], abs=1e-9)
        assert column(found, "reduction_kw") == pytest.approx([expected - 50.0], abs=1e-9)


def test_the_line_is_the_one_of_least_squares() -> None:
    """
    Cooling degrees 0, 1, 2 with 10, 10, 13 kW: slope 3 ÷ 2 about a mean of 1 and 11.

    At four degrees 11 + 1.5 × 3 = 15.5.
    """
    found = ask(DEGREES, by_degrees({22: 18.0, 21: 19.0, 20: 20.0}, {22: 10.0, 21: 10.0, 20: 13.0}, 22.0))

    assert column(found, "baseline_kw") == pytest.approx([15.5], abs=1e-9)


def test_a_term_that_does_not_vary_is_left_out() -> None:
    """Never below 18: heating has no slope, and a cold day is the one at the base."""
    summer = {22: 20.0, 21: 23.0, 20: 19.0}
    loads = {22: 104.0, 21: 110.0, 20: 102.0}

    assert column(ask(DEGREES, by_degrees(summer, loads, 28.0)), "baseline_kw") == pytest.approx([120.0], abs=1e-9)
    assert column(ask(DEGREES, by_degrees(summer, loads, 8.0)), "baseline_kw") == pytest.approx([100.0], abs=1e-9)
    winter = {22: 16.0, 21: 14.0, 20: 17.0}
    loads = {22: 106.0, 21: 112.0, 20: 103.0}
    assert column(ask(DEGREES, by_degrees(winter, loads, 8.0)), "baseline_kw") == pytest.approx([130.0], abs=1e-9)


def test_where_no_temperature_varies_the_baseline_is_the_mean() -> None:
    """20.1 °C every day, on one of them as 20.0 and 20.2 by turns: that their mean is off by a rounding is no slope."""
    asked = by_degrees(dict.fromkeys((22, 21, 20), 20.1), {22: 10.0, 21: 20.0, 20: 60.0}, 28.0)
    assert asked.temperatures is not None
    by_turns = [(at(july(20)[0], hour), 20.0 + 0.2 * (hour % 2)) for hour in range(24)]
    others = asked.temperatures.filter(~asked.temperatures["start"].is_in([start for start, _ in by_turns]))
    asked = replace(asked, temperatures=others.vstack(pl.DataFrame(by_turns, schema=others.schema, orient="row")))

    assert column(ask(DEGREES, asked), "baseline_kw") == pytest.approx([30.0], abs=1e-9)


def test_two_temperatures_on_either_side_of_the_base_make_one_line() -> None:
    """14 °C with 120 kW and 20 °C with 90: 5 kW less a degree; at 22 °C 80."""
    found = ask(DEGREES, by_degrees({22: 14.0, 21: 20.0, 20: 14.0}, {22: 120.0, 21: 90.0, 20: 120.0}, 22.0))

    assert column(found, "baseline_kw") == pytest.approx([80.0], abs=1e-9)


def test_the_day_is_spread_by_the_share_of_the_newest_like_days() -> None:
    """At 17:00 twice and four times the mean, of the newest two days: three times 100; the third day's share is 1."""
    other = {22: (48.0 - 4.0) / 23, 21: (48.0 - 8.0) / 23}
    rows = [
        row
        for day, peak in ((22, 4.0), (21, 8.0))
        for row in day_rows(date(2026, 7, day), dict.fromkeys(range(24), other[day]) | {17: peak})
    ]
    rows += flat({date(2026, 7, 20): 2.0, THURSDAY: 1.0})
    asked = warm(request(rows, EVENT), dict.fromkeys(july(22, 21, 20, 23), 18.0))

    assert column(ask(DEGREES, asked), "baseline_kw") == pytest.approx([6.0], abs=1e-9)


def test_training_days_are_alike_complete_not_excluded_and_have_every_temperature() -> None:
    """The 22nd was an event, the 21st an outage, the 20th lacks a reading, the 17th a temperature."""
    days = july(*range(9, 23))
    rows = [row for row in flat(dict.fromkeys([*days, THURSDAY], 1.0)) if row[1] != at(july(20)[0], 3)]
    asked = warm(
        request(rows, EVENT, event_days=july(22), outage_days=july(21)), dict.fromkeys([*days, THURSDAY], 18.0)
    )
    assert asked.temperatures is not None
    asked = replace(asked, temperatures=asked.temperatures.filter(asked.temperatures["start"] != at(july(17)[0], 3)))

    assert used(ask(DEGREES, asked)) == july(16, 15, 14, 13, 10, 9)
    everything = changed(DEGREES, exclude_events=False, exclude_outages=False)
    assert used(ask(everything, asked)) == july(22, 21, 16, 15, 14, 13, 10, 9)


def test_too_few_training_days_are_a_shortfall() -> None:
    found = ask(DEGREES, by_degrees({22: 20.0, 21: 20.0}, {22: 1.0, 21: 1.0, 20: 1.0}))

    assert shortfall(found) == (3, 2, "training days with complete readings and temperatures")
    assert used(found) == july(22, 21)
    assert shortfall(ask(DEGREES, request(flat({THURSDAY: 1.0}), EVENT)))[:2] == (3, 0)


def test_an_hour_of_the_events_day_without_a_temperature_is_a_shortfall() -> None:
    asked = by_degrees(WARM, LOADS)
    assert asked.temperatures is not None
    asked = replace(asked, temperatures=asked.temperatures.filter(asked.temperatures["start"] != at(THURSDAY, 3)))

    assert shortfall(ask(DEGREES, asked)) == (24, 23, "local hours with a temperature on the event day")


def test_a_line_by_degrees_is_adjusted_like_any_other_baseline() -> None:
    """110 at 23 °C; 220 kW in the two hours before the last one: a ratio of 2, limited to 1.5."""
    rule = changed(DEGREES, adjustment="ratio", adjust_from_hours=3, adjust_to_hours=1, adjust_highest=1.5)
    asked = by_degrees(WARM, LOADS, 23.0)
    asked = replace(asked, loads=asked.loads.filter(asked.loads["start"] < at(THURSDAY, 0)))
    rows = [*asked.loads.rows(), *day_rows(THURSDAY, {14: 220.0, 15: 220.0, 17: 100.0})]
    found = ask(rule, replace(asked, loads=request(rows, EVENT).loads))

    assert found.adjustments["raw"].to_list() == pytest.approx([2.0], abs=1e-9)
    assert column(found, "baseline_kw") == pytest.approx([165.0], abs=1e-9)
    without = replace(asked, loads=request(rows[:-2], EVENT).loads)
    assert shortfall(ask(rule, without))[2] == "metering intervals in the adjustment hours of the event day"


def test_a_day_that_drew_nothing_is_flat() -> None:
    found = ask(DEGREES, by_degrees(WARM, dict.fromkeys(LOADS, 0.0)))

    assert column(found, "baseline_kw") == [0.0]


def test_an_hour_that_no_like_day_had_has_no_baseline() -> None:
    """Sunday 8 March 2026 never showed 2:00, and is the only training day of the Sunday after."""
    spring, sunday = date(2026, 3, 8), date(2026, 3, 15)
    rule = changed(DEGREES, look_back_days=7, minimum_days=1, like_days=1)
    rows = flat({spring: 1.0}, hours=[hour for hour in range(24) if hour != 2])
    asked = warm(request(rows, hours(sunday, 2, 3)), dict.fromkeys([spring, sunday], 18.0))

    assert shortfall(ask(rule, asked)) == (1, 0, "training days with complete readings and temperatures")
    found = ask(rule, replace(asked, events=request([], hours(sunday, 3, 4)).events))
    assert column(found, "baseline_kw") == [1.0]


def by_level(days: Mapping[int, tuple[float, float]], today: tuple[float, float]) -> list[Row]:
    """Return days of July by their load at 14:00 and 15:00, and at 17:00."""
    known = {date(2026, 7, day): pair for day, pair in days.items()} | {THURSDAY: today}
    return [row for day, (before, load) in known.items() for row in day_rows(day, {14: before, 15: before, 17: load})]


RISING = {22: (14.0, 108.0), 21: (12.0, 104.0), 20: (13.0, 106.0), 17: (10.0, 100.0)}


def test_a_higher_level_before_the_event_raises_the_baseline_by_its_slope() -> None:
    """Load was 2 higher for every 1 that the level was above the day before: 108 + 2 × (17 − 14)."""
    found = ask(LEVEL, request(by_level(RISING, (17.0, 50.0)), EVENT))

    assert column(found, "baseline_kw") == pytest.approx([114.0], abs=1e-9)
    assert column(found, "reduction_kw") == pytest.approx([64.0], abs=1e-9)
    assert used(found) == july(22)


def test_the_slope_is_of_least_squares_through_nothing() -> None:
    """Levels up by 1 and 2, loads up by 3 and 1: (1 × 3 + 2 × 1) ÷ (1 + 4) = 1. 104 + 1 × (20 − 13)."""
    days = {22: (13.0, 104.0), 21: (11.0, 103.0), 20: (10.0, 100.0)}
    found = ask(LEVEL, request(by_level(days, (20.0, 50.0)), EVENT))

    assert column(found, "baseline_kw") == pytest.approx([111.0], abs=1e-9)


def test_like_days_are_averaged_on_either_side_of_the_slope() -> None:
    """
    Two like days each. The 21st: 10 against (8 + 10) ÷ 2, 105 against 102; the 22nd: 12 against 9, 112 against 103.5.

    b = (1 × 3 + 3 × 8.5) ÷ (1 + 9) = 2.85. Usual today are 108.5, and 11 before, where it is 13: 108.5 + 2 b = 114.2.
    """
    days = {22: (12.0, 112.0), 21: (10.0, 105.0), 20: (8.0, 102.0), 17: (10.0, 102.0)}
    found = ask(changed(LEVEL, like_days=2), request(by_level(days, (13.0, 50.0)), EVENT))

    assert column(found, "baseline_kw") == pytest.approx([114.2], abs=1e-9)
    assert used(found) == july(22, 21)


def test_where_the_level_was_always_as_usual_there_is_no_slope() -> None:
    """The mean of three tenths is off by a rounding: that makes no slope, by which 99 kW would be multiplied."""
    days = {22: (0.1, 108.0), 21: (0.1, 104.0), 20: (0.1, 106.0), 17: (0.1, 100.0), 16: (0.1, 100.0)}
    rule = changed(LEVEL, like_days=3)
    found = ask(rule, request(by_level(days, (99.0, 50.0)), EVENT))

    assert column(found, "baseline_kw") == pytest.approx([106.0], abs=1e-9)


def test_like_days_reach_back_from_each_day_and_no_further() -> None:
    """Three days back: the 20th has the 17th, the 17th and the 16th have none; two training days, then one."""
    days = {22: (14.0, 108.0), 20: (13.0, 106.0), 17: (10.0, 100.0)}
    rule = changed(LEVEL, look_back_days=3)

    assert used(ask(rule, request(by_level(days, (17.0, 50.0)), EVENT))) == july(22)
    found = ask(changed(LEVEL, look_back_days=2), request(by_level(days, (17.0, 50.0)), EVENT))
    assert shortfall(found) == (2, 1, "training days with like days of their own")


def test_days_with_a_gap_or_a_call_are_no_like_days() -> None:
    """Without the 22nd, an event, and the 21st, where 14:00 is missing, the 20th is the like day."""
    days = RISING | {16: (11.0, 102.0)}
    rows = [row for row in by_level(days, (16.0, 50.0)) if row[1] != at(july(21)[0], 14)]
    asked = replace(request(rows, EVENT), event_days=days_of(july(22)))

    found = ask(LEVEL, asked)
    assert used(found) == july(20)
    assert column(found, "baseline_kw") == pytest.approx([112.0], abs=1e-9)


def test_a_gap_before_the_event_is_a_shortfall() -> None:
    rows = [row for row in by_level(RISING, (17.0, 50.0)) if row[1] != at(THURSDAY, 15)]

    assert shortfall(ask(LEVEL, request(rows, EVENT))) == (2, 1, "metering intervals in the hours before the event")


def test_a_few_training_days_are_told_before_a_gap() -> None:
    rows = [row for row in by_level({22: (1.0, 1.0)}, (17.0, 50.0)) if row[1] != at(THURSDAY, 15)]

    assert shortfall(ask(LEVEL, request(rows, EVENT))) == (2, 0, "training days with like days of their own")


def test_a_line_by_level_can_be_adjusted_too() -> None:
    """Usually 108 at 17:00 and 14 at 15:00, which is at its level of 14; 21 there today: half as much again."""
    days = {22: (14.0, 108.0), 21: (14.0, 108.0), 20: (14.0, 108.0)}
    rule = changed(LEVEL, adjustment="ratio", adjust_from_hours=2, adjust_to_hours=1)

    assert column(ask(rule, request(by_level(days, (21.0, 1.0)), EVENT)), "baseline_kw") == pytest.approx([162.0])


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (changed(DEGREES, like_days=0), "set like_days to 1 or more"),
        (changed(LEVEL, level_hours=0), "set level_hours"),
        (changed(LEVEL, adjustment="ratio"), "set adjust_from_hours"),
    ],
)
def test_numbers_that_leave_nothing_to_look_at_are_mistakes(rule: Regression, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(rule, request(by_level(RISING, (1.0, 1.0)), EVENT))


@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 11, 1)])
def test_a_day_with_a_clock_change_trains_by_its_own_hours(day: date) -> None:
    """The Sunday is complete with 23 readings, or with 25 of which one hour is shown twice."""
    sunday = day + timedelta(days=7)
    starts = [at(day, 0) + timedelta(hours=n) for n in range(8 * 24 + 2)]
    asked = warm(request([("", start, 4.0) for start in starts], hours(sunday, 17, 18)), {})
    degrees = asked.temperatures
    assert degrees is not None
    degrees = degrees.clear().vstack(
        request([("", s, 18.0) for s in starts], EVENT).loads.select("start", celsius="load_kw")
    )
    found = ask(changed(DEGREES, minimum_days=1, look_back_days=7), replace(asked, temperatures=degrees))

    assert used(found) == [sunday - timedelta(days=1), day]
    assert column(found, "baseline_kw") == pytest.approx([4.0])
