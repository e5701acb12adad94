"""One resource's readings as a careful analyst keeps them in pandas: by instant, by the local clock, by local day."""

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pandas as pd

from pipeline.calendar import Calendar
from pipeline.cbl.request import Request

HOUR = timedelta(hours=1)
SATURDAY = 5


@dataclass(frozen=True)
class History:
    """Computed once a resource, before any event is asked about."""

    by_instant: pd.Series
    by_clock: pd.Series
    """Of a repeated hour the first reading."""
    day_means: pd.Series
    """Of local days without a gap, over all their instants."""
    highest: pd.Series
    """Temperature, of local days that have any."""
    warmth: pd.Series
    """Mean temperature, of local days that have one in each local hour."""
    calendar: Calendar
    grid: timedelta

    def span(self, start: pd.Timestamp, end: pd.Timestamp) -> pd.DatetimeIndex:
        """Return the metering intervals from *start* to *end*; none where there is no time between."""
        found = pd.date_range(start, end, freq=self.grid, inclusive="left")
        return found if start < end else found[:0]

    def hours(self, instant: pd.Timestamp, first: float, last: float) -> pd.DatetimeIndex:
        """Return the metering intervals from *first* to *last* hours after *instant*; before it where below zero."""
        return self.span(instant + pd.Timedelta(hours=first), instant + pd.Timedelta(hours=last))

    def day(self, instant: pd.Timestamp) -> date:
        """Return the local day."""
        return self.calendar.day_of(instant.to_pydatetime())

    def kind(self, day_types: str, day: date) -> int:
        """Return which days are alike."""
        if day_types == "all":
            return 0
        if self.calendar.is_business_day(day):
            return 1
        if day_types == "business":
            return 2
        return 2 if day.weekday() == SATURDAY and day not in self.calendar.holidays else 3

    def alike(self, day_types: str, today: date, first: int, last: int) -> list[date]:
        """Return the days of the kind of *today*, from *first* to *last* days before it, newest first."""
        kind = self.kind(day_types, today)
        days = (today - timedelta(days=back) for back in range(first, last + 1))
        return [day for day in days if self.kind(day_types, day) == kind]

    def on_days(self, days: list[date], slots: pd.DatetimeIndex, today: date) -> pd.DataFrame:
        """Return the load of each of *days* (rows) at the local times of the *slots* of *today* (columns)."""
        clock = slots.tz_convert(self.calendar.timezone).tz_localize(None).to_numpy()
        backs = np.array([(today - day).days for day in days], "timedelta64[D]")
        walls = clock[np.newaxis, :] - backs[:, np.newaxis]
        loads = self.by_clock.reindex(walls.ravel()).to_numpy().reshape(walls.shape)
        return pd.DataFrame(loads, index=days, columns=slots)


def history(request: Request) -> History:
    """Return the readings of the one resource of *request*, without those that are missing."""
    calendar = request.calendar
    by_instant = _series(request.loads["start"].to_numpy(), request.loads["load_kw"].to_numpy())
    local = by_instant.tz_convert(calendar.timezone)
    days = local.groupby(local.index.date).agg(["mean", "size"])
    whole = [calendar.bounds(day).length // request.grid for day in days.index]
    by_clock = local.tz_localize(None)
    celsius = pd.Series(dtype=float, index=pd.DatetimeIndex([], tz="UTC"))
    if request.temperatures is not None:
        celsius = _series(request.temperatures["start"].to_numpy(), request.temperatures["celsius"].to_numpy())
    warm = celsius.tz_convert(calendar.timezone)
    by_day = warm.groupby(warm.index.date)
    shown = by_day.apply(lambda one: one.index.hour.nunique())
    hours = [min(calendar.bounds(day).length, 24 * HOUR) // HOUR for day in shown.index]
    return History(
        by_instant=by_instant,
        by_clock=by_clock[~by_clock.index.duplicated()],
        day_means=days["mean"][days["size"] == whole],
        highest=by_day.max(),
        warmth=by_day.mean()[shown == hours],
        calendar=calendar,
        grid=request.grid,
    )


def _series(starts: np.ndarray, figures: np.ndarray) -> pd.Series:
    index = pd.DatetimeIndex(starts).as_unit("ns").tz_localize("UTC")
    return pd.Series(figures, index=index).dropna().sort_index()
