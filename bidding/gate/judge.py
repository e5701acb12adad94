"""
The one door: whether a document leaves, waits for two people, or is refused and why. Pure.

    halted? ─▶ offer, document, portfolio rules ─▶ data quality ─▶ above a limit? ─▶ two people? ─▶ leaves
       └──────────────┴───────── refused ─────────────────┘                             └─▶ held

Withdrawals and queries do not come through here: they are always let through.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bidding.gate.approval import agreement, content_hash
from bidding.gate.quality import State
from bidding.gate.situation import Situation
from bidding.rules import Case, Refusal, Rule, Sheet, check_case, check_document
from bidding.rules.case import key_of
from bidding.rules.moves import lowers
from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import apply, found
from pipeline.messages.market import Offer

PORTFOLIO_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.portfolio")
ALONE_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.alone")


@dataclass(frozen=True)
class Outgoing:
    """One document before it leaves."""

    offers: tuple[Offer, ...]
    content: bytes = b""
    """As it would travel; empty: not encoded yet, so its size is not looked at."""


@dataclass(frozen=True)
class Leaves:
    """It may be sent, now."""

    offers: tuple[Offer, ...]
    document: str
    """Content hash."""
    approved_by: tuple[str, ...] = ()
    """Empty: it was below all limits."""


@dataclass(frozen=True)
class Held:
    """It is sound, and above a limit: it waits for people."""

    offers: tuple[Offer, ...]
    document: str
    why: tuple[Refusal, ...]
    """The limits it is above."""
    needs: int
    """So many more people."""
    approved_by: tuple[str, ...]
    refused: tuple[Refusal, ...]
    """Approvals that do not count, and why."""

    def __str__(self) -> str:
        return f"document {self.document[:12]} needs {self.needs} more approvals: {'; '.join(map(str, self.why))}"


@dataclass(frozen=True)
class Refused:
    """It must not be sent."""

    offers: tuple[Offer, ...]
    document: str
    refusals: tuple[Refusal, ...]

    def __str__(self) -> str:
        return "; ".join(map(str, self.refusals))


Decision = Leaves | Held | Refused


def judge(documents: Iterable[Outgoing], situation: Situation) -> tuple[Decision, ...]:
    """
    Return the decision on each of *documents*, in their order: what leaves or is held binds those after it.

    Where nothing is replaced and all of it together breaks no rule of the portfolio, no part of it is looked at again.
    """
    batch = tuple(documents)
    offers = tuple(offer for document in batch for offer in document.offers)
    standing = {key_of(offer) for offer in situation.standing}
    keys = {key_of(offer) for offer in offers}
    is_new = len(keys) == len(offers) and not keys & standing
    if len(batch) > 1 and is_new and _readable(offers) and not apply(PORTFOLIO_RULES, Portfolio(offers, situation)):
        decisions = _in_turn(batch, situation, ())
        if not any(isinstance(decision, Refused) for decision in decisions):
            return decisions
    return _in_turn(batch, situation, PORTFOLIO_RULES)


def _in_turn(
    batch: Sequence[Outgoing], situation: Situation, portfolio_rules: Sequence[Rule[Portfolio]]
) -> tuple[Decision, ...]:
    """Judge one document after the other."""
    decisions: list[Decision] = []
    known = _by_product(situation.standing)
    for document in batch:
        decision = _judged(document, situation, known, portfolio_rules)
        decisions.append(decision)
        if not isinstance(decision, Refused):
            situation = _with(document.offers, situation, is_kept=bool(portfolio_rules))
            for offer in document.offers:
                known[offer.venue, offer.resource, offer.product].append(offer)
    return tuple(decisions)


def _judged(
    document: Outgoing,
    situation: Situation,
    known: Mapping[tuple[str, str, str], Sequence[Offer]],
    portfolio_rules: Sequence[Rule[Portfolio]],
) -> Decision:
    digest = content_hash(document.offers)
    refusals = halted(situation) or _broken(document, situation, known, portfolio_rules)
    if refusals:
        return Refused(document.offers, digest, refusals)
    rising = tuple(offer for offer in document.offers if not _lowers_one(offer, known))
    why = apply(ALONE_RULES, Portfolio(rising, situation)) if rising else ()
    if not why:
        return Leaves(document.offers, digest)
    limits = situation.limits
    approvals = situation.control.approvals.get(digest, ())
    agreed = agreement(
        digest, approvals, situation.approvers, situation.now, timedelta(seconds=limits.approval_valid_s)
    )
    if len(agreed.by) >= limits.approvals:
        return Leaves(document.offers, digest, agreed.by)
    return Held(document.offers, digest, why, limits.approvals - len(agreed.by), agreed.by, agreed.refused)


def halted(situation: Situation) -> tuple[Refusal, ...]:
    """Return why nothing may leave at all, in *situation*; nothing where the gate is open."""
    reasons: list[Refusal] = []
    if (halt := situation.control.halt) is not None:
        text = (
            f"halted by {halt.by} at {halt.at.isoformat()}: {halt.why}; `firmwatt bid resume` lets offers leave again"
        )
        reasons.append(Refusal("halted", text, f"kill switch: {halt.source}"))
    if situation.halt_file is not None:
        by, why = situation.halt_file
        reasons.append(Refusal("halted", f"halted by {by}: {why}; remove the file, then resume", "kill switch: file"))
    if situation.state is State.HALTED:
        text = f"{situation.trust.why}; wait for telemetry, withdraw what cannot be kept"
        reasons.append(Refusal("data_quality", text, "[bidding.quality] halted_lost, halted_age_s"))
    return tuple(reasons)


def _broken(
    document: Outgoing,
    situation: Situation,
    known: Mapping[tuple[str, str, str], Sequence[Offer]],
    portfolio_rules: Sequence[Rule[Portfolio]],
) -> tuple[Refusal, ...]:
    """Return every rule that *document* breaks; the portfolio's only where its figures can be calculated with."""
    refusals = list(check_document(Sheet(document.offers, situation.products, document.content)))
    for offer in document.offers:
        if rules := situation.products.get((offer.venue, offer.product)):
            standing = tuple(known.get((offer.venue, offer.resource, offer.product), ()))
            refusals += check_case(Case(offer, rules, situation.now, situation.margin, standing))
    if situation.state is State.REDUCING:
        refusals += [_not_lower(offer, situation) for offer in document.offers if not _lowers_one(offer, known)]
    if portfolio_rules and _readable(document.offers):
        refusals += apply(portfolio_rules, Portfolio(document.offers, situation))
    return tuple(refusals)


