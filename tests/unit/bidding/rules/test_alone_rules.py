"""Limits above which two people have to agree."""

from dataclasses import dataclass, replace

import pytest
from doubles.builders import rules, step
from doubles.gate import limits, minutes, named, other, situation, written_down

from bidding.gate.judge import ALONE_RULES
from bidding.gate.situation import Situation
from bidding.rules.case import key_of
from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import Rule, apply
from pipeline.messages.market import Offer


@dataclass(frozen=True)
class Above:
    """A document above one limit, what is said of it, and the limit that it would just stay below."""

    offers: tuple[Offer, ...]
    limit: dict[str, object]
    says: str
    enough: dict[str, object]
    accepted: Offer | None = None

    def within(self, limit: dict[str, object]) -> Portfolio:
        known = {key_of(self.accepted): self.accepted} if self.accepted else {}
        return Portfolio(self.offers, situation(rules(), limits=limits(**limit), accepted=known))


def two() -> tuple[Offer, ...]:
    return (other(step("0.2", "20")), other(step("0.3", "20"), resource="r2"))


CASES = {
    "document_power": Above(two(), {"alone_mw": "0.4"}, "0.5 MW at one instant, 0.4 MW leave", {"alone_mw": "0.5"}),
    "document_money": Above(
        two(), {"alone_money": "12.49"}, "12.50 USD at stake, 12.49 leave", {"alone_money": "12.50"}
    ),
    "document_price_move": Above(
        (other(step("0.2", "40"), revision=2),),
        {"alone_price_move": 0.99},
        "a price moves by 100%, 99% leave",
        {"alone_price_move": 1.0},
        accepted=other(step("0.2", "20")),
    ),
    "document_resources": Above(two(), {"alone_resources": 1}, "2 resources, 1 leave", {"alone_resources": 2}),
    "document_offers": Above(two(), {"alone_offers": 1}, "2 offers, 1 leave", {"alone_offers": 2}),
}


def test_every_limit_has_a_case_and_every_case_a_limit() -> None:
    assert named(CASES, ALONE_RULES) == (set(), set())


@pytest.mark.parametrize("rule", ALONE_RULES, ids=lambda rule: rule.__name__)
def test_a_document_above_a_limit_says_by_how_much_and_which_setting(rule: Rule[Portfolio]) -> None:
    above = CASES[rule.__name__]

    (refusal,) = apply(ALONE_RULES, above.within(above.limit))

    assert refusal.rule == rule.__name__
    assert above.says in refusal.detail
    assert refusal.source == f"[bidding.limits] {next(iter(above.limit))}"
    assert written_down(rule, refusal)


@pytest.mark.parametrize("rule", ALONE_RULES, ids=lambda rule: rule.__name__)
def test_without_the_limit_or_at_it_the_document_would_leave_by_itself(rule: Rule[Portfolio]) -> None:
    above = CASES[rule.__name__]

    assert apply([each for each in ALONE_RULES if each is not rule], above.within(above.limit)) == ()
    assert apply(ALONE_RULES, above.within(above.enough)) == ()


def test_power_of_different_instants_is_not_added() -> None:
    first, later = other(step("0.3", "20")), other(step("0.3", "20"), interval=minutes(6))
    known: Situation = replace(situation(), limits=limits(alone_mw="0.3"))

    assert apply(ALONE_RULES, Portfolio((first, later), known)) == ()
