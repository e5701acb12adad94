"""What ERCOT's words about hours mean for our offers. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bidding.markets import Receipt
from bidding.markets.ercot import names
from bidding.markets.ercot.decode import Held, Transaction
from bidding.markets.ercot.encode import SEPARATOR, Hour, bid_type, hour_mrid, segments
from pipeline.interval import Interval
from pipeline.messages.market import Offer

STATUS = {
    "SUBMITTED": "pending",
    "PENDING": "pending",
    "ACCEPTED": "accepted",
    "REJECTED": "rejected",
    "ERRORS": "rejected",
    "CANCELED": "cancelled",
}
"""TransactionStatusType → ours. The rest of that type is about trades; what we do not know is not judged yet."""
DAY = timedelta(days=1)
MINUTE = timedelta(minutes=1)


def submitted(offers: Sequence[Offer], told: Sequence[Transaction], qse: str) -> tuple[Receipt, ...]:
    """
    Return the receipt of each of *offers* from the synchronous answer to their submission.

    ERCOT's first look is at syntax: what passes is `SUBMITTED`, that is pending. Its answer has the hours in the order
    in which they were sent; where it has another number of them, they are told by their names.
    """
    hours = sorted({offer.interval for offer in offers})
    in_order = dict(zip(hours, told, strict=False)) if len(hours) == len(told) else {}
    mrids = {offer.offer_id: hour_mrid(qse, offer) for offer in offers}
    return tuple(
        receipt(offer, in_order.get(offer.interval) or named(offer, told, mrids[offer.offer_id]), mrids[offer.offer_id])
        for offer in offers
    )


def named(offer: Offer, told: Iterable[Transaction], mrid: str) -> Transaction | None:
    """Return the last of *told* about *offer*: its externalId holds our id, or it has none and names the hour."""
    day = mrid.rpartition(".")[0]
    found = [
        one
        for one in told
        if offer.offer_id in one.external_id.split(SEPARATOR) or (not one.external_id and one.mrid in {mrid, day})
    ]
    return found[-1] if found else None


def ours(offer: Offer, rows: Iterable[Held]) -> Held | None:
    """
    Return the one of *rows* that is *offer*: same product and hour, the same curve, and our id with it.

    ERCOT promises the externalId for notifications only. Where it holds none, the same curve is the same offer.
    """
    return next(
        (
            row
            for row in rows
            if (row.resource, row.product, row.hour) == (offer.resource, offer.product, offer.interval)
            and (not row.external_id or offer.offer_id in row.external_id.split(SEPARATOR))
            and row.segments == segments(offer)
        ),
        None,
    )


def strangers(offers: Sequence[Offer], rows: Iterable[Held]) -> list[Held]:
    """Return what stands, or is being judged, in the hours of *offers* of products that none of them is of."""
    mine = {(offer.resource, offer.product, offer.interval) for offer in offers}
    hours = {(offer.resource, offer.interval) for offer in offers}
    return [
        row
        for row in rows
        if (row.resource, row.hour) in hours
        and (row.resource, row.product, row.hour) not in mine
        and STATUS.get(row.status, "pending") in {"pending", "accepted"}
    ]


def beside(offers: Sequence[Offer], rows: Sequence[Held]) -> list[Hour]:
    """
    Return the hours of *offers* as they are to stand: *offers*, and what ERCOT holds beside them, as it holds it.

    Raise `ValueError` where it cannot be told which of an hour's offer ids are those of the others.
    """
    others = strangers(offers, rows)
    found: list[Hour] = []
    for hour in sorted({offer.interval for offer in offers}):
        new = [offer for offer in offers if offer.interval == hour]
        old = [row for row in others if row.hour == hour]
        said = {offer.product: (offer.offer_id, segments(offer)) for offer in new}
        said |= {row.product: (_id_in(row, rows), row.segments) for row in old}
        if len(said) != len(new) + len(old):
            raise ValueError(f"the hour from {hour.start} says a service twice")
        order = sorted(said, key=names.PRODUCTS.index)
        found.append(
            Hour(
                resource=new[0].resource,
                kind=bid_type(new[0].product),
                hour=hour,
                external_id=SEPARATOR.join(said[product][0] for product in order if said[product][0]),
                segments=[(product, segment) for product in order for segment in said[product][1]],
            )
        )
    return found


def _id_in(row: Held, rows: Iterable[Held]) -> str:
    """Return the offer id of *row* out of its hour's: as many as services, in their order; empty where it has none."""
    if not row.external_id:
        return ""
    ids = row.external_id.split(SEPARATOR)
    products = [one.product for one in rows if (one.resource, one.hour) == (row.resource, row.hour)]
    if len(ids) != len(products):
        raise ValueError(f"the hour from {row.hour.start} has {len(ids)} offer ids for {len(products)} services")
    return ids[sorted(products, key=names.PRODUCTS.index).index(row.product)]


def remaining(offers: Sequence[Offer], rows: Sequence[Held]) -> list[Hour]:
    """Return the hours of *offers* as they stand without them, where anything of them is left."""
    ids = {offer.offer_id for offer in offers}
    left: dict[Interval, list[Held]] = defaultdict(list)
    for row in strangers(offers, rows):
        left[row.hour].append(row)
    return [
        Hour(
            resource=found[0].resource,
            kind=bid_type(found[0].product),
            hour=hour,
            external_id=SEPARATOR.join(one for one in found[0].external_id.split(SEPARATOR) if one not in ids),
            segments=[(row.product, segment) for row in found for segment in row.segments],
        )
        for hour, found in sorted(left.items())
    ]


def receipt(offer: Offer, told: Transaction | Held | None, mrid: str) -> Receipt:
    """Return what *told* means for *offer*; without a word it is pending."""
    status = STATUS.get(told.status, "pending") if told else "pending"
    return Receipt(
        offer_id=offer.offer_id,
        receipt=(told.mrid if told else "") or mrid,
        status=status,
        accepted_mw=offer.quantity_mw if status == "accepted" else Decimal(0),
        reasons=told.reasons if told else (),
    )


def withdrawn(offer: Offer, mrid: str) -> Receipt:
    """Return the receipt of an offer that is no longer there."""
    return Receipt(offer_id=offer.offer_id, receipt=mrid, status="withdrawn", accepted_mw=Decimal(0))


def submission_days(offers: Sequence[Offer], now: datetime) -> Iterator[tuple[datetime, datetime]]:
    """
    Yield the days, [start, end), in which *offers* can have been submitted: after they were made.

    ERCOT keeps notifications by the time of submission, four days long, and answers for a day at a time. Its clock and
    ours may differ by a minute.
    """
    start = max(min(offer.as_of for offer in offers) - MINUTE, now - names.QUERY_DAYS * DAY + MINUTE)
    end = now + MINUTE
    while start < end:
        yield start, min(start + DAY, end)
        start += DAY