def _not_lower(offer: Offer, situation: Situation) -> Refusal:
    text = f"{situation.trust.why}: only lower revisions leave, and this is none; offer less than what stands, or wait"
    return Refusal("data_quality", text, "[bidding.quality] reducing_lost, reducing_age_s", offer.offer_id)


def _lowers_one(offer: Offer, known: Mapping[tuple[str, str, str], Sequence[Offer]]) -> bool:
    """Tell whether *offer* is less, at every price, than the newest that stands under its key."""
    others = known.get((offer.venue, offer.resource, offer.product), ())
    same = [other for other in others if other.interval == offer.interval]
    return bool(same) and _readable((offer,)) and lowers(offer, max(same, key=lambda other: other.revision))


def _readable(offers: Iterable[Offer]) -> bool:
    steps = (step for offer in offers for step in offer.steps)
    return all(step.quantity_mw.is_finite() and step.price_per_mwh.is_finite() for step in steps)


def _by_product(offers: Iterable[Offer]) -> dict[tuple[str, str, str], list[Offer]]:
    known: dict[tuple[str, str, str], list[Offer]] = defaultdict(list)
    for offer in offers:
        known[offer.venue, offer.resource, offer.product].append(offer)
    return known


def _with(offers: Sequence[Offer], situation: Situation, *, is_kept: bool) -> Situation:
    """Return *situation* once *offers* count: as promises, where somebody still asks, and for the runaway guard."""
    counters = replace(
        situation.counters,
        last_minute=situation.counters.last_minute + len(offers),
        today=situation.counters.today + len(offers),
    )
    if not is_kept:
        return replace(situation, counters=counters)
    replaced = {key_of(offer) for offer in offers}
    kept = tuple(other for other in situation.standing if key_of(other) not in replaced)
    return replace(situation, counters=counters, standing=(*kept, *offers))
