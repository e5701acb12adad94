"""
Offers as a BidSet. Pure.

One document is one resource's hours of one trading date under one ERCOT key: its energy bids, its regulation down, or
all of its upward services. Each hour is an ASOffer or RTMEnergyBid of its own, because ERCOT rejects one as a whole
when any hour in it is wrong, and overwrites what it holds hour by hour.

    <BidSet>
      <tradingDate>
      <ASOffer>      one hour: startTime, endTime, externalId (our offer ids), expirationTime, resource, asType
        <ASPriceCurve>  one block for each step of each product
      …
      <!--firmwatt.1 {…}-->   what EWS has no word for: site, revision, what stands behind each price

The comment stays at home: `stripped` is what is signed and sent. Exclusive canonicalisation leaves comments out, so a
signature would not cover it, and what a token costs us is nobody else's business.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from lxml import etree

from bidding.markets.ercot import names
from bidding.markets.ercot.curves import Segment, bid_points, merged, mw_text, price_text
from bidding.markets.ercot.hours import dam_closes, is_hour, token, trading_date, write
from bidding.markets.ercot.names import EWS, clark
from bidding.markets.ercot.xml import Element
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep

NOTE = "firmwatt.1 "
"""How the comment begins that holds our own fields."""
SEPARATOR = ","
"""Between the offer ids of an externalId."""
FALLS = "steps_fall"
"""Key of the comment: the offer lists its steps from the dearest on."""
_ID = re.compile(r"[A-Za-z0-9_.:+-]{1,64}")
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""Names of resources, as far as they can stand in an mRID, whose parts are separated by dots."""

EWS_IS_DEFAULT: Any = {None: EWS}
"""Elements of a BidSet carry no prefix. The stubs know no default namespace, hence `Any`."""

Key = tuple[str, date, str]
"""Resource, trading date, and the key string's `REB`, `ASO….Reg-Down` or `ASO….REGUP-RRS-ONNS`."""


@dataclass(frozen=True)
class Hour:
    """One hour of a BidSet."""

    resource: str
    kind: str
    hour: Interval
    external_id: str
    segments: Sequence[tuple[str, Segment]]
    """Each with its product, in the order in which they are written."""


def bid_type(product: str) -> str:
    """Return under which of ERCOT's keys *product* is traded; `ValueError` for one that is not."""
    if product == names.ENERGY:
        return names.ENERGY_BID
    if product == names.REG_DOWN:
        return names.DOWN
    if product in names.BLOCK_PRICES:
        return names.ONLINE
    raise ValueError(f"no product of ERCOT is called {product!r}; have {', '.join(names.PRODUCTS)}")


def mrid(qse: str, resource: str, day: date, kind: str) -> str:
    """Return ERCOT's name of what *resource* offers on *day*, all hours."""
    key = f"REB.{resource}" if kind == names.ENERGY_BID else f"ASO.{resource}.{kind}"
    return f"{qse}.{day:%Y%m%d}.{key}"


def hour_mrid(qse: str, offer: Offer) -> str:
    """Return ERCOT's name of the hour that *offer* is in."""
    day = trading_date(offer.interval)
    return f"{mrid(qse, offer.resource, day, bid_type(offer.product))}.{token(offer.interval)}"


def key_of(offer: Offer) -> Key:
    """Return under which of ERCOT's keys *offer* is held, all hours of its day."""
    return offer.resource, trading_date(offer.interval), bid_type(offer.product)


