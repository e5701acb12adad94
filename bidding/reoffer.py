"""
What has to change in offers that stand when the capacity behind them does. Pure.

    before the gate   less than promised by more than the deadband   ─▶ revise down; below the venue's minimum: withdraw
                      more than offered                              ─▶ revise up, a few times at most
    gate to start     awarded, and less than that will be there      ─▶ tell the venue, once for each step down

What is not known is nothing: an interval without a curve counts as one in which nothing can be let go. Once the
interval has begun the relief that is left says nothing about the relief that is delivered: nothing is decided then.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise

from bidding.ledger import Ledger
from bidding.markets import Shortfall
from bidding.offers import offer_id
from bidding.products import Rules
from bidding.states import TAKEN, Key, OfferRecord, key_of
from pipeline.messages.market import Offer, OfferState, OfferStep

BOUGHT = frozenset({OfferState.AWARDED, OfferState.DISPATCHED})
STANDS = TAKEN | BOUGHT | {OfferState.PENDING}


@dataclass(frozen=True)
class Bounds:
    """How much has to change before anything is done, and what the venue lets one do."""

    deadband: Decimal
    """Share of what is promised by which less may be there."""
    most_raises: int
    """Revisions upward of one offer."""
    gate_margin: timedelta
    can_withdraw: bool
    can_tell: bool


@dataclass(frozen=True)
class Standing:
    """An offer that stands, and what it binds us to."""

    offer: Offer
    promised_mw: Decimal
    """Awarded, or accepted, or offered, as far as it has come."""
    bought: bool
    next_revision: int
    raises: int = 0
    told_mw: Decimal | None = None
    """What the venue was told last would be there."""


@dataclass(frozen=True)
class Revise:
    """Send this revision."""

    offer: Offer


@dataclass(frozen=True)
class Withdraw:
    """Take this offer back."""

    offer_id: str
    reason: str


@dataclass(frozen=True)
class Tell:
    """Tell the venue."""

    shortfall: Shortfall


Action = Revise | Withdraw | Tell


def standing(ledger: Ledger, now: datetime) -> list[Standing]:
    """Return the offers that stand for intervals which have not begun at *now*."""
    newest = {key_of(r.offer): r for r in ledger.offers.values() if r.state in STANDS and r.offer.interval.start > now}
    return [_standing(ledger, ledger.newest(key, STANDS) or record) for key, record in newest.items()]


def _standing(ledger: Ledger, record: OfferRecord) -> Standing:
    key = key_of(record.offer)
    revisions = [known.offer for known in ledger.revisions(key)]
    awarded = [award.quantity_mw for award in ledger.awards.values() if award.offer_id == record.offer.offer_id]
    told = [short.available_mw for short in ledger.shortfalls.values() if key_of(short) == key]
    accepted_mw = record.receipt.accepted_mw if record.receipt and record.state in TAKEN else record.offer.quantity_mw
    return Standing(
        record.offer,
        promised_mw=awarded[0] if record.state in BOUGHT and awarded else accepted_mw,
        bought=record.state in BOUGHT,
        next_revision=revisions[-1].revision + 1,
        raises=sum(later.quantity_mw > earlier.quantity_mw for earlier, later in pairwise(revisions)),
        told_mw=min(told, default=None),
    )


def reoffer(
    stands: Iterable[Standing],
    firm: Mapping[Key, tuple[OfferStep, ...]],
    products: Mapping[str, Rules],
    now: datetime,
    bounds: Bounds,
) -> list[Action]:
    """
    Return what to do at *now* about the offers that stand.

    *firm* is what could be offered now, in whole blocks, by key; a key that is not in it can let nothing go.
    """
    actions: list[Action] = []
    for one in stands:
        rules, steps = products[one.offer.product], firm.get(key_of(one.offer), ())
        closes = rules.gate_closes(one.offer.interval)
        if now < closes - bounds.gate_margin and not one.bought:
            actions += _before_gate(one, steps, rules, now, bounds)
        elif closes <= now < one.offer.interval.start and one.bought and bounds.can_tell:
            actions += _after_gate(one, steps, bounds)
    return actions


def _before_gate(
    one: Standing, steps: tuple[OfferStep, ...], rules: Rules, now: datetime, bounds: Bounds
) -> Iterator[Action]:
    available_mw = _total(steps)
    if available_mw < one.promised_mw * (1 - bounds.deadband):
        if available_mw >= rules.min_mw:
            yield Revise(_revised(one, steps, now))
        elif bounds.can_withdraw:
            reason = f"{available_mw} MW left of {one.promised_mw} MW, at least {rules.min_mw} MW can be offered"
            yield Withdraw(one.offer.offer_id, reason)
    elif available_mw > one.offer.quantity_mw * (1 + bounds.deadband) and one.raises < bounds.most_raises:
        yield Revise(_revised(one, steps, now))


def _after_gate(one: Standing, steps: tuple[OfferStep, ...], bounds: Bounds) -> Iterator[Action]:
    available_mw = _total(steps)
    known_mw = one.promised_mw if one.told_mw is None else one.told_mw
    if available_mw < known_mw and available_mw < known_mw * (1 - bounds.deadband):
        offer = one.offer
        yield Tell(
            Shortfall(
                shortfall_id=hashlib.sha256(f"{offer.offer_id}\x1f{available_mw}".encode()).hexdigest()[:32],
                resource=offer.resource,
                product=offer.product,
                interval=offer.interval,
                available_mw=available_mw,
                reason=f"{available_mw} MW are left of {one.promised_mw} MW",
            )
        )


def _total(steps: Iterable[OfferStep]) -> Decimal:
    return sum((step.quantity_mw for step in steps), Decimal(0))


def _revised(one: Standing, steps: tuple[OfferStep, ...], now: datetime) -> Offer:
    """Return the next revision of the offer, of *steps*, as known at *now*."""
    old, revision = one.offer, one.next_revision
    name = offer_id(old.resource, old.venue, old.product, old.interval, revision)
    changes = {"offer_id": name, "revision": revision, "steps": steps, "as_of": now}
    return Offer.model_validate({**old.model_dump(), **changes})
