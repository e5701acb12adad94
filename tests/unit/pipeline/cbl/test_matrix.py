"""Days matched by place in a matrix and by joins: the same answers; and what has no common grid is joined."""

from datetime import UTC, date, datetime, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from unit.pipeline.cbl import engine_cases
from unit.pipeline.cbl.duckdb_cases import rule as hand_made

from pipeline.calendar import Calendar
from pipeline.cbl import duckdb_engine, matrix, methods, polars_days, polars_engine
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import EVENTS, LOADS, Request
from pipeline.cbl.rule import DayMatching

HOUR = timedelta(hours=1)
LORD_HOWE = "Australia/Lord_Howe"


def same(one: Answer, other: Answer) -> None:
    """Hold two answers against each other, to 1e-9, in the same order."""
    for name in ("shortfalls", "days", "adjustments", "intervals"):
        assert_frame_equal(getattr(one, name), getattr(other, name), rel_tol=1e-9, abs_tol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), day=st.sampled_from(engine_cases.EVENT_DAYS), minutes=st.sampled_from([60, 15]))
def test_a_matrix_answers_what_joins_do_row_by_row(seed: int, day: date, minutes: int) -> None:
    """Random parameters, holes, ties, exports, days called, both changes of the clocks; the same rows in one order."""
    chance = Random(seed)
    parameters = engine_cases.parameters("day-matching", chance)
    assert isinstance(parameters, DayMatching)
    days = engine_cases.days_of_history(parameters)
    asked = engine_cases.request(chance, day, timedelta(minutes=minutes), days)

    by_place = matrix.answer(parameters, asked)

    assert by_place is not None
    same(by_place, polars_days.answer(parameters, asked))


