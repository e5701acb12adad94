"""Rules that catch a builder gone astray: prices far from their reasons, jumps, floods."""

from collections.abc import Iterator
from decimal import Decimal

from bidding.rules.case import key_of
from bidding.rules.moves import largest_price_move, quantity_move
from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import Breach
from pipeline.messages.market import OfferStep

COLLARS, LIMITS = "[bidding.collars]", "[bidding.limits]"


def price_against_cost(portfolio: Portfolio) -> Iterator[Breach]:
    """Require a price of energy near what the step costs in tokens, credits and restarts."""
    collars = portfolio.situation.collars
    for offer in portfolio.offers:
        rules = portfolio.situation.products.get((offer.venue, offer.product))
        if rules is not None and rules.per != "MWh":
            continue  # the price of standing ready is no price of energy, and may lie below its cost
        unit = f"{offer.currency}/MWh"
        for step in offer.steps:
            cost, price = _cost(step), step.price_per_mwh
            least = cost * (1 - Decimal(repr(collars.below_cost)))
            most = cost * (1 + Decimal(repr(collars.above_cost)))
            if price < least:
                text = f"{price} {unit} is {least - price} below its collar, cost is {cost}; ask at least {least}"
                yield Breach(text, f"{COLLARS} below_cost", offer.offer_id)
            if cost > 0 and price > most:
                text = f"{price} {unit} is {price - most} above its collar, cost is {cost}; ask at most {most}"
                yield Breach(text, f"{COLLARS} above_cost", offer.offer_id)


def price_against_reference(portfolio: Portfolio) -> Iterator[Breach]:
    """Require a price near the reference price of the interval, where there is one."""
    collars = portfolio.situation.collars
    below, above = Decimal(repr(collars.below_reference)), Decimal(repr(collars.above_reference))
    for offer in portfolio.offers:
        reference = portfolio.situation.reference.get((offer.venue, offer.product, offer.interval))
        if reference is None:
            continue
        if not reference.is_finite():
            text = f"the reference price is {reference}; load the forecast again"
            yield Breach(text, f"{COLLARS} above_reference", offer.offer_id)
            continue
        width = max(abs(reference), collars.reference_floor)
        for step in offer.steps:
            price, most, least = step.price_per_mwh, reference + width * above, reference - width * below
            if price > most or (below < 1 and price < least):
                text = (
                    f"{price} {offer.currency}/MWh is outside {least} to {most} around the reference {reference}; "
                    "check the forecast and the cost"
                )
                key = "above_reference" if price > most else "below_reference"
                yield Breach(text, f"{COLLARS} {key}", offer.offer_id)


def price_move(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit how far a revision moves the price away from the last accepted one."""
    limits = portfolio.situation.limits
    for offer in portfolio.offers:
        if (last := portfolio.situation.accepted.get(key_of(offer))) is None:
            continue
        move = largest_price_move(offer, last, limits.price_move_floor)
        if move > limits.price_move:
            text = f"moves a price by {move:.0%} against revision {last.revision}, {limits.price_move:.0%} allowed"
            yield Breach(f"{text}; check what changed", f"{LIMITS} price_move", offer.offer_id)


def quantity_jump(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit how far a revision raises the quantity above the last accepted one."""
    limit = portfolio.situation.limits.quantity_move_mw
    for offer in portfolio.offers:
        if (last := portfolio.situation.accepted.get(key_of(offer))) is None:
            continue
        if (move := quantity_move(offer, last)) > limit:
            text = f"adds {move} MW to revision {last.revision}, {limit} MW allowed, {move - limit} MW too much"
            yield Breach(f"{text}; check what changed", f"{LIMITS} quantity_move_mw", offer.offer_id)


def offers_per_minute(portfolio: Portfolio) -> Iterator[Breach]:
    """Stop a builder that floods the venue: so many offers in any minute."""
    yield from _flood(portfolio, portfolio.situation.counters.last_minute, "offers_per_minute", "the last minute")


def offers_per_day(portfolio: Portfolio) -> Iterator[Breach]:
    """Stop a builder that goes round and round: so many offers in a local day."""
    yield from _flood(portfolio, portfolio.situation.counters.today, "offers_per_day", "this day")


def _flood(portfolio: Portfolio, sent: int, key: str, span: str) -> Iterator[Breach]:
    limit: int = getattr(portfolio.situation.limits, key)
    if (total := sent + max(portfolio.travelling, len(portfolio.offers))) > limit:
        text = f"{total} offers in {span} with these, {limit} allowed, {total - limit} too many; wait, and see why"
        yield Breach(text, f"{LIMITS} {key}")


def _cost(step: OfferStep) -> Decimal:
    return step.token_cost_per_mwh + step.service_credit_per_mwh + step.restart_cost_per_mwh
