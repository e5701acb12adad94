"""The SQL engine on the worked examples, to the last printed digit."""

from datetime import date

import polars as pl
import pytest
from unit.pipeline.cbl.duckdb_cases import (
    EVENT_DAY,
    answered,
    asked,
    before,
    column,
    flat,
    july,
    loads,
    matching,
    passed,
    used,
)

from pipeline.cbl.request import Request, days_of
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level
from pipeline.errors import ConfigError

CAISO = DayMatching(
    look_back_days=45,
    days=10,
    other_days=4,
    minimum_days=5,
    minimum_other_days=4,
    fill_up=True,
    adjustment="ratio",
    adjust_from_hours=4,
    adjust_to_hours=1,
    adjust_lowest=0.8,
    adjust_highest=1.2,
    negative="zero",
)
#: kW by hour ending 14, 15, 16, 18, 19, 20; days of July 2026.
CAISO_HISTORY = {
    22: (40, 41, 42, 43, 42, 41),
    21: (39, 40, 41, 42, 41, 40),
    20: (38, 39, 40, 41, 40, 39),
    17: (41, 42, 43, 44, 43, 42),
    16: (40, 41, 42, 30, 29, 28),  # event
    15: (40.5, 41.5, 42.5, 43.5, 42.5, 41.5),
    14: (37, 38, 39, 40, 39, 38),
    13: (42, 43, 44, 45, 44, 43),
    10: (41, 42, 43, 29, 28, 30),  # event
    9: (39.5, 40.5, 41.5, 42.5, 41.5, 40.5),
    8: (40, 41, 42, 43, 42, 41),
    7: (38, 39, 40, 41, 40, 39),
    6: (36, 37, 38, 39, 38, 37),  # the eleventh
}


def caiso(morning: tuple[float, float, float]) -> Request:
    """Return the worked example, hours that begin at 13, 14, 15 and 17, 18, 19."""
    days = {**CAISO_HISTORY, 23: (*morning, 34, 33, 35)}
    hourly = {july(day): dict(zip((13, 14, 15, 17, 18, 19), figures, strict=True)) for day, figures in days.items()}
    return asked(loads(hourly), hours=(17, 20), event_days=days_of([july(16), july(10)]))


def test_caiso_10_in_10_as_worked_by_hand() -> None:
    found = answered(CAISO, caiso((42, 43, 44)))

    assert column(found, "baseline_unadjusted_kw") == [42.5, 41.5, 40.5]
    assert column(found, "baseline_kw") == [45.123457, 44.061728, 43.0]
    assert column(found, "load_kw") == [34, 33, 35]
    assert column(found, "reduction_kw") == [11.123457, 11.061728, 8.0]
    assert found.intervals["reduction_kw"].sum() == pytest.approx(30.185185, abs=5e-7)
    assert used(found) == [july(day) for day in (22, 21, 20, 17, 15, 14, 13, 9, 8, 7)]
    weekend = dict.fromkeys(map(july, (19, 18, 12, 11)), "other day type")
    assert passed(found) == {july(16): "event", july(10): "event", **weekend}
    assert found.adjustments.row(0)[2:] == ("ratio", 43 / 40.5, 43 / 40.5, False)


def test_caiso_ratio_is_limited_to_a_fifth() -> None:
    found = answered(CAISO, caiso((50, 51, 52)))

    assert column(found, "baseline_kw") == [51.0, 49.8, 48.6]
    assert column(found, "reduction_kw") == [17.0, 16.8, 13.6]
    assert found.intervals["reduction_kw"].sum() == pytest.approx(47.4)
    _, _, kind, raw, applied, capped = found.adjustments.row(0)
    assert (kind, round(raw, 6), applied, capped) == ("ratio", 1.259259, 1.2, True)


