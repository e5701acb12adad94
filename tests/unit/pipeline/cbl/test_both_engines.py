"""What the page says where two readings of it are near, on both engines."""

from dataclasses import replace
from datetime import date, timedelta

import polars as pl
import pytest
from msgspec import structs
from unit.pipeline.cbl.duckdb_cases import EVENT_DAY, HOUR, asked, at, before, column, flat, july, matching, rule, warm

from pipeline.cbl import duckdb_engine, polars_engine
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import LOADS, TEMPERATURES, Request
from pipeline.cbl.rule import Parameters, Regression

ENGINES = {"polars": polars_engine.answer, "duckdb": duckdb_engine.answer}
AUTUMN = date(2026, 11, 1)
NEAREST = matching(rank_by="temperature", keep="nearest", k=1)
DEGREES = Regression(terms="degree-days", look_back_days=10, minimum_days=3, like_days=3)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answered(engine: str, parameters: Parameters, request: Request) -> Answer:
    return ENGINES[engine](rule(parameters), request)


def used(found: Answer) -> list[date]:
    return found.days.filter("used")["day"].to_list()


def reasons(found: Answer) -> dict[date, str]:
    return dict(found.days.filter(~pl.col("used")).select("day", "reason").iter_rows())


def test_the_highest_of_half_a_day_is_not_the_highest_of_the_day(engine: str) -> None:
    """30 °C today; 22 July has it in the morning, and nothing is known of its afternoon; 21 July had 25."""
    celsius = pl.concat([warm({EVENT_DAY: 30, july(21): 25}), warm({july(22): 30}, range(12))])

    found = answered(engine, NEAREST, asked(flat(before(1, 2)), temperatures=celsius))

    assert used(found) == [july(21)]
    assert reasons(found)[july(22)] == "incomplete"


@pytest.mark.parametrize("hour", [0, 12, 23])
def test_an_hour_without_a_temperature_on_the_event_day_leaves_no_day_to_compare(engine: str, hour: int) -> None:
    celsius = warm({july(22): 30, EVENT_DAY: 30}).filter(pl.col("start") != at(EVENT_DAY, hour))

    found = answered(engine, NEAREST, asked(flat(before(1)), temperatures=celsius))

    assert found.intervals.is_empty()
    assert found.shortfalls.select("need", "have").row(0) == (1, 0)


def autumn(hours: int) -> pl.DataFrame:
    """Return so many temperatures from midnight of a day of 25 hours, and all of the day after it."""
    starts = [*(at(AUTUMN, 0) + hour * HOUR for hour in range(hours)), *(at(AUTUMN, 24) + n * HOUR for n in range(24))]
    return pl.DataFrame({"start": starts, "celsius": 20.0}, schema_overrides=TEMPERATURES)


@pytest.mark.parametrize(("hours", "serves"), [(25, True), (24, False)])
def test_a_day_of_25_hours_needs_25_temperatures(engine: str, hours: int, *, serves: bool) -> None:
    monday = AUTUMN + timedelta(days=1)
    starts = [at(AUTUMN, 0) + hour * HOUR for hour in range(25)]
    readings = pl.DataFrame({"resource": "", "start": starts, "load_kw": 5.0}, schema_overrides=LOADS)

    found = answered(engine, NEAREST, asked(readings, monday, temperatures=autumn(hours)))

    assert (used(found) == [AUTUMN]) is serves


@pytest.mark.parametrize(("celsius", "baseline_kw"), [(22.0, 80.0), (10.0, 140.0)])
def test_two_temperatures_on_either_side_of_the_base_make_one_line(
    engine: str, celsius: float, baseline_kw: float
) -> None:
    """14 °C with 120 kW and 20 °C with 90 are 5 kW less a degree, on this side of 18 °C and on that."""
    days = dict(zip((july(22), july(21), july(20)), (120.0, 90.0, 120.0), strict=True))
    degrees = warm(dict(zip(days, (14.0, 20.0, 14.0), strict=True)) | {EVENT_DAY: celsius})

    found = answered(engine, DEGREES, asked(flat(days), temperatures=degrees))

    assert column(found, "baseline_kw") == [baseline_kw]


def test_who_has_no_day_to_look_at_is_told_so(engine: str) -> None:
    """All ten days that the rule looks back are skipped: two resources, two shortfalls, and no silence."""
    nothing = structs.replace(matching(), skip_days=10)
    two = pl.concat([flat(before(1, 2), resource="a"), flat(before(1, 2), resource="b")])

    found = answered(engine, nothing, asked(two))

    assert found.intervals.is_empty()
    what = "like days with complete readings within 10 days of the event"
    assert found.shortfalls.select("resource", "need", "have", "what").rows() == [("a", 1, 0, what), ("b", 1, 0, what)]


def test_a_resource_of_which_nothing_was_metered_is_told_so(engine: str) -> None:
    gone = pl.lit(None, pl.Float64)
    silent = replace(asked(flat({EVENT_DAY: 1.0})), loads=flat({EVENT_DAY: 1.0}).with_columns(load_kw=gone))

    found = answered(engine, matching(), silent)

    assert found.shortfalls.select("need", "have").rows() == [(1, 0)]


def test_an_adjustment_hour_that_no_like_day_has_is_a_shortfall(engine: str) -> None:
    """At one in the morning the window reaches to 23:00 of the day before, which was not metered before 22 July."""
    adjusted = structs.replace(
        DEGREES, minimum_days=1, like_days=1, adjustment="ratio", adjust_from_hours=2.0, adjust_to_hours=0.0
    )
    celsius = warm({july(22): 20, EVENT_DAY: 20})

    found = answered(engine, adjusted, asked(flat({july(22): 5, EVENT_DAY: 5}), hours=(1, 2), temperatures=celsius))

    assert found.intervals.is_empty()
    what = "training days with complete readings and temperatures"
    assert found.shortfalls.select("need", "have", "what").rows() == [(1, 0, what)]


def test_a_baseline_that_is_zero_but_for_rounding_makes_no_ratio(engine: str) -> None:
    """0.1 + 0.2 − 0.3 is 5.6e-17 in floating point; 100 kW today are no ratio to that."""
    ratio = matching(adjustment="ratio", adjust_from_hours=2)
    days = before(0.1, 0.2, -0.3)

    found = answered(engine, ratio, asked(flat(days | {EVENT_DAY: 100.0})))

    assert found.adjustments.select("raw", "applied").row(0) == (None, 1.0)
