"""
What is promised once new offers leave: everything that stands, less what they replace, plus them. Pure.

    offers      ├── A 3 MW ──┤                      power is needed by segments in which nothing begins or ends;
                      ├── B 2 MW ─────┤             only segments that a new offer touches are looked at
    segments    |  3  |  5   |   2    |
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from itertools import pairwise

from bidding.gate.situation import Flexibility, Situation
from bidding.products import Family, Rules
from bidding.rules.case import Key, key_of
from pipeline.interval import Interval
from pipeline.messages.market import Offer

NOTHING = Flexibility()


@dataclass(frozen=True)
class Promise:
    """One offer as something that may be called."""

    offer: Offer
    rules: Rules | None
    """None: its product is not known any more, so it takes its power and shares it with nothing."""

    @property
    def is_up(self) -> bool:
        """More load is promised, or both more and less."""
        return self.rules is not None and (self.rules.family is Family.REGULATION_DOWN or self.rules.symmetric)

    @property
    def is_down(self) -> bool:
        """Less load is promised."""
        return self.rules is None or self.rules.symmetric or self.rules.family is not Family.REGULATION_DOWN

    @property
    def response_s(self) -> float | None:
        """From instruction to full delivery."""
        return self.rules.response_s if self.rules else None

    def stacks_with(self, other: "Promise") -> bool:
        """Tell whether both products say that the same power may be offered in the other."""
        return _names(self, other) and _names(other, self)


def _names(one: Promise, other: Promise) -> bool:
    names = one.rules.stacks_with if one.rules else ()
    same_venue = one.offer.venue == other.offer.venue
    return f"{other.offer.venue}/{other.offer.product}" in names or (same_venue and other.offer.product in names)


@dataclass(frozen=True)
class Segment:
    """A span in which nothing begins or ends, and what one site has promised in it in one direction."""

    site: str
    interval: Interval
    is_up: bool
    promises: tuple[Promise, ...]

    @property
    def needed_mw(self) -> Decimal:
        """The power it takes to keep all of it."""
        return needed_mw(self.promises)

    @property
    def words(self) -> str:
        """Who promised, for a reader."""
        return " + ".join(f"{p.offer.quantity_mw} MW {p.offer.venue}/{p.offer.product}" for p in self.promises)


@dataclass(frozen=True)
class Portfolio:
    """New offers among everything that stands."""

    offers: tuple[Offer, ...]
    situation: Situation
    travelling: int = 0
    """How many offers travel in the document, those that only lower included, where that matters."""

    @cached_property
    def promises(self) -> tuple[Promise, ...]:
        """Everything once the new offers stand; of several revisions of a key the largest: any may turn out to hold."""
        largest: dict[Key, Offer] = {}
        for offer in (*self.situation.standing, *self.situation.held):
            key = key_of(offer)
            if key not in largest or offer.quantity_mw > largest[key].quantity_mw:
                largest[key] = offer
        for offer in self.offers:
            largest.pop(key_of(offer), None)
        products = self.situation.products
        kept = largest.values()
        return tuple(Promise(offer, products.get((offer.venue, offer.product))) for offer in (*kept, *self.offers))

    @cached_property
    def by_site(self) -> Mapping[str, tuple[Promise, ...]]:
        """The promises of the sites that the new offers are for."""
        sites: dict[str, list[Promise]] = {offer.site: [] for offer in self.offers}
        for promise in self.promises:
            if promise.offer.site in sites:
                sites[promise.offer.site].append(promise)
        return {site: tuple(promises) for site, promises in sites.items()}

    @cached_property
    def segments(self) -> tuple[Segment, ...]:
        """The segments that a new offer touches, by site and direction."""
        new = {id(offer) for offer in self.offers}
        return tuple(
            Segment(site, interval, is_up, active)
            for site, promises in self.by_site.items()
            for is_up in (False, True)
            for interval, active in swept([p for p in promises if (p.is_up if is_up else p.is_down)])
            if any(id(promise.offer) in new for promise in active)
        )

    def firm_mw(self, site: str, interval: Interval, *, is_up: bool) -> Decimal:
        """Return the firm power of *site* over all of *interval*."""
        flexibility = self.situation.flexibility.get(site, NOTHING)
        return firm_mw(flexibility.firm_up_kw if is_up else flexibility.firm_kw, interval)

    def days(self, offers: Iterable[Offer]) -> set[date]:
        """Return the local days on which *offers* begin."""
        return {self.situation.day_of(offer.interval.start) for offer in offers}

    def of_day(self, day: date) -> tuple[Promise, ...]:
        """Return the promises that begin on a local *day*."""
        return self._by_day.get(day, ())

    @cached_property
    def _by_day(self) -> Mapping[date, tuple[Promise, ...]]:
        days: dict[date, list[Promise]] = defaultdict(list)
        for promise in self.promises:
            days[self.situation.day_of(promise.offer.interval.start)].append(promise)
        return {day: tuple(promises) for day, promises in days.items()}


def swept(promises: Sequence[Promise]) -> Iterator[tuple[Interval, tuple[Promise, ...]]]:
    """Yield the segments of *promises* in time, each with those that hold in it."""
    bounds = sorted({bound for p in promises for bound in (p.offer.interval.start, p.offer.interval.end)})
    starts: dict[datetime, list[Promise]] = defaultdict(list)
    for promise in promises:
        starts[promise.offer.interval.start].append(promise)
    active: list[Promise] = []
    for begin, end in pairwise(bounds):
        active = [promise for promise in active if promise.offer.interval.end > begin] + starts[begin]
        if active:
            yield Interval(begin, end), tuple(active)


def needed_mw(promises: Iterable[Promise]) -> Decimal:
    """
    Return the power it takes to keep all *promises* at once; those that all stack with each other share theirs.

    The grouping is greedy, largest first: it may ask for more than the best one would, never for less than is owed.
    """
    groups: list[list[Promise]] = []
    for promise in sorted(promises, key=lambda p: (-p.offer.quantity_mw, p.offer.offer_id)):
        home = next((group for group in groups if all(promise.stacks_with(other) for other in group)), None)
        if home is None:
            groups.append([promise])
        else:
            home.append(promise)
    return sum((group[0].offer.quantity_mw for group in groups), Decimal(0))


def firm_mw(firm_kw: Mapping[Interval, float], interval: Interval) -> Decimal:
    """Return the least that *firm_kw* says over *interval*, 0 where it says nothing of some of it or no number."""
    least, reached = None, interval.start
    for span in sorted(firm_kw):
        if span.end <= interval.start or span.start >= interval.end:
            continue
        if span.start > reached:
            return Decimal(0)
        reached = max(reached, span.end)
        kw = firm_kw[span] if firm_kw[span] > 0 else 0.0
        least = kw if least is None else min(least, kw)
    if least is None or reached < interval.end:
        return Decimal(0)
    return Decimal(repr(least)) / 1000
