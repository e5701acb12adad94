"""Placebo days, the statistics of a baseline's errors by hand, the gate, and what an adjustment is worth."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline.calendar import Calendar
from pipeline.cbl import accuracy
from pipeline.cbl.accuracy import ALL, BUSINESS, OTHER, Plan
from pipeline.cbl.accuracy_scores import beaten_by, best, first_of_same, scores, worse_for_adjusting
from pipeline.cbl.answer import Answer
from pipeline.cbl.polars_days import answer as day_matching
from pipeline.cbl.request import LOADS, Request, days_of
from pipeline.cbl.rule import DayMatching, Level, Rule
from pipeline.errors import ConfigError

HOUR = timedelta(hours=1)
PACIFIC = Calendar("America/Los_Angeles")
MONDAY = date(2026, 6, 1)


def engine(rule: Rule, request: Request) -> Answer:
    assert isinstance(rule.parameters, DayMatching)
    return day_matching(rule.parameters, request)


def request(load_kw: dict[int, float | None], *, days: int = 20, first: date = MONDAY) -> Request:
    """Return *days* local days of hours, each at 100 kW but for the days numbered in *load_kw*."""
    rows = [
        ("site", start, load_kw.get(number, 100.0))
        for number in range(days)
        for bounds in [PACIFIC.bounds(first + timedelta(days=number))]
        for start in (bounds.start + HOUR * hour for hour in range(round(bounds.hours)))
    ]
    loads = pl.DataFrame(rows, schema=LOADS, orient="row")
    return Request(loads=loads, grid=HOUR, events=pl.DataFrame(), calendar=PACIFIC)


def rule(method: str, **parameters: Any) -> Rule:
    numbers: dict[str, Any] = {"look_back_days": 1, "day_types": "all", "days": 1, "other_days": 1}
    return Rule(
        method=method,
        version="1",
        title="",
        venue=None,
        valid_from=None,
        citation="",
        verified=True,
        parameters=DayMatching(**(numbers | {"minimum_days": 1, "minimum_other_days": 1} | parameters)),
    )


def days(events: pl.DataFrame, kind: str) -> list[date]:
    chosen: list[date] = events.filter(pl.col("kind") == kind)["day"].unique().sort().to_list()
    return chosen


def test_placebo_days_lie_in_the_second_half_of_a_short_record_and_weekends_are_apart() -> None:
    events = accuracy.placebo(request({}, days=14), Plan(start_hours=(17,)))

    assert days(events, BUSINESS) == [date(2026, 6, day) for day in (8, 9, 10, 11, 12)]
    assert days(events, OTHER) == [date(2026, 6, 13), date(2026, 6, 14)]


def test_a_long_record_keeps_its_first_ninety_days_for_history() -> None:
    events = accuracy.placebo(request({}, days=200), Plan(start_hours=(17,), days=500))

    assert events["day"].min() == MONDAY + timedelta(days=90)
    assert events["day"].n_unique() == 110


def test_a_day_with_a_call_or_an_outage_is_no_placebo_day() -> None:
    asked = request({}, days=14)
    called, out = date(2026, 6, 9), date(2026, 6, 10)

    events = accuracy.placebo(
        Request(
            loads=asked.loads,
            grid=HOUR,
            events=asked.events,
            calendar=PACIFIC,
            event_days=days_of([called]),
            outage_days=days_of([out], "site"),
        ),
        Plan(start_hours=(17,)),
    )

    assert days(events, BUSINESS) == [date(2026, 6, 8), date(2026, 6, 11), date(2026, 6, 12)]


def test_loads_have_no_say_in_which_days_are_chosen() -> None:
    plan = Plan(start_hours=(17,), days=3)

    calm = accuracy.placebo(request({}, days=40), plan)
    wild = accuracy.placebo(request({number: 1000.0 * number for number in range(1, 40)}, days=40), plan)

    assert calm.equals(wild)
    assert calm["day"].n_unique() == 6


def test_fewer_days_are_some_of_the_more_days() -> None:
    few, many = (accuracy.placebo(request({}, days=100), Plan(days=number)) for number in (3, 9))

    assert set(days(few, BUSINESS)) < set(days(many, BUSINESS))
    assert len(days(few, BUSINESS)) == 3


def test_chosen_days_lie_all_over_the_record_and_on_every_weekday() -> None:
    chosen = days(accuracy.placebo(request({}, days=400), Plan(start_hours=(17,), days=40)), BUSINESS)

    assert {day.weekday() for day in chosen} == {0, 1, 2, 3, 4}
    middle = MONDAY + timedelta(days=245)
    assert 10 < sum(day < middle for day in chosen) < 30


def test_an_event_begins_by_the_local_clock_on_either_side_of_a_clock_change() -> None:
    events = accuracy.placebo(request({}, days=14, first=date(2026, 2, 28)), Plan(start_hours=(17,), hours=3))

    starts = dict(events.select("day", "start").iter_rows())
    zone = ZoneInfo("America/Los_Angeles")
    assert starts[date(2026, 3, 7)] == datetime(2026, 3, 8, 1, tzinfo=UTC)
    assert starts[date(2026, 3, 8)] == datetime(2026, 3, 9, 0, tzinfo=UTC)
    assert {start.astimezone(zone).hour for start in starts.values()} == {17}
    assert set(events["end"] - events["start"]) == {3 * HOUR}


@pytest.mark.parametrize("hour", [1, 2])
def test_an_event_that_the_clock_change_falls_into_is_left_out(hour: int) -> None:
    events = accuracy.placebo(request({}, days=14, first=date(2026, 3, 1)), Plan(start_hours=(hour,), hours=2))

    assert date(2026, 3, 8) not in events["day"].to_list()
    assert date(2026, 3, 9) in events["day"].to_list()


def test_an_event_may_last_to_midnight_but_not_beyond() -> None:
    events = accuracy.placebo(request({}, days=14), Plan(start_hours=(22,), hours=2))

    assert events["end"].to_list()[0] == datetime(2026, 6, 9, 7, tzinfo=UTC)
    with pytest.raises(ConfigError, match="2 h from 23:00 do not lie within one day"):
        Plan(start_hours=(22, 23), hours=2)


def test_loads_without_a_number_are_refused() -> None:
    with pytest.raises(ConfigError, match="needs metered loads"):
        accuracy.placebo(request({0: None}, days=1), Plan())


def scored(
    load_kw: dict[int, float | None], *rules: Rule, days: int = 6, hours: tuple[int, ...] = (17,)
) -> pl.DataFrame:
    asked = request(load_kw, days=days)
    events = accuracy.placebo(asked, Plan(start_hours=hours, hours=1))
    found = accuracy.errors(rules, asked, events, engine)
    return scores(found, accuracy.metered(asked, events), tuple(one.method for one in rules))


def row(frame: pl.DataFrame, method: str, kind: str = ALL, hour: int | None = None) -> dict[str, object]:
    kept = frame.filter(method=method, kind=kind).filter(pl.col("hour").eq_missing(pl.lit(hour)))
    assert len(kept) == 1
    return kept.row(0, named=True)


def test_statistics_are_as_computed_by_hand() -> None:
    # Thursday to Saturday at 80, 110 and 110 kW after Wednesday's 100: baselines 100, 80, 110; errors 20, -30, 0.
    found = row(scored({3: 80.0, 4: 110.0, 5: 110.0}, rule("yesterday")), "yesterday")

    assert (found["events"], found["days"], found["intervals"]) == (3, 3, 3)
    assert found["mean_kw"] == pytest.approx(100)
    assert found["rrmse"] == pytest.approx((1300 / 3) ** 0.5 / 100)
    assert found["bias"] == pytest.approx(-10 / 3 / 100)
    assert found["cv_rmse"] == pytest.approx(650**0.5 / 100)
    assert found["nmbe"] == pytest.approx(10 / 2 / 100)


def test_weekends_and_hours_are_told_apart() -> None:
    frame = scored({3: 80.0, 4: 110.0, 5: 110.0}, rule("yesterday"), hours=(9, 17))

    assert row(frame, "yesterday", BUSINESS)["intervals"] == 4
    assert row(frame, "yesterday", BUSINESS, 9)["bias"] == pytest.approx(-5 / 95)
    assert row(frame, "yesterday", OTHER)["rrmse"] == 0
    assert len(frame) == 9


def test_a_reading_that_is_missing_is_no_zero_load() -> None:
    found = row(scored({3: 80.0, 4: None, 5: 110.0}, rule("yesterday")), "yesterday")

    # Friday was not metered: no event there, and no baseline for Saturday.
    assert (found["events"], found["intervals"]) == (2, 1)
    assert found["without_baseline"] == pytest.approx(0.5)
    assert found["bias"] == pytest.approx(20 / 80)


def test_a_method_without_any_baseline_is_listed_and_not_eligible() -> None:
    found = row(scored({}, rule("greedy", minimum_days=2, minimum_other_days=2)), "greedy")

    assert (found["days"], found["intervals"], found["without_baseline"]) == (0, 0, 1.0)
    assert (found["rrmse"], found["eligible"]) == (None, False)


def test_a_load_of_zero_has_no_relative_error() -> None:
    found = row(scored({3: 0.0, 4: 0.0, 5: 0.0}, rule("yesterday")), "yesterday")

    assert (found["mean_kw"], found["rrmse"], found["bias"], found["eligible"]) == (0, None, None, False)


@pytest.mark.parametrize(("saturday_kw", "eligible"), [(125.0, True), (126.0, False)])
def test_the_gate_is_a_relative_error_of_twenty_percent(saturday_kw: float, eligible: bool) -> None:  # noqa: FBT001
    found = row(scored({5: saturday_kw}, rule("yesterday")), "yesterday", OTHER)

    assert found["rrmse"] == pytest.approx((saturday_kw - 100) / saturday_kw)
    assert found["eligible"] is eligible


def test_a_verdict_on_fewer_than_sixty_days_is_indicative() -> None:
    long, short = (scored({}, rule("yesterday"), days=days) for days in (300, 130))

    assert row(short, "yesterday", BUSINESS)["indicative"] is True
    assert (row(long, "yesterday", BUSINESS)["days"], row(long, "yesterday", BUSINESS)["indicative"]) == (60, False)


def test_an_adjustment_that_makes_it_worse_is_told() -> None:
    # Thursday is at 80 kW before noon and at 100 after: matched days say 100, the morning's ratio makes 80 of it.
    asked = request({}, days=6)
    noon = datetime(2026, 6, 4, 19, tzinfo=UTC)
    morning = (pl.col("start") >= noon - 12 * HOUR) & (pl.col("start") < noon)
    loads = asked.loads.with_columns(load_kw=pl.when(morning).then(80.0).otherwise("load_kw"))
    lowered = Request(loads=loads, grid=HOUR, events=asked.events, calendar=PACIFIC)
    rules = (rule("adjusted", adjustment="ratio", adjust_from_hours=4, adjust_to_hours=1), rule("plain"))
    events = accuracy.placebo(lowered, Plan(start_hours=(13,), hours=1))

    frame = scores(
        accuracy.errors(rules, lowered, events, engine), accuracy.metered(lowered, events), ("adjusted", "plain")
    )

    thursday_and_friday = row(frame, "adjusted", BUSINESS)
    assert thursday_and_friday["rrmse_unadjusted"] == 0
    assert thursday_and_friday["rrmse"] == pytest.approx(((0.2**2 + 0.25**2) / 2) ** 0.5)
    assert set(worse_for_adjusting(frame)["method"]) == {"adjusted"}


def test_the_best_method_has_the_lowest_error_and_answers_most_events() -> None:
    # Thursday to Saturday; the careful one has the mean of the two days before.
    pair = (rule("yesterday"), rule("careful", look_back_days=2, days=2, other_days=2))
    found = best(scored({2: 70.0, 3: 80.0, 4: 80.0, 5: 80.0}, *pair))

    # Baselines 70, 80, 80 against 85, 75, 80: mean squared errors 100/3 and 50/3.
    assert row(found, "careful")["rrmse"] == pytest.approx((50 / 3) ** 0.5 / 80)
    assert len(found.filter(pl.col("hour").is_null(), kind=ALL)) == 1


def test_of_two_that_are_equal_but_for_the_last_digit_the_first_by_name_is_the_best() -> None:
    pair = (rule("b"), rule("a"))
    frame = scored({5: 150.0}, *pair)
    tilted = frame.with_columns(rrmse=pl.col("rrmse") + pl.when(method="a").then(1e-15).otherwise(0.0))

    assert set(best(tilted)["method"]) == {"a"}
    assert worse_for_adjusting(tilted).is_empty()


def test_rules_that_say_the_same_everywhere_are_the_same_and_others_are_not() -> None:
    rules = (rule("b"), rule("a"), rule("older", skip_days=1, look_back_days=2), rule("greedy", minimum_days=9))
    greedier = rule("greedier", minimum_days=9, minimum_other_days=9)
    greediest = rule("greediest", minimum_days=9, minimum_other_days=9)

    # Saturday is at 80 kW: nobody knew, and all said 100; Sunday's baseline is Saturday's load, or Friday's.
    frame = scored({5: 80.0}, *rules, greedier, greediest, days=7)

    found = first_of_same(frame)
    assert {"a": "a", "b": "a", "older": "older", "greedy": "greedy"}.items() <= found.items()
    assert (found["greedier"], found["greediest"]) == ("greedier", "greediest")


def test_a_method_that_was_asked_only_half_of_the_events_is_not_the_best() -> None:
    choosy = rule("choosy", day_types="business", minimum_days=1, minimum_other_days=9)

    # Saturday is the hard question.
    frame = scored({5: 160.0}, rule("yesterday"), choosy)

    assert (row(frame, "choosy")["rrmse"], row(frame, "yesterday")["rrmse"]) == (0, pytest.approx(3**0.5 / 6))
    assert row(frame, "choosy")["without_baseline"] == pytest.approx(1 / 3)
    assert best(frame).filter(kind=ALL)["method"].unique().to_list() == ["yesterday"]


def test_what_is_no_better_than_a_reference_is_told() -> None:
    rules = (rule("yesterday"), rule("older", skip_days=1, look_back_days=2))

    frame = beaten_by(scored({3: 80.0, 4: 80.0, 5: 80.0}, *rules), "yesterday")

    # Yesterday is wrong on Thursday alone (20 of 80), the day before that on Thursday and Friday.
    found = row(frame, "older")
    assert found["reference_rrmse"] == pytest.approx((400 / 3) ** 0.5 / 80)
    assert found["rrmse"] == pytest.approx((800 / 3) ** 0.5 / 80)


def test_methods_that_say_nothing_of_a_load_are_named_with_the_reason() -> None:
    asked = request({})
    level = Rule(
        method="level",
        version="1",
        title="",
        venue=None,
        valid_from=None,
        citation="",
        verified=True,
        parameters=Level(level_kw=5.0),
    )

    assert accuracy.unfit(rule("plain"), asked) is None
    assert accuracy.unfit(level, asked) == "a level that is agreed on; it estimates no load"
    assert accuracy.unfit(rule("warm", rank_by="temperature"), asked) == "needs temperatures"
    assert accuracy.unfit(rule("generator", supply=True), asked) == "for what a generator gives, not for a load"
