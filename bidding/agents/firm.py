"""The strategy that needs no forecast: every due interval of one product, all firm power, at cost plus margin."""

from collections.abc import Iterator
from datetime import datetime

from bidding.agents.baselines import Baselines
from bidding.agents.due import candidates
from bidding.agents.feed import World
from bidding.agents.gatekeeper import Reference
from bidding.book import Book
from bidding.capacity import Finding
from bidding.entries import Explained
from bidding.offers import NoOffer, Terms, build
from bidding.products import Rules
from bidding.settings import Bidding
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Offer


class FirmOffers:
    """Decide interval by interval, as soon as capacity and history carry an offer."""

    def __init__(
        self, settings: Bidding, rules: Rules, terms: Terms, *, book: Book, world: World, baselines: Baselines
    ) -> None:
        self._settings, self._rules, self._terms = settings, rules, terms
        self._book, self._world, self._baselines = book, world, baselines
        self.insufficient: InsufficientDataError | None = None
        self.reference: Reference = {}
        """Nothing is forecast here."""

    async def due(self, now: datetime) -> list[Offer | NoOffer | Explained]:
        """Return what is to be offered at *now* of the intervals not offered yet, or why it is not."""
        return list(self._due(now))

    def _due(self, now: datetime) -> Iterator[Offer | NoOffer]:
        """Yield what is to be offered at *now* of the intervals not offered yet, or why it is not."""
        for interval in candidates(self._settings, self._rules, now):
            if not self._book.ledger.is_offered(self._settings.resource, self._rules.product, interval):
                yield self._decide(interval, now)

    def _decide(self, interval: Interval, now: datetime) -> Offer | NoOffer:
        if self._world.whole_capacity is None:
            return NoOffer(interval, (Finding("halted", "no capacity message yet"),))
        try:
            baseline_kw = self._baselines.kw(interval, now)
        except InsufficientDataError as error:
            self.insufficient = error
            self._baselines.reload(now)
            return NoOffer(interval, (Finding("baseline", str(error)),))
        self.insufficient = None
        return build(
            list(self._world.capacity),
            baseline_kw,
            self._rules,
            interval=interval,
            terms=self._terms,
            now=now,
            revision=1 + self._book.ledger.revision_of(self._settings.resource, self._rules.product, interval),
        )
