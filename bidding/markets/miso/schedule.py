"""
MISO's MultiVariantScheduleOffer as a flat book, and offers as such a document. Pure.

    {"day": …, "resources": [{"pnodeName": …, "offers": [{"offerType": "drr1Offer", "market": …, …}]}]}
      ⇅
    {("AIFAC.DRR1", "real-time", "drr1SpinningOfferHourly", 18): {"spinningOfferHourlyDetail": …}, …}

A POST changes the fields and hours that it names and nothing else: every value is optional, null deletes ("data driven
delete", MUI 3.3.0), and limits may be sent one of a pair "to update". So a document names the hours of its offers only.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from pydantic import JsonValue

from bidding.markets.miso.cells import (
    BY_OFFER_TYPE,
    MARKETS,
    PRODUCTS,
    TYPES,
    Content,
    Kind,
    Place,
    by_hour,
    cells,
    core,
    curve_in,
    daily,
    gone,
    holds,
    places,
    points,
    withdrawn,
)
from bidding.markets.miso.day import HOURS, hour_of
from bidding.markets.miso.settings import Resource
from bidding.products import Rules, Trading
from pipeline.errors import VenueError
from pipeline.messages.market import Offer


class Key(NamedTuple):
    """One cell."""

    resource: str
    market: str
    field: str
    hour: int


@dataclass
class Book:
    """What a schedule says, cell by cell, of one market day."""

    day: date
    cells: dict[Key, Content] = field(default_factory=dict)
    types: dict[str, str] = field(default_factory=dict)
    """By resource: `drr1` or `drr2`."""

    def says(self, offer: Offer, market: str) -> bool:
        """Tell whether the book holds *offer*: its MW, its prices and that they are for sale."""
        type_name, kind = self.types.get(offer.resource), PRODUCTS[offer.product]
        if type_name is None or (type_name == "drr1" and kind == "energy" and len(offer.steps) > 1):
            return False
        curve = points(offer)
        return any(
            self.matches(offer.resource, market, hour_of(offer.interval)[1], core(type_name, place, kind, curve))
            for place in places(type_name, kind)
        )

    def names(self, offer: Offer, market: str) -> bool:
        """Tell whether the book, as a document, says anything of what *offer* is about: its product in its hour."""
        type_name, hour = self.types.get(offer.resource), hour_of(offer.interval)[1]
        return type_name is not None and any(
            Key(offer.resource, market, place.field, hour) in self.cells
            for place in places(type_name, PRODUCTS[offer.product])
        )

    def gone(self, offer: Offer, market: str) -> bool:
        """Tell whether the book says that *offer* was taken back: no curve, and a status that sells nothing."""
        type_name, kind = self.types.get(offer.resource), PRODUCTS[offer.product]
        return type_name is not None and any(
            self.matches(offer.resource, market, hour_of(offer.interval)[1], gone(type_name, place, kind))
            for place in places(type_name, kind)
        )

    def matches(self, resource: str, market: str, hour: int, wanted: Mapping[str, Content]) -> bool:
        """Tell whether the book says all that the cells *wanted* say."""
        return all(
            holds(content, self.cells.get(Key(resource, market, name, hour), {})) for name, content in wanted.items()
        )

    def curves(self) -> Iterator[tuple[Key, Kind, Place]]:
        """Yield the cells in which an offer's curve may stand."""
        kinds = {
            (name, place.field): (kind, place)
            for name in TYPES
            for kind in TYPES[name].places
            for place in places(name, kind)
        }
        for key in self.cells:
            if found := kinds.get((self.types[key.resource], key.field)):
                yield key, *found


def market_of(product: str, products: Mapping[str, Rules]) -> str:
    """Return the market, as MISO writes it, in which *product* is traded."""
    return "day-ahead" if products[product].trading is Trading.DAY_AHEAD else "real-time"


def flat(value: JsonValue) -> Book:
    """Return the schedule in *value*; resources that are no demand response are left out. `VenueError` on nonsense."""
    try:
        return _flat(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise VenueError(f"not a schedule of MISO's: {type(error).__name__} {str(error)[:100]!a}") from error


def _flat(value: Any) -> Book:
    book = Book(date.fromisoformat(value["day"]))
    for entry in value["resources"]:
        for offer in entry["offers"]:
            type_name = BY_OFFER_TYPE.get(offer["offerType"])
            if type_name is None:
                continue
            name, market = _text(entry["pnodeName"]), _market(offer["market"])
            if book.types.setdefault(name, type_name) != type_name:
                raise ValueError(f"{name} is of two types")
            for label, hours in offer.items():
                if isinstance(hours, list):
                    _add(book, name, market, label, hours)
    for key, kind, place in book.curves():
        curve_in(book.types[key.resource], place, kind, book.cells[key])
        _status((book.cells[key].get(place.detail) or {}).get("dispatchStatus"))
    for key, content in book.cells.items():
        if key.field == TYPES[book.types[key.resource]].commit:
            _status(content.get("status"))
    return book


def _status(value: object) -> None:
    if value is not None:
        _text(value)


def _add(book: Book, name: str, market: str, label: str, hours: list[Any]) -> None:
    for content in hours:
        hour = content["hour"]
        if isinstance(hour, bool) or not isinstance(hour, int) or not 1 <= hour <= HOURS:
            raise ValueError(f"hour {hour!r}")
        key = Key(name, market, label, hour)
        if key in book.cells:
            raise ValueError(f"{label} has hour {hour} twice")
        book.cells[key] = {part: inside for part, inside in content.items() if part != "hour"}


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value


def _market(value: object) -> str:
    if value not in MARKETS:
        raise ValueError(f"market {value!r}")
    return str(value)


def schedule(day: date, market: str, offers: Sequence[Offer], resources: Mapping[str, Resource]) -> dict[str, Any]:
    """Return the document that puts *offers*, all of *market* and *day*, on the schedule."""
    filled = [(offer, cells(offer, resources[offer.resource])) for offer in offers]
    return _document(day, market, filled, {name: daily(resource) for name, resource in resources.items()}, resources)


def withdrawal(day: date, market: str, offers: Sequence[Offer], resources: Mapping[str, Resource]) -> dict[str, Any]:
    """Return the document that takes *offers* off the schedule."""
    filled = [(offer, withdrawn(offer, resources[offer.resource])) for offer in offers]
    return _document(day, market, filled, {}, resources)


def _document(
    day: date,
    market: str,
    filled: Iterable[tuple[Offer, Mapping[str, Content]]],
    whole_day: Mapping[str, Mapping[str, Any]],
    resources: Mapping[str, Resource],
) -> dict[str, Any]:
    entries: dict[str, list[tuple[str, int, Content]]] = {}
    for offer, found in filled:
        hour = hour_of(offer.interval)[1]
        entries.setdefault(offer.resource, []).extend((name, hour, content) for name, content in found.items())
    return {
        "day": day.isoformat(),
        "resources": [
            {
                "pnodeName": name,
                "offers": [
                    {
                        "offerType": TYPES[resources[name].type].offer_type,
                        "scheduleType": resources[name].schedule_type,
                        "market": market,
                        **whole_day.get(name, {}),
                        **by_hour(entries[name]),
                    }
                ],
            }
            for name in sorted(entries)
        ],
    }
