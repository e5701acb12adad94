"""
Local days: which ones are business days, and where they begin and end in UTC.

A local day belongs to a venue or a site, has 23, 24 or 25 hours, and is labelled by its local date.
"""

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipeline.errors import ConfigError
from pipeline.interval import Interval

#: NERC off-peak holidays: New Year, Memorial, Independence, Labor, Thanksgiving and Christmas Day; one that falls on a
#: Sunday is kept on the Monday after. Data, not a rule: lists in use differ (one public CAISO implementation adds
#: Veterans Day and Fridays before). UNVERIFIED against NERC's own publication; replace per venue where it differs.
NERC_HOLIDAYS: frozenset[date] = frozenset(
    date.fromisoformat(f"{year}-{day}")
    for year, days in {
        2024: "01-01 05-27 07-04 09-02 11-28 12-25",
        2025: "01-01 05-26 07-04 09-01 11-27 12-25",
        2026: "01-01 05-25 07-04 09-07 11-26 12-25",
        2027: "01-01 05-31 07-05 09-06 11-25 12-25",
        2028: "01-01 05-29 07-04 09-04 11-23 12-25",
        2029: "01-01 05-28 07-04 09-03 11-22 12-25",
        2030: "01-01 05-27 07-04 09-02 11-28 12-25",
    }.items()
    for day in days.split()
)

SATURDAY = 5


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
