"""
The one door: whether a document leaves, waits for two people, or is refused and why. Pure.

    halted? ─▶ rules of its own ─▶ data quality ─▶ rules of the portfolio ─▶ above a limit? ─▶ two people? ─▶ leaves
       └──────────────┴───────────────┴── refused ────────┘                                        └─▶ held

Withdrawals and queries do not come through here: they are always let through. What offers less at every price than
what stands is asked about neither the portfolio nor limits nor collars: where capacity shrinks, it has to leave.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from bidding.gate.approval import agreement, content_hash
from bidding.gate.decision import Decision, Held, Leaves, Outgoing, Refused
from bidding.gate.quality import State
from bidding.gate.situation import Counters, Situation
from bidding.rules import Case, Refusal, Rule, Sheet, check_case, check_document
from bidding.rules.amounts import expected_loss
from bidding.rules.case import key_of
from bidding.rules.moves import lowers
from bidding.rules.numbers import unreadable
from bidding.rules.portfolio_view import Portfolio, Promise
from bidding.rules.refusal import apply, found
from pipeline.messages.market import Offer

__all__ = ["Decision", "Held", "Leaves", "Outgoing", "Refused", "halted", "judge"]

SANITY_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.sanity")
RUN_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.runs")
PORTFOLIO_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.portfolio")
ALONE_RULES: tuple[Rule[Portfolio], ...] = found("bidding.rules.alone")

Name = tuple[str, str, str]
Known = Mapping[Name, Sequence[Offer]]
"""What stands, by (venue, resource, product)."""


@dataclass(frozen=True)
class _Place:
    """The world as one document finds it, the documents before it counted in."""

    situation: Situation
    standing: Known
    held: Known

    def after(self, documents: Iterable[Outgoing], decisions: Iterable[Decision]) -> "_Place":
        """Return the place that those of *documents* leave behind which leave or are held."""
        pairs = list(zip(documents, decisions, strict=True))
        sent = [offer for document, decision in pairs if isinstance(decision, Leaves) for offer in document.offers]
        held = [offer for document, decision in pairs if isinstance(decision, Held) for offer in document.offers]
        newest = {key_of(offer): offer for offer in sent}
        kept = [other for other in self.situation.standing if key_of(other) not in newest]
        waiting = [other for other in self.situation.held if other not in sent and other not in held]
        situation = replace(
            self.situation,
            standing=(*kept, *newest.values()),
            held=(*waiting, *held),
            counters=self.counted(len(sent) + len(held)),
        )
        return _Place(situation, _with(self.standing, sent), _with(self.held, held))

    def counted(self, more: int) -> Counters:
        """Return the runaway guard's counters after *more* offers."""
        counters = self.situation.counters
        return replace(counters, last_minute=counters.last_minute + more, today=counters.today + more)

    def others(self, offer: Offer) -> tuple[Offer, ...]:
        """Return what is sent or held of *offer*'s product; itself, where it was held, is none of them."""
        held = (other for other in self.held.get(_name(offer), ()) if other != offer)
        return (*self.standing.get(_name(offer), ()), *held)

    def lowers(self, offer: Offer) -> bool:
        """Tell whether *offer* is less, at every price, than the newest that stands; what is held does not stand."""
        same = [other for other in self.standing.get(_name(offer), ()) if other.interval == offer.interval]
        return bool(same) and _readable((offer,)) and lowers(offer, max(same, key=lambda other: other.revision))

    def grows(self, offer: Offer) -> bool:
        """Tell whether *offer* binds us in every respect at least as much as each that it replaces."""
        return all(self._grows(offer, old) for old in self.others(offer) if old.interval == offer.interval)

    def _grows(self, offer: Offer, old: Offer) -> bool:
        more = offer.quantity_mw >= old.quantity_mw and offer.confidence <= old.confidence
        limits, rules = self.situation.limits, self.situation.products.get((offer.venue, offer.product))
        lost = [expected_loss(Promise(each, rules), limits) for each in (offer, old)]
        dearest = [max(abs(step.price_per_mwh) for step in each.steps) for each in (offer, old)]
        return more and lost[0] >= lost[1] and dearest[0] >= dearest[1]


