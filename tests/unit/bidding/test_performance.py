"""What was delivered: CAISO's worked example hour by hour, events of contiguous awards, and the history they need."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from doubles.builders import INTERVAL, MINUTE, award, rules

from bidding.markets import MeterReading
from bidding.performance import (
    LookBack,
    Metered,
    baseline_of,
    calendar_of,
    delivered_ratio,
    event_days,
    events,
    perform,
    performances,
    reading,
    windows,
)
from pipeline.calendar import Calendar
from pipeline.cbl.single import Baseline, method
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Award, Performance

PACIFIC = Calendar("America/Los_Angeles")
HOUR = timedelta(hours=1)
caiso = method("caiso-10-in-10")
LOOK_BACK = LookBack(caiso.look_back.days, caiso.reach)


def hour(day: str, ending: int) -> Interval:
    """Return the local hour that ends at *ending* o'clock in California."""
    end = datetime.fromisoformat(f"{day}T{ending:02}:00").replace(tzinfo=ZoneInfo("America/Los_Angeles"))
    return Interval(end.astimezone(UTC) - HOUR, end.astimezone(UTC))


def loads(day: str, hours: Iterable[int], *load_mw: float) -> list[MeterReading]:
    return [reading(hour(day, ending), mw * 1000) for ending, mw in zip(hours, load_mw, strict=True)]


def test_the_reduction_is_baseline_minus_load_and_the_award_its_limit() -> None:
    """Ten like days of 41 MW in HE14–16 and 42 MW in HE18; today 41, so the baseline is 42 MW. Load 40: 2 MW less."""
    days = [f"2026-07-{day:02}" for day in (8, 9, 10, 13, 14, 15, 16, 17, 20, 21, 22)]
    history = [r for day in days for r in loads(day, (14, 15, 16, 17, 18), 41, 41, 41, 41, 42)]
    today = loads("2026-07-23", (14, 15, 16, 17, 18), 41, 41, 41, 41, 40)
    event = hour("2026-07-23", 18)
    metered = {event: Metered(event, 40_000.0, 1.0, simulated=True)}

    def delivered(quantity_mw: str) -> tuple[float, float, float]:
        found = performances(
            [award(quantity_mw, interval=event)],
            metered,
            [*history, *today],
            method=caiso,
            calendar=PACIFIC,
            site="site-1",
        )
        return found[0].reduction_kw, found[0].delivered_kw, found[0].shortfall_kw

    assert delivered("1.5") == pytest.approx((2000, 1500, 0))
    assert delivered("2.5") == pytest.approx((2000, 2000, 500))


def test_more_load_than_the_baseline_is_nothing_delivered_not_less() -> None:
    event = hour("2026-07-23", 18)
    history = [r for day in range(6, 24) for r in loads(f"2026-07-{day:02}", (14, 15, 16, 18), 41, 41, 41, 42)]
    base = baseline_of(event, history, [], caiso, PACIFIC)

    figure = perform(award("1", interval=event), base, Metered(event, 43_000.0, 1.0, simulated=False), "site-1")

    assert figure.reduction_kw == pytest.approx(-1000)
    assert (figure.delivered_kw, figure.shortfall_kw) == (0.0, 1000.0)


def test_an_interval_that_was_not_metered_is_an_error_not_a_zero() -> None:
    with pytest.raises(InsufficientDataError, match="metered intervals"):
        performances([award()], {}, [], method=caiso, calendar=PACIFIC, site="site-1")


def test_contiguous_awards_are_one_event_and_a_pause_or_midnight_makes_another() -> None:
    """Minutes 1, 2 and 4; and the last minute of a day with the first of the next."""
    first = INTERVAL
    second, fourth = first.next(), first.next().next().next()
    late = hour("2026-07-23", 23).next()

    assert events([fourth, first, second, second], PACIFIC) == [Interval(first.start, second.end), fourth]
    assert events([late, late.next()], PACIFIC) == [late, late.next()]


