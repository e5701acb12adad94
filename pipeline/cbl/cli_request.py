"""From the options of `firmwatt baseline` to a request and the rule it is to be answered by. Shell: it reads files."""

import argparse
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl import checks, cli_shared, holidays, loads, methods
from pipeline.cbl.checks import Source
from pipeline.cbl.cli_errors import TooLittleHistoryError
from pipeline.cbl.cli_instants import instant
from pipeline.cbl.loads import Expected, Loads
from pipeline.cbl.request import LOADS, ONE, Request, days_of, one_event
from pipeline.cbl.rule import (
    AroundEvent,
    DayMatching,
    Learned,
    Parameters,
    Reference,
    Regression,
    Rule,
    in_force,
    parameters_of,
)
from pipeline.errors import ConfigError
from pipeline.interval import Interval

#: Of a site's host-seconds: energy of less is a part of the load, and no reading of it.
COVERED = 0.995


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A rule, as it is written and as it is applied, what it is asked, and what is to be said about either."""

    written: Rule
    rule: Rule
    event: Interval
    request: Request
    engine: str
    warnings: tuple[str, ...]


def asked(options: argparse.Namespace) -> Asked:
    """Read what *options* name; refuse with `ConfigError` what cannot be used."""
    plain = Calendar(options.timezone)
    event = _event(options, plain)
    written = in_force(methods.load(options.method), plain.day_of(event.start))
    rule = written.with_parameters(settings(options.set))
    _needs(rule, options)
    listed = holidays.find(options.holidays or rule.holidays)
    listed.require(*_days_asked(rule.parameters, plain.day_of(event.start)))
    calendar = listed.calendar(options.timezone)
    read = _loads(options, calendar, event, rule)
    event_days, strange_events = _days(options, "event", calendar, read.frame)
    outage_days, strange_outages = _days(options, "outage", calendar, read.frame)
    nominations, strange_nominations = _nominations(options, calendar, read)
    request = Request(
        loads=_only(read.frame, options.resource),
        grid=read.grid,
        events=one_event(event),
        calendar=calendar,
        event_days=event_days,
        outage_days=outage_days,
        temperatures=None if options.temperature is None else loads.temperatures(options.temperature, calendar),
        nominations=nominations,
        control=_control(options, calendar, read),
    )
    crossing = checks.event(event, calendar, read.grid, request.loads)
    strange = (*strange_events, *strange_outages, *strange_nominations)
    kept = cli_shared.about_holidays(options.holidays, rule.holidays, options.timezone)
    warnings = (*about(written, rule), *kept, *read.warnings, *strange, *crossing)
    return Asked(written=written, rule=rule, event=event, request=request, engine=options.engine, warnings=warnings)


def settings(typed: list[str]) -> dict[str, str]:
    """Return parameters by name, from `name=value` as it was typed."""
    for text in typed:
        if not all(text.partition("=")):
            raise ConfigError(f"--set {text}: write name=value, such as --set k=3")
    return {name.strip(): value.strip() for name, _, value in (text.partition("=") for text in typed)}


def about(written: Rule, rule: Rule) -> tuple[str, ...]:
    """Return what must be said of a rule before its figures are used."""
    was, now = parameters_of(written.parameters), parameters_of(rule.parameters)
    changes = ", ".join(f"{name} = {now[name]} in place of {was[name]}" for name in rule.changed)
    open_ = ", ".join(rule.unverified)
    return (
        *([f"not the rule: {changes}"] if changes else []),
        *(["a method of our own: no ISO settles by it"] if rule.venue is None else []),
        *([f"unverified parameters, to be confirmed against the rule itself: {open_}"] if open_ else []),
        *(["unverified: its numbers were not read in the rule itself"] if not (rule.verified or open_) else []),
    )


def _event(options: argparse.Namespace, calendar: Calendar) -> Interval:
    first, last = (instant(text, name, calendar) for text, name in ((options.start, "--start"), (options.end, "--end")))
    if last <= first:
        raise ConfigError(f"the event must end after it starts; --start {options.start} --end {options.end}")
    return Interval(first, last)


def _needs(rule: Rule, options: argparse.Namespace) -> None:
    """Refuse a rule without a file it cannot do without."""
    match rule.parameters:
        case DayMatching(rank_by="temperature") | Regression(terms="degree-days"):
            needed, what = "temperature", "interval_start,celsius"
        case Reference(source="nomination"):
            needed, what = "nomination", "interval_start,load_kw,submitted_at"
        case Reference(source="control"):
            needed, what = "control", "interval_start,load_kw,customer"
        case _:
            return
    if getattr(options, needed) is None:
        raise ConfigError(f"{rule.method} needs --{needed} FILE, a CSV file with {what}")


def _days_asked(parameters: Parameters, day: date) -> tuple[date, date]:
    """Return the first and the last day whose type a rule may ask for."""
    match parameters:
        case DayMatching(look_back_days=back) | Regression(look_back_days=back) | Learned(look_back_days=back):
            return day - timedelta(days=back * (2 if isinstance(parameters, Regression) else 1)), day
        case _:
            return day, day


def _loads(options: argparse.Namespace, calendar: Calendar, event: Interval, rule: Rule) -> Loads:
    supply = isinstance(rule.parameters, DayMatching) and rule.parameters.supply
    expected = Expected(
        interval=options.interval, maximum_kw=options.maximum_kw, negative=options.allow_negative or supply
    )
    if options.load is not None:
        return loads.loads(options.load, calendar, expected)
    return _archived(options, calendar, _known_at(rule.parameters, event, calendar), expected)


def _known_at(parameters: Parameters, event: Interval, calendar: Calendar) -> datetime:
    """Return when everything that a rule looks at has been metered: the event's end, or later."""
    match parameters:
        case AroundEvent(after_to_hours=hours):
            return event.end + timedelta(hours=hours)
        case DayMatching(match="outside-event", rank_by="shape"):
            return calendar.bounds(calendar.day_of(event.start)).end
        case _:
            return event.end


