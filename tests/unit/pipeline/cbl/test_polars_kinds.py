"""Baselines that match no days, in Polars: around the event, a level, nominations, a control group."""

from dataclasses import replace
from datetime import date, datetime, timedelta

import polars as pl
import pytest
from msgspec.structs import replace as changed
from unit.pipeline.cbl.polars_cases import HOUR, Row, ask, at, column, day_rows, flat, hours, request, shortfall, used

from pipeline.cbl.answer import ADJUSTMENTS
from pipeline.cbl.request import CONTROL, NOMINATIONS, Request
from pipeline.cbl.rule import AroundEvent, Level, Reference
from pipeline.errors import ConfigError

DAY = date(2026, 7, 23)
EVENT = hours(DAY, 12, 14)
START, END = EVENT
AROUND = AroundEvent(before_from_hours=2, before_to_hours=1, after_from_hours=1, after_to_hours=2)
NOMINATED = Reference(source="nomination", lock_minutes=60)
CONTROLLED = Reference(source="control", minimum_customers=2, customers=5)


def metered(**by_hour: float) -> Request:
    return request([("", at(DAY, int(name[1:])), load) for name, load in by_hour.items()], EVENT)


def test_around_the_event_before_and_after_are_averaged() -> None:
    """10:00 and 15:00; 11:00 and 14:00, next to the event, are skipped. Local day and no adjustment are told."""
    found = ask(AROUND, metered(h10=20.0, h11=99.0, h12=7.0, h13=8.0, h14=99.0, h15=30.0))

    assert column(found, "baseline_kw") == column(found, "baseline_unadjusted_kw") == [25.0, 25.0]
    assert column(found, "reduction_kw") == [18.0, 17.0]
    assert used(found) == [DAY]
    assert found.adjustments.schema == ADJUSTMENTS
    assert found.adjustments.select("kind", "raw", "applied", "capped").rows() == [("none", None, 1.0, False)]


def test_around_the_event_hours_of_unequal_number_weigh_by_reading() -> None:
    """8:00, 9:00 and 10:00 of 20 and 15:00 of 40 average 25."""
    rule = changed(AROUND, before_from_hours=4)

    assert column(ask(rule, metered(h8=20.0, h9=20.0, h10=20.0, h12=0.0, h15=40.0)), "baseline_kw") == [25.0, 25.0]


@pytest.mark.parametrize("gap", [None, float("nan")])
def test_around_the_event_one_reading_missing_is_a_shortfall(gap: float | None) -> None:
    rows = day_rows(DAY, {10: 20.0, 15: gap})

    assert shortfall(ask(AROUND, request(rows, EVENT))) == (2, 1, "metering intervals around the event")


def test_around_the_event_is_counted_by_instant_across_a_clock_change() -> None:
    """Two hours before 3:00 on 8 March is midnight, for 2:00 was never shown."""
    spring = date(2026, 3, 8)
    rows = day_rows(spring, {0: 10.0, 1: 20.0, 3: 1.0})

    assert column(ask(AroundEvent(before_from_hours=2), request(rows, hours(spring, 3, 4))), "baseline_kw") == [15.0]


def test_around_the_event_without_an_hour_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="set before_from_hours above before_to_hours"):
        ask(AroundEvent(before_from_hours=0), metered(h12=1.0))


def test_around_the_event_the_sign_and_the_rounding_are_the_rules() -> None:
    rule = changed(AROUND, negative="zero", decimals=0)
    found = ask(rule, metered(h10=20.0, h12=7.25, h13=30.0, h15=21.0))

    assert column(found, "baseline_kw") == [21.0, 21.0]
    assert column(found, "reduction_kw") == [13.0, 0.0]


def test_a_level_less_the_load_with_its_losses() -> None:
    found = ask(Level(level_kw=30, loss_factor=1.5), metered(h12=10.0, h13=22.0))

    assert column(found, "baseline_kw") == column(found, "baseline_unadjusted_kw") == [30.0, 30.0]
    assert column(found, "reduction_kw") == [15.0, -3.0]
    assert found.days.is_empty()


def test_a_level_that_the_load_has_to_be_below() -> None:
    """20 × 1.5 is not below 30, though below the level of 40; 19 × 1.5 = 28.5 is, by 11.5."""
    found = ask(Level(level_kw=40, below_kw=30, loss_factor=1.5), metered(h12=20.0, h13=19.0))

    assert column(found, "reduction_kw") == [0.0, 11.5]


def test_where_nothing_was_metered_there_is_no_reduction_from_a_level() -> None:
    assert column(ask(Level(level_kw=40, below_kw=30), metered(h12=20.0)), "reduction_kw") == [20.0, None]


