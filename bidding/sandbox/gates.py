"""When offers open and close, and when nobody should send any."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from bidding.sandbox.wire import Wire
from pipeline.interval import EPOCH, floor


class Gate(Wire):
    """So long before the interval, or a local time so many days before its local day."""

    before_s: int = 0
    days_before: int | None = None
    at: time | None = None
    zone: str = ""
    """Whose clock `at` is on, where that is not the market day's."""

    def instant(self, start: datetime, zone: ZoneInfo) -> datetime:
        """Return the gate's instant for the interval from *start*; a local time that clocks skip is an hour later."""
        if self.days_before is None or self.at is None:
            return start - timedelta(seconds=self.before_s)
        day = start.astimezone(zone).date() - timedelta(days=self.days_before)
        return datetime.combine(day, self.at, self._clock(zone)).astimezone(UTC)

    def passed_until(self, now: datetime, interval: timedelta, zone: ZoneInfo) -> datetime:
        """Return the first multiple of *interval* whose gate is still ahead of *now*."""
        if self.days_before is None or self.at is None:
            reach = now + timedelta(seconds=self.before_s)
            return floor(reach, interval) + interval
        today = now.astimezone(self._clock(zone)).date()
        due = datetime.combine(today, self.at, self._clock(zone)) <= now
        first = datetime.combine(today + timedelta(days=self.days_before + due), time(), zone).astimezone(UTC)
        return first + (EPOCH - first) % interval

    def _clock(self, zone: ZoneInfo) -> ZoneInfo:
        return ZoneInfo(self.zone) if self.zone else zone


class Pause(Wire):
    """A span of each local day in which nothing is taken."""

    start: time
    end: time
    why: str

    def holds(self, now: datetime, zone: ZoneInfo) -> bool:
        """Tell whether *now* lies in [start, end) of the local day; a span may run over midnight."""
        local = now.astimezone(zone).time()
        if self.start <= self.end:
            return self.start <= local < self.end
        return local >= self.start or local < self.end
