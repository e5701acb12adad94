"""What every baseline must do. A new file in `pipeline/cbl/methods/` is tested here unasked, on both engines."""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from math import sin
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from pipeline.calendar import Calendar
from pipeline.cbl import duckdb_engine, methods, polars_engine
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import CONTROL, LOADS, NOMINATIONS, TEMPERATURES, Request, days_of, one_event
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression, Rule
from pipeline.interval import Interval

PACIFIC = Calendar("America/Los_Angeles")
HOUR = timedelta(hours=1)
HISTORY_DAYS = 100
Engine = Callable[[Rule, Request], Answer]
ENGINES: dict[str, Engine] = {"polars": polars_engine.answer, "duckdb": duckdb_engine.answer}


def newest(name: str) -> Rule:
    """Return the newest version of a method, with the figures it wants from the two sides of a contract."""
    rule = methods.load(name)[-1]
    match rule.parameters:
        case Level():
            return rule.with_parameters({"level_kw": "1500"})
        case Regression(terms="degree-days"):
            return rule.with_parameters({"look_back_days": "80", "minimum_days": "5"})
        case _:
            return rule


RULES = tuple(map(newest, methods.names()))
Marks = tuple[pytest.MarkDecorator, ...]


def marks(rule: Rule) -> Marks:
    """Return what keeps a learned rule from running where scikit-learn, an extra, is not installed."""
    missing = isinstance(rule.parameters, Learned) and find_spec("sklearn") is None
    return (pytest.mark.skip(reason=f"{rule.method} needs the extra ml"),) * missing


def engines_of(rule: Rule) -> tuple[str, ...]:
    """Return the engines that a rule has: of a learned one only Polars."""
    return ("polars",) if isinstance(rule.parameters, Learned) else tuple(ENGINES)


def applies(which: Callable[[Rule], bool] = lambda _: True) -> pytest.MarkDecorator:
    """Return the rules of *which* a statement is made, each with every engine it has."""
    pairs = [
        pytest.param(rule, ENGINES[name], id=f"{rule.method}-{name}", marks=marks(rule))
        for rule in RULES
        if which(rule)
        for name in engines_of(rule)
    ]
    return pytest.mark.parametrize(("rule", "engine"), pairs)


def at_five(day: date) -> Interval:
    """Return two hours from five in the afternoon."""
    start = datetime.combine(day, datetime.min.time(), ZoneInfo(PACIFIC.timezone)).replace(hour=17)
    return Interval(start.astimezone(UTC), start.astimezone(UTC) + 2 * HOUR)


@pytest.fixture
def event() -> Interval:
    return at_five(date(2026, 7, 23))


