"""One interval of the products that clear together: standing offers and simulated bidders in, prices and awards out."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from hashlib import sha256

from bidding.sandbox import clearing
from bidding.sandbox.answers import Award
from bidding.sandbox.coclearing import Bid, Limits, co_clear
from bidding.sandbox.competition import draw_name, requirements, scale, simulated
from bidding.sandbox.entries import ClearingEntry, OfferEntry
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Family, Rules

Offers = Mapping[str, Sequence[OfferEntry]]
"""By product: those that count."""


def cleared(session: Sequence[Rules], offers: Offers, market: Market, seed: int, start: datetime) -> ClearingEntry:
    """Return the clearing of the interval from *start*: by merit order, or, of several products, together."""
    name = draw_name(session[0].product, start.isoformat(), market.default.product)
    if len(session) > 1:
        return _together(session, offers, seed, name, start)
    return _by_merit(session[0], offers.get(session[0].product, ()), seed, name, start)


def _by_merit(rules: Rules, offers: Sequence[OfferEntry], seed: int, name: str, start: datetime) -> ClearingEntry:
    limits = _limits(offers)
    steps = [
        clearing.Step(offer.offer_id, mw, price)
        for offer in offers
        for mw, price in upto(limits[_bidder(offer)].most_mw(rules), accepted_steps(offer))
    ]
    others, demand_mw = _others(rules, seed, name)
    result = clearing.clear([*steps, *others], demand_mw)
    awards = (_award(offer, result.award_mw(offer.offer_id, rules.block_mw), result.price, rules) for offer in offers)
    return ClearingEntry(
        at=rules.gate_closes(start),
        interval_start=start,
        prices={rules.product: result.price},
        demand_mw={rules.product: demand_mw},
        awards=tuple(award for award in awards if award is not None),
    )


def _others(rules: Rules, seed: int, name: str) -> tuple[Sequence[clearing.Step], Decimal]:
    """Return the simulated bidders for a product that clears alone, and what is wanted of it."""
    if rules.family is Family.ENERGY:
        size = scale([rules])
        return clearing.other_bidders(seed, name, size), clearing.demand(seed, name, size)
    bids, _ = simulated([rules], seed, name)
    wanted = requirements([rules], bids, seed, name)
    return [clearing.Step(bid.bidder, bid.mw, bid.price) for bid in bids], wanted[rules.product]


def _together(session: Sequence[Rules], offers: Offers, seed: int, name: str, start: datetime) -> ClearingEntry:
    bids, limits = simulated(session, seed, name)
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
    below = (Decimal(0), *(point.mw for point in offer.body.curve))
    steps = [(point.mw - under, point.price) for under, point in zip(below, offer.body.curve, strict=False)]
    return upto(offer.receipt.accepted_mw if offer.receipt else Decimal(0), sorted(steps, key=lambda step: step[1]))


def upto(most_mw: Decimal | None, steps: Sequence[tuple[Decimal, Decimal]]) -> list[tuple[Decimal, Decimal]]:
    """Return the first of *steps* (MW, price), *most_mw* in all; None: all of them."""
    if most_mw is None:
        return list(steps)
    kept = []
    for mw, price in steps:
        if (taken := min(mw, most_mw)) > 0:
            kept.append((taken, price))
            most_mw -= taken
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
