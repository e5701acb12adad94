"""Which intervals are due: by gates before the interval, by day-ahead gates in local time, by a plan."""

import itertools
from datetime import UTC, datetime, time, timedelta

import pytest
from doubles.builders import rules as built

from bidding.agents.due import candidates
from bidding.products import Gate, Rules
from bidding.settings import Bidding

HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def starts(settings: Bidding, rules: Rules, now: datetime) -> list[str]:
    return [f"{interval.start:%d %H:%M}" for interval in candidates(settings, rules, now)]


def test_a_minute_market_is_offered_within_the_lead_and_before_the_margin() -> None:
    """The gate closes 20 s before each minute; from 120 s before the gate to 2 s before it."""
    rules = built().model_copy(update={"gate_closure_s": 20, "interval_s": 60, "horizon_s": 86_400})

    found = starts(Bidding(), rules, at("2026-07-24T00:58:00Z"))

    assert found == ["24 00:59", "24 01:00"], "the gate of 01:01 closes at 01:00:40, 160 s from now"
    assert starts(Bidding(), rules, at("2026-07-24T00:58:38Z")) == ["24 01:00"], "the margin of 00:59 has begun"


@pytest.mark.parametrize(
    ("now", "hours"),
    [
        ("2026-07-23T14:59:00Z", 24),  # 09:59 in Chicago, a plain day
        ("2026-03-07T15:59:00Z", 23),  # for 8 March, when the clocks go forward
        ("2026-10-31T14:59:00Z", 25),  # for 1 November, when they go back
    ],
)
def test_a_day_ahead_gate_makes_all_hours_of_tomorrow_due_at_once(now: str, hours: int) -> None:
    """10:00 in Chicago the day before; a minute earlier within the lead, a minute later over."""
    rules = built().model_copy(
        update={
            "interval_s": 3600,
            "timezone": "America/Chicago",
            "closes": Gate(days_before=1, at=time(10)),
            "horizon_s": 7 * 86_400,
        }
    )

    found = list(candidates(Bidding(), rules, at(now)))

    assert len(found) == hours
    assert all(earlier.end == later.start for earlier, later in itertools.pairwise(found))
    assert list(candidates(Bidding(), rules, at(now) + timedelta(minutes=2))) == []


def test_nothing_is_due_before_the_lead() -> None:
    rules = built().model_copy(
        update={"interval_s": 3600, "timezone": "America/Chicago", "closes": Gate(days_before=1, at=time(10))}
    )

    assert starts(Bidding(offer_lead_s=60), rules, at("2026-07-23T14:58:00Z")) == []


def test_a_plan_is_offered_and_nothing_beside_it() -> None:
    rules = built().model_copy(update={"gate_closure_s": 20, "interval_s": 60, "horizon_s": 86_400})
    plan = Bidding(first_interval_start="2026-07-24T01:00:00Z", intervals=1)

    assert starts(plan, rules, at("2026-07-24T00:58:00Z")) == ["24 01:00"]
    assert starts(plan, rules, at("2026-07-24T01:00:00Z")) == []
