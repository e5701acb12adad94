"""
ERCOT's days and hours. A trading date is a day of Central prevailing time; its hours are named by their end.

    2026-11-01   00:00-05:00 ─ 01:00-05:00 ─ 01:00-06:00 ─ 02:00-06:00 ─ …
    hour                 01            02            2R            03           25 hours
    2026-03-08   00:00-06:00 ─ 01:00-06:00 ─ 03:00-05:00 ─ 04:00-05:00 ─ …
    hour                 01            02            04                         23 hours, none is called 03

Source: *Services Organization*, the table that turns start and end times into the hours of an mRID.
"""

import re
from datetime import UTC, date, datetime, time, timedelta

from bidding.markets.ercot.names import ZONE
from pipeline.errors import VenueError
from pipeline.interval import Interval

HOUR = timedelta(hours=1)
DAM_CLOSES = time(10, 0)
"""Offers into the Day-Ahead Market end at 10:00 Central on the day before (Nodal Protocols §4.4, 1 August 2026)."""

_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)")


def trading_date(interval: Interval) -> date:
    """Return the local day that *interval* starts in."""
    return interval.start.astimezone(ZONE).date()


def midnight(day: date) -> datetime:
    """Return the instant at which the local *day* begins, UTC."""
    return datetime.combine(day, time(), ZONE).astimezone(UTC)


def hours(day: date) -> tuple[Interval, ...]:
    """Return the 23, 24 or 25 hours of the local *day*."""
    return tuple(Interval(midnight(day), midnight(day + timedelta(days=1))).split(HOUR))


def is_hour(interval: Interval) -> bool:
    """Tell whether *interval* is one whole hour of the venue."""
    local = interval.start.astimezone(ZONE)
    return interval.length == HOUR and not (local.minute or local.second or local.microsecond)


def token(hour: Interval) -> str:
    """Return the name of *hour* in an mRID: ``01`` to ``24``, and ``2R`` for the hour that comes twice."""
    local = hour.start.astimezone(ZONE)
    return f"{local.hour + 1}R" if local.fold else f"{local.hour + 1:02d}"


def dam_closes(hour: Interval) -> datetime:
    """Return the close of the Day-Ahead Market that sells *hour*, UTC."""
    eve = trading_date(hour) - timedelta(days=1)
    return datetime.combine(eve, DAM_CLOSES, ZONE).astimezone(UTC)


def write(instant: datetime) -> str:
    """Write *instant* as EWS does: Central time with its offset, whole seconds."""
    return instant.astimezone(ZONE).isoformat(timespec="seconds")


def read(text: str) -> datetime:
    """Read an `xs:dateTime` to UTC; raise `VenueError` on anything else, a time without an offset included."""
    if not _INSTANT.fullmatch(text):
        raise VenueError(f"not a time with an offset: {text[:40]!r}")
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise VenueError(f"no such time: {text!r}") from error


def read_date(text: str) -> date:
    """Read an `xs:date` without offset; raise `VenueError` on anything else, and on the ends of the calendar."""
    try:
        day = date.fromisoformat(text)
    except ValueError as error:
        raise VenueError(f"no such day: {text[:40]!r}") from error
    if len(text) != len("2026-11-01") or not date(1970, 1, 1) < day < date(9000, 1, 1):
        raise VenueError(f"no such day: {text[:40]!r}")
    return day


def read_interval(start: str, end: str) -> Interval:
    """Read a span; raise `VenueError` where it does not go forward."""
    try:
        return Interval(read(start), read(end))
    except ValueError as error:
        raise VenueError(f"not a span of time: {start[:40]!r} to {end[:40]!r}") from error
