"""The plain pandas rules that the benchmark compares with say what the Polars engine says, a 25-hour day included."""

import importlib
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from random import Random

import polars as pl
import pytest
from unit.pipeline.cbl.polars_cases import PACIFIC, at

from pipeline.cbl import methods
from pipeline.cbl.polars_engine import answer
from pipeline.cbl.request import EVENTS, LOADS, TEMPERATURES, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Regression

pytest.importorskip("pandas", reason="pandas is not installed: dependency group bench")
cbl_pandas = importlib.import_module("bench.cbl_pandas")

HOUR = timedelta(hours=1)
FIRST, DAYS = datetime(2025, 8, 1, 7, tzinfo=UTC), 130
METHODS = [
    name
    for name in methods.names()
    if isinstance(methods.load(name)[-1].parameters, DayMatching | AroundEvent | Regression)
]


@pytest.fixture(scope="module")
def asked() -> Request:
    """Return hours with noise and gaps over the 25-hour day of November; events on it, near it, and far from it."""
    chance = Random(7)
    hours = [FIRST + HOUR * number for number in range(DAYS * 24)]
    loads = [None if chance.random() < 0.002 else 400 + 20 * (start.hour % 12) + chance.gauss(0, 30) for start in hours]
    celsius = [15 + 8 * chance.random() + (start.hour % 24) / 6 for start in hours]
    days = [date(2025, 10, 31), date(2025, 11, 2), date(2025, 11, 5), date(2025, 11, 22), date(2025, 11, 27)]
    spans = [(at(day, hour), at(day, hour + length)) for day in days for hour, length in ((1, 1), (8, 2), (17, 3))]
    return Request(
        loads=pl.DataFrame({"resource": ["a"] * len(hours), "start": hours, "load_kw": loads}, schema=LOADS),
        grid=HOUR,
        events=pl.DataFrame([(number, *span) for number, span in enumerate(spans)], schema=EVENTS, orient="row"),
        calendar=PACIFIC,
        temperatures=pl.DataFrame({"start": hours, "celsius": celsius}, schema=TEMPERATURES),
    )


@pytest.mark.parametrize("name", METHODS)
def test_a_plain_rule_and_the_engine_have_the_same_baselines(name: str, asked: Request) -> None:
    rule = methods.load(name)[-1]

    schema = pl.Schema({"event": pl.Int64(), "start": LOADS["start"], "plain_kw": pl.Float64()})
    plain = pl.DataFrame(list(rows(rule.parameters, asked)), schema=schema, orient="row")

    both = answer(rule, asked).intervals.join(plain, on=["event", "start"], how="full", coalesce=True)
    assert len(plain) > 10
    assert both.filter(pl.col("baseline_kw").is_null() | pl.col("plain_kw").is_null()).is_empty()
    assert both.select((pl.col("baseline_kw") - pl.col("plain_kw")).abs().max()).item() < 1e-6


def rows(parameters: object, asked: Request) -> Iterator[tuple[int, datetime, float]]:
    known = cbl_pandas.history(asked)
    for event, found in enumerate(cbl_pandas.baselines(parameters, known, asked.events)):
        for start, load in ({} if found is None else found).items():
            yield event, start.to_pydatetime(), float(load)


def test_the_mean_of_a_day_of_25_hours_is_of_all_of_them(asked: Request) -> None:
    repeated = pl.col("start") == at(date(2025, 11, 2), 1, fold=1)
    constant = asked.loads.with_columns(load_kw=pl.when(repeated).then(350.0).otherwise(100.0))

    known = cbl_pandas.history(Request(loads=constant, grid=HOUR, events=asked.events, calendar=PACIFIC))

    assert known.day_means[date(2025, 11, 2)] == pytest.approx(110.0)
