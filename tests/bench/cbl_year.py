"""The year that baselines are measured on: 5-minute loads of any number of resources, its events, its weather."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from pipeline.cbl import holidays
from pipeline.cbl.request import EVENTS, LOADS, TEMPERATURES, Request

ZONE, GRID, HOUR = "America/Los_Angeles", timedelta(minutes=5), timedelta(hours=1)
CALENDAR = holidays.find("us-nerc").calendar(ZONE)
FIRST, LAST = date(2025, 1, 1), date(2025, 12, 31)
BEGIN = datetime(2025, 1, 1, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
INTERVALS = 365 * 288
BUSINESS_DAYS = [day for number in range(365) if CALENDAR.is_business_day(day := FIRST + timedelta(days=number))]
EVENTS_A_YEAR = 24 * len(BUSINESS_DAYS)
"""Every hour of every business day."""
MISSING = 0.001
"""Share of readings that are gaps."""


def starts() -> pl.Series:
    """Return the metering intervals of the year."""
    return pl.datetime_range(BEGIN, BEGIN + GRID * (INTERVALS - 1), GRID, time_unit="us", eager=True).alias("start")


def loads(numbers: range) -> pl.DataFrame:
    """Return the year of so many resources: a daily shape, a slow drift, noise, gaps; the same each time."""
    hours = np.arange(INTERVALS) / 12
    shape = 1 + 0.2 * np.sin(2 * np.pi * (hours - 9) / 24) + 0.1 * np.sin(2 * np.pi * hours / 2000)
    parts = []
    for number in numbers:
        chance = np.random.default_rng(number)
        noisy = (500 + number) * shape * (1 + 0.05 * chance.standard_normal(INTERVALS))
        noisy[chance.random(INTERVALS) < MISSING] = np.nan
        one = pl.DataFrame({"start": starts(), "load_kw": noisy})
        parts.append(one.select(pl.lit(f"r{number:05}").alias("resource"), "start", pl.col("load_kw").fill_nan(None)))
    return pl.concat([pl.DataFrame(schema=LOADS), *parts])


def events(most: int | None) -> pl.DataFrame:
    """Return an event of each hour of each business day; at most so many, spread over the year and the hours."""
    spans = [
        (moment.astimezone(UTC), (moment.astimezone(UTC) + HOUR))
        for day in BUSINESS_DAYS
        for hour in range(24)
        for moment in [datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(ZONE))]
    ]
    kept = spans if most is None else [spans[(2 * at + 1) * len(spans) // (2 * most)] for at in range(most)]
    return pl.DataFrame([(number, *span) for number, span in enumerate(kept)], schema=EVENTS, orient="row")


def temperatures() -> pl.DataFrame:
    """Return an hourly temperature with a season, a day, and weather: no two days are equally warm."""
    hours = np.arange(INTERVALS // 12)
    weather = np.repeat(3 * np.random.default_rng(0).standard_normal(365), 24)
    celsius = 15 - 8 * np.cos(2 * np.pi * hours / 8760) + 6 * np.sin(2 * np.pi * (hours - 9) / 24) + weather
    return pl.DataFrame({"start": starts().gather_every(12), "celsius": celsius}, schema=TEMPERATURES)


def request(numbers: range, asked: pl.DataFrame) -> Request:
    """Return what an engine is asked."""
    return Request(loads=loads(numbers), grid=GRID, events=asked, calendar=CALENDAR, temperatures=temperatures())