def judge(documents: Iterable[Outgoing], situation: Situation) -> tuple[Decision, ...]:
    """Return the decision on each of *documents*, in their order: what leaves or is held binds those after it."""
    batch = tuple(documents)
    if shut := halted(situation):
        return tuple(Refused(document.offers, content_hash(document.offers), shut) for document in batch)
    return tuple(_settled(batch, _Place(situation, _with({}, situation.standing), _with({}, situation.held))))


def _settled(batch: Sequence[Outgoing], place: _Place) -> list[Decision]:
    """
    Judge *batch*: where all that is sound in it fits together, so does every part of it; else by halves, in order.

    That holds because rules of the portfolio only ever ask for less, and only where what is replaced grows.
    """
    decisions = _by_themselves(batch, place)
    sound = [d for d, decision in zip(batch, decisions, strict=True) if not isinstance(decision, Refused)]
    if not sound:
        return decisions
    rising = tuple(offer for document in sound for offer in document.offers if not place.lowers(offer))
    if len(batch) == 1:
        broken = _portfolio(rising, place.after(batch, decisions)) if rising else ()
        return [Refused(batch[0].offers, decisions[0].document, broken)] if broken else decisions
    if all(map(place.grows, rising)) and not _portfolio(rising, place):
        return decisions
    half = len(batch) // 2
    first = _settled(batch[:half], place)
    return [*first, *_settled(batch[half:], place.after(batch[:half], first))]


def _portfolio(rising: tuple[Offer, ...], place: _Place) -> tuple[Refusal, ...]:
    return apply(PORTFOLIO_RULES, Portfolio(rising, place.situation))


def _by_themselves(batch: Sequence[Outgoing], place: _Place) -> list[Decision]:
    """Judge one document after the other, but for the rules of the portfolio."""
    decisions: list[Decision] = []
    standing, held = ({name: list(others) for name, others in known.items()} for known in (place.standing, place.held))
    for document in batch:
        decision = _judged(document, _Place(place.situation, standing, held))
        decisions.append(decision)
        if not isinstance(decision, Refused):
            place = replace(place, situation=replace(place.situation, counters=place.counted(len(document.offers))))
            for offer in document.offers:
                (held if isinstance(decision, Held) else standing).setdefault(_name(offer), []).append(offer)
    return decisions


def _judged(document: Outgoing, place: _Place) -> Decision:
    situation, digest = place.situation, content_hash(document.offers)
    if refusals := _broken(document, place):
        return Refused(document.offers, digest, refusals)
    rising = tuple(offer for offer in document.offers if not place.lowers(offer))
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


def _broken(document: Outgoing, place: _Place) -> tuple[Refusal, ...]:
    """Return every rule that *document* breaks by itself; what calculates only where its figures are numbers."""
    situation = place.situation
    refusals = list(check_document(Sheet(document.offers, situation.products, document.content)))
    for offer in document.offers:
        if rules := situation.products.get((offer.venue, offer.product)):
            refusals += check_case(Case(offer, rules, situation.now, situation.margin, place.others(offer)))
    if situation.state is State.REDUCING:
        refusals += [_not_lower(offer, situation) for offer in document.offers if not place.lowers(offer)]
    if _readable(document.offers):
        lower = {id(offer) for offer in document.offers if place.lowers(offer)}
        rising = tuple(offer for offer in document.offers if id(offer) not in lower)
        refusals += apply(SANITY_RULES, Portfolio(rising, situation, travelling=len(document.offers)))
        near = tuple({id(other): other for offer in rising for other in place.others(offer)}.values())
        refusals += apply(RUN_RULES, Portfolio(rising, replace(situation, standing=near, held=())))
    return tuple(refusals)


def _not_lower(offer: Offer, situation: Situation) -> Refusal:
    text = f"{situation.trust.why}: only lower revisions leave, and this is none; offer less than what stands, or wait"
    return Refusal("data_quality", text, "[bidding.quality] reducing_lost, reducing_age_s", offer.offer_id)


def _readable(offers: Iterable[Offer]) -> bool:
    return not any(text for offer in offers for text in unreadable(offer))


def _with(known: Known, offers: Iterable[Offer]) -> Known:
    more: dict[Name, list[Offer]] = defaultdict(list, {name: list(others) for name, others in known.items()})
    for offer in offers:
        more[_name(offer)].append(offer)
    return dict(more)


def _name(offer: Offer) -> Name:
    return (offer.venue, offer.resource, offer.product)
