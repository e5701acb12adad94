"""The SQL engine on many events and resources at once, and its SQL on its own."""

from dataclasses import replace
from datetime import date
from functools import cache
from random import Random

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from unit.pipeline.cbl.duckdb_cases import (
    HOUR,
    PACIFIC,
    asked,
    at,
    before,
    flat,
    july,
    matching,
    rule,
)

from pipeline.cbl.answer import ADJUSTMENTS, DAYS_LOOKED_AT, INTERVALS, SHORTFALLS
from pipeline.cbl.duckdb_engine import answer, sql
from pipeline.cbl.request import EVENTS, LOADS, Request, days_of
from pipeline.cbl.rule import AroundEvent, Level, Parameters, Reference, Regression

RATIO = {
    "adjustment": "ratio",
    "adjust_from_hours": 4,
    "adjust_to_hours": 1,
    "adjust_lowest": 0.8,
    "adjust_highest": 1.2,
}


@cache
def crowd(seed: int) -> Request:
    """Three resources and three events, half an hour apart, over the autumn clock change, with holes, in no order."""
    random = Random(seed)
    first = at(date(2026, 9, 1), 0)
    rows = [
        (f"r{number}", first + step * HOUR / 2, random.choice([None, float("nan")]) if random.random() < 0.002 else kw)
        for number in range(3)
        for step in range(67 * 48)
        if random.random() > 0.001
        for kw in [100 + 30 * random.random() + 20 * (step // 2 % 24 > 7)]
    ]
    random.shuffle(rows)
    days = [(date(2026, 11, 3), 17), (date(2026, 11, 1), 0), (date(2026, 10, 26), 7)]
    starts = [at(day, hour) for day, hour in days]
    events = {"event": [0, 1, 2], "start": starts, "end": [start + 3 * HOUR for start in starts]}
    hours = [first + step * HOUR for step in range(67 * 24)]
    readings = pl.DataFrame(rows, schema=LOADS, orient="row")
    return Request(
        loads=readings,
        grid=HOUR / 2,
        events=pl.DataFrame(events, schema=EVENTS),
        calendar=PACIFIC,
        event_days=pl.concat([days_of([date(2026, 10, 20)]), days_of([date(2026, 10, 21)], "r1")]),
        outage_days=days_of([date(2026, 10, 22)], "r0"),
        temperatures=pl.DataFrame({"start": hours, "celsius": [random.uniform(5, 30) for _ in hours]}),
        nominations=readings.filter(pl.col("resource") != "r2").select(
            pl.col("resource").replace("r0", None), "start", "load_kw", submitted_at=pl.col("start") - 48 * HOUR
        ),
        control=readings.rename({"resource": "customer"}),
    )


EVERY_KIND: dict[str, Parameters] = {
    "10 in 10": matching(day_types="business", days=10, other_days=4, fill_up=True, **RATIO),
    "running mean": matching(low_usage="running-mean", low_usage_share=0.99, seed_days=30, days=4, other_days=2),
    "mean of pool": matching(low_usage="mean-of-pool", low_usage_share=0.99, days=4, other_days=2, minimum_days=2),
    "by the day": matching(keep="highest", k=3, other_k=2, rank_by="day", skip_days=1),
    "by shape": matching(keep="nearest", k=3, other_k=3, rank_by="shape", match="outside-event", adjustment="additive"),
    "by temperature": matching(keep="nearest", k=3, other_k=3, rank_by="temperature", look_back_days=30),
    "around": AroundEvent(before_from_hours=2, after_to_hours=1.5),
    "level": Level(level_kw=120, below_kw=110, decimals=2),
    "nomination": Reference(source="nomination"),
    "control": Reference(source="control", customers=2, decimals=3),
    "degree days": Regression(
        terms="degree-days", look_back_days=60, minimum_days=3, adjustment="ratio", adjust_from_hours=2
    ),
    "by level": Regression(terms="level", look_back_days=28, minimum_days=3, like_days=4, level_hours=6),
}


@pytest.mark.parametrize("parameters", EVERY_KIND.values(), ids=EVERY_KIND)
def test_the_sql_run_on_its_own_gives_the_same_figures(parameters: Parameters) -> None:
    request = crowd(1)
    engine = answer(rule(parameters), request)

    with duckdb.connect() as auditor:
        auditor.register("loads", request.loads.to_struct("loads"))
        told = pl.DataFrame(auditor.sql(sql(rule(parameters), request)))

    assert not engine.intervals.is_empty()
    assert_frame_equal(told.select(engine.intervals.columns), engine.intervals, rel_tol=0, abs_tol=1e-9)


@pytest.mark.parametrize("parameters", EVERY_KIND.values(), ids=EVERY_KIND)
def test_each_event_and_resource_is_answered_as_if_it_were_alone(parameters: Parameters) -> None:
    request = crowd(2)
    together = answer(rule(parameters), request)

    assert together.intervals.schema == INTERVALS
    assert together.days.schema == DAYS_LOOKED_AT
    assert together.adjustments.schema == ADJUSTMENTS
    assert together.shortfalls.schema == SHORTFALLS
    answered_pairs = pl.concat(
        [together.intervals.select("event", "resource").unique(), together.shortfalls.select("event", "resource")]
    )
    assert sorted(answered_pairs.rows()) == [(event, f"r{number}") for event in range(3) for number in range(3)]
    for event, resource in ((0, "r0"), (1, "r1"), (2, "r2")):
        alone = answer(rule(parameters), _only(request, event, resource))
        for name in ("intervals", "days", "adjustments", "shortfalls"):
            whole: pl.DataFrame = getattr(together, name)
            assert_frame_equal(
                getattr(alone, name),
                whole.filter(pl.col("event") == event, pl.col("resource") == resource),
                abs_tol=1e-9,
            )


def _only(request: Request, event: int, resource: str) -> Request:
    return replace(
        request,
        loads=request.loads.filter(pl.col("resource") == resource).sort("start"),
        events=request.events.filter(pl.col("event") == event),
    )


def test_a_name_with_a_quote_is_a_name_in_the_sql() -> None:
    both = pl.concat([flat(before(10, 20), resource=name) for name in ("O'Hare", "b")])
    request = asked(both, event_days=days_of([july(22)], "O'Hare"))

    with duckdb.connect() as auditor:
        auditor.register("loads", both.to_struct("loads"))
        told = auditor.sql(sql(rule(matching()), request)).project("resource, baseline_kw").fetchall()

    assert told == [("O'Hare", 20.0), ("b", 15.0)]
