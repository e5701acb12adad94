"""Parameters and requests that nobody thought of, from a seed, for the comparison of the two engines."""

from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from pipeline.calendar import Calendar
from pipeline.cbl.request import CONTROL, DAYS, EVENTS, LOADS, NOMINATIONS, TEMPERATURES, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Level, Parameters, Reference, Regression

ZONE = ZoneInfo("America/Los_Angeles")
HOUR = timedelta(hours=1)
KINDS = ("day-matching", "around-event", "level", "nomination", "control", "degree-days", "level-regression")
#: Both clock changes, the days after them, a holiday, a Saturday and an ordinary day.
EVENT_DAYS = [date(2026, *day) for day in ((3, 8), (3, 9), (11, 1), (11, 2), (7, 4), (7, 11), (7, 23))]
#: Loads of a resource: whole numbers that tie and cancel, export, idling, and two sizes of ordinary consumption.
LOAD_KW: tuple[list[float] | tuple[float, float], ...] = (
    [-2.0, -1.0, 0.0, 1.0, 3.0],
    (-100.0, 100.0),
    [0.0, 0.0, 0.0, 7.0],
    (50.0, 150.0),
    (1e4, 1e5),
)
WINDOWS = [(0.0, 0.0), (3.0, 1.0), (2.0, 0.0), (1.5, 0.5), (26.0, 23.0)]


def parameters(kind: str, chance: Random) -> Parameters:
    """Return parameters of *kind* that `Rule.with_parameters` would take."""
    finish: dict[str, Any] = {"negative": chance.choice(["zero", "keep"])}
    match kind:
        case "day-matching":
            return _matching(chance, finish)
        case "around-event":
            before, after = chance.choice([(1.0, 0.0), (4.0, 1.0), (0.0, 0.0)]), chance.choice([(0.0, 1.0), (1.0, 3.0)])
            return AroundEvent(
                before_from_hours=before[0],
                before_to_hours=before[1],
                after_from_hours=after[0],
                after_to_hours=after[1],
                **finish,
            )
        case "level":
            below = chance.choice([None, 0.0, 50.0])
            return Level(
                level_kw=chance.uniform(-10, 100), below_kw=below, loss_factor=chance.uniform(1, 1.1), **finish
            )
        case "nomination":
            return Reference(source="nomination", lock_minutes=chance.choice([0.0, 15.0, 60.0]), **finish)
        case "control":
            least, customers = chance.choice([1, 3]), chance.choice([1, 240])
            return Reference(source="control", minimum_customers=least, customers=customers, **finish)
        case _:
            return _regression(kind, chance, finish)


def _matching(chance: Random, finish: dict[str, Any]) -> DayMatching:
    window = chance.choice(WINDOWS)
    return DayMatching(
        look_back_days=chance.choice([6, 9, 14]),
        skip_days=chance.choice([0, 0, 1, 3]),
        day_types=chance.choice(["all", "business", "weekday-saturday-sunday"]),
        days=chance.choice([None, 3, 5]),
        other_days=chance.choice([None, 1, 3]),
        minimum_days=chance.choice([1, 3]),
        minimum_other_days=chance.choice([1, 2]),
        exclude_events=chance.random() < 0.8,
        exclude_outages=chance.random() < 0.8,
        fill_up=chance.random() < 0.5,
        low_usage=chance.choice(["none", "mean-of-pool", "running-mean"]),
        low_usage_share=chance.choice([0.25, 0.75]),
        seed_days=chance.choice([0, 4]),
        keep=chance.choice(["all", "highest", "middle", "nearest"]),
        k=2,
        other_k=1,
        rank_by=chance.choice(["event-hours", "day", "shape", "temperature"]),
        average=chance.choice(["mean", "mean", "exponential"]),
        weight=chance.choice([0.1, 0.5, 1.0]),
        match=chance.choice(["before-event", "outside-event"]),
        match_gap_hours=chance.choice([0.0, 0.5, 1.0]),
        adjustment=chance.choice(["none", "ratio", "additive"]),
        adjust_from_hours=window[0],
        adjust_to_hours=window[1],
        adjust_lowest=chance.choice([None, -0.2, 0.8]),
        adjust_highest=chance.choice([None, 0.8, 1.2]),
        supply=chance.random() < 0.2,
        **finish,
    )


def _regression(kind: str, chance: Random, finish: dict[str, Any]) -> Regression:
    window = chance.choice(WINDOWS[1:])
    return Regression(
        terms="degree-days" if kind == "degree-days" else "level",
        look_back_days=chance.choice([9, 14]),
        minimum_days=chance.choice([1, 2]),
        base_celsius=18.0,
        like_days=chance.choice([1, 2, 3]),
        level_hours=chance.choice([2.0, 24.0]),
        gap_hours=chance.choice([0.0, 1.0]),
        exclude_events=chance.random() < 0.8,
        exclude_outages=chance.random() < 0.8,
        adjustment=chance.choice(["none", "ratio"]),
        adjust_from_hours=window[0],
        adjust_to_hours=window[1],
        adjust_highest=chance.choice([None, 1.2]),
        **finish,
    )


