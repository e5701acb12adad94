"""Day matching in Polars, a test for each branch of the rules; a day has one load in all of its hours unless said."""

from datetime import date, timedelta

import polars as pl
import pytest
from msgspec.structs import replace as changed
from unit.pipeline.cbl.polars_cases import ask, at, column, day_rows, flat, hours, request, shortfall, used, warm, why

from pipeline.cbl.request import Request
from pipeline.cbl.rule import DayMatching
from pipeline.errors import ConfigError

RULE = DayMatching(
    look_back_days=14, days=3, other_days=2, minimum_days=2, minimum_other_days=1, k=2, other_k=1, keep="all"
)
THURSDAY = date(2026, 7, 23)
EVENT = hours(THURSDAY, 17, 18)


def july(*days: int) -> list[date]:
    return [date(2026, 7, day) for day in days]


def loads(by_day: dict[int, float], today: float | None = 10.0) -> Request:
    """Return days of July with one load each, and Thursday the 23rd."""
    rows = flat({date(2026, 7, day): load for day, load in by_day.items()})
    return request(rows + day_rows(THURSDAY, dict.fromkeys(range(24), today)), EVENT)


def marked(asked: Request, events: tuple[int, ...] = (), outages: tuple[int, ...] = ()) -> Request:
    return request(asked.loads.rows(), EVENT, event_days=july(*events), outage_days=july(*outages))


WEEK = {22: 10.0, 21: 20.0, 20: 30.0, 17: 40.0, 16: 50.0, 15: 60.0}


def test_the_newest_days_are_averaged_and_older_ones_not_told() -> None:
    """(10 + 20 + 30) ÷ 3."""
    found = ask(RULE, loads(WEEK))

    assert column(found, "baseline_kw") == [20.0]
    assert used(found) == july(22, 21, 20)
    assert why(found) == {}


def test_days_right_before_the_event_can_be_skipped() -> None:
    found = ask(changed(RULE, skip_days=1), loads(WEEK))

    assert used(found) == july(21, 20, 17)
    assert THURSDAY - timedelta(days=1) not in why(found)


def test_a_pool_without_a_size_holds_every_day_within_the_look_back() -> None:
    """14 days before the 23rd is the 9th; the 8th is out of reach."""
    found = ask(changed(RULE, days=None), loads(WEEK | {9: 1.0, 8: 1.0}))

    assert used(found) == july(22, 21, 20, 17, 16, 15, 9)


def test_event_and_outage_days_are_passed_over_with_the_first_reason_that_applies() -> None:
    found = ask(RULE, marked(loads(WEEK), events=(22, 18), outages=(21, 22)))

    assert used(found) == july(20, 17, 16)
    assert why(found) == dict(zip(july(22, 21, 19, 18), ("event", "outage", *["other day type"] * 2), strict=True))


def test_a_rule_may_use_event_and_outage_days() -> None:
    rule = changed(RULE, exclude_events=False, exclude_outages=False)

    assert used(ask(rule, marked(loads(WEEK), events=(22,), outages=(21,)))) == july(22, 21, 20)


def test_an_event_day_of_one_resource_is_none_of_another() -> None:
    rows = flat(dict.fromkeys(july(22, 21, 20, 17, 23), 1.0), "a") + flat(
        dict.fromkeys(july(22, 21, 20, 17, 23), 1.0), "b"
    )
    asked = request(rows, EVENT)
    days = pl.DataFrame([("a", july(22)[0]), (None, july(21)[0])], schema=asked.event_days.schema, orient="row")

    found = ask(RULE, Request(**{**vars(asked), "event_days": days}))

    assert found.days.filter("used", resource="a")["day"].to_list() == july(20, 17)
    assert found.days.filter("used", resource="b")["day"].to_list() == july(22, 20, 17)


@pytest.mark.parametrize("gap", [None, float("nan"), float("inf")])
def test_a_day_with_a_gap_in_the_hours_that_count_is_incomplete_and_no_zero(gap: float | None) -> None:
    """A gap at 16:00 is none of the event's hours; with an adjustment from there it is."""
    asked = loads({day: load for day, load in WEEK.items() if day != 21})
    asked = request(asked.loads.rows() + day_rows(july(21)[0], dict.fromkeys(range(24), 20.0) | {16: gap}), EVENT)

    assert used(ask(RULE, asked)) == july(22, 21, 20)
    found = ask(changed(RULE, adjustment="ratio", adjust_from_hours=1), asked)
    assert used(found) == july(22, 20, 17)
    assert why(found)[july(21)[0]] == "incomplete"


