"""Rules about what may travel together."""

from collections.abc import Iterator
from itertools import pairwise
from zoneinfo import ZoneInfo

from bidding.rules.case import Sheet, key_of
from bidding.rules.refusal import Breach, cited


def document_size(sheet: Sheet) -> Iterator[Breach]:
    """Require a document small enough for the venue."""
    have = len(sheet.content)
    for rules in sheet.rules:
        if rules.max_document_bytes is not None and have > rules.max_document_bytes:
            text = f"{have} bytes are {have - rules.max_document_bytes} too many; split the document"
            yield Breach(text, cited(rules, "max_document_bytes"))
            return


def twice_in_document(sheet: Sheet) -> Iterator[Breach]:
    """Refuse two offers for one resource, product and interval, or parts of it, in one document."""
    ordered = sorted(sheet.offers, key=lambda offer: (*key_of(offer)[:3], offer.interval))
    for earlier, later in pairwise(ordered):
        same = key_of(earlier)[:3] == key_of(later)[:3]
        if same and later.interval.start < earlier.interval.end:
            text = f"{earlier.offer_id} and {later.offer_id} are for the same {later.resource} {later.product} interval"
            yield Breach(
                f"{text}; keep one", "firmwatt: one offer for a resource, product and interval", later.offer_id
            )


def unknown_product(sheet: Sheet) -> Iterator[Breach]:
    """Require products whose rules are known: nothing is sold unchecked."""
    for offer in sheet.offers:
        if (offer.venue, offer.product) not in sheet.products:
            text = f"no rules in force for {offer.venue}/{offer.product}; `firmwatt bid products` lists what there is"
            yield Breach(text, "bidding/products", offer.offer_id)


def one_venue(sheet: Sheet) -> Iterator[Breach]:
    """Require that all offers of a document are for one venue."""
    venues = sorted({offer.venue for offer in sheet.offers})
    if len(venues) > 1:
        yield Breach(f"for {' and '.join(venues)}; a document goes to one venue", "firmwatt: one document, one venue")


def one_product(sheet: Sheet) -> Iterator[Breach]:
    """Require one product where the venue takes one product a document."""
    products = sorted({offer.product for offer in sheet.offers})
    strict = next((rules for rules in sheet.rules if rules.one_product_per_document), None)
    if strict is not None and len(products) > 1:
        text = f"{', '.join(products)} together; send each product in a document of its own"
        yield Breach(text, cited(strict, "one_product_per_document"))


def one_trading_day(sheet: Sheet) -> Iterator[Breach]:
    """Require one local day where the venue takes one trading date a document."""
    strict = next((rules for rules in sheet.rules if rules.one_day_per_document), None)
    if strict is None:
        return
    zone = ZoneInfo(strict.timezone)
    days = sorted({offer.interval.start.astimezone(zone).date() for offer in sheet.offers})
    if len(days) > 1:
        text = f"{' and '.join(day.isoformat() for day in days)} together; send each day in a document of its own"
        yield Breach(text, cited(strict, "one_day_per_document"))