def _archived(options: argparse.Namespace, calendar: Calendar, known_at: datetime, expected: Expected) -> Loads:
    """Return the closed intervals of a site as they were at *known_at*."""
    from pipeline.store import interval_history, interval_lengths

    where, site = options.archive, options.site
    if "://" not in where and not Path(where).is_dir():
        raise ConfigError(f"no archive at {where}; --archive names the folder of Parquet files")
    lengths = [expected.interval] if expected.interval else interval_lengths(where, site, known_at)
    if len(lengths) > 1:
        have = ", ".join(map(checks.spell, lengths))
        raise ConfigError(f"{site} has intervals of {have}; say which with --interval")
    history = interval_history(where, site, known_at, lengths[0]) if lengths else None
    if history is None or history.is_empty():
        raise TooLittleHistoryError(1, 0, f"metering intervals of {site} in {where}")
    whole = pl.col("covered_share") >= COVERED
    load = pl.when(whole).then("load_kw")
    frame = history.select(resource=pl.lit(ONE), start="start", load_kw=load).cast(LOADS)
    found = loads.checked(frame, Source(site), calendar, lengths[0], expected)
    simulated = ("simulated history",) if history["simulated"].any() else ()
    part = len(history.filter(~whole))
    covered = (f"{part} intervals of {site} are covered in part and taken for gaps",) if part else ()
    return replace(found, warnings=(*simulated, *covered, *found.warnings))


def _only(frame: pl.DataFrame, resources: list[str]) -> pl.DataFrame:
    """Return the rows of *resources*, all where none is named; refuse one that is not there."""
    have = set(frame["resource"].unique().to_list())
    if missing := [name for name in resources if name not in have]:
        raise ConfigError(f"--resource {missing[0]}: the load data has {', '.join(sorted(have)[:9]) or 'no names'}")
    return frame.filter(pl.col("resource").is_in(resources)) if resources else frame


def _days(
    options: argparse.Namespace, kind: str, calendar: Calendar, known: pl.DataFrame
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    """Return `DAYS` of a file, of those named one by one, or both."""
    found, warnings = cli_shared.days_of_file(getattr(options, f"{kind}s"), calendar, known)
    return pl.concat([found, days_of(getattr(options, f"{kind}_day"))]), warnings


def _nominations(
    options: argparse.Namespace, calendar: Calendar, read: Loads
) -> tuple[pl.DataFrame | None, tuple[str, ...]]:
    if options.nomination is None:
        return None, ()
    return loads.nominations(options.nomination, calendar, read.frame, read.grid, negative=options.allow_negative)


def _control(options: argparse.Namespace, calendar: Calendar, read: Loads) -> pl.DataFrame | None:
    if options.control is None:
        return None
    return loads.control(options.control, calendar, read.grid, negative=options.allow_negative)
