"""Builders for tests of the Polars engine: local hours, loads from a table, requests, rules."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.answer import Answer
from pipeline.cbl.polars_engine import answer
from pipeline.cbl.request import EVENTS, LOADS, ONE, TEMPERATURES, Request, days_of
from pipeline.cbl.rule import Parameters, Rule

ZONE = "America/Los_Angeles"
PACIFIC = Calendar(ZONE)
HOUR = timedelta(hours=1)
Row = tuple[str, datetime, float | None]


def at(day: date, hour: float, fold: int = 0) -> datetime:
    """Return the instant at which local clocks show *hour* (16.25: 16:15) on *day*; fold 1: for the second time."""
    wall = datetime.combine(day, time()) + timedelta(hours=hour)
    return wall.replace(tzinfo=ZoneInfo(ZONE), fold=fold).astimezone(UTC)


def day_rows(day: date, hours: Mapping[int, float | None], resource: str = ONE) -> list[Row]:
    """Return a reading for each local hour that is given."""
    return [(resource, at(day, hour), load) for hour, load in hours.items()]


def flat(days: Mapping[date, float], resource: str = ONE, hours: Iterable[int] = range(24)) -> list[Row]:
    """Return days with one load each, in all of their *hours*."""
    kept = tuple(hours)
    return [row for day, load in days.items() for row in day_rows(day, dict.fromkeys(kept, load), resource)]


def table(text: str, hours_ending: tuple[int, ...]) -> list[Row]:
    """Return the loads of a table whose lines begin with a day, in columns by the hour's end; MW are taken for kW."""
    rows: list[Row] = []
    for line in text.strip().splitlines():
        day, *loads = line.split()
        for hour, load in zip(hours_ending, loads, strict=True):
            rows.append((ONE, at(date.fromisoformat(day), hour - 1), float(load)))
    return rows


def frame(rows: Iterable[Row]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=LOADS, orient="row")


def events(*spans: tuple[datetime, datetime]) -> pl.DataFrame:
    return pl.DataFrame([(number, *span) for number, span in enumerate(spans)], schema=EVENTS, orient="row")


def hours(day: date, first: float, last: float) -> tuple[datetime, datetime]:
    """Return start and end of an event by local clocks."""
    return at(day, first), at(day, last)


def request(
    rows: Iterable[Row],
    *spans: tuple[datetime, datetime],
    event_days: Iterable[date] = (),
    outage_days: Iterable[date] = (),
    grid: timedelta = HOUR,
) -> Request:
    return Request(
        loads=frame(rows),
        grid=grid,
        events=events(*spans),
        calendar=PACIFIC,
        event_days=days_of(event_days),
        outage_days=days_of(outage_days),
    )


def warm(asked: Request, celsius: Mapping[date, float], hours_: Iterable[int] = range(24)) -> Request:
    """Return *asked* with one temperature all day long."""
    kept = tuple(hours_)
    rows = [(at(day, hour), degrees) for day, degrees in celsius.items() for hour in kept]
    return replace(asked, temperatures=pl.DataFrame(rows, schema=TEMPERATURES, orient="row"))


def ask(parameters: Parameters, asked: Request) -> Answer:
    """Return what the engine answers to a rule with these *parameters*."""
    rule = Rule(
        method="m",
        version="1",
        title="",
        venue=None,
        valid_from=None,
        citation="",
        verified=False,
        parameters=parameters,
    )
    return answer(rule, asked)


def used(found: Answer) -> list[date]:
    """Return the days used, newest first."""
    return found.days.filter("used")["day"].to_list()


def why(found: Answer) -> dict[date, str]:
    """Return the reason of every day that was not used."""
    return dict(found.days.filter(~pl.col("used")).select("day", "reason").iter_rows())


def column(found: Answer, name: str) -> list[float | None]:
    return found.intervals[name].to_list()


def shortfall(found: Answer) -> tuple[int, int, str]:
    """Return need, have and what of the only shortfall; there is no interval then."""
    assert found.intervals.is_empty()
    assert found.adjustments.is_empty()
    ((need, have, what),) = found.shortfalls.select("need", "have", "what").rows()
    return need, have, what
