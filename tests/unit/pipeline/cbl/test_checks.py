"""What is wrong with an event or its readings, and how rows are named."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline.calendar import Calendar
from pipeline.cbl import checks
from pipeline.cbl.checks import Source
from pipeline.cbl.request import LOADS
from pipeline.errors import ConfigError
from pipeline.interval import Interval

PACIFIC = Calendar("America/Los_Angeles")
INDIA = Calendar("Asia/Kolkata")
HOUR = timedelta(hours=1)
ARCHIVE = Source("site-1")


def instant(text: str, calendar: Calendar = PACIFIC) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(calendar.timezone)).astimezone(UTC)


def event(start: str, end: str, calendar: Calendar = PACIFIC) -> Interval:
    return Interval(instant(start, calendar), instant(end, calendar))


def readings(first: datetime, *kw: float) -> pl.DataFrame:
    rows = [("", first + place * HOUR, load) for place, load in enumerate(kw)]
    return pl.DataFrame(rows, schema=LOADS, orient="row")


HOURLY = readings(instant("2026-07-23T00:00"), 1, 2, 3)


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([7], "line 7"),
        ([9, 4, 5, 6], "lines 4–6, 9"),
        ([1, 3, 5, 7, 9, 11, 12], "lines 1, 3, 5, 7, 9 and 2 more"),
    ],
)
def test_lines_are_named_in_spans(numbers: list[int], told: str) -> None:
    assert checks.lines(numbers) == told


def test_rows_without_a_file_are_named_by_their_instants() -> None:
    with pytest.raises(ConfigError, match="site-1, 2026-07-23T08:00Z: load below zero"):
        checks.negative(readings(instant("2026-07-23T00:00"), 1, -2, 3), ARCHIVE)


def test_an_event_up_to_midnight_is_within_its_day() -> None:
    assert checks.event(event("2026-07-23T22:00", "2026-07-24T00:00"), PACIFIC, HOUR, HOURLY) == []


def test_an_event_across_midnight_is_two() -> None:
    with pytest.raises(ConfigError, match=r"crosses local midnight; ask for two .* up to 2026-07-24T00:00:00-07:00"):
        checks.event(event("2026-07-23T22:00", "2026-07-24T01:00"), PACIFIC, HOUR, HOURLY)


@pytest.mark.parametrize(
    ("start", "end"), [("2026-03-08T01:00", "2026-03-08T04:00"), ("2026-11-01T00:00", "2026-11-01T03:00")]
)
def test_an_event_across_a_change_of_the_clocks_is_told(start: str, end: str) -> None:
    (told,) = checks.event(event(start, end), PACIFIC, HOUR, HOURLY)

    assert told.startswith("the event crosses a change of the clocks")


def test_an_event_that_ends_as_the_clocks_change_does_not_cross_it() -> None:
    assert checks.event(event("2026-03-08T00:00", "2026-03-08T03:00"), PACIFIC, HOUR, HOURLY) == []


@pytest.mark.parametrize(
    ("start", "end"), [("2026-07-23T17:30", "2026-07-23T18:30"), ("2026-07-23T17:00", "2026-07-23T18:30")]
)
def test_an_event_off_the_metering_grid_is_refused(start: str, end: str) -> None:
    with pytest.raises(ConfigError, match="does not begin and end where metering intervals of 60min do"):
        checks.event(event(start, end), PACIFIC, HOUR, HOURLY)


def test_hours_of_a_clock_half_an_hour_off_are_on_the_grid() -> None:
    """India is five and a half hours ahead: its hours begin at half past of UTC's."""
    loads = readings(instant("2026-07-23T00:00", INDIA), 1, 2)

    assert checks.event(event("2026-07-23T17:00", "2026-07-23T18:00", INDIA), INDIA, HOUR, loads) == []


@pytest.mark.parametrize(
    ("length", "told"), [(HOUR, "60min"), (timedelta(minutes=5), "5min"), (timedelta(seconds=30), "30s")]
)
def test_a_length_is_spelled_as_it_is_typed(length: timedelta, told: str) -> None:
    assert checks.spell(length) == told


def test_holes_are_counted_resource_by_resource() -> None:
    """Where a ends b begins: that is no hole of either."""
    one = readings(instant("2026-07-23T00:00"), 1, 2, 3).with_columns(resource=pl.lit("a"))
    other = readings(instant("2026-07-23T05:00"), 1, 2, 3).with_columns(resource=pl.lit("b"))
    both = pl.concat([one, other.filter(pl.col("load_kw") != 2)])

    assert checks.holes(both, ARCHIVE, HOUR, PACIFIC) == [
        "site-1: 1 intervals without a row, missing, not zero: b 2026-07-23T06:00-07:00 to 2026-07-23T07:00-07:00"
    ]
