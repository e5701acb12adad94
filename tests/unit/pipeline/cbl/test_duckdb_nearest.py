"""Nearest days in SQL: by the shape of the hours around the event, or by temperature."""

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
    short,
    used,
    warm,
)

WITHIN_10 = "like days with complete readings within 10 days of the event"

MORNING = pl.concat([flat({EVENT_DAY: 10}, range(16)), loads({EVENT_DAY: {16: 99, 17: 5, 18: 99}})])


def test_the_nearest_days_are_those_of_the_most_similar_hours_before() -> None:
    """16:00, the hour right before, is not compared: 11 and 9 are as near as each other, 14 is not."""
    nearest = matching(rank_by="shape", keep="nearest", k=1, match_gap_hours=1)

    found = answered(nearest, asked(pl.concat([MORNING, flat(before(14, 11, 9))])))

    assert used(found) == [july(21)]
    assert column(found, "reduction_kw") == [6.0]


def test_the_hours_after_the_event_can_be_compared_as_well() -> None:
    """21 July is equal until 18:00 and 7 kW off in the five hours after 19:00; 22 July is 1 kW off all day."""
    evening = pl.concat([MORNING, flat({EVENT_DAY: 10}, range(19, 24))])
    turning = loads({july(21): {hour: 10.0 if hour < 18 else 17.0 for hour in range(24)}})
    request = asked(pl.concat([evening, turning, flat({july(22): 11})]))
    nearest = {"rank_by": "shape", "keep": "nearest", "k": 1, "match_gap_hours": 1}

    assert used(answered(matching(**nearest), request)) == [july(21)]
    assert used(answered(matching(**nearest, match="outside-event"), request)) == [july(22)]


def test_no_day_is_like_an_event_day_that_was_not_metered() -> None:
    hole_at_3 = MORNING.filter(pl.col("start") != MORNING["start"][3])
    nearest = matching(rank_by="shape", keep="nearest", k=1)

    found = answered(nearest, asked(pl.concat([hole_at_3, flat(before(*[10.0] * 10))])))

    assert short(found) == [(1, 0, WITHIN_10)]
    assert set(passed(found).values()) == {"incomplete"}


NEAREST_WARM = matching(rank_by="temperature", keep="nearest", k=1)


def test_the_day_of_the_nearest_highest_temperature() -> None:
    """30 °C at noon against 20, 29 and 31: the newer of two that are one degree off. 21 July has no temperature."""
    others = [hour for hour in range(24) if hour != 12]
    noon = warm({EVENT_DAY: 30, july(22): 20, july(20): 29, july(19): 31}, [12])
    night = warm({EVENT_DAY: 20, july(22): 19, july(20): 1, july(19): 31}, others)
    request = asked(flat(before(1, 2, 3, 4)), temperatures=pl.concat([noon, night]))

    found = answered(NEAREST_WARM, request)

    assert used(found) == [july(20)]
    assert passed(found)[july(21)] == "incomplete"


@pytest.mark.parametrize("temperatures", [None, warm(before(1, 2, 3))])
def test_no_day_is_like_an_event_day_without_a_temperature(temperatures: pl.DataFrame | None) -> None:
    found = answered(NEAREST_WARM, asked(flat(before(1, 2, 3)), temperatures=temperatures))

    assert short(found) == [(1, 0, WITHIN_10)]