def documents(offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
    """Return *offers* as they travel: by resource, trading date and ERCOT's key, in the order of hours and products."""
    groups: dict[Key, list[Offer]] = defaultdict(list)
    for offer in offers:
        groups[key_of(offer)].append(offer)
    return [tuple(sorted(groups[key], key=_order)) for key in sorted(groups)]


def encode(offers: Sequence[Offer]) -> bytes:
    """Write the *offers* of one document; `ValueError` where they are no one document or cannot be written exactly."""
    ordered = sorted(offers, key=_order)
    keys = {key_of(offer) for offer in ordered}
    if len(keys) != 1:
        raise ValueError(f"a BidSet holds one resource, trading date and bid type, not {len(keys)} of them")
    ((_, day, kind),) = keys
    root = etree.Element(clark(EWS, "BidSet"), nsmap=EWS_IS_DEFAULT)
    _add(root, "tradingDate", day.isoformat())
    for hour, together in _by_hour(ordered).items():
        said = [(offer.product, segment) for offer in together for segment in segments(offer)]
        _add_hour(root, Hour(together[0].resource, kind, hour, external_id(together), said))
    root.append(etree.Comment(_note(ordered)))
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def restate(day: date, said: Iterable[Hour]) -> bytes:
    """Write a BidSet of hours as they are to stand, without a comment: others' offers are in them, too."""
    root = etree.Element(clark(EWS, "BidSet"), nsmap=EWS_IS_DEFAULT)
    _add(root, "tradingDate", day.isoformat())
    for hour in said:
        _add_hour(root, hour)
    return etree.tostring(root, encoding="UTF-8", xml_declaration=True)


def segments(offer: Offer) -> tuple[Segment, ...]:
    """Return *offer* as its curve says it: steps of energy that share a price are one, blocks stay as they are."""
    if offer.product == names.ENERGY:
        return tuple(segment for segment, _ in merged(rising(offer)))
    return tuple(Segment(step.quantity_mw, step.price_per_mwh) for step in offer.steps)


def stripped(root: Element) -> Element:
    """Return *root* without its comments: what leaves the house."""
    etree.strip_tags(root, etree.Comment)
    return root


def falls(offer: Offer) -> bool:
    """Tell whether *offer* lists its steps from the dearest on, as a bid does; the same MW at the same prices."""
    return offer.product == names.ENERGY and offer.steps[0].price_per_mwh > offer.steps[-1].price_per_mwh


def rising(offer: Offer) -> tuple[OfferStep, ...]:
    """Return the steps of *offer* from the cheapest on: the order in which they are given up."""
    return offer.steps[::-1] if falls(offer) else offer.steps


def external_id(offers: Sequence[Offer]) -> str:
    """Return what ERCOT keeps and returns with an hour: the ids of the offers in it."""
    return SEPARATOR.join(offer.offer_id for offer in offers)


def _order(offer: Offer) -> tuple[Any, ...]:
    bid_type(offer.product)  # says it in words where there is no such product
    return offer.interval.start, names.PRODUCTS.index(offer.product)


def _by_hour(offers: Sequence[Offer]) -> dict[Interval, list[Offer]]:
    """Return the offers of each hour; `ValueError` where an hour is none, or holds a product twice."""
    found: dict[Interval, list[Offer]] = defaultdict(list)
    for offer in offers:
        if not is_hour(offer.interval):
            raise ValueError(
                f"ERCOT takes bids for whole hours, not for {offer.interval.start} to {offer.interval.end}"
            )
        if not _ID.fullmatch(offer.offer_id) or not _NAME.fullmatch(offer.resource):
            raise ValueError(f"offer id {offer.offer_id!r} or resource {offer.resource!r} cannot stand in an mRID")
        if any(offer.product == other.product for other in found[offer.interval]):
            raise ValueError(f"two offers of {offer.product} for the hour from {offer.interval.start}")
        found[offer.interval].append(offer)
    return found


def _add_hour(root: Element, said: Hour) -> None:
    energy = said.kind == names.ENERGY_BID
    bid = _add(root, names.ENERGY_BID if energy else names.AS_OFFER)
    _add_span(bid, said.hour)
    if said.external_id:
        _add(bid, "externalId", said.external_id)
    # Energy: "valid time during the trade date"; its page's example ends with the last hour. Reserves: before the day.
    _add(bid, "expirationTime", write(said.hour.end if energy else dam_closes(said.hour)))
    _add(bid, "resource", said.resource)
    if energy:
        _add_energy_curve(bid, said)
    else:
        _add(bid, "asType", said.kind)
        _add_blocks(bid, said)


def _add_energy_curve(bid: Element, said: Hour) -> None:
    points = bid_points([segment for _, segment in said.segments])
    if len(points) > names.MAX_POINTS:
        raise ValueError(f"a bid has at most {names.MAX_POINTS // 2} steps of different price, not {len(points) // 2}")
    curve = _add(bid, "PriceCurve")
    _add_span(curve, said.hour)
    _add(curve, "curveStyle", "CURVE")
    for mw, price in points:
        data = _add(curve, "CurveData")
        _add(data, "xvalue", mw_text(mw))
        _add(data, "y1value", price_text(price))


def _add_blocks(bid: Element, said: Hour) -> None:
    if len(said.segments) > names.MAX_BLOCKS:
        raise ValueError(f"an hour holds at most {names.MAX_BLOCKS} blocks of all services, not {len(said.segments)}")
    curve = _add(bid, "ASPriceCurve")
    _add_span(curve, said.hour)
    for product, segment in said.segments:
        block = _add(curve, "RegDown" if product == names.REG_DOWN else "OnLineReserves")
        _add(block, "xvalue", mw_text(segment.mw))
        _add(block, names.BLOCK_PRICES.get(product, "REGDN"), price_text(segment.price))
        _add(block, "block", "VARIABLE")  # any part of it may be bought


def _add(parent: Element, tag: str, content: str | None = None) -> Element:
    child = etree.SubElement(parent, clark(EWS, tag))
    child.text = content
    return child


def _add_span(parent: Element, hour: Interval) -> None:
    _add(parent, "startTime", write(hour.start))
    _add(parent, "endTime", write(hour.end))


def _note(offers: Sequence[Offer]) -> str:
    """Return what the wire does not say, as JSON that may stand in a comment: no two dashes in a row."""
    told = {"resource", "product", "interval", "steps"}
    note = [
        {**offer.model_dump(mode="json", exclude=told), "steps": _steps(offer), FALLS: falls(offer)} for offer in offers
    ]
    return NOTE + json.dumps(note, separators=(",", ":")).replace("--", "-\\u002d")


def _steps(offer: Offer) -> list[list[dict[str, Any]]]:
    """Return what stands behind each segment's price; its quantities only where several steps share a segment."""
    told = {"quantity_mw", "price_per_mwh"}
    if offer.product != names.ENERGY:
        return [[step.model_dump(mode="json", exclude=told)] for step in offer.steps]
    return [
        [step.model_dump(mode="json", exclude=told if len(steps) == 1 else {"price_per_mwh"}) for step in steps]
        for _, steps in merged(rising(offer))
    ]
