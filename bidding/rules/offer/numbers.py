"""Rule about what the other rules calculate with."""

import math
from collections.abc import Iterator
from decimal import Decimal

from bidding.rules.case import Case
from bidding.rules.refusal import Breach

BEYOND = Decimal(10) ** 12
"""No market's MW or price; above it decimals can no longer be divided exactly."""
SOURCE = "firmwatt: missing data lowers an offer, never raises it"


def finite(case: Case) -> Iterator[Breach]:
    """Require numbers: a NaN compares as neither too much nor too little."""
    offer = case.offer
    figures = [("baseline_kw", offer.baseline_kw), ("firm_kw", offer.firm_kw), ("confidence", offer.confidence)]
    for name, figure in figures:
        if not math.isfinite(figure):
            yield Breach(f"{name} is {figure}, not a number; build the offer again", SOURCE, offer.offer_id)
    for number, step in enumerate(offer.steps, start=1):
        amounts = {
            "quantity": step.quantity_mw,
            "price": step.price_per_mwh,
            "cost": step.token_cost_per_mwh + step.service_credit_per_mwh + step.restart_cost_per_mwh,
        }
        for name, amount in amounts.items():
            if not (amount.is_finite() and abs(amount) < BEYOND):
                yield Breach(f"the {name} of step {number} is {amount}; build the offer again", SOURCE, offer.offer_id)
