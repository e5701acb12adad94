"""CAISO 10-in-10: the worked example by hand, each known pitfall, both clock changes, and an independent SQL."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from zoneinfo import ZoneInfo

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.baseline_sql import baseline_sql

from pipeline.calendar import Calendar
from pipeline.cbl.single import Baseline, Event, ExcludedDay, grid_of, method
from pipeline.errors import ConfigError, InsufficientDataError
from pipeline.interval import Interval

ZONE = "America/Los_Angeles"
baseline = method("caiso-10-in-10")
PACIFIC = Calendar(ZONE)
HOUR = timedelta(hours=1)
EVENT_DAY = date(2026, 7, 23)

#: MW by hour ending 14, 15, 16, 18, 19, 20, newest day first; the example of the rule's worked page.
EXAMPLE = {
    date(2026, 7, 22): (40, 41, 42, 43, 42, 41),
    date(2026, 7, 21): (39, 40, 41, 42, 41, 40),
    date(2026, 7, 20): (38, 39, 40, 41, 40, 39),
    date(2026, 7, 17): (41, 42, 43, 44, 43, 42),
    date(2026, 7, 16): (40, 41, 42, 30, 29, 28),  # event
    date(2026, 7, 15): (40.5, 41.5, 42.5, 43.5, 42.5, 41.5),
    date(2026, 7, 14): (37, 38, 39, 40, 39, 38),
    date(2026, 7, 13): (42, 43, 44, 45, 44, 43),
    date(2026, 7, 10): (41, 42, 43, 29, 28, 30),  # event
    date(2026, 7, 9): (39.5, 40.5, 41.5, 42.5, 41.5, 40.5),
    date(2026, 7, 8): (40, 41, 42, 43, 42, 41),
    date(2026, 7, 7): (38, 39, 40, 41, 40, 39),
    date(2026, 7, 6): (36, 37, 38, 39, 38, 37),  # the eleventh day
}
EVENTS = frozenset({date(2026, 7, 16), date(2026, 7, 10)})
HOURS_ENDING = (14, 15, 16, 18, 19, 20)


def local(day: date, hour: int) -> datetime:
    """Return the UTC start of the hour that ends at *hour* local time."""
    return datetime.combine(day, time(hour - 1), ZoneInfo(ZONE)).astimezone(UTC)


def frame(rows: list[tuple[datetime, float | None]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema={"start": pl.Datetime("us", "UTC"), "load_kw": pl.Float64}, orient="row")


def example(adjusting_mw: tuple[float, float, float]) -> pl.DataFrame:
    """Return the example in kW, with the event day's adjustment hours and its metered 34, 33 and 35 MW."""
    days = EXAMPLE | {EVENT_DAY: (*adjusting_mw, 34, 33, 35)}
    return frame(
        [
            (local(day, hour), 1000.0 * load)
            for day, loads in days.items()
            for hour, load in zip(HOURS_ENDING, loads, strict=True)
        ]
    )


def event(first: int = 18, last: int = 20, day: date = EVENT_DAY, days: frozenset[date] = EVENTS) -> Event:
    return Event(Interval(local(day, first), local(day, last) + HOUR), event_days=days)


def mw(result: Baseline, column: str) -> list[float]:
    return [load / 1000 for load in result.intervals[column]]


def test_the_worked_example_without_the_cap() -> None:
    """43 ÷ 40.5 = 1.061728; 45.123457 + 44.061728 + 43.0 less 34 + 33 + 35 is 30.185185 MWh."""
    result = baseline(example((42, 43, 44)), event(), PACIFIC)

    assert mw(result, "unadjusted_kw") == pytest.approx([42.5, 41.5, 40.5], abs=1e-9)
    assert mw(result, "baseline_kw") == pytest.approx([45.123457, 44.061728, 43.0], abs=1e-6)
    assert result.ratio == result.ratio_raw == pytest.approx(1.061728, abs=1e-6)
    assert sum(mw(result, "baseline_kw")) - 102 == pytest.approx(30.185185, abs=1e-6)


def test_the_worked_example_with_the_cap() -> None:
    """51 ÷ 40.5 = 1.259259, capped at 1.2: 51.0, 49.8 and 48.6; reductions 17.0, 16.8 and 13.6, 47.4 MWh."""
    result = baseline(example((50, 51, 52)), event(), PACIFIC)

    assert result.ratio_raw == pytest.approx(1.259259, abs=1e-6)
    assert result.ratio == 1.2
    assert mw(result, "baseline_kw") == pytest.approx([51.0, 49.8, 48.6], abs=1e-9)
    assert sum(mw(result, "baseline_kw")) - 102 == pytest.approx(47.4, abs=1e-9)


def test_the_cap_holds_downwards_too() -> None:
    assert baseline(example((10, 10, 10)), event(), PACIFIC).ratio == 0.8