def test_without_readings_at_all_there_is_no_baseline() -> None:
    assert shortfall(ask(RULE, loads({22: 1.0}))) == (
        2,
        1,
        "like days with complete readings within 14 days of the event",
    )


def test_with_a_shortfall_every_day_passed_over_is_told_and_the_pool() -> None:
    found = ask(RULE, marked(loads({22: 1.0, 10: 2.0}), events=(10,)))

    assert used(found) == july(22)
    assert len(why(found)) == 13
    assert (why(found)[july(10)[0]], why(found)[july(9)[0]]) == ("event", "incomplete")


def test_event_days_with_the_highest_load_fill_up_to_the_minimum_and_no_further() -> None:
    """The minimum is 4; two are left. Of 9, 7 and 7 kW the 9 and the newer 7 fill up: (1 + 2 + 9 + 7) ÷ 4."""
    rule = changed(RULE, days=5, minimum_days=4, fill_up=True)
    asked = marked(loads({22: 1.0, 21: 7.0, 20: 9.0, 17: 2.0, 16: 7.0}), events=(21, 16), outages=(20,))
    found = ask(rule, asked)

    assert used(found) == july(22, 21, 20, 17)
    assert column(found, "baseline_kw") == [4.75]


def test_a_day_that_filled_up_and_is_not_kept_was_among_the_pool() -> None:
    rule = changed(RULE, days=5, minimum_days=3, fill_up=True, keep="highest")
    found = ask(rule, marked(loads({22: 5.0, 21: 4.0, 20: 3.0}), events=(20,)))

    assert used(found) == july(22, 21)
    assert why(found)[july(20)[0]] == "not among those kept"


def test_an_incomplete_event_day_does_not_fill_up() -> None:
    rule = changed(RULE, minimum_days=2, fill_up=True)
    asked = loads({22: 1.0})
    asked = request(asked.loads.rows() + day_rows(july(21)[0], {16: 9.0}), EVENT, event_days=july(21))

    assert shortfall(ask(rule, asked))[:2] == (2, 1)


@pytest.mark.parametrize(
    ("event_day", "used_days"),
    [
        (date(2026, 9, 8), [date(2026, 9, 4), date(2026, 9, 3), date(2026, 9, 2)]),  # Tuesday after Labor Day
        (date(2026, 9, 12), [date(2026, 9, 7), date(2026, 9, 6)]),  # Saturday: the holiday and Sunday
    ],
)
def test_business_days_are_alike_and_all_others_are(event_day: date, used_days: list[date]) -> None:
    days = [event_day - timedelta(days=back) for back in range(10)]
    found = ask(RULE, request(flat(dict.fromkeys(days, 1.0)), hours(event_day, 17, 18)))

    assert used(found) == used_days


@pytest.mark.parametrize(
    ("event_day", "used_days"),
    [
        (date(2026, 7, 11), [date(2026, 6, 27), date(2026, 6, 20)]),  # a Saturday: not 4 July, a holiday
        (date(2026, 7, 12), [date(2026, 7, 5), date(2026, 7, 4)]),  # a Sunday: 4 July too
        (date(2026, 9, 8), [date(2026, 9, 4), date(2026, 9, 3), date(2026, 9, 2)]),
        (date(2026, 9, 13), [date(2026, 9, 7), date(2026, 9, 6)]),  # a Sunday: Labor Day, a Monday, too
    ],
)
def test_saturdays_are_apart_and_holidays_go_with_sundays(event_day: date, used_days: list[date]) -> None:
    rule = changed(RULE, day_types="weekday-saturday-sunday", look_back_days=30)
    days = [event_day - timedelta(days=back) for back in range(31)]
    found = ask(rule, request(flat(dict.fromkeys(days, 1.0)), hours(event_day, 17, 18)))

    assert used(found) == used_days


def test_all_days_can_be_alike() -> None:
    days = [THURSDAY - timedelta(days=back) for back in range(8)]
    rule = changed(RULE, day_types="all", days=6)

    assert used(ask(rule, request(flat(dict.fromkeys(days, 1.0)), EVENT))) == days[1:7]


