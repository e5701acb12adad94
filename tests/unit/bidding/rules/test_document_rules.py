"""Rules over the offers that travel together."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from doubles.builders import INTERVAL, rules
from doubles.gate import named, other, written_down

from bidding.rules import DOCUMENT_RULES, Sheet, check_document
from bidding.rules.refusal import Rule, apply
from pipeline.interval import Interval

SPIN = rules(product="spin", one_product_per_document=True)
ENERGY = rules(
    max_document_bytes=100,
    one_product_per_document=True,
    one_day_per_document=True,
    timezone="America/Chicago",
    cited={"max_document_bytes": "EWS guide: below 3 MB", "one_product_per_document": "EWS guide, BidSet"},
)
PRODUCTS = {(each.venue, each.product): each for each in (ENERGY, SPIN, rules(venue="acme"))}
#: Half an hour before midnight in Chicago, and half an hour after it.
LATE = Interval(datetime(2026, 7, 24, 4, 30, tzinfo=UTC), datetime(2026, 7, 24, 4, 31, tzinfo=UTC))
AFTER_MIDNIGHT = Interval(LATE.start + timedelta(hours=1), LATE.end + timedelta(hours=1))


@dataclass(frozen=True)
class Broken:
    """A document that breaks one rule, and what the refusal has to say."""

    sheet: Sheet
    says: str
    source: str


CASES = {
    "document_size": Broken(Sheet((other(),), PRODUCTS, bytes(101)), "101 bytes are 1 too many", "below 3 MB"),
    "twice_in_document": Broken(Sheet((other(), other(revision=2)), PRODUCTS), "keep one", "one offer"),
    "unknown_product": Broken(
        Sheet((other(product="gas"),), PRODUCTS), "no rules in force for sandbox/gas", "products"
    ),
    "one_venue": Broken(Sheet((other(), other(venue="acme")), PRODUCTS), "for acme and sandbox", "one venue"),
    "one_product": Broken(Sheet((other(), other(product="spin")), PRODUCTS), "energy-dr, spin together", "BidSet"),
    "one_trading_day": Broken(
        Sheet((other(interval=LATE), other(interval=AFTER_MIDNIGHT)), PRODUCTS),
        "2026-07-23 and 2026-07-24 together",
        "one_day_per_document",
    ),
}


def test_every_rule_has_a_case_and_every_case_a_rule() -> None:
    assert named(CASES, DOCUMENT_RULES) == (set(), set())


@pytest.mark.parametrize("rule", DOCUMENT_RULES, ids=lambda rule: rule.__name__)
def test_a_broken_rule_names_itself_its_source_and_what_to_do(rule: Rule[Sheet]) -> None:
    broken = CASES[rule.__name__]

    (refusal,) = check_document(broken.sheet)

    assert refusal.rule == rule.__name__
    assert broken.says in refusal.detail
    assert broken.source in refusal.source
    assert written_down(rule, refusal)


@pytest.mark.parametrize("rule", DOCUMENT_RULES, ids=lambda rule: rule.__name__)
def test_without_the_rule_its_case_would_leave(rule: Rule[Sheet]) -> None:
    others = [each for each in DOCUMENT_RULES if each is not rule]

    assert apply(others, CASES[rule.__name__].sheet) == ()


def test_a_good_document_is_refused_by_no_rule() -> None:
    """100 bytes are not above 100; two intervals of one product and day travel together."""
    assert check_document(Sheet((other(), other(interval=INTERVAL.next())), PRODUCTS, bytes(100))) == ()