def test_ten_days_are_used_not_forty_five_and_not_the_event_day() -> None:
    """The eleventh day, 6 July, is left out; so are the two event days and every weekend on the way, with reasons."""
    result = baseline(example((42, 43, 44)), event(), PACIFIC)

    assert len(result.days_used) == 10
    assert EVENT_DAY not in result.days_used
    assert result.days_used[-1] == date(2026, 7, 7)
    assert ExcludedDay(date(2026, 7, 16), "event") in result.days_excluded
    assert ExcludedDay(date(2026, 7, 12), "other day type") in result.days_excluded
    assert len(result.days_excluded) == 6  # two events, four weekend days


@pytest.mark.parametrize("eligible", [9, 7, 5])
def test_fewer_than_ten_eligible_days_are_all_used_not_just_the_minimum(eligible: int) -> None:
    keep = [day for day in EXAMPLE if day not in EVENTS][:eligible]
    history = example((42, 43, 44)).filter(
        pl.col("start").dt.convert_time_zone(ZONE).dt.date().is_in([*keep, EVENT_DAY])
    )

    assert baseline(history, event(), PACIFIC).days_used == tuple(keep)


def test_short_of_the_minimum_the_event_days_with_the_highest_load_fill_up() -> None:
    """Four similar days and two events, 87 MW each in the event's hours: the newer serves, until the older has more."""
    keep = [day for day in EXAMPLE if day not in EVENTS][:4]
    history = example((42, 43, 44)).filter(
        pl.col("start").dt.convert_time_zone(ZONE).dt.date().is_in([*keep, *EVENTS, EVENT_DAY])
    )
    brighter = history.with_columns(
        load_kw=pl.when(pl.col("start") == local(date(2026, 7, 10), 18)).then(31_000.0).otherwise("load_kw")
    )

    assert date(2026, 7, 16) in baseline(history, event(), PACIFIC).days_used
    assert date(2026, 7, 10) in baseline(brighter, event(), PACIFIC).days_used
    assert len(baseline(brighter, event(), PACIFIC).days_used) == 5


def test_too_few_days_is_an_error_that_says_how_many() -> None:
    keep = list(EXAMPLE)[:4]
    history = example((42, 43, 44)).filter(
        pl.col("start").dt.convert_time_zone(ZONE).dt.date().is_in([*keep, EVENT_DAY])
    )

    with pytest.raises(InsufficientDataError, match=r"need 5 like days.*have 4"):
        baseline(history, event(), PACIFIC)


def test_a_day_with_a_gap_is_not_used_and_says_so() -> None:
    gap = local(date(2026, 7, 21), 15)
    for history in (
        example((42, 43, 44)).filter(pl.col("start") != gap),
        example((42, 43, 44)).with_columns(
            load_kw=pl.when(pl.col("start") == gap).then(float("nan")).otherwise("load_kw")
        ),
    ):
        result = baseline(history, event(), PACIFIC)

        assert ExcludedDay(date(2026, 7, 21), "incomplete") in result.days_excluded
        assert result.days_used[-1] == date(2026, 7, 6)


def test_a_gap_in_the_adjustment_hours_of_the_event_day_is_an_error() -> None:
    history = example((42, 43, 44)).filter(pl.col("start") != local(EVENT_DAY, 15))

    with pytest.raises(InsufficientDataError, match="adjustment hours"):
        baseline(history, event(), PACIFIC)


def test_the_hour_right_before_the_event_does_not_count() -> None:
    """Hour ending 17 may be anything."""
    history = pl.concat([example((42, 43, 44)), frame([(local(EVENT_DAY, 17), 9e9)])])

    assert baseline(history, event(), PACIFIC).ratio == pytest.approx(1.061728, abs=1e-6)


def test_nothing_after_the_start_of_the_event_counts() -> None:
    seen = baseline(example((42, 43, 44)), event(), PACIFIC)
    future = example((42, 43, 44)).with_columns(
        load_kw=pl.when(pl.col("start") >= event().interval.start).then(1e9).otherwise("load_kw")
    )

    assert baseline(future, event(), PACIFIC).intervals.equals(seen.intervals)


def test_an_event_over_local_midnight_is_refused() -> None:
    night = Event(Interval(local(EVENT_DAY, 24), local(EVENT_DAY, 24) + 2 * HOUR))

    with pytest.raises(ConfigError, match="midnight"):
        baseline(example((42, 43, 44)), night, PACIFIC)


def test_a_site_that_draws_nothing_has_a_baseline_of_nothing() -> None:
    idle = example((0, 0, 0)).with_columns(load_kw=pl.lit(0.0))

    result = baseline(idle, event(), PACIFIC)

    assert (result.ratio_raw, result.ratio, result.baseline_kw) == (None, 1.0, 0.0)


