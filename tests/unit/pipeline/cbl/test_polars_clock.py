"""Both clock changes in Polars, Los Angeles: 8 March 2026 has 23 hours, 1 November 2026 has 25."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from msgspec.structs import replace as changed
from unit.pipeline.cbl.polars_cases import HOUR, Row, ask, at, column, hours, request, shortfall, used, why

from pipeline.calendar import Calendar
from pipeline.cbl.rule import DayMatching

RULE = DayMatching(look_back_days=30, days=2, other_days=2, minimum_days=2, minimum_other_days=2, day_types="all")
SPRING, AUTUMN = date(2026, 3, 8), date(2026, 11, 1)


def by_the_clock(first: date, last: date) -> list[Row]:
    """Return hourly loads that are the local hour, and 100 more in the second of a repeated hour's two."""
    rows: list[Row] = []
    start = at(first, 0)
    while start < at(last + timedelta(days=1), 0):
        wall = start.astimezone(Calendar("America/Los_Angeles").zone)
        rows.append(("", start, float(wall.hour + 100 * wall.fold)))
        start += HOUR
    return rows


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_days_on_either_side_of_a_clock_change_are_matched_by_the_local_clock(day: date) -> None:
    """At 17:00 local the load is 17 on every day, though an hour off by instant on the days before."""
    asked = request(by_the_clock(day - timedelta(days=5), day + timedelta(days=1)), hours(day, 17, 19))

    assert column(ask(RULE, asked), "baseline_kw") == [17.0, 18.0]


def test_a_23_hour_day_lacks_the_hour_that_its_clocks_never_showed() -> None:
    """For an event at 2:00 the 8th is incomplete; for one at 3:00 it is used."""
    rows = by_the_clock(SPRING - timedelta(days=3), SPRING + timedelta(days=1))
    day = SPRING + timedelta(days=1)

    found = ask(RULE, request(rows, hours(day, 2, 3)))
    assert used(found) == [date(2026, 3, 7), date(2026, 3, 6)]
    assert why(found) == {SPRING: "incomplete"}
    assert used(ask(RULE, request(rows, hours(day, 3, 4))))[0] == SPRING


def test_of_a_repeated_hour_the_first_stands_for_its_day() -> None:
    rows = by_the_clock(AUTUMN, AUTUMN + timedelta(days=1))
    rule = changed(RULE, days=1, minimum_days=1, other_days=1, minimum_other_days=1)

    assert column(ask(rule, request(rows, hours(date(2026, 11, 2), 1, 2))), "baseline_kw") == [1.0]


def test_where_the_first_of_a_repeated_hour_is_no_reading_the_second_stands() -> None:
    rows = [row for row in by_the_clock(AUTUMN, AUTUMN + timedelta(days=1)) if row[1] != at(AUTUMN, 1)]
    rule = changed(RULE, days=1, minimum_days=1, other_days=1, minimum_other_days=1)

    null: Row = ("", at(AUTUMN, 1), None)
    for gap in ([], [null]):
        found = ask(rule, request(rows + gap, hours(date(2026, 11, 2), 1, 2)))
        assert column(found, "baseline_kw") == [101.0]


def test_an_event_in_both_of_a_repeated_hour_has_one_baseline_twice_and_its_own_loads() -> None:
    """1:00 to 2:00 twice on 1 November is two intervals; the days before have 1 kW then; loads are found by instant."""
    rows = by_the_clock(AUTUMN - timedelta(days=3), AUTUMN)
    found = ask(RULE, request(rows, (at(AUTUMN, 1), at(AUTUMN, 2))))

    assert column(found, "baseline_kw") == [1.0, 1.0]
    assert column(found, "load_kw") == [1.0, 101.0]
    assert column(found, "reduction_kw") == [0.0, -100.0]


@pytest.mark.parametrize(("day", "length"), [(SPRING, 23), (AUTUMN, 25)])
def test_a_day_event_has_as_many_hours_as_its_day(day: date, length: int) -> None:
    rows = by_the_clock(day - timedelta(days=3), day)
    found = ask(RULE, request(rows, (at(day, 0), at(day + timedelta(days=1), 0))))

    assert len(found.intervals) == length
    assert column(found, "baseline_kw")[-1] == 23.0


@pytest.mark.parametrize("day", [SPRING, AUTUMN])
def test_a_day_with_a_clock_change_is_ranked_by_its_mean_when_none_of_its_own_hours_is_missing(day: date) -> None:
    rule = changed(RULE, rank_by="day", look_back_days=1, days=1, other_days=1, minimum_days=1, minimum_other_days=1)
    rows = by_the_clock(day, day + timedelta(days=1))
    event = hours(day + timedelta(days=1), 17, 18)

    assert used(ask(rule, request(rows, event))) == [day]
    assert shortfall(ask(rule, request([row for row in rows if row[1] != at(day, 5)], event)))[:2] == (1, 0)


def test_hours_before_an_event_are_counted_by_instant_on_its_own_day() -> None:
    """Three hours before 4:00 on 8 March are 0:00, 1:00 and 3:00, which average 4/3 on days like it as on itself."""
    rows = by_the_clock(SPRING - timedelta(days=3), SPRING)
    rule = changed(RULE, adjustment="ratio", adjust_from_hours=3)
    without_two = [row for row in rows if row[1] not in {at(SPRING - timedelta(days=back), 2) for back in (1, 2, 3)}]

    assert ask(rule, request(without_two, hours(SPRING, 4, 5))).adjustments["raw"][0] == 1.0


def test_local_midnight_need_not_lie_on_the_grid() -> None:
    """In India hours begin at half past. 20 kW from midnight to an event at 17:30, and 10 on the days before: twice."""
    india = Calendar("Asia/Kolkata", frozenset())
    first = datetime(2026, 7, 19, 19, tzinfo=UTC)  # 0:30 on the 20th
    rows: list[Row] = [("", first + hour * HOUR, 20.0 if hour >= 3 * 24 else 10.0) for hour in range(4 * 24)]
    event = first + (3 * 24 + 17) * HOUR
    rule = changed(RULE, rank_by="shape", keep="nearest", k=1, other_k=1, adjustment="ratio")
    found = ask(rule, replace(request(rows, (event, event + HOUR)), calendar=india))

    assert found.adjustments["raw"].to_list() == [2.0]
    assert column(found, "baseline_kw") == [20.0]
