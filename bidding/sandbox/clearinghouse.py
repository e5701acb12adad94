"""One interval of the products that clear together: standing offers and simulated bidders in, prices and awards out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from bidding.sandbox import clearing
from bidding.sandbox.answers import Award
from bidding.sandbox.coclearing import Bid, Limits, co_clear
from bidding.sandbox.competition import draw_name, others, requirements
from bidding.sandbox.entries import ClearingEntry, OfferEntry
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Family, Rules

Offers = Mapping[str, Sequence[OfferEntry]]
"""By product: those that count."""


def cleared(session: Sequence[Rules], offers: Offers, market: Market, seed: int, start: datetime) -> ClearingEntry:
    """Return the clearing of the interval from *start*: by merit order, or, of several products, together."""
    name = draw_name(session[0].product, start.isoformat(), market.default.product)
    if len(session) == 1 and session[0].family is Family.ENERGY:
        return _by_merit(session[0], offers.get(session[0].product, ()), seed, name, start)
    return _together(session, offers, seed, name, start)


def _by_merit(rules: Rules, offers: Sequence[OfferEntry], seed: int, name: str, start: datetime) -> ClearingEntry:
    steps = [clearing.Step(offer.offer_id, mw, price) for offer in offers for mw, price in accepted_steps(offer)]
    demand_mw = clearing.demand(seed, name)
    result = clearing.clear([*steps, *clearing.other_bidders(seed, name)], demand_mw)
    awards = (_award(offer, result.award_mw(offer.offer_id, rules.block_mw), result.price, rules) for offer in offers)
    return ClearingEntry(
        at=rules.gate_closes(start),
        interval_start=start,
        prices={rules.product: result.price},
        demand_mw={rules.product: demand_mw},
        awards=tuple(award for award in awards if award is not None),
    )


def _together(session: Sequence[Rules], offers: Offers, seed: int, name: str, start: datetime) -> ClearingEntry:
    bids, limits = others(session, seed, name)
    wanted = requirements(session, bids, seed, name)
    ours = [offer for rules in session for offer in offers.get(rules.product, ())]
    bids += [
        Bid(_bidder(offer), offer.body.product, mw, price) for offer in ours for mw, price in accepted_steps(offer)
    ]
    result = co_clear(session, bids, limits | _limits(ours), wanted)
    awards = (
        _award(
            offer, result.award_mw(_bidder(offer), rules.product, rules.block_mw), result.prices[rules.product], rules
        )
        for rules in session
        for offer in offers.get(rules.product, ())
    )
    return ClearingEntry(
        at=session[0].gate_closes(start),
        interval_start=start,
        prices=result.prices,
        demand_mw=wanted,
        awards=tuple(award for award in awards if award is not None),
    )


def _bidder(offer: OfferEntry) -> str:
    """Name who stands behind *offer*: a resource's offers share its limits."""
    return f"resource {offer.body.resource}"


def _limits(offers: Sequence[OfferEntry]) -> dict[str, Limits]:
    """Return what bounds each resource: the least that any of its offers says."""
    found: dict[str, Limits] = {}
    for offer in offers:
        so_far = found.get(_bidder(offer), Limits())
        found[_bidder(offer)] = Limits(
            _least(so_far.capacity_mw, offer.body.capacity_mw),
            _least(so_far.ramp_mw_per_min, offer.body.ramp_mw_per_min),
        )
    return found


def _least(one: Decimal | None, other: Decimal | None) -> Decimal | None:
    given = [figure for figure in (one, other) if figure is not None]
    return min(given) if given else None


def accepted_steps(offer: OfferEntry) -> list[tuple[Decimal, Decimal]]:
    """Return the accepted part of the curve in *offer* as single steps of MW and price, the cheapest first."""
    steps: list[tuple[Decimal, Decimal]] = []
    accepted_mw = offer.receipt.accepted_mw if offer.receipt else Decimal(0)
    below = Decimal(0)
    for point in offer.body.curve:
        steps.append((point.mw - below, point.price))
        below = point.mw
    steps.sort(key=lambda step: step[1])
    kept = []
    for mw, price in steps:
        if (taken := min(mw, accepted_mw)) > 0:
            kept.append((taken, price))
            accepted_mw -= taken
    return kept


def _award(offer: OfferEntry, mw: Decimal, price: Decimal | None, rules: Rules) -> Award | None:
    if price is None or not mw:
        return None
    return Award(
        award_id=f"A-{sha256(offer.offer_id.encode()).hexdigest()[:16]}",
        offer_id=offer.offer_id,
        resource=offer.body.resource,
        product=offer.body.product,
        interval_start=offer.body.interval_start,
        interval_end=offer.body.interval_end,
        mw=mw,
        price=price,
        currency=rules.currency,
        awarded_at=rules.gate_closes(offer.body.interval_start),
    )