def test_only_earlier_days_with_awards_are_event_days() -> None:
    """Awards on the 21st and on the day itself: the 21st is no baseline day, the day itself is not looked at."""
    earlier = award(interval=Interval(INTERVAL.start - timedelta(days=2), INTERVAL.end - timedelta(days=2)))

    assert event_days([earlier, award()], PACIFIC, INTERVAL) == frozenset({date(2026, 7, 21)})


def test_the_event_is_adjusted_by_the_hours_before_its_first_interval() -> None:
    """Two awards make one event; both are handed to the method as one interval."""
    asked: list[Interval] = []

    def spy(history: object, event: object, calendar: Calendar, grid: timedelta) -> Baseline:
        assert grid == MINUTE, "of the readings, whatever is missing between them"
        asked.append(event.interval)  # type: ignore[attr-defined] # an Event; only its interval is of interest
        raise InsufficientDataError(1, 0, "days")

    awards: list[Award] = [award(), award(interval=INTERVAL.next())]
    metered = {a.interval: Metered(a.interval, 1.0, 1.0, simulated=True) for a in awards}
    with pytest.raises(InsufficientDataError):
        performances(awards, metered, [reading(INTERVAL, 1.0)], method=spy, calendar=PACIFIC, site="s")

    assert asked == [Interval(INTERVAL.start, INTERVAL.end + MINUTE)]


def test_history_reaches_four_hours_and_45_days_back() -> None:
    spans = windows(INTERVAL, PACIFIC, LOOK_BACK)

    assert len(spans) == 46
    assert spans[0] == Interval(INTERVAL.start - 4 * HOUR, INTERVAL.end)
    assert spans[45] == Interval(INTERVAL.start - 45 * 24 * HOUR - 4 * HOUR, INTERVAL.end - 45 * 24 * HOUR)


@pytest.mark.parametrize("day", ["2026-03-10", "2026-11-03"])
def test_history_holds_the_same_local_hours_across_a_clock_change(day: str) -> None:
    """Two days after each change: the local hours 14 to 18 of the days before it are inside the spans."""
    event = hour(day, 18)
    before = (date.fromisoformat(day) - timedelta(days=4)).isoformat()

    span = windows(event, PACIFIC, LOOK_BACK)[4]

    assert span.start <= hour(before, 14).start
    assert span.end >= hour(before, 18).end


def test_business_days_are_the_venues_own_or_nercs() -> None:
    """A Thursday that only this venue keeps; Christmas where it says nothing."""
    own, none = calendar_of(rules(holidays=["2026-07-23"])), calendar_of(rules())

    assert not own.is_business_day(date(2026, 7, 23))
    assert own.is_business_day(date(2026, 12, 25))
    assert none.is_business_day(date(2026, 7, 23))
    assert not none.is_business_day(date(2026, 12, 25))


def test_a_reading_keeps_every_digit() -> None:
    assert reading(INTERVAL, 0.1 + 0.2).energy_kwh == Decimal("0.30000000000000004")


def figure(delivered_kw: float) -> Performance:
    """Return the performance on an award of 500 kW."""
    base = pl.DataFrame({"start": [INTERVAL.start], "unadjusted_kw": [500.0], "baseline_kw": [500.0]})
    load_kwh = (500.0 - delivered_kw) * INTERVAL.hours
    known = Baseline("caiso-10-in-10", "1", base, 1.0, 1.0, (), ())
    return perform(award("0.5"), known, Metered(INTERVAL, load_kwh, 1.0, simulated=True), "site-1")


def test_the_delivered_ratio_is_of_all_energy_and_of_nothing_unknown() -> None:
    """300 of 500 kW in one interval, 500 of 500 in the next: 80 %. Of no award there is no ratio."""
    half, whole = (figure(delivered_kw) for delivered_kw in (300.0, 500.0))

    assert delivered_ratio([half, whole]) == pytest.approx(0.8)
    assert delivered_ratio([]) is None