def test_a_level_rounds_and_keeps_its_sign_as_the_rule_says() -> None:
    rule = Level(level_kw=40.25, negative="zero", decimals=1)

    found = ask(rule, metered(h12=50.0, h13=20.0))
    assert column(found, "baseline_kw") == [40.3, 40.3]
    assert column(found, "reduction_kw") == [0.0, 20.3]


def test_a_level_has_to_be_set() -> None:
    with pytest.raises(ConfigError, match=r"^set level_kw"):
        ask(Level(), metered(h12=1.0))


Nomination = tuple[str | None, datetime, float, datetime]


def nominated(*nominations: Nomination, rows: list[Row] | None = None) -> Request:
    frame = pl.DataFrame(list(nominations), schema=NOMINATIONS, orient="row")
    return replace(request(flat({DAY: 1.0}, "a") if rows is None else rows, EVENT), nominations=frame)


IN_TIME = START - HOUR


def test_the_newest_nomination_submitted_in_time_holds() -> None:
    """Submitted at the lock is in time, a second later is not; each interval has its own."""
    second = timedelta(seconds=1)
    asked = nominated(
        ("a", START, 10.0, IN_TIME - HOUR),
        ("a", START, 11.0, IN_TIME),
        ("a", START, 12.0, IN_TIME + second),
        ("a", START + HOUR, 20.0, IN_TIME - HOUR),
        ("b", START + HOUR, 99.0, IN_TIME),
    )

    assert column(ask(NOMINATED, asked), "baseline_kw") == [11.0, 20.0]
    assert column(ask(NOMINATED, asked), "reduction_kw") == [10.0, 19.0]


def test_a_resources_own_nomination_goes_before_a_newer_one_for_all() -> None:
    asked = nominated(
        ("a", START, 10.0, IN_TIME - HOUR), (None, START, 11.0, IN_TIME), (None, START + HOUR, 12.0, IN_TIME)
    )

    assert column(ask(NOMINATED, asked), "baseline_kw") == [10.0, 12.0]


def test_of_two_nominations_submitted_at_once_the_lower_holds_in_whatever_order() -> None:
    pair = [("a", START, 10.0, IN_TIME), ("a", START, 11.0, IN_TIME)]
    rest = (None, START + HOUR, 1.0, IN_TIME)

    assert column(ask(NOMINATED, nominated(*pair, rest)), "baseline_kw") == [10.0, 1.0]
    assert column(ask(NOMINATED, nominated(*reversed(pair), rest)), "baseline_kw") == [10.0, 1.0]


def test_an_interval_without_a_nomination_is_a_shortfall() -> None:
    what = "nominated intervals submitted in time"
    late = ("a", START + HOUR, 1.0, IN_TIME + HOUR)

    assert shortfall(ask(NOMINATED, nominated(("a", START, 10.0, IN_TIME), late))) == (2, 1, what)
    assert shortfall(ask(NOMINATED, nominated(("a", START, float("nan"), IN_TIME)))) == (2, 0, what)
    assert shortfall(ask(NOMINATED, metered(h12=1.0))) == (2, 0, what)


def controlled(**customers: tuple[float | None, float | None]) -> Request:
    """Return what customers drew in the event's two hours; five that were called drew 30 and 35 together."""
    rows = [(name, START + n * HOUR, load) for name, pair in customers.items() for n, load in enumerate(pair)]
    return replace(metered(h12=30.0, h13=35.0), control=pl.DataFrame(rows, schema=CONTROL, orient="row"))


def test_a_control_groups_mean_stands_for_every_customer_that_was_called() -> None:
    """(8 + 10) ÷ 2 × 5 = 45, and (9 + 11) ÷ 2 × 5 = 50."""
    found = ask(CONTROLLED, controlled(x=(8.0, 9.0), y=(10.0, 11.0)))

    assert column(found, "baseline_kw") == [45.0, 50.0]
    assert column(found, "reduction_kw") == [15.0, 15.0]
    assert found.days.is_empty()


@pytest.mark.parametrize("gap", [None, float("nan"), float("inf")])
def test_a_control_customer_with_a_gap_counts_in_no_interval(gap: float | None) -> None:
    found = ask(CONTROLLED, controlled(x=(8.0, 9.0), y=(10.0, 11.0), z=(999.0, gap)))

    assert column(found, "baseline_kw") == [45.0, 50.0]


def test_too_small_a_control_group_is_a_shortfall() -> None:
    what = "control customers with complete readings"

    assert shortfall(ask(CONTROLLED, controlled(x=(8.0, 9.0), y=(10.0, None)))) == (2, 1, what)
    assert shortfall(ask(CONTROLLED, metered(h12=1.0))) == (2, 0, what)
    assert shortfall(ask(changed(CONTROLLED, minimum_customers=0), metered(h12=1.0))) == (1, 0, what)
