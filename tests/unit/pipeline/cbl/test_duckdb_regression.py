"""Regression in SQL: a line by degree days, or by the level just before. Figures by hand."""

from dataclasses import replace
from datetime import date

import polars as pl
import pytest
from msgspec import structs
from unit.pipeline.cbl.duckdb_cases import (
    EVENT_DAY,
    PACIFIC,
    answered,
    asked,
    at,
    before,
    column,
    flat,
    july,
    loads,
    short,
    used,
    warm,
)

from pipeline.calendar import Calendar
from pipeline.cbl.request import Request, days_of
from pipeline.cbl.rule import Regression
from pipeline.errors import ConfigError

DEGREES = before(28, 23, 13, 8, 30, 30, 18)
"""°C of 22 to 16 July. 19 and 18 July are a weekend."""
LINE = {july(22): 70.0, july(21): 60.0, july(20): 55.0, july(17): 60.0, july(16): 50.0}
"""50 + 2 × cooling + 1 × heating degrees at 18 °C: 10, 5, 0, 0, 0 and 0, 0, 5, 10, 0."""
WEATHER = Regression(terms="degree-days", look_back_days=7, minimum_days=5)


def weather(celsius: float, *more: pl.DataFrame) -> Request:
    """Return a request on a day of *celsius*; *TEMPERATURES* of 17 July are 8 °C."""
    degrees = DEGREES | {july(17): 8.0, july(16): 18.0, EVENT_DAY: celsius}
    return asked(pl.concat([flat(LINE), *more]), temperatures=warm(degrees))


@pytest.mark.parametrize(("celsius", "fitted"), [(33, 80), (18, 50), (0, 68)])
def test_degree_days_find_the_line_that_the_days_lie_on(celsius: float, fitted: float) -> None:
    found = answered(WEATHER, weather(celsius))

    assert column(found, "baseline_kw") == [fitted]
    assert used(found) == list(LINE)


def test_a_fitted_day_is_spread_as_the_newest_like_days_were() -> None:
    """22 July drew twice its mean at 17:00 and nothing at 16:00; the days before were flat: 80 × 2, or 80 × 1.5."""
    shaped = loads({july(22): dict.fromkeys(range(24), 70.0) | {16: 0.0, 17: 140.0}})
    request = weather(33)
    flat_before = request.loads.filter(pl.col("start") < at(july(22), 0))
    request = replace(request, loads=pl.concat([shaped, flat_before]))

    newest = answered(structs.replace(WEATHER, like_days=1), request)
    newest_two = answered(structs.replace(WEATHER, like_days=2), request)

    assert (column(newest, "baseline_kw"), column(newest_two, "baseline_kw")) == ([160], [120])


@pytest.mark.parametrize(("degrees", "fitted"), [((28, 23, 18, 18, 18), 80), ((18,) * 5, 60)])
def test_a_term_that_does_not_vary_is_left_out(degrees: tuple[float, ...], fitted: float) -> None:
    """Never below 18 °C: 50 + 2 × 15, whatever heating might have done. Always at 18 °C: the mean of the five."""
    days = list(LINE)
    figures = (70, 60, 50, 50, 50) if fitted == 80 else (70, 60, 55, 60, 55)
    temperatures = warm(dict(zip(days, degrees, strict=True)) | {EVENT_DAY: 33.0})

    found = answered(WEATHER, asked(flat(dict(zip(days, figures, strict=True))), temperatures=temperatures))

    assert column(found, "baseline_kw") == [fitted]


@pytest.mark.parametrize("celsius", [28.2, 8.2])
def test_a_mean_that_differs_by_rounding_does_not_vary(celsius: float) -> None:
    """Days at 28.2 °C all day, or 0.1 below and above it in turn, are equally warm; their loads average 59."""
    calm, turning = warm(dict.fromkeys((july(21), july(17)), celsius)), [july(day) for day in (22, 20, 16)]
    below = warm(dict.fromkeys(turning, celsius - 0.1), range(0, 24, 2))
    above = warm(dict.fromkeys(turning, celsius + 0.1), range(1, 24, 2))
    temperatures = pl.concat([calm, below, above, warm({EVENT_DAY: 33})])

    found = answered(WEATHER, replace(weather(33), temperatures=temperatures))

    assert column(found, "baseline_kw") == [59]


def test_a_fitted_day_is_adjusted_by_the_event_day() -> None:
    """80 fitted, and 100 drawn in each of the two hours before: × 1.25, limited to 1.2."""
    adjusted = structs.replace(WEATHER, adjustment="ratio", adjust_from_hours=2, adjust_highest=1.2)

    found = answered(adjusted, weather(33, loads({EVENT_DAY: {15: 100, 16: 100}})))

    assert column(found, "baseline_kw") == [96]
    assert found.adjustments.select("kind", "raw", "applied", "capped").row(0) == ("ratio", 1.25, 1.2, True)


TRAINING = "training days with complete readings and temperatures"


def test_a_training_day_needs_every_reading_and_temperature_and_no_event() -> None:
    """22 July lacks 3:00, 21 July its temperature at 3:00, 20 July was an event, 17 July an outage."""
    request = weather(33)
    assert request.temperatures is not None
    holes = replace(
        request,
        loads=request.loads.filter(pl.col("start") != at(july(22), 3)),
        temperatures=request.temperatures.filter(pl.col("start") != at(july(21), 3)),
        event_days=days_of([july(20)]),
        outage_days=days_of([july(17)]),
    )

    found = answered(WEATHER, holes)

    assert short(found) == [(5, 1, TRAINING)]
    assert used(found) == [july(16)]
    assert short(answered(WEATHER, replace(request, temperatures=None))) == [(5, 0, TRAINING)]


