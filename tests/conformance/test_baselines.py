"""What every baseline must do. A new file in `pipeline/baselines/` is tested here unasked."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline import plugins
from pipeline.baselines import Event, Method
from pipeline.calendar import Calendar
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval

PACKAGE = "pipeline.baselines"
PACIFIC = Calendar("America/Los_Angeles")
HOUR = timedelta(hours=1)


@pytest.fixture(params=plugins.available(PACKAGE))
def method(request: pytest.FixtureRequest) -> Method:
    found: Method = plugins.load(PACKAGE, request.param).baseline
    return found


@pytest.fixture(params=[date(2026, 3, 8), date(2026, 7, 23), date(2026, 11, 1)], ids=["23 h", "24 h", "25 h"])
def event(request: pytest.FixtureRequest) -> Event:
    """Two hours from five in the afternoon, on an ordinary day and on both clock-change days."""
    start = datetime.combine(request.param, datetime.min.time(), ZoneInfo(PACIFIC.timezone)).replace(hour=17)
    return Event(Interval(start.astimezone(UTC), start.astimezone(UTC) + 2 * HOUR))


def history(event: Event, grid: timedelta = HOUR) -> pl.DataFrame:
    """Return sixty days that rise and fall with the hour of the day and drift with the day, to the event's end."""
    end = event.interval.end
    starts = [end - grid * (index + 1) for index in range(60 * 24 * (HOUR // grid))]
    loads = [1000.0 + 10 * start.hour + start.day + start.minute for start in starts]
    return pl.DataFrame(
        {"start": starts, "load_kw": loads}, schema={"start": pl.Datetime("us", "UTC"), "load_kw": pl.Float64}
    )


def test_constant_load_gives_itself(method: Method, event: Event) -> None:
    flat = history(event).with_columns(load_kw=pl.lit(777.0))

    assert method(flat, event, PACIFIC).intervals["baseline_kw"].to_list() == pytest.approx([777.0, 777.0])


def test_scaling_load_scales_the_baseline(method: Method, event: Event) -> None:
    once = method(history(event), event, PACIFIC)
    thrice = method(history(event).with_columns(pl.col("load_kw") * 3), event, PACIFIC)

    assert thrice.baseline_kw == pytest.approx(3 * once.baseline_kw)


def test_load_at_and_after_the_start_of_the_event_changes_nothing(method: Method, event: Event) -> None:
    seen = history(event)
    unseen = seen.filter(pl.col("start") < event.interval.start)

    assert method(seen, event, PACIFIC).intervals.equals(method(unseen, event, PACIFIC).intervals)


def test_the_order_of_the_rows_changes_nothing(method: Method, event: Event) -> None:
    mixed = history(event).sample(fraction=1.0, shuffle=True, seed=1)

    assert method(mixed, event, PACIFIC).baseline_kw == pytest.approx(
        method(history(event), event, PACIFIC).baseline_kw
    )


@pytest.mark.parametrize("grid", [timedelta(minutes=1), timedelta(minutes=15), HOUR])
def test_the_answer_is_on_the_grid_of_the_history(method: Method, event: Event, grid: timedelta) -> None:
    found = method(history(event, grid), event, PACIFIC).intervals

    assert found["start"].to_list() == [piece.start for piece in event.interval.split(grid)]


def test_days_that_are_not_there_are_an_error_and_never_a_number(method: Method, event: Event) -> None:
    short = history(event).filter(pl.col("start") > event.interval.start - timedelta(days=2))

    with pytest.raises(InsufficientDataError):
        method(short, event, PACIFIC)


def test_an_excluded_day_is_not_used_while_there_are_others(method: Method, event: Event) -> None:
    first = method(history(event), event, PACIFIC).days_used[0]
    outage = Event(event.interval, outage_days=frozenset({first}))

    assert first not in method(history(event), outage, PACIFIC).days_used


def test_it_says_by_what_rule_and_which_days(method: Method, event: Event) -> None:
    found = method(history(event), event, PACIFIC)

    assert found.method in plugins.available(PACKAGE)
    assert found.version
    assert found.days_used
    assert set(found.days_used).isdisjoint(excluded.day for excluded in found.days_excluded)
