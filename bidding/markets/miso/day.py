"""
MISO's market day: 24 hours ending 1 to 24 in Eastern Standard Time, all year. Pure.

The specification writes every instant with the offset -05:00 and its hours run from 1 to 24 (MUI 3.3.0, `HourLabel`,
`MarketIntervalLabel`): there is no clock change in it. In summer the market day therefore begins at 01:00 of a New
York clock, and on the two days on which US clocks change it has 24 hours like any other.

    hour ending       1       2                 24
    EST         00:00   01:00   02:00   …  23:00   24:00
    UTC         05:00   06:00   07:00   …  04:00   05:00
"""

from datetime import UTC, date, datetime, timedelta, timezone

from pipeline.interval import Interval

EST = timezone(timedelta(hours=-5))
HOUR = timedelta(hours=1)
FIVE_MINUTES = timedelta(minutes=5)
HOURS = 24


def hour_of(interval: Interval) -> tuple[date, int]:
    """Return the market day and the hour ending that *interval* is; raise `ValueError` where it is no market hour."""
    start = interval.start.astimezone(EST)
    if interval.length != HOUR or (start.minute, start.second, start.microsecond) != (0, 0, 0):
        raise ValueError(f"{interval.start.isoformat()} to {interval.end.isoformat()} is no market hour of MISO's")
    return start.date(), start.hour + 1


def interval_of(day: date, hour: int) -> Interval:
    """Return the interval of hour ending *hour*, 1 to 24, of the market *day*."""
    if not 1 <= hour <= HOURS:
        raise ValueError(f"hour ending {hour} is not 1 to {HOURS}")
    midnight = datetime(day.year, day.month, day.day, tzinfo=EST)
    return Interval((midnight + (hour - 1) * HOUR).astimezone(UTC), (midnight + hour * HOUR).astimezone(UTC))


def day_of(instant: datetime) -> date:
    """Return the market day that *instant* falls into."""
    return instant.astimezone(EST).date()


def label(instant: datetime) -> str:
    """Return *instant* as the specification writes it: whole seconds, offset -05:00."""
    return instant.astimezone(EST).replace(microsecond=0).isoformat()
