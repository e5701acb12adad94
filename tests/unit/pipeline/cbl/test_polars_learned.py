"""The baseline that trees learn a day ahead, in Polars."""

import importlib.util
import sys
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from random import Random

import numpy as np
import polars as pl
import pytest
from msgspec.structs import replace as changed
from polars.testing import assert_frame_equal
from unit.pipeline.cbl.polars_cases import Row, ask, at, column, flat, hours, request, shortfall, used

from pipeline.cbl import polars_learned
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Learned
from pipeline.errors import ConfigError

learns = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None,
    reason="scikit-learn is not installed: pip install 'firmwatt[ml]'",
)
RULE = Learned(look_back_days=21, minimum_days=10, trees=30)
THURSDAY = date(2026, 7, 23)
DAYS = [THURSDAY - timedelta(days=back) for back in range(30)]
EVENT = hours(THURSDAY, 17, 20)


def noisy(seed: int = 1, size: float = 1.0) -> list[Row]:
    """Return a month of 100 kW by night and 200 from 8:00 on, give or take 5, times *size*."""
    random = Random(seed)
    return [
        ("", at(day, hour), ((200.0 if hour >= 8 else 100.0) + random.uniform(-5, 5)) * size)
        for day in sorted(DAYS)
        for hour in range(24)
    ]


def baselines(rule: Learned, asked: Request) -> list[float]:
    found = ask(rule, asked)
    assert found.shortfalls.is_empty()
    return found.intervals["baseline_kw"].to_list()


@learns
def test_it_learns_the_load_of_the_hour() -> None:
    assert baselines(RULE, request(noisy(), EVENT)) == pytest.approx([200.0] * 3, abs=5)
    assert baselines(RULE, request(noisy(), hours(THURSDAY, 3, 5))) == pytest.approx([100.0] * 2, abs=5)


@learns
def test_it_learns_that_saturdays_are_different() -> None:
    saturday = date(2026, 7, 25)
    days = [saturday - timedelta(days=back) for back in range(60)]
    rows = flat({day: 50.0 if day.weekday() == 5 else 100.0 for day in days})
    rule = changed(RULE, look_back_days=50)

    assert baselines(rule, request(rows, hours(saturday, 12, 13))) == pytest.approx([50.0], abs=5)
    assert baselines(rule, request(rows, hours(date(2026, 7, 24), 12, 13))) == pytest.approx([100.0], abs=5)


@learns
@pytest.mark.parametrize("ahead", [0.0, 0.5, 24.0, 300.0])
def test_nothing_that_ends_after_the_cut_is_used(ahead: float) -> None:
    """Half an hour ahead of 17:00 the reading of 16:00 has not ended."""
    rule = changed(RULE, ahead_hours=ahead, look_back_days=30, minimum_days=5)
    asked = request(noisy(), EVENT)
    cut = EVENT[0] - timedelta(hours=max(ahead, 1.0) if ahead else 0.0)
    wild = pl.when(pl.col("start") >= cut).then(pl.lit(9e6)).otherwise("load_kw").alias("load_kw")

    assert baselines(rule, replace(asked, loads=asked.loads.with_columns(wild))) == baselines(rule, asked)


@learns
def test_what_was_known_at_the_same_time_of_earlier_days_is_used() -> None:
    """200 kW in the afternoon of one day and in the evening of the next, in turn: every day has one mean and spread."""
    evening = {day: (day.toordinal() - THURSDAY.toordinal()) % 2 for day in DAYS}
    rows: list[Row] = [
        ("", at(day, hour), 200.0 if 12 + 6 * evening[day] <= hour < 18 + 6 * evening[day] else 100.0)
        for day in DAYS
        for hour in range(24)
    ]

    assert baselines(changed(RULE, ahead_hours=17), request(rows, EVENT)) == pytest.approx([200.0, 100.0, 100.0], abs=5)


def test_what_would_not_have_been_known_of_a_training_day_is_not_learnt_from() -> None:
    """A day ahead of 17:00, yesterday's load is known until 17:00; the day before yesterday's throughout."""
    known = polars_learned._known(RULE, request(noisy(), EVENT))
    day = date(2026, 7, 10)
    hours_of_day = pl.DataFrame({"day": [day] * 24, "wall": [datetime.combine(day, time(hour)) for hour in range(24)]})
    targets = hours_of_day.cast({"wall": pl.Datetime("us")})

    features = dict(
        zip(polars_learned.FEATURES, polars_learned._features(known, request([], EVENT), targets).T, strict=True)
    )

    assert [hour for hour, load in enumerate(features["lag_1"]) if not np.isnan(load)] == list(range(17))
    assert not np.isnan(features["lag_2"]).any()


