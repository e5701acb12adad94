"""Two engines on histories that nobody thought of: the same figures, days, adjustments and shortfalls."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.cbl import engine_cases
from unit.pipeline.cbl.duckdb_cases import rule as hand_made

from pipeline.calendar import Calendar
from pipeline.cbl import duckdb_engine, methods, polars_engine
from pipeline.cbl.request import EVENTS, LOADS, TEMPERATURES, Request, days_of
from pipeline.cbl.rule import DayMatching, Regression, Rule
from pipeline.errors import ConfigError

ZONE = "America/Los_Angeles"
HOUR = timedelta(hours=1)
#: The event's day: both clock changes, the days after them, a holiday, a Saturday and an ordinary day.
DAYS = [date(2026, *day) for day in ((3, 8), (3, 9), (11, 1), (11, 2), (7, 4), (7, 11), (7, 23))]
RULES = {
    rule.method: rule
    for name in methods.names()
    if isinstance((rule := methods.load(name)[-1]).parameters, DayMatching | Regression)
}


def shorter(rule: Rule, chance: Random) -> Rule:
    """Return *rule* with fewer days, so that a small history has too few, enough and too many of them."""
    have = set(type(rule.parameters).__struct_fields__)
    wanted = {"look_back_days": chance.choice([12, 20, 30]), "minimum_days": 2, "minimum_other_days": 2, "like_days": 3}
    if isinstance(rule.parameters, DayMatching) and rule.parameters.days:
        wanted |= {"days": chance.choice([3, 5]), "other_days": chance.choice([2, 3])}
        if rule.parameters.k:
            wanted |= {"k": 2, "other_k": 1}
    return rule.with_parameters({name: str(value) for name, value in wanted.items() if name in have})


def request(chance: Random, day: date) -> Request:
    """Return two events on *day*, three resources of 35 days, a tenth of the readings missing in one, rows shuffled."""
    grid = chance.choice([timedelta(minutes=5), timedelta(minutes=15), HOUR])
    midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(ZONE))
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    starts = [end - grid * (number + 1) for number in range(35 * 24 * (HOUR // grid))]
    rows = [
        (resource, start, None if chance.random() < gaps else chance.uniform(*span))
        for resource, gaps, span in (("a", 0.0, (50, 150)), ("b", 0.002, (0, 10)), ("c", 0.1, (1e4, 1e5)))
        for start in starts
        if gaps < 0.1 or chance.random() > gaps
    ]
    chance.shuffle(rows)
    events = [
        (number, begin.astimezone(UTC), begin.astimezone(UTC) + chance.choice([1, 2, 3]) * HOUR)
        for number, begin in enumerate(midnight.replace(hour=hour) for hour in chance.sample(range(5, 21), 2))
    ]
    back = [day - timedelta(days=number) for number in range(1, 30)]
    hours = [end - HOUR * (number + 1) for number in range(35 * 24)]
    return Request(
        loads=pl.DataFrame(rows, schema=LOADS, orient="row"),
        grid=grid,
        events=pl.DataFrame(events, schema=EVENTS, orient="row"),
        calendar=Calendar(ZONE),
        event_days=days_of(chance.sample(back, 3), chance.choice([None, "a"])),
        outage_days=days_of(chance.sample(back, 2)),
        temperatures=pl.DataFrame(
            {"start": hours, "celsius": [chance.uniform(-5, 40) for _ in hours]}, schema=TEMPERATURES
        ),
    )


def rows(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Return the rows of *frame* in an order that both engines' have."""
    keys = [name for name in ("event", "resource", "start", "day", "what") if name in frame.columns]
    return frame.sort(keys).to_dicts()


def near(frame: pl.DataFrame) -> list[dict[str, object]]:
    """Return the same, figures within 1e-9."""
    return [
        {
            name: pytest.approx(value, rel=1e-9, abs=1e-9) if isinstance(value, float) else value
            for name, value in row.items()
        }
        for row in rows(frame)
    ]


def compared(rule: Rule, asked: Request) -> None:
    """Hold the two engines' answers against each other, to 1e-9."""
    one, other = polars_engine.answer(rule, asked), duckdb_engine.answer(rule, asked)

    assert rows(one.shortfalls) == near(other.shortfalls)
    assert rows(one.days) == near(other.days)
    assert rows(one.adjustments) == near(other.adjustments)
    assert rows(one.intervals) == near(other.intervals)
    assert one.intervals.height + one.shortfalls.height > 0


@pytest.mark.parametrize("method", RULES)
@settings(max_examples=2, deadline=None)
@given(seed=st.integers(0, 2**32), day=st.sampled_from(DAYS))
def test_both_engines_say_the_same(method: str, seed: int, day: date) -> None:
    chance = Random(seed)

    compared(shorter(RULES[method], chance), request(chance, day))


