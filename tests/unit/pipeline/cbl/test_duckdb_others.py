"""Baselines in SQL that match no days: around the event, a level, a reference, a regression. Figures by hand."""

from dataclasses import replace
from datetime import datetime, timedelta

import polars as pl
import pytest
from unit.pipeline.cbl.duckdb_cases import (
    EVENT_DAY,
    answered,
    asked,
    at,
    column,
    flat,
    loads,
    short,
    used,
)

from pipeline.cbl.request import CONTROL, NOMINATIONS, Request
from pipeline.cbl.rule import AroundEvent, Level, Reference
from pipeline.errors import ConfigError


def test_a_reading_missing_around_the_event_is_a_shortfall() -> None:
    readings = loads({EVENT_DAY: {15: 10, 16: None, 17: 1, 19: 10}})

    found = answered(AroundEvent(before_from_hours=2, after_from_hours=1, after_to_hours=2), asked(readings))

    assert short(found) == [(3, 2, "metering intervals around the event")]


def test_all_readings_around_the_event_weigh_the_same() -> None:
    """Three before at 10 and one after at 50: 20, and not the mean of 10 and 50."""
    readings = loads({EVENT_DAY: {14: 10, 15: 10, 16: 10, 17: 5, 18: 50}})

    found = answered(AroundEvent(before_from_hours=3, after_to_hours=1, decimals=0), asked(readings))

    assert (column(found, "baseline_kw"), column(found, "reduction_kw")) == ([20], [15])
    assert used(found) == [EVENT_DAY]


def test_a_level_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match=r"^set level_kw, the load in kW that was agreed on beforehand$"):
        answered(Level(), asked(flat({EVENT_DAY: 1})))


def test_a_load_at_the_limit_is_not_below_it() -> None:
    """With losses of a quarter: 24 × 1.25 = 30 is not below 30, 16 × 1.25 = 20 is; 40 − 20 = 20."""
    readings = loads({EVENT_DAY: {17: 24, 18: 16}})

    found = answered(Level(level_kw=40, below_kw=30, loss_factor=1.25), asked(readings, hours=(17, 19)))

    assert column(found, "reduction_kw") == [0, 20]
    assert column(found, "baseline_unadjusted_kw") == [40, 40]


def nominated(*rows: tuple[str | None, int, float | None, datetime]) -> pl.DataFrame:
    """Return `NOMINATIONS` of the event's day: resource, hour, kW, submitted at."""
    starts = [(resource, at(EVENT_DAY, hour), kw, submitted) for resource, hour, kw, submitted in rows]
    return pl.DataFrame(starts, schema=NOMINATIONS, orient="row")


NOON, LATER = at(EVENT_DAY, 12), at(EVENT_DAY, 12.5)


def nomination(nominations: pl.DataFrame | None) -> Request:
    """Return a request of two resources, 17:00 to 19:00."""
    readings = pl.concat([flat({EVENT_DAY: 10}, resource=name) for name in "ab"])
    return asked(readings, hours=(17, 19), nominations=nominations)


def test_the_newest_nomination_in_time_counts_the_resources_own_first() -> None:
    """Locked 270 minutes before 17:00, at 12:30: what came then is in time, a minute later is not."""
    told = nominated(
        ("a", 17, 21, LATER),
        ("a", 17, 20, NOON),
        ("a", 17, 99, LATER + timedelta(minutes=1)),
        (None, 18, float("nan"), LATER),
        (None, 17, 98, LATER),
        (None, 17, 97, NOON),
        (None, 18, 30, NOON),
    )

    found = answered(Reference(source="nomination", lock_minutes=270), nomination(told))

    assert found.intervals.select("resource", "baseline_kw").rows() == [("a", 21), ("a", 30), ("b", 98), ("b", 30)]
    assert found.days.is_empty()


def test_an_interval_that_was_not_nominated_in_time_is_a_shortfall() -> None:
    told = nominated(("a", 17, 20, NOON), ("a", 18, None, NOON), (None, 18, 30, LATER), ("b", 17, 1, NOON))
    what = "nominated intervals submitted in time"

    late = answered(Reference(source="nomination", lock_minutes=300), nomination(told))

    assert short(late) == [(2, 1, what), (2, 1, what)]
    assert short(answered(Reference(source="nomination"), nomination(None))) == [(2, 0, what), (2, 0, what)]


CONTROLLED = pl.DataFrame(
    [
        (name, at(EVENT_DAY, hour), kw)
        for name, figures in {"x": (1, 3), "y": (2, 5), "hole": (100, None), "absent": (100,)}.items()
        for hour, kw in zip((17, 18), figures, strict=False)
    ],
    schema=CONTROL,
    orient="row",
)


def test_a_control_group_stands_for_the_customers_that_were_called() -> None:
    """Of those metered in both hours the means are 1.5 and 4; ten times that."""
    request = replace(nomination(None), control=CONTROLLED)

    found = answered(Reference(source="control", customers=10, minimum_customers=2), request)

    assert column(found, "baseline_kw") == [15, 40, 15, 40]
    assert column(found, "reduction_kw") == [5, 30, 5, 30]


@pytest.mark.parametrize(("control", "have"), [(CONTROLLED, 2), (None, 0)])
def test_a_control_group_can_be_too_small(control: pl.DataFrame | None, have: int) -> None:
    request = replace(asked(flat({EVENT_DAY: 10}), hours=(17, 19)), control=control)

    found = answered(Reference(source="control", minimum_customers=3), request)

    assert short(found) == [(3, have, "control customers with complete readings")]
