"""The rule layer and the products' data fit: the smallest sound offer of every product passes."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest
from doubles.builders import GATE_MARGIN, step
from doubles.gate import other

from bidding.products import Rules
from bidding.products.load import load, venues
from bidding.rules import check
from pipeline.interval import Interval
from pipeline.messages.market import Offer

PRODUCTS = [rules for venue in venues() for rules in load(venue, date(2026, 7, 24)).values()]


def evening(rules: Rules) -> Interval:
    """Return the market interval that holds 20:00 local time on 24 July 2026, on blocks from midnight."""
    midnight = datetime(2026, 7, 24, tzinfo=ZoneInfo(rules.timezone)).astimezone(UTC)
    start = midnight + timedelta(hours=20) // rules.interval * rules.interval
    return Interval(start, start + rules.interval)


def smallest(rules: Rules) -> Offer:
    """Return one step of the minimum, whole blocks, at a price that every floor allows."""
    price = max(rules.price_floor, rules.net_benefits_floor or Decimal(0), Decimal(0))
    price += -price % rules.price_tick
    return other(
        step(str(max(rules.min_mw, rules.block_mw)), str(price)),
        venue=rules.venue,
        product=rules.product,
        interval=evening(rules),
        currency=rules.currency,
        firm_kw=100_000.0,
    )


@pytest.mark.parametrize("rules", PRODUCTS, ids=lambda rules: f"{rules.venue}-{rules.product}")
def test_the_smallest_sound_offer_passes_until_the_gate_and_not_after(rules: Rules) -> None:
    """A quarter of an hour before the gate, which no venue's pause holds, and at the gate."""
    offer = smallest(rules)
    gate = rules.gate_closes(offer.interval)

    assert check(offer, rules, gate - timedelta(minutes=15), (), GATE_MARGIN) == ()
    (late,) = check(offer, rules, gate, (), GATE_MARGIN)
    assert late.rule == "gate_closure"


@pytest.mark.parametrize("rules", PRODUCTS, ids=lambda rules: f"{rules.venue}-{rules.product}")
def test_a_refusal_cites_the_figure_and_its_doubt(rules: Rules) -> None:
    """A tick above the cap is refused in the words of whoever wrote the cap down."""
    offer = smallest(rules)
    steps = (offer.steps[0].model_copy(update={"price_per_mwh": rules.price_cap + rules.price_tick}),)

    refusals = check(
        offer.model_copy(update={"steps": steps}), rules, rules.gate_opens(offer.interval), (), GATE_MARGIN
    )

    (dear,) = [refusal for refusal in refusals if refusal.rule == "price_range"]
    assert rules.cited["price_cap"] in dear.source
    assert ("unverified" in dear.source) is ("price_cap" in rules.unverified)