def test_low_usage_days_go_all_at_once_and_the_next_older_are_tested_again() -> None:
    """
    Below half of the pool's mean, the pool always being three.

    100, 40, 100: mean 80, 40 is not below 40. With 30: mean 76.7, 30 goes, 36 comes: mean 78.7, it goes too, 90 stays.
    """
    rule = changed(RULE, low_usage="mean-of-pool", low_usage_share=0.5)

    assert used(ask(rule, loads({22: 100.0, 21: 40.0, 20: 100.0, 17: 90.0}))) == july(22, 21, 20)
    found = ask(rule, loads({22: 100.0, 21: 30.0, 20: 100.0, 17: 36.0, 16: 90.0}))
    assert used(found) == july(22, 20, 16)
    assert (why(found)[july(21)[0]], why(found)[july(17)[0]]) == ("low usage", "low usage")


def test_a_low_day_stays_out_when_the_day_that_took_its_place_lowers_the_mean() -> None:
    """Below 0.6 of 83 is 49, which goes; with 1 in its place the mean is 67, and 49 would not be below 40 any more."""
    rule = changed(RULE, low_usage="mean-of-pool", low_usage_share=0.6)
    found = ask(rule, loads({22: 100.0, 21: 49.0, 20: 100.0, 17: 1.0, 16: 90.0}))

    assert used(found) == july(22, 20, 16)
    assert (why(found)[july(21)[0]], why(found)[july(17)[0]]) == ("low usage", "low usage")


def test_the_running_mean_is_of_the_days_accepted_so_far() -> None:
    """
    A quarter of 80, the highest of the two days before: 10 is low. 80 is accepted; 25 is not below 20, their mean 52.5.

    13 is below 13.125; 14 is not.
    """
    rule = changed(RULE, low_usage="running-mean", low_usage_share=0.25, seed_days=2)
    found = ask(rule, loads({22: 10.0, 21: 80.0, 20: 25.0, 17: 13.0, 16: 14.0, 15: 999.0}))

    assert used(found) == july(21, 20, 16)
    assert (why(found)[july(22)[0]], why(found)[july(17)[0]]) == ("low usage", "low usage")


def test_the_running_mean_begins_with_the_highest_of_all_days_where_none_is_recent() -> None:
    """No day within one day before: a quarter of 1,000, so that 100 is low."""
    rule = changed(RULE, low_usage="running-mean", low_usage_share=0.25, seed_days=1, skip_days=1, minimum_days=1)
    found = ask(rule, loads({22: 9.0, 21: 100.0, 20: 1000.0}))

    assert used(found) == july(20)
    assert why(found)[july(21)[0]] == "low usage"


RANKED = {22: 10.0, 21: 30.0, 20: 20.0, 17: 30.0, 16: 10.0}


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        ("all", (22, 21, 20, 17, 16)),
        ("highest", (21, 17)),
        ("nearest", (22, 16)),  # by usage, `nearest` is the lowest
        ("middle", (22, 20, 17)),  # without the newer of two highest and the older of two lowest
    ],
)
def test_which_of_the_pool_are_kept(keep: str, kept: tuple[int, ...]) -> None:
    rule = changed(RULE, days=5, keep=keep)
    found = ask(rule, loads(RANKED))

    assert used(found) == july(*kept)
    assert set(why(found).values()) <= {"not among those kept", "other day type"}
    assert set(july(22, 21, 20, 17, 16)) == {*used(found), *(day for day in why(found) if day.weekday() < 5)}


@pytest.mark.parametrize(("keep", "kept"), [("highest", 21), ("nearest", 22)])
def test_of_two_days_that_rank_alike_the_newer_is_kept(keep: str, kept: int) -> None:
    assert used(ask(changed(RULE, days=5, keep=keep, k=1), loads(RANKED))) == july(kept)


def test_without_a_day_left_in_the_middle_there_is_no_baseline() -> None:
    rule = changed(RULE, keep="middle", minimum_days=1)

    assert shortfall(ask(rule, loads({22: 1.0, 21: 2.0})))[:2] == (3, 2)


@pytest.mark.parametrize("k", [None, 0])
def test_a_rule_that_keeps_the_highest_needs_to_know_how_many(k: int | None) -> None:
    with pytest.raises(ConfigError, match="set k to 1 or more"):
        ask(changed(RULE, keep="highest", k=k), loads(WEEK))


