"""Examples worked by hand, to the last digit they are printed with, on both engines."""

from datetime import date, timedelta

import polars as pl
import pytest
from unit.pipeline.cbl.duckdb_cases import EVENT_DAY, asked, at, before, column, flat, loads

from pipeline.cbl import duckdb_engine, methods, performance, polars_engine
from pipeline.cbl.answer import Answer
from pipeline.cbl.request import LOADS, Request
from pipeline.cbl.rule import Rule, in_force

ENGINES = {"polars": polars_engine.answer, "duckdb": duckdb_engine.answer}
QUARTER = timedelta(minutes=15)


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def answered(engine: str, rule: Rule, request: Request) -> Answer:
    found = ENGINES[engine](rule, request)
    assert found.shortfalls.is_empty()
    return found


def test_a_firm_service_level_delivers_a_ratio_of_what_was_nominated(engine: str) -> None:
    """Of 30 − 18 × 1.03 = 11.46 nominated 30 − 17.2 × 1.03 = 12.284 are delivered: 1.071902."""
    (rule,) = methods.load("firm-service-level")
    set_ = rule.with_parameters({"level_kw": "30", "firm_kw": "18", "loss_factor": "1.03"})
    metered = loads({EVENT_DAY: {17: 17.2, 18: None}})

    found = answered(engine, set_, asked(metered, hours=(17, 19)))

    told = performance.of_level(set_.parameters, found.intervals).sort("start")
    assert [round(each, 6) for each in told.select("nominated_kw", "delivered_kw", "ratio").row(0)] == [
        11.46,
        12.284,
        1.071902,
    ]
    assert told.select("delivered_kw", "ratio").row(1) == (None, None), "a gap is no delivery"


@pytest.mark.parametrize("figures", [{"level_kw": "30"}, {"level_kw": "10", "firm_kw": "18"}])
def test_where_nothing_was_nominated_there_is_no_ratio(engine: str, figures: dict[str, str]) -> None:
    (rule,) = methods.load("firm-service-level")
    set_ = rule.with_parameters(figures)

    found = answered(engine, set_, asked(loads({EVENT_DAY: {17: 17.2}})))

    assert performance.of_level(set_.parameters, found.intervals)["ratio"].drop_nulls().is_empty()


OLD, NEW = methods.load("isone")


def test_the_old_rolling_average_takes_a_tenth_of_each_newer_day(engine: str) -> None:
    """40.0; 0.9 × 40.0 + 0.1 × 42 = 40.2; 0.9 × 40.2 + 3.8 = 39.98; 0.9 × 39.98 + 4.1 = 40.082."""
    rolling = OLD.with_parameters({"adjustment": "none", "minimum_days": "1"})
    history = flat(before(41, 38, 42, day=EVENT_DAY) | {date(2026, 7, 17): 40.0})

    found = answered(engine, rolling, asked(pl.concat([history, flat({EVENT_DAY: 30.0})])))

    assert column(found, "baseline_kw") == [40.082]
    assert found.days.filter("used").height == 4


@pytest.mark.parametrize(("loads_kw", "baseline_kw"), [((50.0,), 50.0), ((20.0, 10.0), 15.0)])
def test_a_rolling_average_begins_with_the_oldest_day(
    engine: str, loads_kw: tuple[float, ...], baseline_kw: float
) -> None:
    """One day is its own average; half of 20 and half of 10 are 15."""
    rolling = OLD.with_parameters({"adjustment": "none", "minimum_days": "1", "weight": "0.5"})

    assert column(answered(engine, rolling, asked(flat(before(*loads_kw)))), "baseline_kw") == [baseline_kw]


@pytest.mark.parametrize(("day", "version"), [(date(2015, 10, 28), "90/10"), (date(2015, 10, 29), "2015")])
def test_the_mean_of_ten_took_the_place_of_the_rolling_average(day: date, version: str) -> None:
    assert in_force((OLD, NEW), day).version == version


def test_pjm_pays_the_hours_whose_price_passes_the_net_benefits_test(engine: str) -> None:
    """15.583333 MWh at $85 and as many at $140; 12.583333 at $22, below $30, are not paid: $3,506.25."""
    days = {
        11: (39, 40, 40, 41, 40, 39),
        10: (40, 40, 40, 25, 25, 25),
        7: (41, 41, 42, 43, 42, 41),
        6: (10, 9, 8, 8, 8, 8),
        5: (40, 40, 41, 42, 41, 40),
        4: (38, 38, 39, 40, 39, 38),
        3: (36, 37, 37, 38, 37, 36),
        12: (43, 44, 45, 30, 29, 31),
    }
    hours = (11, 12, 13, 15, 16, 17)
    readings = loads({date(2026, 8, day): dict(zip(hours, kw, strict=True)) for day, kw in days.items()})
    called = pl.DataFrame({"resource": [None], "day": [date(2026, 8, 10)]}, schema_overrides={"resource": pl.String})
    (rule,) = methods.load("pjm-high-4-of-5")

    found = answered(engine, rule, asked(readings, date(2026, 8, 12), (15, 18), event_days=called))

    assert column(found, "reduction_kw") == [15.583333, 15.583333, 12.583333]
    sixteen, seventeen, _ = found.intervals["reduction_kw"]
    assert round(sixteen * 85 + seventeen * 140, 2) == 3506.25


def test_ercot_middle_8_of_10_by_its_own_rule_in_quarters(engine: str) -> None:
    """The two of 960 and 1040 MWh go; eight average 41.744792; 43.0 over eight quarters: 1.030069, 43.0, 13.0 less."""
    energy = (980, 1010, 1005, 995, 1020, 960, 1000, 1040, 990, 1015)
    days = [date(2026, 7, day) for day in (22, 21, 20, 17, 16, 15, 14, 13, 10, 9)]
    quarters = range(96)
    rows = [
        ("", at(day, 0) + quarter * QUARTER, mwh / 24)
        for day, mwh in zip(days, energy, strict=True)
        for quarter in quarters
    ]
    rows += [("", at(EVENT_DAY, 0) + quarter * QUARTER, 43.0 if quarter < 17 * 4 else 30.0) for quarter in quarters]
    (rule,) = methods.load("ercot-middle-8-of-10")

    found = answered(engine, rule, asked(pl.DataFrame(rows, schema=LOADS, orient="row"), grid=QUARTER))

    assert column(found, "baseline_unadjusted_kw") == [41.744792] * 4
    assert round(found.adjustments["raw"].item(), 6) == 1.030069
    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([43.0] * 4, [13.0] * 4)
