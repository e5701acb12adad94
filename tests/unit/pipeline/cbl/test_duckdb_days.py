"""Day matching in SQL: which days are used, which are not and why. Loads are flat unless said otherwise."""

from datetime import date, timedelta

import polars as pl
import pytest
from unit.pipeline.cbl.duckdb_cases import (
    EVENT_DAY,
    answered,
    asked,
    before,
    column,
    flat,
    july,
    loads,
    matching,
    passed,
    short,
    used,
)

from pipeline.cbl.request import days_of
from pipeline.cbl.rule import DayMatching

WITHIN_10 = "like days with complete readings within 10 days of the event"


def test_every_day_within_the_look_back_serves_where_nothing_limits_them() -> None:
    """The eleventh day back, 1000 kW, is out of reach."""
    figures = before(10, 20, 30, 10, 20, 30, 10, 20, 30, 20, 1000)

    found = answered(matching(), asked(flat(figures)))

    assert column(found, "baseline_kw") == [20.0]
    assert used(found) == [july(day) for day in range(22, 12, -1)]


def test_only_the_newest_days_are_the_pool_and_older_ones_are_not_told() -> None:
    found = answered(matching(days=2), asked(flat(before(10, 20, 90, 90))))

    assert column(found, "baseline_kw") == [15.0]
    assert (used(found), passed(found)) == ([july(22), july(21)], {})


def test_days_right_before_the_event_can_be_skipped() -> None:
    found = answered(matching(skip_days=1), asked(flat(before(10, 20, 30))))

    assert column(found, "baseline_kw") == [25.0]
    assert july(22) not in found.days["day"]


INDEPENDENCE = {date(2026, 7, 4): 10.0, date(2026, 7, 3): 99.0, date(2026, 6, 28): 30.0, date(2026, 6, 27): 20.0}
"""A holiday on a Saturday, the Friday before it, and the Sunday and Saturday before that."""


@pytest.mark.parametrize(
    ("day_types", "baseline", "days"),
    [
        ("all", 39.75, [(7, 4), (7, 3), (6, 28), (6, 27)]),
        ("business", 20.0, [(7, 4), (6, 28), (6, 27)]),
        ("weekday-saturday-sunday", 20.0, [(7, 4), (6, 28)]),
    ],
)
def test_days_like_a_sunday(day_types: str, baseline: float, days: list[tuple[int, int]]) -> None:
    sunday = date(2026, 7, 5)

    found = answered(matching(day_types=day_types), asked(flat(INDEPENDENCE), sunday))

    assert column(found, "baseline_kw") == [baseline]
    assert [(day.month, day.day) for day in used(found)] == days


def test_a_holiday_on_a_monday_is_no_business_day() -> None:
    labor_day = date(2026, 9, 7)
    figures = {labor_day: 1.0, date(2026, 9, 4): 10.0}

    found = answered(matching(day_types="business"), asked(flat(figures), date(2026, 9, 8)))

    assert used(found) == [date(2026, 9, 4)]
    assert passed(found)[labor_day] == "other day type"


def test_an_event_on_a_holiday_asks_for_the_other_number_of_days() -> None:
    """Of the Sunday, 10, and the Saturday, 20, and the Sunday before, 60, two are the pool and one is kept."""
    figures = {date(2026, 9, 6): 10.0, date(2026, 9, 5): 20.0, date(2026, 8, 30): 60.0}
    holiday = asked(flat(figures), date(2026, 9, 7))
    kept = matching(day_types="business", days=9, other_days=2, minimum_days=9, k=9, other_k=1, keep="highest")

    assert column(answered(kept, holiday), "baseline_kw") == [20.0]
    need_4 = matching(day_types="business", minimum_other_days=4)
    assert short(answered(need_4, holiday)) == [(4, 3, WITHIN_10)]


