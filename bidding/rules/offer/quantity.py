"""Rules about how much is offered."""

from collections.abc import Iterator

from bidding.rules.case import Case
from bidding.rules.refusal import Breach, cited


def minimum(case: Case) -> Iterator[Breach]:
    """Require that all steps together reach the venue's minimum."""
    quantity, least = case.offer.quantity_mw, case.rules.min_mw
    if quantity < least:
        text = f"{quantity} MW is {least - quantity} MW below the minimum of {least} MW; offer that much or nothing"
        yield Breach(text, cited(case.rules, "min_mw"), case.offer.offer_id)


def maximum(case: Case) -> Iterator[Breach]:
    """Require that all steps together stay below the venue's maximum."""
    quantity, most = case.offer.quantity_mw, case.rules.max_mw
    if most is not None and quantity > most:
        text = f"{quantity} MW is {quantity - most} MW above the maximum of {most} MW; offer less"
        yield Breach(text, cited(case.rules, "max_mw"), case.offer.offer_id)


def block_step(case: Case) -> Iterator[Breach]:
    """Require whole blocks of quantity."""
    block = case.rules.block_mw
    for step in case.offer.steps:
        if over := step.quantity_mw % block:
            down = step.quantity_mw - over
            text = f"{step.quantity_mw} MW is no multiple of {block} MW; round down to {down} MW"
            yield Breach(text, cited(case.rules, "block_mw"), case.offer.offer_id)
