"""Histories small enough to check by hand, and rules with few parameters, for the tests of the SQL engine."""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.answer import Answer
from pipeline.cbl.duckdb_engine import answer
from pipeline.cbl.request import EVENTS, LOADS, ONE, TEMPERATURES, Request
from pipeline.cbl.rule import DayMatching, Parameters, Rule

PACIFIC = Calendar("America/Los_Angeles")
HOUR = timedelta(hours=1)
#: A Thursday; no holiday is near. The Monday to Wednesday before are the 20th to the 22nd.
EVENT_DAY = date(2026, 7, 23)


def july(day: int) -> date:
    """Return a day of July 2026, or of June where it is below 1."""
    return date(2026, 6, 30) + timedelta(days=day)


def at(day: date, hour: float, zone: ZoneInfo = PACIFIC.zone) -> datetime:
    """Return the instant when the clock showed so many hours after midnight, for the first time."""
    return (datetime.combine(day, time(), zone) + timedelta(hours=hour)).astimezone(UTC)


def loads(days: Mapping[date, Mapping[int, float | None]], resource: str = ONE) -> pl.DataFrame:
    """Return `LOADS`, kW by local day and hour that begins."""
    rows = [(resource, at(day, hour), kw) for day, hours in days.items() for hour, kw in hours.items()]
    return pl.DataFrame(rows, schema=LOADS, orient="row")


def flat(days: Mapping[date, float], hours: Iterable[int] = range(24), resource: str = ONE) -> pl.DataFrame:
    """Return `LOADS` of days that draw the same all day."""
    listed = tuple(hours)
    return loads({day: dict.fromkeys(listed, kw) for day, kw in days.items()}, resource)


def before(*figures: float, day: date = EVENT_DAY) -> dict[date, float]:
    """Return figures for the days before *day*, the newest first."""
    return {day - timedelta(days=back): figure for back, figure in enumerate(figures, start=1)}


def warm(days: Mapping[date, float], hours: Iterable[int] = range(24)) -> pl.DataFrame:
    """Return `TEMPERATURES`, the same in each of the hours."""
    rows = [(at(day, hour), celsius) for day, celsius in days.items() for hour in hours]
    return pl.DataFrame(rows, schema=TEMPERATURES, orient="row")


def asked(readings: pl.DataFrame, day: date = EVENT_DAY, hours: tuple[float, float] = (17, 18), **more: Any) -> Request:
    """Return a request about one event, hourly unless said otherwise."""
    events = pl.DataFrame({"event": [0], "start": [at(day, hours[0])], "end": [at(day, hours[1])]}, schema=EVENTS)
    said: dict[str, Any] = {"grid": HOUR, "events": events, "calendar": PACIFIC} | more
    return Request(loads=readings, **said)


def rule(parameters: Parameters) -> Rule:
    """Return a rule that has those parameters."""
    return Rule(
        method="hand-made",
        version="1",
        title="Made by hand",
        venue=None,
        valid_from=None,
        citation="none",
        verified=False,
        parameters=parameters,
    )


def matching(**parameters: Any) -> DayMatching:
    """Return day matching of any day within 10, at least one; *parameters* say more."""
    every: dict[str, Any] = {
        "look_back_days": 10,
        "day_types": "all",
        "days": None,
        "other_days": None,
        "minimum_days": 1,
        "minimum_other_days": 1,
    }
    return DayMatching(**every | parameters)


def answered(parameters: Parameters, request: Request) -> Answer:
    """Return the SQL engine's answer."""
    return answer(rule(parameters), request)


def column(answer_: Answer, name: str, places: int = 6) -> list[float | None]:
    """Return a column of the intervals, rounded for comparison with printed figures."""
    return answer_.intervals[name].round(places).to_list()


def used(answer_: Answer) -> list[date]:
    """Return the days used, newest first."""
    return answer_.days.filter("used")["day"].to_list()


def passed(answer_: Answer) -> dict[date, str]:
    """Return why days were not used."""
    return dict(answer_.days.filter(~pl.col("used")).select("day", "reason").iter_rows())


def short(answer_: Answer) -> list[tuple[int, int, str]]:
    """Return need, have and what of each shortfall, and make sure that there are no figures beside it."""
    assert answer_.intervals.is_empty()
    return answer_.shortfalls.select("need", "have", "what").rows()
