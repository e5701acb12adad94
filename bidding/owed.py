"""How much of an offer binds us: all of it while it may be bought, what was bought once it was. Pure."""

from collections.abc import Iterable, Sequence
from decimal import Decimal

from pipeline.messages.market import Award, Offer, OfferStep


def owed(offer: Offer, awards: Iterable[Award]) -> Offer:
    """Return *offer* with as much as *awards* bought of it, whole where none of them is of it."""
    bought = [award.quantity_mw for award in awards if award.offer_id == offer.offer_id]
    steps = cut(offer.steps, sum(bought, Decimal(0))) if bought else offer.steps
    return offer.model_copy(update={"steps": steps}) if steps else offer


def cut(steps: Sequence[OfferStep], room: Decimal) -> tuple[OfferStep, ...]:
    """
    Return *steps*, in their order, cut to *room* MW: what is let go at the lowest price stays.

    0.10 MW at 10 and 0.15 MW at 20, cut to 0.12: 0.10 at 10 and 0.02 at 20.
    """
    left, kept = room, {}
    for place, step in sorted(enumerate(steps), key=lambda item: item[1].price_per_mwh):
        if (quantity := min(step.quantity_mw, left)) > 0:
            kept[place] = step.model_copy(update={"quantity_mw": quantity})
            left -= quantity
    return tuple(kept[place] for place in sorted(kept))
