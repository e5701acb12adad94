"""Metered history as readings: the archive's past, corrected and continued by what arrived since."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from bidding.agents.feed import World
from bidding.markets import MeterReading
from bidding.performance import LookBack, Metered, reading, windows
from pipeline.calendar import Calendar
from pipeline.interval import Interval
from pipeline.messages.telemetry import SiteInterval
from pipeline.store import interval_history

#: Of a site's host-seconds: an interval that covers less is waited for, in case a late partition completes it.
COVERED = 0.995


class History:
    """One site's metering. The archive is read again when `reload` is called, and at the first question."""

    def __init__(self, archive: str, world: World, length: timedelta, look_back: LookBack) -> None:
        self._archive = archive
        self._world = world
        self._length = length
        self._look_back = look_back
        self._past: dict[datetime, float] | None = None
        self._reloads = 0

    @property
    def version(self) -> tuple[int, int]:
        """What grows whenever a reading may have changed: baselines of the same version are the same."""
        return self._reloads, sum(figure.revision for figure in self._world.intervals.values())

    def reload(self, as_of: datetime) -> None:
        """Read the archive as it was known at *as_of*."""
        frame = interval_history(self._archive, self._world.site, as_of, self._length)
        self._reloads += 1
        hours = self._length / timedelta(hours=1)
        self._past = {start: load_kw * hours for start, load_kw in frame.select("start", "load_kw").iter_rows()}

    def readings(self, events: Sequence[Interval], calendar: Calendar, now: datetime) -> tuple[MeterReading, ...]:
        """Return, in order of time, the readings that the baselines of *events* and their settlement rest on."""
        if self._past is None:
            self.reload(now)
        energies = dict(self._past or {})
        metered = self._world.intervals.items()
        energies |= {start: figure.energy_kwh for start, figure in metered if figure.covered_share > 0}
        spans = {span for event in events for span in windows(event, calendar, self._look_back)}
        starts = {piece.start for span in spans for piece in span.split(self._length)}
        return tuple(
            reading(Interval(start, start + self._length), energies[start])
            for start in sorted(starts & energies.keys())
            if start + self._length <= now
        )

    def metered(self, interval: Interval) -> Metered | None:
        """Return what was metered over *interval*, None while nothing is."""
        figure = self._world.intervals.get(interval.start)
        if figure is None or figure.interval != interval:
            return None
        return Metered(interval, figure.energy_kwh, figure.covered_share, figure.simulated)

    def whole(self, interval: Interval) -> bool:
        """Return whether metering over *interval* covers every partition and all but a sliver of the host-seconds."""
        return is_whole(figure) if (figure := self._world.intervals.get(interval.start)) else False


def is_whole(figure: SiteInterval) -> bool:
    """Return whether nothing more is to be expected of *figure*."""
    return figure.partitions >= figure.partitions_expected and figure.covered_share >= COVERED
