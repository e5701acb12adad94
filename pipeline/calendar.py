"""
Local days: which ones are business days, and where they begin and end in UTC.

A local day belongs to a venue or a site, has 23, 24 or 25 hours, and is labelled by its local date.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.errors import ConfigError
from pipeline.interval import Interval

MONDAY, THURSDAY, SATURDAY, SUNDAY = 0, 3, 5, 6


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    """Return the *nth* such weekday of a month."""
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def nerc_holidays(year: int) -> tuple[date, ...]:
    """
    Return NERC's off-peak holidays of a year: New Year, Memorial, Independence, Labor, Thanksgiving, Christmas Day.

    One with a fixed date that falls on a Sunday is kept on the Monday after. Lists in use differ (one public CAISO
    implementation adds Veterans Day and Fridays before). UNVERIFIED against NERC's own publication.
    """
    fixed = (date(year, 1, 1), date(year, 7, 4), date(year, 12, 25))
    memorial = _nth(year, 6, MONDAY, 1) - timedelta(days=7)
    return (
        *(day + timedelta(days=1) if day.weekday() == SUNDAY else day for day in fixed),
        memorial,
        _nth(year, 9, MONDAY, 1),
        _nth(year, 11, THURSDAY, 4),
    )


#: What a calendar goes by that is told no other list; replace per venue where it differs.
NERC_HOLIDAYS: frozenset[date] = frozenset(day for year in range(2024, 2031) for day in nerc_holidays(year))


@dataclass(frozen=True)
class Calendar:
    """A time zone and its holidays."""

    timezone: str
    holidays: frozenset[date] = NERC_HOLIDAYS
    years: frozenset[int] | None = None
    """Years that *holidays* covers; None: not told, and a weekday that is not among them is a business day."""

    def __post_init__(self) -> None:
        """Refuse a zone that does not exist with `ConfigError`."""
        try:
            ZoneInfo(self.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ConfigError(
                f"no time zone {self.timezone!r}; use an IANA name such as America/Los_Angeles"
            ) from error

    @property
    def zone(self) -> ZoneInfo:
        """The zone itself."""
        return ZoneInfo(self.timezone)

    def day_of(self, instant: datetime) -> date:
        """Return the local date at *instant*."""
        return instant.astimezone(self.zone).date()

    def is_business_day(self, day: date) -> bool:
        """Tell whether *day* is Monday to Friday and no holiday; raise `ConfigError` for a year without holidays."""
        if self.years is not None and day.year not in self.years:
            have = f"{min(self.years)} to {max(self.years)}" if self.years else "no year"
            raise ConfigError(f"no holidays are known of {day.year}, only of {have}; give a list with that year")
        return day.weekday() < SATURDAY and day not in self.holidays

    def bounds(self, day: date) -> Interval:
        """Return the local day as an interval in UTC, 23, 24 or 25 hours long."""
        return Interval(self._midnight(day), self._midnight(day + timedelta(days=1)))

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), self.zone).astimezone(UTC)