@learns
def test_training_days_are_complete_known_and_not_excluded_of_any_type() -> None:
    """A day ahead of 17:00 the 22nd has not ended; the 21st was an event, the 20th an outage, the 19th has a gap."""
    rows = [row for row in noisy() if row[1] != at(date(2026, 7, 19), 3)]
    asked = request(rows, EVENT, event_days=[date(2026, 7, 21)], outage_days=[date(2026, 7, 20)])

    assert used(ask(RULE, asked)) == [date(2026, 7, 18) - timedelta(days=back) for back in range(17)]
    everything = changed(RULE, exclude_events=False, exclude_outages=False)
    assert used(ask(everything, asked))[:3] == [date(2026, 7, day) for day in (21, 20, 18)]


@learns
def test_too_few_training_days_are_a_shortfall() -> None:
    rows = flat(dict.fromkeys([date(2026, 7, 21), date(2026, 7, 20)], 1.0))

    assert shortfall(ask(RULE, request(rows, EVENT))) == (10, 2, "training days with complete readings known in time")


@learns
def test_a_constant_load_gives_itself() -> None:
    for constant in (0.0, 0.1, 12345.678):
        rows = flat(dict.fromkeys(DAYS, constant))
        assert baselines(RULE, request(rows, EVENT)) == pytest.approx([constant] * 3, rel=1e-12)


@learns
@pytest.mark.parametrize("size", [1e-3, 7.0, 1e6])
def test_a_load_so_many_times_as_large_has_so_many_times_the_baseline(size: float) -> None:
    one = baselines(RULE, request(noisy(), EVENT))

    assert baselines(RULE, request(noisy(size=size), EVENT)) == pytest.approx([size * kw for kw in one], rel=1e-9)


@learns
def test_the_same_request_gives_the_same_answer_in_whatever_order() -> None:
    rows = noisy()
    first = ask(RULE, request(rows, EVENT)).intervals
    Random(3).shuffle(rows)

    assert_frame_equal(ask(RULE, request(rows, EVENT)).intervals, first)


@learns
def test_many_resources_and_events_are_as_one_by_one() -> None:
    other: list[Row] = [("b", start, load) for _, start, load in noisy(seed=2, size=3.0)]
    both = request(noisy() + other, EVENT, hours(date(2026, 7, 22), 8, 9))
    found = ask(RULE, both).intervals

    assert found.filter(event=1, resource="b")["baseline_kw"].to_list() == baselines(
        RULE, request(other, hours(date(2026, 7, 22), 8, 9))
    )
    assert found.filter(event=0, resource="")["baseline_kw"].to_list() == baselines(RULE, request(noisy(), EVENT))


@learns
@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 11, 1)])
def test_an_event_on_a_day_with_a_clock_change_has_a_baseline_for_each_interval(day: date) -> None:
    rows: list[Row] = [("", at(day, 0) - timedelta(hours=n), 10.0) for n in range(-26, 24 * 29)]
    found = ask(RULE, request(rows, (at(day, 0), at(day, 4))))

    assert len(found.intervals) == (at(day, 4) - at(day, 0)) // timedelta(hours=1)
    assert column(found, "baseline_kw") == pytest.approx([10.0] * len(found.intervals))


@learns
@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (changed(RULE, trees=0), "set trees to 1 or more"),
        (changed(RULE, leaves=1), "set leaves to 2 or more"),
        (changed(RULE, rate=0.0), "set rate above 0"),
        (changed(RULE, ahead_hours=-1.0), "set ahead_hours to 0 or more"),
        (changed(RULE, seed=-1), "set seed to 0 or more"),
    ],
)
def test_numbers_that_nothing_is_learnt_with_are_mistakes(rule: Learned, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ask(rule, request(noisy(), EVENT))


def test_without_scikit_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, "sklearn.ensemble", raising=False)

    with pytest.raises(ConfigError, match=r"pip install 'firmwatt\[ml\]'"):
        ask(RULE, request(noisy(), EVENT))
