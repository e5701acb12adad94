"""Rule about what an offer was cut from."""

from collections.abc import Iterator

from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import Breach
from pipeline.units import KW_PER_MW

NOISE_KW = 1e-6


def within_firm(portfolio: Portfolio) -> Iterator[Breach]:
    """Require that no more is offered than the firm power the curve was cut from."""
    for offer in portfolio.offers:
        offered_kw = float(offer.quantity_mw) * KW_PER_MW
        if offered_kw > offer.firm_kw + NOISE_KW:
            text = (
                f"{offered_kw:g} kW offered, {offer.firm_kw:g} kW firm at {offer.confidence:.0%}, "
                f"{offered_kw - offer.firm_kw:g} kW too much; cut the curve again"
            )
            yield Breach(text, "firmwatt: what is promised never exceeds what was measured", offer.offer_id)
