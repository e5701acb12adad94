"""
Business days and the rest.

NERC's six off-peak holidays, of which those on a Sunday are kept on the Monday after. General knowledge, to be
confirmed against NERC's published list; the venue publishes the dates it uses, so that they are data to its clients.
"""

from datetime import date, timedelta

MONDAY, THURSDAY, SATURDAY, SUNDAY = 0, 3, 5, 6


def _nth(year: int, month: int, weekday: int, nth: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(weekday - first.weekday()) % 7 + 7 * (nth - 1))


def _kept(holiday: date) -> date:
    return holiday + timedelta(days=1) if holiday.weekday() == SUNDAY else holiday


def holidays(year: int) -> tuple[date, ...]:
    """Return the holidays of *year* in order."""
    last_of_may = date(year, 5, 31)
    return (
        _kept(date(year, 1, 1)),
        last_of_may - timedelta(days=last_of_may.weekday()),  # Memorial Day: last Monday of May
        _kept(date(year, 7, 4)),
        _nth(year, 9, MONDAY, 1),  # Labor Day
        _nth(year, 11, THURSDAY, 4),  # Thanksgiving
        _kept(date(year, 12, 25)),
    )


def is_business_day(day: date) -> bool:
    """Tell whether *day* is a Monday to Friday and no holiday."""
    return day.weekday() < SATURDAY and day not in holidays(day.year)