def test_pjm_high_4_of_5_with_symmetric_additive_adjustment() -> None:
    """The five newest average 34.0; 6 August, 8.0, is below 8.5 and makes room for 3 August, the lowest of the five."""
    days = {
        12: (43, 44, 45, 30, 29, 31),
        11: (39, 40, 40, 41, 40, 39),
        10: (40, 40, 40, 25, 25, 25),  # event
        7: (41, 41, 42, 43, 42, 41),
        6: (10, 9, 8, 8, 8, 8),
        5: (40, 40, 41, 42, 41, 40),
        4: (38, 38, 39, 40, 39, 38),
        3: (36, 37, 37, 38, 37, 36),
    }
    hours = (11, 12, 13, 15, 16, 17)
    hourly = {date(2026, 8, day): dict(zip(hours, figures, strict=True)) for day, figures in days.items()}
    pjm = DayMatching(
        look_back_days=45,
        day_types="weekday-saturday-sunday",
        days=5,
        other_days=3,
        minimum_days=4,
        minimum_other_days=2,
        fill_up=True,
        low_usage="mean-of-pool",
        low_usage_share=0.25,
        keep="highest",
        k=4,
        other_k=2,
        adjustment="additive",
        adjust_from_hours=4,
        adjust_to_hours=1,
    )

    found = answered(pjm, asked(loads(hourly), date(2026, 8, 12), (15, 18), event_days=days_of([date(2026, 8, 10)])))

    assert column(found, "baseline_unadjusted_kw") == [41.5, 40.5, 39.5]
    assert column(found, "baseline_kw") == [45.583333, 44.583333, 43.583333]
    assert column(found, "reduction_kw") == [15.583333, 15.583333, 12.583333]
    assert found.intervals["reduction_kw"].sum() == pytest.approx(43.75)
    assert round(found.adjustments["applied"].item(), 6) == 4.083333
    assert [day.day for day in used(found)] == [11, 7, 5, 4]
    assert passed(found) == {
        date(2026, 8, 10): "event",
        date(2026, 8, 9): "other day type",
        date(2026, 8, 8): "other day type",
        date(2026, 8, 6): "low usage",
        date(2026, 8, 3): "not among those kept",
    }


def test_pjm_same_day_three_hours_before_and_two_after() -> None:
    figures = (40, 41, 42, 30, 28, 27, 29, 30, 28, 33, 39, 38)
    readings = loads({EVENT_DAY: dict(zip(range(8, 20), figures, strict=True))})
    around = AroundEvent(before_from_hours=4, before_to_hours=1, after_from_hours=1, after_to_hours=3)

    found = answered(around, asked(readings, hours=(12, 17)))

    assert column(found, "baseline_kw") == [40.0] * 5
    assert column(found, "reduction_kw") == [12, 13, 11, 10, 12]
    assert found.intervals["reduction_kw"].sum() == pytest.approx(58)
    assert used(found) == [EVENT_DAY]


def test_firm_service_level_counts_losses() -> None:
    """PLC 30, loss factor 1.03, load 17.2: 30 − 17.716 = 12.284."""
    found = answered(Level(level_kw=30, firm_kw=18, loss_factor=1.03), asked(flat({EVENT_DAY: 17.2})))

    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([30.0], [12.284])
    assert found.days.is_empty()


def test_guaranteed_load_drop_needs_a_load_below_the_limit() -> None:
    readings = loads({EVENT_DAY: {17: 26.9, 18: 30, 19: 29.9, 20: None}})

    found = answered(Level(level_kw=38.5, below_kw=30), asked(readings, hours=(17, 21)))

    assert column(found, "reduction_kw") == [11.6, 0.0, 8.6, None]


def test_ercot_middle_8_of_10_drops_the_highest_and_the_lowest() -> None:
    daily_mwh = before(980, 1010, 1005, 995, 1020, 960, 1000, 1040, 990, 1015)
    morning = loads({EVENT_DAY: {15: 43.0, 16: 43.0, 17: 30.0}})
    readings = pl.concat([flat({day: mwh / 24 for day, mwh in daily_mwh.items()}), morning])
    middle = matching(keep="middle", adjustment="ratio", adjust_from_hours=2)

    found = answered(middle, asked(readings))

    assert column(found, "baseline_unadjusted_kw") == [41.744792]
    assert round(found.adjustments["raw"].item(), 6) == 1.030069
    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([43.0], [13.0])
    assert passed(found) == dict.fromkeys((july(17), july(15)), "not among those kept")


def test_ercot_meter_before_meter_after() -> None:
    readings = loads({EVENT_DAY: dict(zip(range(14, 20), (40.1, 40.3, 40.2, 28.0, 27.6, 27.9), strict=True))})

    found = answered(AroundEvent(before_from_hours=3), asked(readings, hours=(17, 20)))

    assert column(found, "reduction_kw") == [12.2, 12.6, 12.3]


def test_a_learned_baseline_has_another_engine() -> None:
    with pytest.raises(ConfigError, match="one engine, polars"):
        answered(Learned(look_back_days=60, minimum_days=20), asked(flat({EVENT_DAY: 1})))
