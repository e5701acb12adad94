"""What holds for every history, in Polars: no look-ahead, scaling, constancy, order of rows."""

from dataclasses import replace
from datetime import date, timedelta
from random import Random

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace as changed
from polars.testing import assert_frame_equal
from unit.pipeline.cbl.polars_cases import Row, ask, at, hours, request, warm

from pipeline.cbl.answer import Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Parameters, Regression

PLAIN = DayMatching(look_back_days=12, days=5, other_days=3, minimum_days=2, minimum_other_days=1)
BEFORE_THE_EVENT: dict[str, DayMatching] = {
    "mean": PLAIN,
    "highest, additive": changed(
        PLAIN,
        keep="highest",
        k=3,
        other_k=2,
        low_usage="mean-of-pool",
        low_usage_share=0.7,
        adjustment="additive",
        adjust_from_hours=4,
        adjust_to_hours=1,
        adjust_lowest=-0.2,
        adjust_highest=0.2,
    ),
    "middle, ratio": changed(
        PLAIN,
        keep="middle",
        minimum_days=3,
        low_usage="running-mean",
        low_usage_share=0.7,
        seed_days=12,
        adjustment="ratio",
        adjust_from_hours=3,
    ),
    "nearest by shape": changed(PLAIN, keep="nearest", k=2, other_k=1, rank_by="shape", adjustment="ratio"),
    "highest by day": changed(PLAIN, keep="highest", k=2, other_k=1, rank_by="day", fill_up=True),
}
RULES: dict[str, Parameters] = {
    **BEFORE_THE_EVENT,
    "around": AroundEvent(before_from_hours=2, after_from_hours=1, after_to_hours=2),
    "degree-days": Regression(terms="degree-days", look_back_days=12, minimum_days=3, like_days=3),
    "level": Regression(terms="level", look_back_days=8, minimum_days=2, like_days=2, level_hours=3),
}
EVENT_DAYS = (date(2026, 7, 23), date(2026, 7, 25), date(2026, 3, 8), date(2026, 11, 1), date(2026, 11, 3))


@st.composite
def histories(draw: st.DrawFn, *, gaps: bool = True) -> Request:
    """Draw 17 days of hourly loads, some of them missing, and an event of one to three hours on the last."""
    day = draw(st.sampled_from(EVENT_DAYS))
    first, length = draw(st.integers(5, 19)), draw(st.integers(1, 3))
    random = Random(draw(st.integers(0, 10**6)))
    start, end = at(day - timedelta(days=16), 0), at(day + timedelta(days=1), 0)
    rows: list[Row] = [
        ("", start + timedelta(hours=n), None if gaps and random.random() < 0.003 else float(random.randint(1, 40)))
        for n in range((end - start) // timedelta(hours=1))
    ]
    called = draw(st.lists(st.integers(1, 12), max_size=2))
    asked = request(rows, hours(day, first, first + length), event_days=[day - timedelta(days=back) for back in called])
    return warm(asked, {day - timedelta(days=back): float(random.randint(8, 30)) for back in range(17)})


def with_loads(asked: Request, load: pl.Expr) -> Request:
    return replace(asked, loads=asked.loads.with_columns(load_kw=load))


def assert_same(found: Answer, expected: Answer) -> None:
    for name in ("intervals", "days", "adjustments", "shortfalls"):
        assert_frame_equal(getattr(found, name), getattr(expected, name), check_exact=False, abs_tol=1e-9)


BASELINE = ("event", "resource", "start", "baseline_unadjusted_kw", "baseline_kw")


@pytest.mark.parametrize("name", BEFORE_THE_EVENT)
@settings(max_examples=8, deadline=None)
@given(asked=histories(), wild=st.sampled_from([None, 0.0, 1e9]))
def test_readings_at_or_after_the_start_of_the_event_change_no_baseline(
    name: str, asked: Request, wild: float | None
) -> None:
    later = pl.col("start") >= pl.lit(asked.events["start"].item())
    changed_later = with_loads(asked, pl.when(later).then(pl.lit(wild, pl.Float64)).otherwise("load_kw"))

    found, expected = ask(RULES[name], changed_later), ask(RULES[name], asked)

    assert_frame_equal(found.intervals.select(BASELINE), expected.intervals.select(BASELINE))
    for part in ("days", "adjustments", "shortfalls"):
        assert_frame_equal(getattr(found, part), getattr(expected, part))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=8, deadline=None)
@given(asked=histories(), size=st.sampled_from([0.125, 2.0, 1024.0]))
def test_a_load_so_many_times_as_large_has_so_many_times_the_baseline(name: str, asked: Request, size: float) -> None:
    found = ask(RULES[name], with_loads(asked, pl.col("load_kw") * size))
    expected = ask(RULES[name], asked)

    assert found.intervals["baseline_kw"].to_list() == pytest.approx(
        [size * kw for kw in expected.intervals["baseline_kw"]], rel=1e-9, abs=1e-9
    )
    assert_frame_equal(found.days, expected.days)


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=4, deadline=None)
@given(asked=histories(gaps=False), constant=st.sampled_from([0.1, 1.0, 12345.678]))
def test_a_constant_load_gives_itself(name: str, asked: Request, constant: float) -> None:
    found = ask(RULES[name], with_loads(asked, pl.lit(constant)))

    assert found.intervals["baseline_kw"].to_list() == pytest.approx([constant] * len(found.intervals), rel=1e-9)
    assert len(found.intervals) + len(found.shortfalls) > 0


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=4, deadline=None)
@given(asked=histories(), seed=st.integers(0, 99))
def test_the_order_of_rows_does_not_matter(name: str, asked: Request, seed: int) -> None:
    assert asked.temperatures is not None
    shuffled = replace(
        asked,
        loads=asked.loads.sample(fraction=1, shuffle=True, seed=seed),
        temperatures=asked.temperatures.sample(fraction=1, shuffle=True, seed=seed),
        event_days=asked.event_days.reverse(),
    )

    assert_same(ask(RULES[name], shuffled), ask(RULES[name], asked))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=4, deadline=None)
@given(asked=histories())
def test_a_missing_reading_is_the_same_as_a_row_without_one(name: str, asked: Request) -> None:
    assert_same(ask(RULES[name], replace(asked, loads=asked.loads.drop_nulls())), ask(RULES[name], asked))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=4, deadline=None)
@given(asked=histories())
def test_an_event_has_either_a_baseline_or_a_shortfall(name: str, asked: Request) -> None:
    found = ask(RULES[name], asked)

    assert len(found.shortfalls) == (1 if found.intervals.is_empty() else 0)
    assert found.intervals["baseline_kw"].is_finite().all()
    assert len(found.adjustments) == (0 if found.intervals.is_empty() else 1)