def test_the_first_reason_that_applies_is_told() -> None:
    """22: event and outage; 21: outage; 20: nothing metered; 19: event, nothing metered."""
    request = asked(
        flat({july(22): 1, july(21): 1, july(18): 10}),
        event_days=days_of([july(22), july(19)]),
        outage_days=days_of([july(22), july(21)]),
    )

    found = answered(matching(days=1), request)

    assert used(found) == [july(18)]
    assert passed(found) == {july(22): "event", july(21): "outage", july(20): "incomplete", july(19): "event"}
    assert used(answered(matching(days=1, exclude_events=False), request)) == [july(18)]
    no_exclusions = matching(days=1, exclude_events=False, exclude_outages=False)
    assert used(answered(no_exclusions, request)) == [july(22)]


def test_an_event_day_is_its_resources_or_everybodys() -> None:
    readings = pl.concat([flat(before(1, 2, 3), resource="a"), flat(before(1, 2, 3), resource="b")])
    event_days = pl.concat([days_of([july(22)], "a"), days_of([july(21)])])

    found = answered(matching(), asked(readings, event_days=event_days))

    assert found.days.filter("used").select("resource", "day").rows() == [
        ("a", july(20)),
        ("b", july(22)),
        ("b", july(20)),
    ]


@pytest.mark.parametrize("reading", [None, float("nan"), float("inf")])
def test_what_is_no_number_is_no_reading(reading: float | None) -> None:
    readings = loads({july(22): {17: 10, 18: reading}, july(21): {17: 20, 18: 20}, july(20): {17: 10}})

    found = answered(matching(), asked(readings, hours=(17, 19)))

    assert used(found) == [july(21)]
    assert passed(found)[july(22)] == "incomplete"
    assert column(found, "baseline_kw") == [20.0, 20.0]


def test_a_reading_missing_outside_the_hours_that_count_matters_only_to_the_mean_of_the_day() -> None:
    hole_at_3 = loads({july(22): {hour: 10.0 for hour in range(24) if hour != 3}})
    request = asked(pl.concat([hole_at_3, flat({july(21): 20})]))

    assert used(answered(matching(), request)) == [july(22), july(21)]
    assert used(answered(matching(rank_by="day", keep="highest", k=2), request)) == [july(21)]


def test_days_can_be_ranked_by_all_their_hours() -> None:
    """21 July draws more at 17:00, 22 July over the day: 24 against 11 and a quarter."""
    readings = pl.concat([flat({july(22): 24}), loads({july(21): dict.fromkeys(range(24), 10.0) | {17: 40.0}})])

    by_day = answered(matching(rank_by="day", keep="highest", k=1), asked(readings))
    by_event = answered(matching(keep="highest", k=1), asked(readings))

    assert (used(by_day), used(by_event)) == ([july(22)], [july(21)])


def test_days_of_low_usage_go_round_by_round() -> None:
    """At a half. 10, 1, 9: mean 6.67, and 1 goes. 10, 9, 2: mean 7, and 2 goes. 10, 9, 4.5: mean 7.83, and all stay."""
    pool_of_3 = matching(days=3, low_usage="mean-of-pool", low_usage_share=0.5)

    found = answered(pool_of_3, asked(flat(before(10, 1, 9, 2, 4.5, 99))))

    assert used(found) == [july(22), july(20), july(18)]
    assert passed(found) == {july(21): "low usage", july(19): "low usage"}


def test_several_days_of_low_usage_make_room_for_as_many_and_a_day_at_the_share_stays() -> None:
    """At 0.7: 30, 10, 10 average 16.7, and both go. At a half: 10, 20, 30 average 20, and 10 stays."""
    pool_of_3 = {"days": 3, "low_usage": "mean-of-pool"}

    both = answered(matching(**pool_of_3, low_usage_share=0.7), asked(flat(before(30, 10, 10, 29, 28))))
    none = answered(matching(**pool_of_3, low_usage_share=0.5), asked(flat(before(10, 20, 30, 99))))

    assert used(both) == [july(22), july(19), july(18)]
    assert used(none) == [july(22), july(21), july(20)]


RUNNING = {"low_usage": "running-mean", "low_usage_share": 0.5}
FALLING = before(4, 10, 3, 6, 3.9, 4, 100)


