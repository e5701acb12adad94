"""The Polars engine: the worked examples to the last printed digit, and many resources and events at once."""

from datetime import date, timedelta

import pytest
from unit.pipeline.cbl.polars_cases import (
    ask,
    at,
    column,
    day_rows,
    flat,
    hours,
    request,
    table,
    used,
    why,
)

from pipeline.cbl.request import Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Level

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
PJM = DayMatching(
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
CAISO_DAYS = """
2026-07-22 40 41 42 43 42 41
2026-07-21 39 40 41 42 41 40
2026-07-20 38 39 40 41 40 39
2026-07-17 41 42 43 44 43 42
2026-07-16 40 41 42 30 29 28
2026-07-15 40.5 41.5 42.5 43.5 42.5 41.5
2026-07-14 37 38 39 40 39 38
2026-07-13 42 43 44 45 44 43
2026-07-10 41 42 43 29 28 30
2026-07-09 39.5 40.5 41.5 42.5 41.5 40.5
2026-07-08 40 41 42 43 42 41
2026-07-07 38 39 40 41 40 39
2026-07-06 36 37 38 39 38 37
"""
JULY_23 = date(2026, 7, 23)


def caiso(event_day: str) -> Request:
    """Return the example with the event day's loads of the hours ending 14, 15, 16, 18, 19 and 20."""
    rows = table(CAISO_DAYS + event_day, (14, 15, 16, 18, 19, 20))
    return request(rows, hours(JULY_23, 17, 20), event_days=[date(2026, 7, 16), date(2026, 7, 10)])


def test_caiso_ten_in_ten_without_the_cap() -> None:
    """43 ÷ 40.5 = 1.061728; 11.123457 + 11.061728 + 8.0 = 30.185185 MWh; the eleventh day is not used."""
    found = ask(CAISO, caiso("2026-07-23 42 43 44 34 33 35"))

    assert column(found, "baseline_unadjusted_kw") == [42.5, 41.5, 40.5]
    assert column(found, "baseline_kw") == pytest.approx([45.123457, 44.061728, 43.0], abs=5e-7)
    assert column(found, "reduction_kw") == pytest.approx([11.123457, 11.061728, 8.0], abs=5e-7)
    assert found.intervals["reduction_kw"].sum() == pytest.approx(30.185185, abs=5e-7)
    assert found.adjustments.select("kind", "raw", "applied", "capped").row(0) == (
        "ratio",
        pytest.approx(1.061728, abs=5e-7),
        pytest.approx(1.061728, abs=5e-7),
        False,
    )
    assert (len(used(found)), used(found)[-1]) == (10, date(2026, 7, 7))
    assert why(found)[date(2026, 7, 16)] == "event"


def test_caiso_ten_in_ten_with_the_cap() -> None:
    """51 ÷ 40.5 = 1.259259, held at 1.2: 51.0, 49.8, 48.6; 17.0 + 16.8 + 13.6 = 47.4 MWh."""
    found = ask(CAISO, caiso("2026-07-23 50 51 52 34 33 35"))

    assert column(found, "baseline_kw") == pytest.approx([51.0, 49.8, 48.6], abs=1e-12)
    assert column(found, "reduction_kw") == pytest.approx([17.0, 16.8, 13.6], abs=1e-12)
    assert found.intervals["reduction_kw"].sum() == pytest.approx(47.4, abs=1e-12)
    assert found.adjustments["raw"][0] == pytest.approx(1.259259, abs=5e-7)
    assert found.adjustments.select("applied", "capped").row(0) == (1.2, True)


def test_pjm_high_four_of_five_with_its_additive_adjustment() -> None:
    """8 is below 0.25 × 34.0 = 8.5 and gives way to 3 August, the lowest of five; +4.083333; 43.75 MWh, $3,506.25."""
    rows = table(
        """
        2026-08-11 39 40 40 41 40 39
        2026-08-10 40 40 40 25 25 25
        2026-08-07 41 41 42 43 42 41
        2026-08-06 10 9 8 8 8 8
        2026-08-05 40 40 41 42 41 40
        2026-08-04 38 38 39 40 39 38
        2026-08-03 36 37 37 38 37 36
        2026-08-12 43 44 45 30 29 31
        """,
        (12, 13, 14, 16, 17, 18),
    )
    found = ask(PJM, request(rows, hours(date(2026, 8, 12), 15, 18), event_days=[date(2026, 8, 10)]))

    assert column(found, "baseline_unadjusted_kw") == [41.5, 40.5, 39.5]
    assert found.adjustments["applied"][0] == pytest.approx(4.083333, abs=5e-7)
    assert column(found, "baseline_kw") == pytest.approx([45.583333, 44.583333, 43.583333], abs=5e-7)
    assert column(found, "reduction_kw") == pytest.approx([15.583333, 15.583333, 12.583333], abs=5e-7)
    assert found.intervals["reduction_kw"].sum() == pytest.approx(43.75, abs=1e-9)
    sixteen, seventeen, _ = found.intervals["reduction_kw"]
    assert sixteen * 85 + seventeen * 140 == pytest.approx(3506.25, abs=0.005)
    assert used(found) == [date(2026, 8, day) for day in (11, 7, 5, 4)]
    assert why(found) == {
        date(2026, 8, 10): "event",
        date(2026, 8, 9): "other day type",
        date(2026, 8, 8): "other day type",
        date(2026, 8, 6): "low usage",
        date(2026, 8, 3): "not among those kept",
    }


def test_pjm_same_day_three_before_and_two_after() -> None:
    """40, 41, 42 before and 39, 38 after average 40.0; the hours next to the event, 30 and 33, are skipped; 58 MWh."""
    day = date(2026, 8, 12)
    loads = dict(zip(range(8, 20), (40, 41, 42, 30, 28, 27, 29, 30, 28, 33, 39, 38), strict=True))
    rule = AroundEvent(before_from_hours=4, before_to_hours=1, after_from_hours=1, after_to_hours=3)
    found = ask(rule, request(day_rows(day, loads), hours(day, 12, 17)))

    assert column(found, "baseline_kw") == [40.0] * 5
    assert column(found, "reduction_kw") == [12, 13, 11, 10, 12]
    assert found.intervals["reduction_kw"].sum() == 58


def test_firm_service_level() -> None:
    """30 − 17.2 × 1.03 = 12.284, of 30 − 18 × 1.03 = 11.46 nominated: 1.071902."""
    rule = Level(level_kw=30, firm_kw=18, loss_factor=1.03)
    found = ask(rule, request(day_rows(JULY_23, {14: 17.2}), hours(JULY_23, 14, 15)))

    (delivered,) = found.intervals["reduction_kw"]
    assert delivered == pytest.approx(12.284, abs=1e-12)
    assert delivered / (30 - 18 * 1.03) == pytest.approx(1.071902, abs=5e-7)


def test_guaranteed_load_drop() -> None:
    """38.5 − 26.9 = 11.6, and 26.9 is below the peak load contribution of 30."""
    rule = Level(level_kw=38.5, below_kw=30)
    found = ask(rule, request(day_rows(JULY_23, {14: 26.9}), hours(JULY_23, 14, 15)))

    assert column(found, "reduction_kw") == pytest.approx([11.6], abs=1e-12)


def test_ercot_middle_eight_of_ten() -> None:
    """960 and 1040 MWh go; the rest average 41.744792 MW; 43 metered for 8 quarters: 1.030069, 43.0, 13.0."""
    energy = (980, 1010, 1005, 995, 1020, 960, 1000, 1040, 990, 1015)
    days = [date(2026, 7, day) for day in (22, 21, 20, 17, 16, 15, 14, 13, 10, 9)]
    quarters = [(hour, quarter) for hour in range(24) for quarter in (0, 0.25, 0.5, 0.75)]
    rows = [
        ("", at(day, hour + quarter), daily / 24)
        for day, daily in zip(days, energy, strict=True)
        for hour, quarter in quarters
    ]
    rows += [("", at(JULY_23, hour + quarter), 30.0 if hour >= 17 else 43.0) for hour, quarter in quarters]
    rule = DayMatching(
        look_back_days=90,
        days=10,
        other_days=10,
        minimum_days=10,
        minimum_other_days=10,
        keep="middle",
        rank_by="day",
        adjustment="ratio",
        adjust_from_hours=2.5,
        adjust_to_hours=0.5,
    )
    found = ask(rule, request(rows, hours(JULY_23, 17, 18), grid=timedelta(minutes=15)))

    assert column(found, "baseline_unadjusted_kw") == pytest.approx([41.744792] * 4, abs=5e-7)
    assert found.adjustments["raw"][0] == pytest.approx(1.030069, abs=5e-7)
    assert column(found, "baseline_kw") == pytest.approx([43.0] * 4, abs=1e-12)
    assert column(found, "reduction_kw") == pytest.approx([13.0] * 4, abs=1e-12)
    assert why(found)[date(2026, 7, 15)] == why(found)[date(2026, 7, 13)] == "not among those kept"


def test_meter_before_meter_after() -> None:
    """40.1, 40.3 and 40.2 average 40.2; 28.0, 27.6 and 27.9 are 12.2, 12.6 and 12.3 less."""
    loads = dict(zip(range(10, 16), (40.1, 40.3, 40.2, 28.0, 27.6, 27.9), strict=True))
    found = ask(AroundEvent(before_from_hours=3), request(day_rows(JULY_23, loads), hours(JULY_23, 13, 16)))

    assert column(found, "baseline_kw") == pytest.approx([40.2] * 3, abs=1e-12)
    assert column(found, "reduction_kw") == pytest.approx([12.2, 12.6, 12.3], abs=1e-12)


def test_nyiso_takes_the_high_five_of_ten_from_two_days_before() -> None:
    """
    Monday, the day before, is skipped; the rest is in order of usage.

    The first day, 30, is above a quarter of the highest, 100; 3 is below a quarter
    of the 73.3 that 30, 100 and 90 average, and 16 is not below a quarter of 60. The high five average 80 kW;
    100 ÷ 80 is held at 1.2, which makes 96 kW.
    """
    days = [date(2026, 7, day) for day in (20, 17, 16, 15, 14, 13, 10, 9, 8, 7, 6, 3)]
    loads = (999.0, 30.0, 100.0, 90.0, 3.0, 80.0, 70.0, 60.0, 50.0, 40.0, 20.0, 16.0)
    rows = flat(dict(zip(days, loads, strict=True)) | {date(2026, 7, 21): 100.0})
    rule = DayMatching(
        look_back_days=30,
        skip_days=1,
        days=10,
        other_days=3,
        minimum_days=10,
        minimum_other_days=3,
        low_usage="running-mean",
        low_usage_share=0.25,
        seed_days=30,
        keep="highest",
        k=5,
        other_k=2,
        adjustment="ratio",
        adjust_from_hours=4,
        adjust_to_hours=2,
        adjust_lowest=0.8,
        adjust_highest=1.2,
    )
    found = ask(rule, request(rows, hours(date(2026, 7, 21), 14, 15)))

    assert column(found, "baseline_unadjusted_kw") == [80.0]
    assert column(found, "baseline_kw") == [96.0]
    assert used(found) == [date(2026, 7, day) for day in (16, 15, 13, 10, 9)]
    assert why(found)[date(2026, 7, 14)] == "low usage"
    assert why(found)[date(2026, 7, 3)] == "not among those kept"
    assert date(2026, 7, 20) not in why(found)