def test_the_event_day_needs_its_temperatures() -> None:
    request = weather(33)
    assert request.temperatures is not None
    cut = replace(request, temperatures=request.temperatures.filter(pl.col("start") < at(EVENT_DAY, 17)))

    assert short(answered(WEATHER, cut)) == [(24, 17, "local hours with a temperature on the event day")]


LEVELS = {july(22): 10.0, july(21): 12.0, july(20): 9.0, july(17): 11.0}
"""Level at 14:00 and 15:00; 17:00 drew twice as much. The weekend between is of the other type."""
LEVEL = Regression(terms="level", look_back_days=7, minimum_days=3, like_days=1, level_hours=2)

OF_THEIR_OWN = "training days with like days of their own"


def level(n: float | None, levels: dict[date, float] | None = None, slope: float = 2) -> Request:
    """Return a request whose day had a level of *n*."""
    history = {day: {14: kw, 15: kw, 16: 999, 17: slope * kw} for day, kw in (levels or LEVELS).items()}
    return asked(loads(history | {EVENT_DAY: {14: n, 15: n, 16: 999, 17: 5}}))


def test_load_follows_the_level_of_the_hours_before() -> None:
    """X = 20 and m = 10 of 22 July, b = 2: 20 + 2 × (15 − 10) = 30; the hour of the gap is not looked at."""
    found = answered(LEVEL, level(15))

    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([30], [25])
    assert used(found) == [july(22)]


def test_a_level_that_never_varied_tells_nothing() -> None:
    """Tenths have no exact sum; n − m is nothing all the same, and the baseline is x."""
    even = dict.fromkeys([july(day) for day in (22, 21, 20, 17, 16, 15, 14)], 0.1)
    three_like_days = structs.replace(LEVEL, like_days=3, look_back_days=14)

    assert column(answered(three_like_days, level(50, even)), "baseline_kw") == [0.2]


def test_the_slope_is_of_least_squares_over_all_training_days() -> None:
    """
    One like day each: levels 3, 2, 1, 1 and loads 6, 3, 1, 1, the newest first.

    (load − x) on (n − m): 3 on 1, 2 on 1, 0 on 0. b = (3 + 2) / (1 + 1) = 2.5, and 6 + 2.5 × (5 − 3) = 11.
    """
    days = dict(zip(LEVELS, ((3, 6), (2, 3), (1, 1), (1, 1)), strict=True))
    history = {day: {14: kw, 15: kw, 17: load} for day, (kw, load) in days.items()}

    found = answered(LEVEL, asked(loads(history | {EVENT_DAY: {14: 5, 15: 5, 17: 0}})))

    assert column(found, "baseline_kw") == [11]


@pytest.mark.parametrize(("look_back", "have"), [(7, 3), (3, 3), (2, 2), (1, 1)])
def test_a_training_day_has_like_days_of_its_own(look_back: int, have: int) -> None:
    """17 July has none. 20 July has 17 July, which is older than the event's look-back of three days."""
    needs_9 = structs.replace(LEVEL, minimum_days=9, look_back_days=look_back)

    assert short(answered(needs_9, level(15))) == [(9, have, OF_THEIR_OWN)]


def test_a_training_day_has_as_many_like_days_as_the_event_and_is_within_the_look_back() -> None:
    """22, 21 and 20 July have two like days; 17 July has one, 16 July, but is six days before the event."""
    levels = LEVELS | {july(16): 10.0}
    of_2 = structs.replace(LEVEL, minimum_days=9, like_days=2)
    of_1_within_5 = structs.replace(LEVEL, minimum_days=9, look_back_days=5)

    assert short(answered(of_2, level(15, levels))) == [(9, 3, OF_THEIR_OWN)]
    assert short(answered(of_1_within_5, level(15, levels))) == [(9, 3, OF_THEIR_OWN)]


def test_a_like_day_is_no_older_than_the_look_back_before_its_day() -> None:
    """22 July has 21 July; 21 July would have 16 July, five days before it, but only four count."""
    needs_2 = structs.replace(LEVEL, minimum_days=2, look_back_days=4)
    sparse = {july(22): 10.0, july(21): 12.0, july(16): 9.0}

    assert short(answered(needs_2, level(15, sparse))) == [(2, 1, OF_THEIR_OWN)]
    assert used(answered(structs.replace(needs_2, like_days=3), level(15, sparse))) == [july(22), july(21)]


def test_a_day_with_a_hole_in_the_hours_before_is_no_like_day() -> None:
    request = level(15)
    hole = replace(request, loads=request.loads.filter(pl.col("start") != at(july(22), 14)))
    two_days = structs.replace(LEVEL, minimum_days=2)

    assert used(answered(two_days, hole)) == [july(21)]
    assert used(answered(two_days, replace(request, event_days=days_of([july(22)])))) == [july(21)]


def test_the_event_day_needs_its_hours_before() -> None:
    what = "metering intervals in the hours before the event"

    assert short(answered(LEVEL, level(None))) == [(2, 0, what)]


def test_a_year_whose_holidays_are_not_known_is_refused() -> None:
    unknown = Calendar(PACIFIC.timezone, PACIFIC.holidays, years=frozenset({2025}))

    with pytest.raises(ConfigError, match="no holidays are known of 2026"):
        answered(WEATHER, replace(weather(33), calendar=unknown))
