"""How far one revision of an offer is from another. Pure."""

from decimal import Decimal
from itertools import accumulate

from pipeline.messages.market import Offer


def price_at(offer: Offer, quantity_mw: Decimal) -> Decimal:
    """Return the price of the MW that ends at *quantity_mw* of the cumulated curve."""
    totals = accumulate(step.quantity_mw for step in offer.steps)
    found = (s.price_per_mwh for total, s in zip(totals, offer.steps, strict=True) if total >= quantity_mw)
    return next(found, offer.steps[-1].price_per_mwh)


def largest_price_move(new: Offer, old: Offer, floor: Decimal) -> float:
    """Return the largest change of price at any quantity both have, as a share of the old; up to *floor* none."""
    both = min(new.quantity_mw, old.quantity_mw)
    corners = {total for offer in (new, old) for total in accumulate(s.quantity_mw for s in offer.steps)}
    moves = [
        (abs(price_at(new, corner) - before), before)
        for corner in sorted({min(corner, both) for corner in corners})
        for before in (price_at(old, corner),)
    ]
    return max((float(move / max(abs(before), floor)) for move, before in moves if move > floor), default=0.0)


def quantity_move(new: Offer, old: Offer) -> Decimal:
    """Return how many MW *new* offers more than *old*; negative where it offers less."""
    return new.quantity_mw - old.quantity_mw


def lowers(new: Offer, old: Offer) -> bool:
    """Tell whether *new* offers no more than *old* at any price, and less at some."""
    prices = sorted({step.price_per_mwh for offer in (new, old) for step in offer.steps})
    pairs = [(_up_to(new, price), _up_to(old, price)) for price in prices]
    return all(now <= before for now, before in pairs) and any(now < before for now, before in pairs)


def _up_to(offer: Offer, price: Decimal) -> Decimal:
    return sum((step.quantity_mw for step in offer.steps if step.price_per_mwh <= price), Decimal(0))
