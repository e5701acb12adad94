"""What the rules look at: one offer, or one document of several."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from bidding.products import Rules
from pipeline.interval import Interval
from pipeline.messages.market import Offer

Key = tuple[str, str, str, Interval]
"""(venue, resource, product, interval): what a later revision replaces."""


def key_of(offer: Offer) -> Key:
    """Return what *offer* and its revisions have in common."""
    return (offer.venue, offer.resource, offer.product, offer.interval)


@dataclass(frozen=True)
class Case:
    """One offer before it leaves."""

    offer: Offer
    rules: Rules
    """Of its product."""
    now: datetime
    margin: timedelta
    """It has to leave so long before the gate."""
    standing: tuple[Offer, ...] = ()
    """What is on its way or taken already of the same venue, resource and product."""

    @classmethod
    def of(cls, offer: Offer, rules: Rules, now: datetime, standing: Iterable[Offer], margin: timedelta) -> "Case":
        """Return the case of *offer* among all that is *standing*."""
        same = (offer.venue, offer.resource, offer.product)
        own = tuple(other for other in standing if (other.venue, other.resource, other.product) == same)
        return cls(offer, rules, now, margin, own)

    @property
    def unit(self) -> str:
        """What a price is in: ``USD/MWh``."""
        return f"{self.rules.currency}/{self.rules.per}"

    @property
    def start_local(self) -> datetime:
        """The interval's start by the venue's wall clock."""
        return self.offer.interval.start.astimezone(ZoneInfo(self.rules.timezone))

    @property
    def end_local(self) -> datetime:
        """The interval's end by the venue's wall clock."""
        return self.offer.interval.end.astimezone(ZoneInfo(self.rules.timezone))


@dataclass(frozen=True)
class Sheet:
    """The offers that travel together, and the bytes they travel as."""

    offers: tuple[Offer, ...]
    products: Mapping[tuple[str, str], Rules]
    """By (venue, product)."""
    content: bytes = b""
    """Empty: not encoded yet."""

    @property
    def rules(self) -> tuple[Rules, ...]:
        """The rules of the products in it, each once, in the order of the offers."""
        named = dict.fromkeys((offer.venue, offer.product) for offer in self.offers)
        return tuple(self.products[name] for name in named if name in self.products)
