"""The rule layer: each rule lets a good offer through and names itself when it is broken."""

from datetime import timedelta
from decimal import Decimal

import pytest
from doubles.builders import GATE_MARGIN, INTERVAL, MINUTE, NOON, offer, rules, step

from bidding.products import Rules
from bidding.rules import check
from pipeline.interval import Interval
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import Tier

SECOND = timedelta(seconds=1)


def broken(candidate: Offer, accepted: Rules | None = None) -> list[str]:
    return [refusal.rule for refusal in check(candidate, accepted or rules(), NOON, (), GATE_MARGIN)]


def test_a_good_offer_is_refused_by_no_rule() -> None:
    assert broken(offer()) == []


@pytest.mark.parametrize(
    ("rule", "candidate"),
    [
        ("minimum", offer(step("0.04", "10"))),
        ("block_step", offer(step("0.105", "10"))),
        ("price_tick", offer(step("0.1", "10.005"))),
        ("price_range", offer(step("0.1", "1000.01"))),
        ("price_range", offer(step("0.1", "-0.01"))),
        ("curve_shape", offer(step("0.1", "20"), step("0.1", "19.99", Tier.T2))),
        ("interval_grid", offer(interval=Interval(INTERVAL.start, INTERVAL.end + MINUTE))),
        ("interval_grid", offer(interval=Interval(INTERVAL.start + SECOND, INTERVAL.end + SECOND))),
        ("currency", offer(currency="EUR")),
        ("addressee", offer(product="reserve")),
    ],
)
def test_a_broken_rule_names_itself_and_no_other(rule: str, candidate: Offer) -> None:
    assert broken(candidate) == [rule]


def test_a_curve_may_not_have_more_steps_than_the_venue_takes() -> None:
    assert broken(offer(), rules(max_steps=1)) == ["max_steps"]
    assert broken(offer(), rules(max_steps=2)) == []


@pytest.mark.parametrize(("before_gate_s", "refused"), [(3, []), (2, ["gate_closure"]), (-1, ["gate_closure"])])
def test_an_offer_must_arrive_two_seconds_before_the_gate(before_gate_s: int, refused: list[str]) -> None:
    """The gate closes 20 s before the interval; the margin is two seconds more."""
    gate = INTERVAL.start - 20 * SECOND

    assert [
        refusal.rule for refusal in check(offer(), rules(), gate - before_gate_s * SECOND, (), GATE_MARGIN)
    ] == refused


@pytest.mark.parametrize(("ahead", "refused"), [(10 * MINUTE, []), (10 * MINUTE + SECOND, ["horizon"])])
def test_an_interval_too_far_ahead_is_not_traded_yet(ahead: timedelta, refused: list[str]) -> None:
    """The venue opens ten minutes before the interval."""
    assert [refusal.rule for refusal in check(offer(), rules(), INTERVAL.start - ahead, (), GATE_MARGIN)] == refused


def test_no_second_offer_for_the_same_interval() -> None:
    """A different interval, resource or product is no duplicate; a new revision is."""
    standing = [offer()]

    assert [r.rule for r in check(offer(revision=2, offer_id="other"), rules(), NOON, standing, GATE_MARGIN)] == [
        "duplicate"
    ]
    assert check(offer(interval=INTERVAL.next()), rules(), NOON, standing, GATE_MARGIN) == ()
    assert check(offer(resource="r2"), rules(), NOON, standing, GATE_MARGIN) == ()


def test_everything_that_is_wrong_is_said_at_once() -> None:
    """Off the block, off the tick, below the minimum, wrong currency."""
    wrong = offer(step("0.001", "10.001"), currency="EUR")

    assert broken(wrong) == ["minimum", "block_step", "price_tick", "currency"]
    assert wrong.quantity_mw == Decimal("0.001")
