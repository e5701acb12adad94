"""
The venue's own 10-in-10 baseline: plain Python and exact fractions.

                     adjustment window        event
    ───────────────[−4 h ──────── −1 h)──────[ 0 ───── )
    the same local wall-clock times on the newest 10 like days, averaged

CAISO day matching as quoted in public code (the tariff text itself was not read): at most 45 calendar days back; 10
like days for a business day, 4 otherwise; never fewer than 5 or 4; days with demand response are left out unless
needed to reach that minimum, then those with the highest load first; scalar adjustment over the 2nd to 4th hour before
the event, limited to 0.8 … 1.2.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from zoneinfo import ZoneInfo

from bidding.sandbox.daytypes import is_business_day

LOOK_BACK_DAYS = 45
TARGET_DAYS = {True: 10, False: 4}
"""By whether the event's day is a business day."""
MINIMUM_DAYS = {True: 5, False: 4}
WINDOW_FROM, WINDOW_TO = timedelta(hours=4), timedelta(hours=1)
RATIO_LOW, RATIO_HIGH = Fraction(8, 10), Fraction(12, 10)

Meter = Mapping[datetime, Decimal]
"""Metered kWh by interval start, all intervals of one length."""


@dataclass(frozen=True)
class Grid:
    """The market's intervals and the calendar of its days."""

    length: timedelta
    zone: ZoneInfo

    def day(self, instant: datetime) -> date:
        """Return the local day of *instant*."""
        return instant.astimezone(self.zone).date()

    def days_earlier(self, instant: datetime, days: int) -> datetime | None:
        """
        Return the instant at which local clocks showed the same time *days* earlier.

        The first of two on a 25-hour day; None where a 23-hour day has no such time.
        """
        wall = instant.astimezone(self.zone).replace(tzinfo=None) - timedelta(days=days)
        earlier = wall.replace(tzinfo=self.zone).astimezone(UTC)
        return earlier if earlier.astimezone(self.zone).replace(tzinfo=None) == wall else None

    def starts(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the interval starts in [*start*, *end*)."""
        while start < end:
            yield start
            start += self.length


@dataclass(frozen=True)
class Missing:
    """There is no figure, and this is why."""

    reason: str


@dataclass(frozen=True)
class EventBaseline:
    """One event's baseline; energies in kWh per interval."""

    days: tuple[date, ...]
    """Newest first."""
    ratio: Fraction
    """Event day ÷ like days over the adjustment window, limited."""
    unadjusted_kwh: Mapping[datetime, Fraction]

    def kwh(self, start: datetime) -> Fraction:
        """Return the adjusted baseline of the interval from *start*."""
        return self.unadjusted_kwh[start] * self.ratio


def events(starts: Iterable[datetime], grid: Grid) -> list[tuple[datetime, ...]]:
    """Group awarded interval *starts*: contiguous ones within one local day are one event."""
    groups: list[list[datetime]] = []
    for start in sorted(set(starts)):
        last = groups[-1][-1] if groups else None
        if last is not None and start - last == grid.length and grid.day(start) == grid.day(last):
            groups[-1].append(start)
        else:
            groups.append([start])
    return [tuple(group) for group in groups]


@dataclass(frozen=True)
class LikeDay:
    """A day before the event, metered wherever it is needed."""

    date: date
    kwh: Mapping[datetime, Decimal]
    """What was metered at the same local time, by the slot of the event's own day."""


def event_baseline(
    event: tuple[datetime, ...], meter: Meter, dr_days: AbstractSet[date], grid: Grid
) -> EventBaseline | Missing:
    """
    Return the baseline of *event*, the starts of its intervals, or what is missing for it.

    *dr_days* are the local days on which the resource provided demand response.
    """
    window = tuple(grid.starts(event[0] - WINDOW_FROM, event[0] - WINDOW_TO))
    gaps = [start for start in window if start not in meter]
    if gaps:
        return Missing(f"{len(gaps)} of {len(window)} readings before the event are missing, first {gaps[0]:%FT%TZ}")
    days = _baseline_days(event, window, meter, dr_days, grid)
    if isinstance(days, Missing):
        return days

    reference = sum((_mean(days, start) for start in window), Fraction(0))
    raw = sum((Fraction(meter[start]) for start in window), Fraction(0)) / reference if reference else Fraction(1)
    return EventBaseline(
        days=tuple(day.date for day in days),
        ratio=min(max(raw, RATIO_LOW), RATIO_HIGH),
        unadjusted_kwh={start: _mean(days, start) for start in event},
    )


def _mean(days: Sequence[LikeDay], start: datetime) -> Fraction:
    return sum((Fraction(day.kwh[start]) for day in days), Fraction(0)) / len(days)


def _baseline_days(
    event: tuple[datetime, ...], window: tuple[datetime, ...], meter: Meter, dr_days: AbstractSet[date], grid: Grid
) -> list[LikeDay] | Missing:
    """Choose the baseline days, newest first."""
    business = is_business_day(grid.day(event[0]))
    like = list(_like_days((*window, *event), meter, grid, grid.day(event[0])))
    chosen = [day for day in like if day.date not in dr_days][: TARGET_DAYS[business]]
    lacking = MINIMUM_DAYS[business] - len(chosen)
    if lacking > 0:
        with_dr = [day for day in like if day.date in dr_days]  # newest first, and sorting keeps that among equals
        with_dr.sort(key=lambda day: sum(day.kwh[start] for start in event), reverse=True)
        chosen += with_dr[:lacking]
    if len(chosen) < MINIMUM_DAYS[business]:
        kind = "business" if business else "non-business"
        return Missing(
            f"history too short: {MINIMUM_DAYS[business]} {kind} days with complete meter data are needed "
            f"in the {LOOK_BACK_DAYS} days before, there are {len(chosen)}"
        )
    return sorted(chosen, key=lambda day: day.date, reverse=True)


def _like_days(slots: tuple[datetime, ...], meter: Meter, grid: Grid, today: date) -> Iterator[LikeDay]:
    """Yield the days of the same type as *today* that have a reading for every one of *slots*, newest first."""
    business = is_business_day(today)
    for back in range(1, LOOK_BACK_DAYS + 1):
        date = today - timedelta(days=back)
        if is_business_day(date) != business:
            continue
        earlier = {slot: grid.days_earlier(slot, back) for slot in slots}
        kwh = {slot: meter[start] for slot, start in earlier.items() if start is not None and start in meter}
        if len(kwh) == len(slots):
            yield LikeDay(date, kwh)