def test_the_grid_must_divide_the_hour() -> None:
    starts: list[tuple[datetime, float | None]] = [
        (local(EVENT_DAY, 14) + timedelta(minutes=7 * n), 1.0) for n in range(3)
    ]

    with pytest.raises(ValueError, match="0:07:00"):
        grid_of(frame(starts))


def series(first: date, days: int, grid: timedelta, load: Callable[[datetime], float]) -> pl.DataFrame:
    start, end = PACIFIC.bounds(first).start, PACIFIC.bounds(first + timedelta(days=days)).end
    starts = [start + index * grid for index in range((end - start) // grid)]
    return frame([(instant, load(instant.astimezone(ZoneInfo(ZONE)))) for instant in starts])


@pytest.mark.parametrize("change", [date(2026, 3, 8), date(2026, 11, 1)])
@pytest.mark.parametrize("hour_ending", [2, 3, 4, 12])
def test_on_and_after_both_clock_changes_a_slot_is_a_reading_of_the_local_clock(change: date, hour_ending: int) -> None:
    """Load equal to the local hour: whatever the day, the baseline of an hour is that hour, wherever it exists."""
    history = series(change - timedelta(days=50), 52, HOUR, lambda local_time: 100.0 + local_time.hour)
    start = local(change, hour_ending)
    called = Event(Interval(start, start + HOUR))

    result = baseline(history, called, PACIFIC)

    assert result.unadjusted_kw == 100.0 + start.astimezone(ZoneInfo(ZONE)).hour
    assert len(result.days_used) == 4


def test_a_23_hour_day_is_not_used_for_the_hour_it_lacks() -> None:
    history = series(date(2026, 2, 1), 45, HOUR, lambda _: 100.0)
    called = event(3, 3, date(2026, 3, 14), frozenset())  # 02:00 to 03:00 on the Saturday after

    result = baseline(history, called, PACIFIC)

    assert ExcludedDay(date(2026, 3, 8), "incomplete") in result.days_excluded


def test_of_a_repeated_hour_the_first_stands_for_the_day() -> None:
    """On 1 November 01:00 comes twice; the second, 09:00 UTC, draws 900 kW and does not count on the 7th."""
    second = datetime(2026, 11, 1, 9, tzinfo=UTC)
    history = series(date(2026, 10, 1), 38, HOUR, lambda _: 100.0).with_columns(
        load_kw=pl.when(pl.col("start") == second).then(900.0).otherwise("load_kw")
    )

    result = baseline(history, event(2, 2, date(2026, 11, 7), frozenset()), PACIFIC)

    assert date(2026, 11, 1) in result.days_used
    assert result.unadjusted_kw == 100.0


@settings(max_examples=40, deadline=None)
@given(
    day=st.dates(date(2026, 2, 20), date(2026, 4, 5)) | st.dates(date(2026, 10, 20), date(2026, 11, 20)),
    hour=st.integers(1, 24),
    grid_min=st.sampled_from([15, 30, 60]),
    seed=st.integers(0, 1000),
    dropped=st.sets(st.integers(0, 47 * 24), max_size=40),
    excluded=st.frozensets(st.integers(1, 45), max_size=40),
)
def test_polars_and_sql_agree(
    *, day: date, hour: int, grid_min: int, seed: int, dropped: set[int], excluded: frozenset[int]
) -> None:
    """Any load, gaps, earlier events, day and hour around both clock changes: the same baseline or both refuse."""
    grid = timedelta(minutes=grid_min)
    first = day - timedelta(days=46)
    chance = Random(seed)
    history = series(first, 47, grid, lambda _: chance.uniform(0, 5000))
    gaps = frame([(PACIFIC.bounds(first).start + index * HOUR, None) for index in dropped])
    history = history.join(gaps, on="start", how="anti")
    events = frozenset(day - timedelta(days=back) for back in excluded)
    start = local(day, hour)

    with TemporaryDirectory() as folder:
        file = Path(folder) / "history.parquet"
        history.write_parquet(file)
        expected = baseline_sql(file, start, start + HOUR, ZONE, grid, excluded=events)
    try:
        found = baseline(history, Event(Interval(start, start + HOUR), event_days=events), PACIFIC)
    except InsufficientDataError:
        assert expected is None
        return

    assert expected is not None
    assert list(found.days_used) == expected.days_used
    assert found.ratio_raw == (None if expected.ratio_raw is None else pytest.approx(expected.ratio_raw, rel=1e-9))
    assert [row[0] for row in expected.intervals] == found.intervals["start"].to_list()
    for column, index in (("unadjusted_kw", 1), ("baseline_kw", 2)):
        assert found.intervals[column].to_list() == pytest.approx([row[index] for row in expected.intervals], rel=1e-9)
