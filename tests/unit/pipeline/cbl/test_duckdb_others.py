"""Baselines in SQL that match no days: around the event, a level, a reference, a regression. Figures by hand."""

from dataclasses import replace
from datetime import date, datetime, timedelta

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
from pipeline.cbl.request import CONTROL, NOMINATIONS, Request, days_of
from pipeline.cbl.rule import AroundEvent, Level, Reference, Regression
from pipeline.errors import ConfigError


def test_a_reading_missing_around_the_event_is_a_shortfall() -> None:
    readings = loads({EVENT_DAY: {15: 10, 16: None, 17: 1, 19: 10}})

    found = answered(AroundEvent(before_from_hours=2, after_from_hours=1, after_to_hours=2), asked(readings))

    assert short(found) == [(3, 2, "metering intervals around the event")]


def test_all_readings_around_the_event_weigh_the_same() -> None:
    """Three before at 10 and one after at 50: 20, and not the mean of 10 and 50."""
    readings = loads({EVENT_DAY: {14: 10, 15: 10, 16: 10, 17: 5, 18: 50}})

    found = answered(AroundEvent(before_from_hours=3, after_to_hours=1, decimals=0), asked(readings))

    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([20], [15])
    assert used(found) == [EVENT_DAY]


def test_a_level_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match=r"^set level_kw$"):
        answered(Level(), asked(flat({EVENT_DAY: 1})))


def test_a_load_at_the_limit_is_not_below_it() -> None:
    """With losses of a quarter: 24 × 1.25 = 30 is not below 30, 16 × 1.25 = 20 is; 40 − 20 = 20."""
    readings = loads({EVENT_DAY: {17: 24, 18: 16}})

    found = answered(Level(level_kw=40, below_kw=30, loss_factor=1.25), asked(readings, hours=(17, 19)))

    assert column(found, "reduction_kw") == [0, 20]
    assert column(found, "baseline_unadjusted_kw") == [40, 40]


def nominated(*rows: tuple[str | None, int, float | None, datetime]) -> pl.DataFrame:
    """Return `NOMINATIONS` of the event's day: resource, hour, kW, submitted at."""
    starts = [(resource, at(EVENT_DAY, hour), kw, submitted) for resource, hour, kw, submitted in rows]
    return pl.DataFrame(starts, schema=NOMINATIONS, orient="row")


NOON, LATER = at(EVENT_DAY, 12), at(EVENT_DAY, 12.5)


def nomination(nominations: pl.DataFrame | None) -> Request:
    """Return a request of two resources, 17:00 to 19:00."""
    readings = pl.concat([flat({EVENT_DAY: 10}, resource=name) for name in "ab"])
    return asked(readings, hours=(17, 19), nominations=nominations)


def test_the_newest_nomination_in_time_counts_the_resources_own_first() -> None:
    """Locked 270 minutes before 17:00, at 12:30: what came then is in time, a minute later is not."""
    told = nominated(
        ("a", 17, 21, LATER),
        ("a", 17, 20, NOON),
        ("a", 17, 99, LATER + timedelta(minutes=1)),
        (None, 17, 98, LATER),
        (None, 17, 97, NOON),
        (None, 18, 30, NOON),
    )

    found = answered(Reference(source="nomination", lock_minutes=270), nomination(told))

    assert found.intervals.select("resource", "baseline_kw").rows() == [("a", 21), ("a", 30), ("b", 98), ("b", 30)]
    assert found.days.is_empty()


def test_an_interval_that_was_not_nominated_in_time_is_a_shortfall() -> None:
    told = nominated(("a", 17, 20, NOON), ("a", 18, None, NOON), (None, 18, 30, LATER), ("b", 17, 1, NOON))
    what = "nominated intervals submitted in time"

    late = answered(Reference(source="nomination", lock_minutes=300), nomination(told))

    assert short(late) == [(2, 1, what), (2, 1, what)]
    assert short(answered(Reference(source="nomination"), nomination(None))) == [(2, 0, what), (2, 0, what)]


CONTROLLED = pl.DataFrame(
    [
        (name, at(EVENT_DAY, hour), kw)
        for name, figures in {"x": (1, 3), "y": (2, 5), "hole": (100, None), "absent": (100,)}.items()
        for hour, kw in zip((17, 18), figures, strict=False)
    ],
    schema=CONTROL,
    orient="row",
)


def test_a_control_group_stands_for_the_customers_that_were_called() -> None:
    """Of those metered in both hours the means are 1.5 and 4; ten times that."""
    request = replace(nomination(None), control=CONTROLLED)

    found = answered(Reference(source="control", customers=10, minimum_customers=2), request)

    assert column(found, "baseline_kw") == [15, 40, 15, 40]
    assert column(found, "reduction_kw") == [5, 30, 5, 30]


@pytest.mark.parametrize(("control", "have"), [(CONTROLLED, 2), (None, 0)])
def test_a_control_group_can_be_too_small(control: pl.DataFrame | None, have: int) -> None:
    request = replace(asked(flat({EVENT_DAY: 10}), hours=(17, 19)), control=control)

    found = answered(Reference(source="control", minimum_customers=3), request)

    assert short(found) == [(3, have, "control customers with complete readings")]


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

    assert short(answered(needs_9, level(15))) == [(9, have, "training days with like days of their own")]


def test_a_like_day_is_no_older_than_the_look_back_before_its_day() -> None:
    """22 July has 21 July; 21 July would have 16 July, five days before it, but only four count."""
    needs_2 = structs.replace(LEVEL, minimum_days=2, look_back_days=4)
    sparse = {july(22): 10.0, july(21): 12.0, july(16): 9.0}

    assert short(answered(needs_2, level(15, sparse))) == [(2, 1, "training days with like days of their own")]


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