def test_days_are_tested_against_the_mean_of_those_accepted_so_far() -> None:
    """
    Begin with half of the higher of two days, 5: 4 goes, 10 stays.

    Half of 10: 3 goes, 6 stays. Half of 8: 3.9 goes, 4 stays, and so does 100. (10 + 6 + 4 + 100) / 4 = 30.
    """
    found = answered(matching(seed_days=2, **RUNNING), asked(flat(FALLING)))

    assert column(found, "baseline_kw") == [30.0]
    assert [day for day, reason in passed(found).items() if reason == "low usage"] == [july(22), july(20), july(18)]


@pytest.mark.parametrize("seed_days", [10, 0])
def test_the_seed_is_of_its_days_and_where_they_are_none_of_all(seed_days: int) -> None:
    found = answered(matching(seed_days=seed_days, **RUNNING), asked(flat(FALLING)))

    assert used(found) == [july(16)]


def _filled(**more: object) -> DayMatching:
    return matching(minimum_days=4, days=4, **more)


FILLING = asked(
    pl.concat(
        [flat(before(5, 5)), flat({july(19): 8, july(18): 9, july(17): 9, july(15): 9}), flat({july(16): 99}, [17])]
    ),
    event_days=days_of([july(19), july(18), july(17), july(16)]),
    outage_days=days_of([july(15)]),
    hours=(17, 19),
)
"""Two ordinary days, 5 kW; then nothing metered; events at 8, 9, 9; one at 99 not metered at 18:00; an outage at 9."""


def test_event_days_of_the_highest_load_fill_up_to_the_minimum() -> None:
    """Of three days at 9 kW the newer two: (5 + 5 + 9 + 9) / 4 = 7."""
    found = answered(_filled(fill_up=True), FILLING)

    assert column(found, "baseline_kw") == [7.0, 7.0]
    assert used(found) == [july(day) for day in (22, 21, 18, 17)]
    assert passed(found) == {july(20): "incomplete", july(19): "event"}


def test_too_few_days_are_told_with_all_that_were_looked_at() -> None:
    found = answered(_filled(), FILLING)

    assert short(found) == [(4, 2, WITHIN_10)]
    assert used(found) == [july(22), july(21)]
    incomplete = dict.fromkeys((july(20), july(14), july(13)), "incomplete")
    assert passed(found) == incomplete | dict.fromkeys(map(july, (19, 18, 17, 16)), "event") | {july(15): "outage"}
    assert found.adjustments.is_empty()


def test_of_two_that_rank_alike_the_newer_is_kept() -> None:
    highest = answered(matching(keep="highest", k=1), asked(flat(before(10, 12, 12))))

    assert used(highest) == [july(21)]
    assert passed(highest) == dict.fromkeys((july(22), july(20)), "not among those kept")


def test_middle_drops_the_newer_of_two_highest_and_the_older_of_two_lowest() -> None:
    found = answered(matching(keep="middle", days=5), asked(flat(before(10, 12, 12, 10, 11))))

    assert used(found) == [july(22), july(20), july(18)]
    assert column(found, "baseline_kw") == [11.0]


def test_nothing_is_in_the_middle_of_two_days_and_no_days_have_no_mean() -> None:
    """The rule may ask for fewer days: there is a baseline of none of them, and none that is null."""
    assert short(answered(matching(keep="middle"), asked(flat(before(10, 12))))) == [(3, 2, WITHIN_10)]
    assert column(answered(matching(keep="middle"), asked(flat(before(10, 12, 11)))), "baseline_kw") == [11.0]
    assert short(answered(matching(minimum_days=0), asked(flat({EVENT_DAY: 1})))) == [(1, 0, WITHIN_10)]


def test_nothing_after_the_event_is_looked_at_by_a_rule_that_looks_before_it() -> None:
    later = flat({EVENT_DAY + timedelta(days=day): 1000 for day in range(1, 9)})

    found = answered(matching(), asked(pl.concat([flat(before(10, 20)), later])))

    assert column(found, "baseline_kw") == [15.0]
