"""Two engines on histories that nobody thought of: the same figures, days, adjustments and shortfalls."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.calendar import Calendar
from pipeline.cbl import duckdb_engine, methods, polars_engine
from pipeline.cbl.request import EVENTS, LOADS, TEMPERATURES, Request, days_of
from pipeline.cbl.rule import DayMatching, Regression, Rule

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


@pytest.mark.parametrize("method", RULES)
@settings(max_examples=4, deadline=None)
@given(seed=st.integers(0, 2**32), day=st.sampled_from(DAYS))
def test_both_engines_say_the_same(method: str, seed: int, day: date) -> None:
    chance = Random(seed)
    rule, asked = shorter(RULES[method], chance), request(chance, day)

    one, other = polars_engine.answer(rule, asked), duckdb_engine.answer(rule, asked)

    assert rows(one.shortfalls) == near(other.shortfalls)
    assert rows(one.days) == near(other.days)
    assert rows(one.adjustments) == near(other.adjustments)
    assert rows(one.intervals) == near(other.intervals)
    assert one.intervals.height + one.shortfalls.height > 0
