"""
The rule layer: what a schema lets through and a venue, or we ourselves, would still refuse. Pure.

    offer/      one offer against its product's data            (Case)       check
    document/   the offers that travel together                 (Sheet)      check_document
    portfolio/  everything that stands and everything new       (Portfolio)  bidding.gate.judge

One function a rule; every public function in a file of these folders is one, its name the rule's. All of them run, so
that a refusal lists everything that is wrong at once, each with the source of the figure that was broken.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from bidding.products import Rules
from bidding.rules.case import Case, Sheet
from bidding.rules.refusal import Breach, Refusal, Rule, apply, found
from pipeline.messages.market import Offer

__all__ = ["DOCUMENT_RULES", "OFFER_RULES", "Breach", "Case", "Refusal", "Rule", "Sheet", "check", "check_document"]

OFFER_RULES: tuple[Rule[Case], ...] = found("bidding.rules.offer")
DOCUMENT_RULES: tuple[Rule[Sheet], ...] = found("bidding.rules.document")


def check(
    offer: Offer, rules: Rules, now: datetime, standing: Iterable[Offer], margin: timedelta
) -> tuple[Refusal, ...]:
    """
    Return every rule that *offer* breaks at *now*; *standing* are the offers already on their way or taken.

    It has to leave *margin* before gate closure: the way to the venue takes time, and its clock may differ a little.
    """
    return check_case(Case.of(offer, rules, now, standing, margin))


def check_case(case: Case) -> tuple[Refusal, ...]:
    """Return every rule that the case breaks; where its figures are no numbers, that alone."""
    unreadable = [rule for rule in OFFER_RULES if rule.__name__ == "finite"]
    return apply(unreadable, case) or apply(OFFER_RULES, case)


def check_document(sheet: Sheet) -> tuple[Refusal, ...]:
    """Return every rule that the document breaks as a whole."""
    return apply(DOCUMENT_RULES, sheet)
