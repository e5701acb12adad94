"""What of an offer is no number that can be calculated with. Pure."""

import math
from collections.abc import Iterator
from decimal import Decimal

from pipeline.messages.market import Offer

BEYOND = Decimal(10) ** 12
"""No market's MW or price; above it decimals can no longer be divided exactly."""


def unreadable(offer: Offer) -> Iterator[str]:
    """Yield each figure of *offer* that is NaN, infinite or beyond any market, in words."""
    for name in ("baseline_kw", "firm_kw", "confidence"):
        if not math.isfinite(figure := getattr(offer, name)):
            yield f"{name} is {figure}, not a number"
    for number, step in enumerate(offer.steps, start=1):
        amounts = {
            "quantity": step.quantity_mw,
            "price": step.price_per_mwh,
            "cost of tokens": step.token_cost_per_mwh,
            "service credit": step.service_credit_per_mwh,
            "cost of restarts": step.restart_cost_per_mwh,
        }
        for name, amount in amounts.items():
            if not (amount.is_finite() and abs(amount) < BEYOND):
                yield f"the {name} of step {number} is {amount}"
