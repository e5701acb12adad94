"""
Offers to MISO's document and back. Pure.

A document is what is sent and one member more, `firmwatt`, which never leaves: `sent` takes it off. It holds what
MISO's schema has no word for (whose MW these are, what stands behind the price, how sure we are of them), so that the
journal's copy alone gives back the offers; MW, prices and hours stand in MISO's part only and are read from there. The
published schema closes none of the objects concerned, so the document as a whole is valid under it, too.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from pydantic import Field, ValidationError

from bidding.markets.miso.cells import PRODUCTS, Content, Kind, Place, Point, core, curve_in, places
from bidding.markets.miso.day import hour_of, interval_of
from bidding.markets.miso.rules import problems
from bidding.markets.miso.schedule import Book, Key, flat, market_of, schedule
from bidding.markets.miso.settings import NAME, Resource
from bidding.markets.miso.strict import line, parse, read, why, write
from bidding.products import Rules
from pipeline.errors import VenueError
from pipeline.messages.market import Document, Offer

NOTE = "firmwatt"
LARGEST = 64 * 1024 * 1024
"""Bytes of our own document that are read back: 100 resources, five products, 24 hours take 8 MB."""

_IN_THE_SCHEDULE = {"quantity_mw", "price_per_mwh"}


class Entry(Document):
    """What the schedule does not say of one offer, and where its hour stands there."""

    hour: int = Field(ge=1, le=24)
    product: str
    resource: str
    rest: dict[str, Any]
    steps: tuple[dict[str, Any], ...]


class Note(Document):
    """Our member of the document, offers in their order."""

    version: int = Field(ge=1, le=1)
    offers: tuple[Entry, ...] = Field(min_length=1)


class Codec:
    """The words for one participant's resources."""

    def __init__(self, resources: Iterable[Resource], products: Mapping[str, Rules]) -> None:
        self.resources = {resource.name: resource for resource in resources}
        self.products = products

    def key(self, offer: Offer) -> tuple[str, date]:
        """Return the market and the day of *offer*, which travel together; `ValueError` where it has none."""
        if offer.product not in self.products:
            raise ValueError(f"product {offer.product!r} is not sold to MISO; have {', '.join(sorted(self.products))}")
        return market_of(offer.product, self.products), hour_of(offer.interval)[0]

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        """
        Return *offers* by market and day, in order of resource, product and hour.

        One that cannot be written is alone: `encode` says why, and it holds up no other.
        """
        groups: dict[tuple[str, date], list[Offer]] = {}
        alone = []
        for offer in sorted(offers, key=lambda offer: (offer.resource, offer.product, offer.interval)):
            if next(problems(offer, self.resources, self.products), None):
                alone.append((offer,))
            else:
                groups.setdefault(self.key(offer), []).append(offer)
        return [*(tuple(groups[key]) for key in sorted(groups)), *alone]

    def encode(self, offers: Sequence[Offer]) -> bytes:
        """Return the document of *offers*; raise `ValueError` in one line where they are none."""
        market, day = self.one_key(offers)
        return write({**schedule(day, market, offers, self.resources), NOTE: _note(offers)})

    def one_key(self, offers: Sequence[Offer]) -> tuple[str, date]:
        """Return the market and day that *offers* share; raise `ValueError` where they are no one document."""
        if not offers:
            raise ValueError("a document without an offer")
        for offer in offers:
            if found := next(problems(offer, self.resources, self.products), None):
                raise ValueError(found)
        if len(keys := {self.key(offer) for offer in offers}) > 1:
            raise ValueError(f"offers of {len(keys)} markets or days are not one document")
        places_taken = {(offer.resource, offer.product, offer.interval) for offer in offers}
        if len(places_taken) < len(offers):
            raise ValueError("two offers for one resource, product and hour")
        return keys.pop()


def sent(document: bytes) -> bytes:
    """Return what of *document* goes on the wire: all but our note, digit for digit."""
    value = read(document, LARGEST)
    if not isinstance(value, dict):
        raise VenueError("not a document of ours: no object")
    return write({name: part for name, part in value.items() if name != NOTE})


def decode(document: bytes) -> tuple[Offer, ...]:
    """Return the offers in *document*, in the order in which they were encoded; raise `VenueError` on anything else."""
    value = read(document, LARGEST)
    if not isinstance(value, dict):
        raise VenueError("not a document of ours: no object")
    note, book = parse(Note, value.get(NOTE)), flat(value)
    used: set[Key] = set()
    offers = tuple(_offer(entry, book, used) for entry in note.offers)
    for key, _, place in book.curves():
        if key not in used and book.cells[key].get(place.detail) is not None:
            raise VenueError(f"not a document of ours: {key.field} of {line(key.resource)} stands behind no offer")
    return offers


def _note(offers: Sequence[Offer]) -> dict[str, Any]:
    return {"version": 1, "offers": [_entry(offer) for offer in offers]}


def _entry(offer: Offer) -> dict[str, Any]:
    rest = offer.model_dump(mode="json", exclude={"interval", "resource", "product", "steps"})
    steps = [step.model_dump(mode="json", exclude=_IN_THE_SCHEDULE) for step in offer.steps]
    hour = hour_of(offer.interval)[1]
    return {"hour": hour, "product": offer.product, "resource": offer.resource, "rest": rest, "steps": steps}


def _offer(entry: Entry, book: Book, used: set[Key]) -> Offer:
    kind, type_name = PRODUCTS.get(entry.product), book.types.get(entry.resource)
    if kind is None or type_name is None:
        raise VenueError(f"not a document of ours: {line(entry.resource)} has no {line(entry.product)} offer in it")
    try:
        key, place, curve = _found(entry, kind, type_name, book)
        _check(book, key, core(type_name, place, kind, curve))
        if key in used:
            raise VenueError(f"not a document of ours: two offers for hour {key.hour} of {key.field}")
        used.add(key)
        return _read(entry, book.day, curve)
    except ValidationError as error:
        raise VenueError(f"not a document of ours: {why(error)}") from error
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise VenueError(f"not a document of ours: {line(repr(error))}") from error


def _found(entry: Entry, kind: Kind, type_name: str, book: Book) -> tuple[Key, Place, tuple[Point, ...]]:
    """Return the cell, the only one in any market, in which the offer of *entry* stands."""
    for place in places(type_name, kind):
        for market in ("day-ahead", "real-time"):
            key = Key(entry.resource, market, place.field, entry.hour)
            if curve := curve_in(type_name, place, kind, book.cells.get(key, {})):
                return key, place, curve
    raise ValueError(f"{entry.resource} has no {entry.product} in hour {entry.hour}")


def _check(book: Book, key: Key, wanted: Mapping[str, Content]) -> None:
    if not book.matches(key.resource, key.market, key.hour, wanted):
        raise ValueError(f"{key.field} of {key.resource} does not say what an offer of ours says")


def _read(entry: Entry, day: date, curve: tuple[Point, ...]) -> Offer:
    levels = [mw for mw, _ in curve]
    added = [mw - below for mw, below in zip(levels, [type(levels[0])(0), *levels], strict=False)]
    steps = [
        {**step, "quantity_mw": mw, "price_per_mwh": price}
        for step, mw, (_, price) in zip(entry.steps, added, curve, strict=True)
    ]
    found = Offer.model_validate(
        {
            **entry.rest,
            "resource": entry.resource,
            "product": entry.product,
            "interval": interval_of(day, entry.hour),
            "steps": steps,
        }
    )
    if found.venue != NAME:
        raise ValueError(f"an offer to {found.venue!r}")
    return found
