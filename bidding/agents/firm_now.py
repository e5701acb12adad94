"""
What of an offer that stands could still be offered now: its own curve, cut to what is firm beside the others.

An offer is never raised by this: what has become free is for the strategy to sell elsewhere.
"""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal

from bidding.agents.feed import World
from bidding.book import Book
from bidding.capacity import Window, firm_kw
from bidding.owed import cut, owed
from bidding.products import Rules
from bidding.settings import Bidding
from bidding.states import BINDING
from pipeline.messages.market import Offer, OfferStep
from pipeline.units import contract_mw


class FirmNow:
    """The firm power of now, shared out: a product named earlier in the settings is cut later."""

    def __init__(
        self, settings: Bidding, rules: Callable[[str], Rules], *, book: Book, world: World, window: Window
    ) -> None:
        self._settings, self._rules = settings, rules
        self._book, self._world, self._window = book, world, window

    def __call__(self, offer: Offer, now: datetime) -> tuple[OfferStep, ...]:
        """Return the steps of *offer* that are still firm at *now*; nothing where no capacity is seen."""
        tiers = self._settings.tiers_for_sale
        firm = firm_kw(self._world.capacity, self._window, offer.baseline_kw, now, tiers)
        block_mw = self._rules(offer.product).block_mw
        room = contract_mw(firm.total_kw, block_mw) - sum(self._before(offer), Decimal(0))
        return cut(offer.steps, max(room, Decimal(0)) // block_mw * block_mw)

    def _before(self, offer: Offer) -> list[Decimal]:
        """Return what is promised at the same time of products that are cut later."""
        order = {name: place for place, name in enumerate(self._settings.for_sale)}
        place = order.get(offer.product, len(order))
        return [
            owed(other, self._book.ledger.awards.values()).quantity_mw
            for record in self._book.ledger.offers.values()
            if record.state in BINDING
            and (other := record.offer).interval.start < offer.interval.end
            and other.interval.end > offer.interval.start
            and order.get(other.product, len(order)) < place
        ]
