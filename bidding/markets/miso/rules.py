"""
What MISO's schema cannot take of an offer, each refusal in one line with its source. Pure.

This is what an encoder needs in order never to write an invalid document; monotone curves, gates, minima and the rest
are the rule layer's, since the schema lets them through.
"""

from collections.abc import Iterator, Mapping

from bidding.markets.miso.cells import (
    ENERGY,
    MW_BOUND,
    MW_STEP,
    PRICE_BOUND,
    PRICE_TICK,
    PRODUCTS,
    TYPES,
    place_of,
    places,
)
from bidding.markets.miso.day import hour_of
from bidding.markets.miso.settings import Resource
from bidding.products import Rules
from pipeline.messages.market import Offer

SOURCE = "MISO MUI 3.3.0"


def problems(offer: Offer, resources: Mapping[str, Resource], products: Mapping[str, Rules]) -> Iterator[str]:
    """Yield why *offer* cannot be written as a schedule offer of MISO's; nothing for one that can."""
    resource, kind = resources.get(offer.resource), PRODUCTS.get(offer.product)
    if resource is None:
        yield f"resource {offer.resource!r} is not in [venue.miso]; have {', '.join(resources) or 'none'}"
    if offer.product not in products or kind is None:
        yield f"product {offer.product!r} is not sold to MISO; have {', '.join(sorted(products))}"
    if resource is not None and kind is not None:
        title = TYPES[resource.type].title
        if not places(resource.type, kind):
            yield f"{offer.resource} is a {title}, which has no {offer.product} offer ({SOURCE})"
        else:
            yield from _curve(offer, title, place_of(resource, kind).steps, one_block=kind == ENERGY)
    try:
        hour_of(offer.interval)
    except ValueError as error:
        yield str(error)


def _curve(offer: Offer, title: str, most: int, *, one_block: bool) -> Iterator[str]:
    steps = offer.steps
    if len(steps) > most == 1 and one_block:
        yield (
            f"{offer.resource} is a {title}: its energy is one block with one price "
            f"(targetDemandReductionMW, {SOURCE}); offer one step, not {len(steps)}, or register it as type II"
        )
    elif len(steps) > most:
        yield f"{offer.resource}: a curve of {offer.product} has at most {most} segments, not {len(steps)} ({SOURCE})"
    if offer.quantity_mw > MW_BOUND:
        yield f"{offer.resource}: {offer.quantity_mw} MW are above {MW_BOUND} ({SOURCE}, RealEnergy)"
        return
    for step in steps:
        if step.quantity_mw % MW_STEP:
            yield f"{offer.resource}: {step.quantity_mw} MW is not a multiple of {MW_STEP} ({SOURCE}, RealEnergy)"
        if step.price_per_mwh % PRICE_TICK or abs(step.price_per_mwh) > PRICE_BOUND:
            yield (
                f"{offer.resource}: price {step.price_per_mwh} is not a multiple of {PRICE_TICK} within "
                f"±{PRICE_BOUND} ({SOURCE}, MarketPrice)"
            )