def test_on_a_day_that_is_no_business_day_the_other_numbers_hold() -> None:
    """Saturday: two days of the pool, of which the one highest is kept."""
    saturday = date(2026, 7, 25)
    rows = flat(dict(zip(july(25, 19, 18, 12), (1.0, 5.0, 7.0, 9.0), strict=True)))
    found = ask(changed(RULE, keep="highest"), request(rows, hours(saturday, 17, 18)))

    assert used(found) == july(18)
    assert why(found)[july(19)[0]] == "not among those kept"
    assert shortfall(ask(changed(RULE, minimum_other_days=4), request(rows, hours(saturday, 17, 18))))[:2] == (4, 2)


def test_days_can_be_ranked_by_their_mean_load() -> None:
    """The event's hour is highest on the 22nd, the whole day on the 21st; a gap anywhere in a day counts then."""
    rows = day_rows(july(22)[0], dict.fromkeys(range(24), 1.0) | {17: 99.0}) + flat(
        {july(21)[0]: 9.0, july(20)[0]: 8.0}
    )
    rule = changed(RULE, keep="highest", k=1, rank_by="day")
    gap = flat({july(21)[0]: 9.0}, hours=range(1, 24)) + flat({july(20)[0]: 8.0, july(17)[0]: 1.0})

    assert used(ask(rule, request(rows + flat({THURSDAY: 1.0}), EVENT))) == july(21)
    found = ask(rule, request(gap, EVENT))
    assert used(found) == july(20)
    assert why(found)[july(21)[0]] == "incomplete"


def test_days_can_be_ranked_by_their_shape_before_the_event() -> None:
    """Event day 10 until the event; squared differences of 17 hours are 4, 1 and 9 each."""
    rule = changed(RULE, keep="nearest", k=1, rank_by="shape")
    asked = loads({22: 12.0, 21: 11.0, 20: 13.0})

    assert used(ask(rule, asked)) == july(21)


def test_the_shape_outside_the_event_leaves_out_the_hours_next_to_it() -> None:
    """
    One hour before and after the event are skipped, where the 21st differs by far.

    The 22nd differs by 1 in the last hour of the day, by which it is farther off.
    """
    rule = changed(RULE, keep="nearest", k=1, rank_by="shape", match="outside-event", match_gap_hours=1, minimum_days=1)
    plain = dict.fromkeys(range(24), 10.0)
    rows = day_rows(july(22)[0], plain | {23: 11.0}) + day_rows(july(21)[0], plain | {16: 0.0, 17: 50.0, 18: 0.0})
    asked = request(rows + day_rows(THURSDAY, plain), EVENT)

    assert used(ask(rule, asked)) == july(21)
    assert used(ask(changed(rule, match="before-event"), asked)) == july(22)
    assert used(ask(changed(rule, match_gap_hours=0.0), asked)) == july(22)


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_a_gap_on_the_events_day_leaves_no_day_to_compare_it_with(gap: float | None) -> None:
    rule = changed(RULE, keep="nearest", rank_by="shape")
    rows = loads(WEEK).loads.filter(pl.col("start") != at(THURSDAY, 3)).rows()
    found = ask(rule, request([*rows, ("", at(THURSDAY, 3), gap)], EVENT))

    assert shortfall(found)[:2] == (2, 0)
    assert why(found)[july(22)[0]] == "incomplete"


def test_an_event_at_midnight_has_no_shape_before_it_and_takes_the_newest_days() -> None:
    rule = changed(RULE, keep="nearest", k=1, rank_by="shape")

    assert used(ask(rule, request(loads(WEEK).loads.rows(), hours(THURSDAY, 0, 1)))) == july(22)


def test_days_can_be_ranked_by_their_highest_temperature() -> None:
    """30 °C on the event's day; 28, 33 and 31 before. Without a temperature a day is incomplete."""
    rule = changed(RULE, keep="nearest", k=2, rank_by="temperature")
    celsius = dict(zip(july(23, 22, 21, 20, 17, 15), (30.0, 28.0, 33.0, 31.0, float("nan"), 50.0), strict=True))

    assert used(ask(rule, warm(loads(WEEK), celsius))) == july(22, 20)
    found = ask(changed(rule, days=4), warm(loads(WEEK), celsius))
    assert why(found)[july(16)[0]] == why(found)[july(17)[0]] == "incomplete"


def test_without_a_temperature_of_the_events_day_no_day_serves() -> None:
    rule = changed(RULE, keep="nearest", rank_by="temperature")

    assert shortfall(ask(rule, loads(WEEK)))[:2] == (2, 0)
    assert shortfall(ask(rule, warm(loads(WEEK), dict.fromkeys(july(22, 21, 20), 20.0))))[:2] == (2, 0)
