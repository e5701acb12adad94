"""
The engine in DuckDB SQL, written from the rules' text alone: what the Polars engine must agree with.

A rule and a request become one SQL script (`duckdb_days`, `duckdb_around`, `duckdb_reference`, `duckdb_regression`);
every decision is in it. Python hands DuckDB the frames and takes the answer's back.
"""

from datetime import timedelta

import duckdb
import polars as pl

from pipeline.cbl import answer as schemas
from pipeline.cbl import (
    duckdb_around,
    duckdb_checks,
    duckdb_days,
    duckdb_reference,
    duckdb_regression,
    duckdb_text,
)
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import CONTROL, NOMINATIONS, TEMPERATURES, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression, Rule
from pipeline.errors import ConfigError

MARGIN = timedelta(days=2)
LAST = "\n-- What comes out.\nFROM intervals ORDER BY event, resource, start;\n"


def answer(rule: Rule, request: Request, *, threads: int = 1) -> Answer:
    """
    Return the baselines of every event and resource of *request* by *rule*, ordered by event, resource and time.

    Raise `ConfigError` for parameters that leave nothing to compute, and for a learned rule, which this engine has not.
    """
    script = _script(rule, request)
    with duckdb.connect() as connection:
        connection.execute(f"SET TimeZone = 'UTC'; SET threads = {threads:d};")
        for name, frame in {"loads": request.loads, **_given(rule, request)}.items():
            connection.register(name, frame.to_struct(name))
        connection.execute(script)
        return Answer(
            intervals=_frame(connection, "intervals", schemas.INTERVALS, "start"),
            days=_frame(connection, "days", schemas.DAYS_LOOKED_AT, "day DESC"),
            adjustments=_frame(connection, "adjustments", schemas.ADJUSTMENTS, "kind"),
            shortfalls=_frame(connection, "shortfalls", schemas.SHORTFALLS, "what"),
        )


def sql(rule: Rule, request: Request) -> str:
    """
    Return what `answer` executes, with everything but the loads written out.

    It is for a session with a table `loads` (resource, start, load_kw), makes temporary tables, each of which may be
    looked at, and its last statement gives the intervals.
    """
    head = f"-- {rule.method} {rule.version}: {' '.join(rule.citation.split())}\nSET TimeZone = 'UTC';\n\n"
    given = "\n".join(duckdb_text.table(name, frame) for name, frame in _given(rule, request).items())
    return head + given + _script(rule, request) + LAST


def _script(rule: Rule, request: Request) -> str:
    duckdb_checks.check(rule.parameters, request)
    match rule.parameters:
        case DayMatching() as parameters:
            return duckdb_days.script(parameters, request)
        case AroundEvent() as parameters:
            return duckdb_around.around(parameters, request)
        case Level() as parameters:
            return duckdb_around.level(parameters, request)
        case Reference() as parameters:
            return duckdb_reference.script(parameters, request)
        case Regression() as parameters:
            return duckdb_regression.script(parameters, request)
        case Learned():
            raise ConfigError(f"{rule.method} has one engine, polars; use --engine polars")


def _given(rule: Rule, request: Request) -> dict[str, pl.DataFrame]:
    """Return the frames that the rule's script reads, besides the loads; raise `ConfigError` for an unknown year."""
    given = {"events": request.events}
    back = _look_back(rule)
    if isinstance(rule.parameters, DayMatching | Regression):
        _check_years(request, back)
        holidays = pl.DataFrame({"day": sorted(request.calendar.holidays)}, schema={"day": pl.Date()})
        given |= {"holidays": holidays, "event_days": request.event_days, "outage_days": request.outage_days}
    match rule.parameters:
        case DayMatching(rank_by="temperature") | Regression(terms="degree-days"):
            given["temperatures"] = _near(request, request.temperatures, TEMPERATURES, back)
        case Reference(source="nomination"):
            given["nominations"] = _near(request, request.nominations, NOMINATIONS, back)
        case Reference(source="control"):
            given["control"] = _near(request, request.control, CONTROL, back)
    return given


def _look_back(rule: Rule) -> timedelta:
    """Return how long before an event days are looked at."""
    match rule.parameters:
        case Regression(terms="level", look_back_days=days):
            return timedelta(days=2 * days)
        case DayMatching(look_back_days=days) | Regression(look_back_days=days):
            return timedelta(days=days)
        case _:
            return timedelta(0)


def _near(request: Request, frame: pl.DataFrame | None, schema: pl.Schema, back: timedelta) -> pl.DataFrame:
    """Return the rows of *frame* from so long before the events to the end of their days, and those around."""
    if frame is None:
        return pl.DataFrame(schema=schema)
    first, last = request.events.select(pl.col("start").min(), pl.col("end").max()).row(0)
    return frame.filter(pl.col("start").is_between(first - back - MARGIN, last + MARGIN))


def _check_years(request: Request, back: timedelta) -> None:
    """Ask the calendar, which refuses a year that its holidays do not cover, about the days looked at."""
    for event_day in request.events["start"].dt.convert_time_zone(request.calendar.timezone).dt.date().unique().sort():
        request.calendar.is_business_day(event_day)
        request.calendar.is_business_day(event_day - back)


def _frame(connection: duckdb.DuckDBPyConnection, name: str, schema: pl.Schema, order: str) -> pl.DataFrame:
    columns = ", ".join(f'"{column}"' for column in schema)
    found = connection.table(name).project(columns).order(f"event, resource, {order}")
    return pl.DataFrame(found).cast(schema)
