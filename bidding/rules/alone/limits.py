"""Up to where a document leaves by itself; beyond, two people have to agree to exactly this one."""

from collections.abc import Iterator
from decimal import Decimal

from bidding.rules.amounts import peak_mw, worst_case
from bidding.rules.case import key_of
from bidding.rules.moves import largest_price_move
from bidding.rules.portfolio_view import Portfolio, Promise
from bidding.rules.refusal import Breach

LIMITS = "[bidding.limits]"


def document_power(portfolio: Portfolio) -> Iterator[Breach]:
    """Ask two people about a document of much power."""
    limit = portfolio.situation.limits.alone_mw
    if (peak := peak_mw(_new(portfolio))) > limit:
        yield Breach(f"{peak} MW at one instant, {limit} MW leave by themselves", f"{LIMITS} alone_mw")


def document_money(portfolio: Portfolio) -> Iterator[Breach]:
    """Ask two people about a document that may cost much."""
    limits = portfolio.situation.limits
    amounts: dict[str, Decimal] = {}
    for promise in _new(portfolio):
        had = amounts.get(promise.offer.currency, Decimal(0))
        amounts[promise.offer.currency] = had + worst_case(promise, limits)
    for currency, amount in sorted(amounts.items()):
        if amount > limits.alone_money:
            text = f"{amount:,.2f} {currency} at stake, {limits.alone_money:,} leave by themselves"
            yield Breach(text, f"{LIMITS} alone_money")


def document_price_move(portfolio: Portfolio) -> Iterator[Breach]:
    """Ask two people about a document that moves an accepted price far."""
    limits = portfolio.situation.limits
    for offer in portfolio.offers:
        if (last := portfolio.situation.accepted.get(key_of(offer))) is None:
            continue
        if (move := largest_price_move(offer, last, limits.price_move_floor)) > limits.alone_price_move:
            text = f"a price moves by {move:.0%}, {limits.alone_price_move:.0%} leave by themselves"
            yield Breach(text, f"{LIMITS} alone_price_move", offer.offer_id)


def document_resources(portfolio: Portfolio) -> Iterator[Breach]:
    """Ask two people about a document for many resources."""
    have, limit = len({offer.resource for offer in portfolio.offers}), portfolio.situation.limits.alone_resources
    if have > limit:
        yield Breach(f"{have} resources, {limit} leave by themselves", f"{LIMITS} alone_resources")


def document_offers(portfolio: Portfolio) -> Iterator[Breach]:
    """Ask two people about a document of many offers."""
    have, limit = len(portfolio.offers), portfolio.situation.limits.alone_offers
    if have > limit:
        yield Breach(f"{have} offers, {limit} leave by themselves", f"{LIMITS} alone_offers")


def _new(portfolio: Portfolio) -> list[Promise]:
    products = portfolio.situation.products
    return [Promise(offer, products.get((offer.venue, offer.product))) for offer in portfolio.offers]