def on_lord_howe(grid: timedelta) -> Request:
    """Return an event of an hour the morning after the clocks there went back by half an hour, on 5 April 2026."""
    start = datetime(2026, 4, 5, 22, tzinfo=UTC)
    count = 60 * 24 * (HOUR // grid)
    starts = [start + HOUR - grid * number for number in range(1, count + 1)]
    loads = pl.DataFrame(
        {"resource": "a", "start": starts, "load_kw": [100.0 + one.hour for one in starts]}, schema=LOADS
    )
    events = pl.DataFrame([(0, start, start + HOUR)], schema=EVENTS, orient="row")
    return Request(loads=loads, grid=grid, events=events, calendar=Calendar(LORD_HOWE))


@pytest.mark.parametrize(
    ("grid", "common"), [(HOUR, False), (timedelta(minutes=30), True)], ids=["hours", "half hours"]
)
def test_where_clocks_move_by_less_than_an_interval_days_are_joined(grid: timedelta, common: bool) -> None:  # noqa: FBT001
    """Hours that begin on the half hour before and on the hour after have no day in common; half hours have."""
    rule, asked = methods.load("caiso-10-in-10")[-1], on_lord_howe(grid)
    assert isinstance(rule.parameters, DayMatching)

    answered = polars_engine.answer(rule, asked)

    assert (matrix.answer(rule.parameters, asked) is not None) == common
    same(answered, polars_days.answer(rule.parameters, asked))
    assert answered.shortfalls.height == duckdb_engine.answer(rule, asked).shortfalls.height == (0 if common else 1)


def test_a_reading_beside_the_grid_is_joined_and_changes_nothing() -> None:
    asked = on_lord_howe(timedelta(minutes=30))
    beside = asked.loads.head(1).with_columns(start=pl.col("start") + timedelta(minutes=7))
    rule = hand_made(DayMatching(look_back_days=20, days=5, other_days=5, minimum_days=3, minimum_other_days=3))
    assert isinstance(rule.parameters, DayMatching)
    more = Request(**{**vars(asked), "loads": pl.concat([asked.loads, beside])})

    assert matrix.answer(rule.parameters, more) is None
    same(polars_engine.answer(rule, more), polars_engine.answer(rule, asked))


def test_of_an_hour_that_clocks_showed_twice_the_first_stands() -> None:
    """On 1 November 2026 it was one o'clock twice, with 100 and with 200 kW; an event at one the day after has 100."""
    start = datetime(2026, 11, 2, 9, tzinfo=UTC)
    twice = {datetime(2026, 11, 1, 8, tzinfo=UTC): 100.0, datetime(2026, 11, 1, 9, tzinfo=UTC): 200.0}
    starts = [start + HOUR - HOUR * number for number in range(1, 72)]
    loads = pl.DataFrame(
        {"resource": "a", "start": starts, "load_kw": [twice.get(one, 5.0) for one in starts]}, schema=LOADS
    )
    events = pl.DataFrame([(0, start, start + HOUR)], schema=EVENTS, orient="row")
    asked = Request(loads=loads, grid=HOUR, events=events, calendar=Calendar("America/Los_Angeles"))
    newest = DayMatching(look_back_days=1, days=1, other_days=1, minimum_days=1, minimum_other_days=1, day_types="all")

    found = matrix.answer(newest, asked)

    assert found is not None
    assert found.intervals["baseline_kw"].to_list() == [100.0]


def test_a_day_that_a_zone_left_out_is_no_day() -> None:
    """Samoa went from 29 to 31 December 2011; days are ordered by their means, and both ways of matching agree."""
    start = datetime(2012, 1, 10, 3, tzinfo=UTC)
    starts = [start + HOUR - HOUR * number for number in range(1, 25 * 24)]
    loads = pl.DataFrame(
        {"resource": "a", "start": starts, "load_kw": [100.0 + one.day for one in starts]}, schema=LOADS
    )
    events = pl.DataFrame([(0, start, start + HOUR)], schema=EVENTS, orient="row")
    asked = Request(loads=loads, grid=HOUR, events=events, calendar=Calendar("Pacific/Apia"))
    rule = DayMatching(
        look_back_days=20, days=8, other_days=8, minimum_days=3, minimum_other_days=3, keep="middle", rank_by="day"
    )

    found = matrix.answer(rule, asked)

    assert found is not None
    assert found.intervals.height == 1
    same(found, polars_days.answer(rule, asked))


@pytest.mark.parametrize("method", ["caiso-5-in-10", "ercot-middle-8-of-10", "nyiso-average-day"])
def test_days_that_drew_the_same_are_alike_in_whatever_order_loads_are_added_up(method: str) -> None:
    """Sixty resources of a few tenths of a kW, which tie often and have no exact sums: three ways, the same days."""
    chance = Random(7)
    start = datetime(2026, 7, 23, 22, tzinfo=UTC)
    starts = [start + 4 * HOUR - HOUR * number for number in range(1, 60 * 24)]
    rows = [(f"r{number:02}", one, chance.randrange(1, 5) / 10) for number in range(60) for one in starts]
    asked = Request(
        loads=pl.DataFrame(rows, schema=LOADS, orient="row"),
        grid=HOUR,
        events=pl.DataFrame([(0, start, start + 4 * HOUR)], schema=EVENTS, orient="row"),
        calendar=Calendar("America/Los_Angeles"),
    )
    rule = methods.load(method)[-1]
    assert isinstance(rule.parameters, DayMatching)

    found = [
        matrix.answer(rule.parameters, asked),
        polars_days.answer(rule.parameters, asked),
        duckdb_engine.answer(rule, asked),
    ]

    days = [one.days.sort("resource", "day").rows() for one in found if one is not None]
    assert len(days) == 3
    assert days[0] == days[1] == days[2]


def test_events_with_decades_of_minutes_between_them_are_joined() -> None:
    """Thirty-six years of minutes would be 19 million places for two hours that are asked about."""
    minute, first = timedelta(minutes=1), datetime(1990, 7, 10, 20, tzinfo=UTC)
    begins = [first, first.replace(year=2026)]
    starts = [one - day * 24 * HOUR + minute * number for one in begins for day in range(4) for number in range(60)]
    asked = Request(
        loads=pl.DataFrame({"resource": "a", "start": starts, "load_kw": 100.0}, schema=LOADS),
        grid=minute,
        events=pl.DataFrame([(n, one, one + HOUR) for n, one in enumerate(begins)], schema=EVENTS, orient="row"),
        calendar=Calendar("UTC"),
    )
    rule = hand_made(
        DayMatching(look_back_days=4, days=2, other_days=2, minimum_days=1, minimum_other_days=1, day_types="all")
    )
    assert isinstance(rule.parameters, DayMatching)

    assert matrix.answer(rule.parameters, asked) is None
    assert polars_engine.answer(rule, asked).intervals["baseline_kw"].to_list() == [100.0] * 120