def starts_until(end: datetime, grid: timedelta, days: int) -> list[datetime]:
    return [end - grid * (index + 1) for index in range(days * 24 * (HOUR // grid))]


def asked(
    event: Interval, grid: timedelta = HOUR, factor: float = 1.0, *, flat: bool = False, outage: tuple[date, ...] = ()
) -> Request:
    """
    Return a request with all that any rule may want.

    The load rises and falls with the hour of the day and drifts from day to day, through the end of the event's day.
    """
    last = PACIFIC.bounds(PACIFIC.day_of(event.start)).end
    starts = starts_until(last, grid, HISTORY_DAYS)
    load = [777.0 if flat else 1000.0 + 10 * start.hour + start.day + start.minute / 60 for start in starts]
    hours = starts_until(last, HOUR, HISTORY_DAYS)
    in_event = [piece.start for piece in event.split(grid)]
    customers = [(f"c{number}", start, factor * 900.0 + number) for number in range(150) for start in in_event]
    return Request(
        loads=pl.DataFrame(
            {"resource": [""] * len(starts), "start": starts, "load_kw": [factor * one for one in load]}, schema=LOADS
        ),
        grid=grid,
        events=one_event(event),
        calendar=PACIFIC,
        outage_days=days_of(outage),
        temperatures=pl.DataFrame(
            {"start": hours, "celsius": [20 + 15 * sin(start.timestamp() / 500_000) for start in hours]},
            schema=TEMPERATURES,
        ),
        nominations=pl.DataFrame(
            [("", start, factor * 950.0, event.start - timedelta(days=1)) for start in in_event],
            schema=NOMINATIONS,
            orient="row",
        ),
        control=pl.DataFrame(customers, schema=CONTROL, orient="row"),
    )


def baseline_kw(answer: Answer) -> list[float]:
    assert answer.shortfalls.is_empty(), answer.shortfalls.to_dicts()
    found: list[float] = answer.intervals.sort("start")["baseline_kw"].to_list()
    return found


def rests_on_history(rule: Rule) -> bool:
    return not isinstance(rule.parameters, Level | Reference)


def looks_on(rule: Rule) -> bool:
    """Tell whether a rule compares with hours after the event."""
    match rule.parameters:
        case AroundEvent(after_to_hours=hours):
            return hours > 0
        case DayMatching(rank_by="shape", match="outside-event"):
            return True
        case _:
            return False


@pytest.mark.parametrize("rule", [rule for rule in RULES if len(engines_of(rule)) > 1], ids=lambda rule: rule.method)
@pytest.mark.parametrize("day", [date(2026, 3, 8), date(2026, 7, 23), date(2026, 11, 1)], ids=["23 h", "24 h", "25 h"])
def test_both_engines_agree(rule: Rule, day: date) -> None:
    """On an ordinary day and on both clock-change days, on hourly and quarter-hourly readings."""
    for grid in (HOUR, timedelta(minutes=15)):
        one, other = (baseline_kw(engine(rule, asked(at_five(day), grid))) for engine in ENGINES.values())

        assert one == pytest.approx(other, abs=1e-9)


@applies(rests_on_history)
def test_constant_load_gives_itself(rule: Rule, engine: Engine, event: Interval) -> None:
    assert baseline_kw(engine(rule, asked(event, flat=True))) == pytest.approx([777.0, 777.0])


@applies(lambda rule: not isinstance(rule.parameters, Level))
def test_scaling_load_scales_the_baseline(rule: Rule, engine: Engine, event: Interval) -> None:
    once, thrice = baseline_kw(engine(rule, asked(event))), baseline_kw(engine(rule, asked(event, factor=3.0)))

    more = 2 * 74.5 if isinstance(rule.parameters, Reference) and rule.parameters.source == "control" else 0.0
    assert [3 * one - more for one in once] == pytest.approx(thrice), "the mean of 0 to 149 is not scaled"


@applies(lambda rule: not looks_on(rule))
def test_load_at_and_after_the_start_of_the_event_changes_nothing(rule: Rule, engine: Engine, event: Interval) -> None:
    seen = asked(event)
    later = pl.col("start") >= event.start
    other = seen.loads.with_columns(load_kw=pl.when(later).then(1.0).otherwise("load_kw"))

    answer = engine(rule, Request(**{**vars(seen), "loads": other}))

    assert baseline_kw(answer) == pytest.approx(baseline_kw(engine(rule, seen)))


@applies()
def test_the_order_of_the_rows_changes_nothing(rule: Rule, engine: Engine, event: Interval) -> None:
    sorted_ = asked(event)
    mixed = Request(**{**vars(sorted_), "loads": sorted_.loads.sample(fraction=1.0, shuffle=True, seed=1)})

    assert baseline_kw(engine(rule, mixed)) == pytest.approx(baseline_kw(engine(rule, sorted_)))


@applies()
def test_the_answer_is_on_the_grid_of_the_history(rule: Rule, engine: Engine, event: Interval) -> None:
    for grid in (timedelta(minutes=15), HOUR):
        answer = engine(rule, asked(event, grid))

        assert answer.intervals["start"].sort().to_list() == [piece.start for piece in event.split(grid)]


@applies(rests_on_history)
def test_readings_that_are_not_there_are_a_shortfall_and_never_a_number(
    rule: Rule, engine: Engine, event: Interval
) -> None:
    whole = asked(event)
    nothing = Request(**{**vars(whole), "loads": whole.loads.with_columns(load_kw=pl.lit(None, pl.Float64))})

    answer = engine(rule, nothing)

    assert answer.intervals.is_empty()
    assert answer.shortfalls.select("need", "have").row(0)[1] < answer.shortfalls["need"][0]


@applies(lambda rule: isinstance(rule.parameters, DayMatching | Regression))
def test_an_excluded_day_is_not_used_while_there_are_others(rule: Rule, engine: Engine, event: Interval) -> None:
    first = engine(rule, asked(event)).days.filter("used")["day"].max()
    assert isinstance(first, date)

    assert first not in engine(rule, asked(event, outage=(first,))).days.filter("used")["day"].to_list()