@pytest.mark.parametrize("kind", engine_cases.KINDS)
@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 2**32), day=st.sampled_from(engine_cases.EVENT_DAYS), minutes=st.sampled_from([60, 15, 5]))
def test_both_engines_say_the_same_whatever_the_parameters(kind: str, seed: int, day: date, minutes: int) -> None:
    """Five resources, of loads that export, idle, tie and cancel; holes, days called, both changes of the clocks."""
    chance = Random(seed)
    parameters = engine_cases.parameters(kind, chance)
    days = engine_cases.days_of_history(parameters)

    compared(hand_made(parameters), engine_cases.request(chance, day, timedelta(minutes=minutes), days))


def constant(load_kw: dict[int, float], temperature: float = 20.0) -> Request:
    """Return an event at five on 23 July; so many days before it drew so many kW all day, all others 100 kW."""
    day = date(2026, 7, 23)
    midnight = datetime.combine(day, datetime.min.time(), ZoneInfo(ZONE))
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    hours = [end - HOUR * (number + 1) for number in range(60 * 24)]
    back = [(day - start.astimezone(ZoneInfo(ZONE)).date()).days for start in hours]
    return Request(
        loads=pl.DataFrame(
            {"resource": "a", "start": hours, "load_kw": [load_kw.get(days, 100.0) for days in back]}, schema=LOADS
        ),
        grid=HOUR,
        events=pl.DataFrame(
            [(0, midnight.replace(hour=17).astimezone(UTC), midnight.replace(hour=18).astimezone(UTC))],
            schema=EVENTS,
            orient="row",
        ),
        calendar=Calendar(ZONE),
        temperatures=pl.DataFrame({"start": hours, "celsius": [temperature] * len(hours)}, schema=TEMPERATURES),
    )


@pytest.mark.parametrize("load_kw", [{}, {3: 0.0}, dict.fromkeys(range(60), 0.0)], ids=["none", "one", "all"])
def test_days_that_drew_nothing_are_flat_in_both_engines(load_kw: dict[int, float]) -> None:
    rule = RULES["ercot-regression"].with_parameters({"look_back_days": "50", "minimum_days": "5"})

    one, other = (engine(rule, constant(load_kw)) for engine in (polars_engine.answer, duckdb_engine.answer))

    assert one.shortfalls.is_empty()
    assert rows(one.intervals) == near(other.intervals)
    assert one.intervals["baseline_kw"].null_count() == 0


def test_an_addition_is_limited_by_the_amount_of_a_negative_load_in_both_engines() -> None:
    """1,000 kW are fed in on every day before and 500 today: 500 more is limited to a fifth of 1,000."""
    rule = RULES["gb-bl01"].with_parameters({"adjust_lowest": "-0.2", "adjust_highest": "0.2"})
    asked = constant(dict.fromkeys(range(1, 60), -1000.0) | {0: -500.0})

    for engine in (polars_engine.answer, duckdb_engine.answer):
        found = engine(rule, asked)
        assert found.adjustments.select("raw", "applied").row(0) == pytest.approx((500.0, 200.0))
        assert found.intervals["baseline_kw"].to_list() == pytest.approx([-800.0])


WINDOWLESS = {"before_from_hours": "0.5", "before_to_hours": "0.25"}


@pytest.mark.parametrize(
    ("method", "typed", "told"),
    [
        ("meter-before-after", WINDOWLESS, "set before_from_hours above before_to_hours"),
        ("firm-service-level", {}, "set level_kw, the load in kW that was agreed on beforehand"),
        ("isone", {"keep": "nearest"}, "set k to 1 or more"),
        ("house-regression", {"level_hours": "0"}, "set level_hours to one or more"),
        ("house-regression", {"adjustment": "ratio"}, "set adjust_from_hours above adjust_to_hours"),
    ],
)
def test_both_engines_refuse_what_leaves_nothing_to_compute_in_the_same_words(
    method: str, typed: dict[str, str], told: str
) -> None:
    rule = methods.load(method)[-1].with_parameters(typed)
    said = []

    for engine in (polars_engine.answer, duckdb_engine.answer):
        with pytest.raises(ConfigError, match=told) as error:
            engine(rule, constant({}))
        said.append(str(error.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("after", [{"after_to_hours": "1"}, {"before_from_hours": "1", "before_to_hours": "0"}])
def test_one_window_with_an_interval_is_enough_for_both_engines(after: dict[str, str]) -> None:
    rule = methods.load("meter-before-after")[-1].with_parameters(WINDOWLESS | after)

    for engine in (polars_engine.answer, duckdb_engine.answer):
        assert engine(rule, constant({})).intervals["baseline_kw"].to_list() == [100.0]
