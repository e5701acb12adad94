"""
A BidSet as offers. Pure.

`decode` reads back our own documents, comment included, and takes nothing else. `held` reads any BidSet, such as one
that ERCOT returns: it may have gathered hours that we sent one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby
from typing import Any

from lxml import etree
from pydantic import TypeAdapter, ValidationError

from bidding.markets.ercot import names
from bidding.markets.ercot.curves import Segment, reductions
from bidding.markets.ercot.encode import FALLS, NOTE, encode
from bidding.markets.ercot.hours import HOUR, read_date, read_interval
from bidding.markets.ercot.names import EWS, clark
from bidding.markets.ercot.xml import Element, children, name, number, one_line, parse, required, text
from pipeline.errors import VenueError
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep

_NOTE: TypeAdapter[list[dict[str, Any]]] = TypeAdapter(list[dict[str, Any]])
_BEHIND: TypeAdapter[list[list[dict[str, Any]]]] = TypeAdapter(list[list[dict[str, Any]]])
_PRICE_PRODUCT = {tag: product for product, tag in names.BLOCK_PRICES.items()} | {"REGDN": names.REG_DOWN}


@dataclass(frozen=True)
class Held:
    """What a BidSet says of one product in one hour."""

    resource: str
    product: str
    hour: Interval
    segments: tuple[Segment, ...]
    """As offered: reductions of rising price, or blocks."""
    mrid: str
    external_id: str
    status: str
    """ERCOT's word; empty where it says none."""
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Transaction:
    """One ASOffer or RTMEnergyBid as ERCOT speaks of it; without its curves, it may not repeat them."""

    mrid: str
    external_id: str
    status: str
    reasons: tuple[str, ...]
    span: Interval | None
    """Its startTime and endTime, where it has them."""


def decode(document: bytes) -> tuple[Offer, ...]:
    """Read back what `encode` wrote; raise `VenueError` on anything else."""
    root = parse(document, names.MAX_PAYLOAD_BYTES)
    try:
        offers = tuple(_offer(row, note) for row, note in zip(held(root), _notes(root), strict=True))
        again = encode(offers)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "comment"
        told = one_line(f"{where}: {first['msg']}")
        raise VenueError(f"not a BidSet that `encode` wrote: {told}") from error
    except (ValueError, TypeError, ArithmeticError) as error:
        raise VenueError(f"not a BidSet that `encode` wrote: {one_line(error)}") from error
    if again != document:
        raise VenueError("not a BidSet that `encode` wrote: written again, it is another one")
    return offers


def held(root: Element) -> Iterator[Held]:
    """Yield what the BidSet *root* says, hour by hour and product by product."""
    for bid in _bids(root):
        yield from _rows(bid)


def standing(root: Element) -> tuple[Held, ...]:
    """Return what the BidSet *root* says, without the bids that are not ours and that we cannot read."""
    found: list[Held] = []
    for bid in _bids(root):
        with suppress(VenueError):
            found += list(_rows(bid))
    return tuple(found)


def transactions(root: Element) -> tuple[Transaction, ...]:
    """Return the ASOffers and RTMEnergyBids that the BidSet *root* names, in its order."""
    return tuple(
        Transaction(
            mrid=text(bid, "mRID"),
            external_id=text(bid, "externalId"),
            status=text(bid, "status"),
            reasons=reasons(bid),
            span=_span(bid),
        )
        for bid in _bids(root)
    )


def reasons(bid: Element) -> tuple[str, ...]:
    """Return what is wrong with *bid* in ERCOT's words; what only informs is left out."""
    errors = (error for error in children(bid, "error") if text(error, "severity") in {"", "ERROR"})
    return tuple(one_line(text(error, "text")) for error in errors)


def _bids(root: Element) -> Iterator[Element]:
    if root.tag != clark(EWS, "BidSet"):
        raise VenueError(f"not a BidSet but {one_line(name(root), 40)!r}")
    read_date(required(root, "tradingDate"))
    return children(root, names.AS_OFFER, names.ENERGY_BID)


def _rows(bid: Element) -> Iterator[Held]:
    for curve in children(bid, "PriceCurve", "ASPriceCurve"):
        span = read_interval(required(curve, "startTime"), required(curve, "endTime"))
        for product, segments in _curve(curve):
            for hour in _hours(span):
                yield Held(
                    resource=required(bid, "resource"),
                    product=product,
                    hour=hour,
                    segments=segments,
                    mrid=text(bid, "mRID"),
                    external_id=text(bid, "externalId"),
                    status=text(bid, "status"),
                    reasons=reasons(bid),
                )


def _span(bid: Element) -> Interval | None:
    start, end = text(bid, "startTime"), text(bid, "endTime")
    return read_interval(start, end) if start and end else None


def _hours(span: Interval) -> Iterator[Interval]:
    if span.length % HOUR or span.length > 25 * HOUR:
        raise VenueError(f"a curve for {span.start} to {span.end} is not one of a day's hours")
    return span.split(HOUR)


def _curve(curve: Element) -> Iterator[tuple[str, tuple[Segment, ...]]]:
    """Yield what a curve says of each product."""
    if name(curve) == "PriceCurve":
        yield (
            names.ENERGY,
            reductions([(number(at, "xvalue"), number(at, "y1value")) for at in children(curve, "CurveData")]),
        )
        return
    blocks = [
        (_PRICE_PRODUCT[name(price)], Segment(number(block, "xvalue"), number(block, name(price))))
        for block in children(curve, "OnLineReserves", "RegDown")
        for price in children(block, *_PRICE_PRODUCT)
    ]
    for product, group in groupby(blocks, key=lambda block: block[0]):
        yield product, tuple(segment for _, segment in group)


def _notes(root: Element) -> list[dict[str, Any]]:
    comments = [child.text for child in root.iterchildren(etree.Comment) if child.text]
    if len(comments) != 1 or not comments[0].startswith(NOTE):
        raise VenueError("not a BidSet that `encode` wrote: it lacks our comment")
    return _NOTE.validate_json(comments[0].removeprefix(NOTE))


def _offer(row: Held, note: dict[str, Any]) -> Offer:
    behind = _BEHIND.validate_python(note.get("steps"))
    pairs = zip(row.segments, behind, strict=True)
    steps = tuple(step for segment, group in pairs for step in _steps(segment, group))
    in_order = steps[::-1] if note.pop(FALLS, None) is True else steps
    told = {"resource": row.resource, "product": row.product, "interval": row.hour, "steps": in_order}
    return Offer.model_validate({**note, **told})


def _steps(segment: Segment, group: Sequence[dict[str, Any]]) -> Iterator[OfferStep]:
    """Yield the steps of one segment; those that share it say how."""
    shares = [segment.mw] if len(group) == 1 else [Decimal(str(note.get("quantity_mw"))) for note in group]
    if sum(shares, Decimal(0)) != segment.mw:
        raise VenueError(f"steps of {sum(shares, Decimal(0))} MW share a segment of {segment.mw} MW")
    for note, share in zip(group, shares, strict=True):
        yield OfferStep.model_validate({**note, "quantity_mw": share, "price_per_mwh": segment.price})