def days_of_history(parameters: Parameters) -> int:
    """Return how many days before the event's *parameters* look at."""
    back: int = getattr(parameters, "look_back_days", 2)
    return 2 * back if isinstance(parameters, Regression) and parameters.terms == "level" else back


def request(chance: Random, day: date, grid: timedelta, look_back_days: int) -> Request:
    """Return two events on *day* and five resources, with gaps of every kind, rows in no order."""
    midnight = datetime.combine(day, datetime.min.time(), ZONE)
    end = (midnight + timedelta(days=1)).astimezone(UTC)
    starts = [end - grid * (number + 1) for number in range((look_back_days + 2) * 24 * (HOUR // grid))]
    hours = [end - HOUR * (number + 1) for number in range((look_back_days + 2) * 24)]
    begins = [midnight.replace(hour=hour).astimezone(UTC) for hour in chance.sample(range(23), 2)]
    ends = [begin + chance.choice([1, 1, 2]) * HOUR for begin in begins]
    events = [
        (number, begin, min(finish, end)) for number, (begin, finish) in enumerate(zip(begins, ends, strict=True))
    ]
    loads = [row for name, kw in enumerate(LOAD_KW) for row in _loads(chance, f"r{name}", kw, starts)]
    chance.shuffle(loads)
    return Request(
        loads=pl.DataFrame(loads, schema=LOADS, orient="row"),
        grid=grid,
        events=pl.DataFrame(events, schema=EVENTS, orient="row"),
        calendar=Calendar(ZONE.key),
        event_days=_days(chance, day, look_back_days),
        outage_days=_days(chance, day, look_back_days),
        temperatures=_temperatures(chance, hours),
        nominations=_nominations(chance, starts[: 48 * (HOUR // grid)]),
        control=_control(chance, starts[: 30 * (HOUR // grid)]),
    )


def _drawn(chance: Random, kw: list[float] | tuple[float, float]) -> float:
    return chance.choice(kw) if isinstance(kw, list) else chance.uniform(*kw)


def _loads(
    chance: Random, name: str, kw: list[float] | tuple[float, float], starts: list[datetime]
) -> list[tuple[str, datetime, float | None]]:
    """Return readings, of which as many as *chance* wants are absent, null or NaN, some days long."""
    gaps = chance.choice([0.0, 0.0, 0.002, 0.02])
    hole = chance.choice(starts)
    rows = [
        (name, start, chance.choice([None, float("nan")]) if chance.random() < gaps else _drawn(chance, kw))
        for start in starts
        if chance.random() >= gaps
    ]
    return [row for row in rows if not (gaps and hole <= row[1] < hole + 9 * HOUR)]


def _days(chance: Random, day: date, look_back_days: int) -> pl.DataFrame:
    backs = chance.sample(range(1, look_back_days + 1), min(3, look_back_days))
    rows = [(chance.choice([None, "r0", "r1"]), day - timedelta(days=back)) for back in backs]
    return pl.DataFrame(rows, schema=DAYS, orient="row")


def _temperatures(chance: Random, hours: list[datetime]) -> pl.DataFrame:
    """Return temperatures that vary all the time, by the day, or between two of them only; a few are missing."""
    form, gaps = chance.choice(["wild", "daily", "two"]), chance.choice([0.0, 0.005])
    daily = [chance.choice([14.0, 20.0]) if form == "two" else chance.uniform(-5, 40) for _ in range(len(hours))]
    rows = [
        (start, chance.uniform(-5, 40) if form == "wild" else daily[start.astimezone(ZONE).date().toordinal() % 30])
        for start in hours
        if chance.random() >= gaps
    ]
    return pl.DataFrame(rows, schema=TEMPERATURES, orient="row")


def _nominations(chance: Random, starts: list[datetime]) -> pl.DataFrame:
    """Return nominations of one resource, and of all, submitted some time before; a few are missing."""
    rows = [
        (name, start, chance.uniform(-10, 100), start - HOUR * lead)
        for name in (None, "r0", "r3")
        for lead in (1, 5, 30)
        for start in starts
        if chance.random() > 0.05
    ]
    return pl.DataFrame(rows, schema=NOMINATIONS, orient="row")


def _control(chance: Random, starts: list[datetime]) -> pl.DataFrame:
    rows = [
        (f"c{number}", start, chance.uniform(-5, 5) if chance.random() > 0.02 else None)
        for number in range(6)
        for start in starts
    ]
    return pl.DataFrame(rows, schema=CONTROL, orient="row")
