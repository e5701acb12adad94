"""What an offer and a document can be in, and which record moves them there. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from bidding.entries import Absent, Cancelled, NotAwarded, Refused, Sent, Unknown
from bidding.markets import Notice, Receipt, Shortfall
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, OfferState

#: The venue's word for a receipt's status → the offer's state; any other word leaves an open outcome unknown.
STATUS = {
    "pending": OfferState.PENDING,
    "accepted": OfferState.ACCEPTED,
    "partly_accepted": OfferState.PARTLY_ACCEPTED,
    "rejected": OfferState.REJECTED,
    "cancelled": OfferState.CANCELLED,
    "withdrawn": OfferState.WITHDRAWN,
}

#: The outcome of these is open: the venue has to be asked before anything new is sent.
UNRESOLVED = frozenset({OfferState.INTENT, OfferState.SENT, OfferState.UNKNOWN})

#: The venue has said yes to these, and holds them.
TAKEN = frozenset({OfferState.ACCEPTED, OfferState.PARTLY_ACCEPTED})

#: What the venue bought of these, or may still buy.
STANDING = UNRESOLVED | TAKEN | {OfferState.PENDING}

#: The interval has been cleared: no answer to the offer moves it back.
CLEARED = frozenset({OfferState.AWARDED, OfferState.NOT_AWARDED, OfferState.DISPATCHED, OfferState.SETTLED})

#: These bind us, or will once people agree.
BINDING = STANDING | {OfferState.HELD, OfferState.AWARDED, OfferState.DISPATCHED}

#: These promise nothing to anybody.
OVER = frozenset({OfferState.REJECTED, OfferState.SUPERSEDED, OfferState.WITHDRAWN, OfferState.CANCELLED})

Key = tuple[str, str, Interval]
"""Resource, product, interval: a venue holds one offer of it."""


def key_of(item: Offer | Award | Notice | Shortfall) -> Key:
    """Return the natural key under which the venue holds an offer."""
    return item.resource, item.product, item.interval


@dataclass(frozen=True)
class OfferRecord:
    """An offer and how far it has come."""

    offer: Offer
    document_id: str = ""
    """The document it travelled in last."""
    state: OfferState = OfferState.INTENT
    attempts: int = 0
    unknowns: int = 0
    """How often its outcome was unknown and had to be asked for."""
    receipt: Receipt | None = None
    detail: str | None = None


@dataclass(frozen=True)
class DocumentRecord:
    """A document to the venue and how far it has come; a submission's state is that of its offers."""

    document_id: str
    offer_ids: tuple[str, ...]
    content: bytes = b""
    """Empty for a withdrawal."""
    withdraws: bool = False
    reason: str = ""
    """Of a withdrawal."""
    state: OfferState = OfferState.INTENT
    """`REJECTED` when it was refused as a whole."""
    attempts: int = 0


STEP: dict[type[Document], OfferState] = {
    Sent: OfferState.SENT,
    Unknown: OfferState.UNKNOWN,
    Absent: OfferState.INTENT,
    Refused: OfferState.REJECTED,
}


def _answered(record: OfferRecord, receipt: Receipt) -> OfferRecord:
    """
    Return *record* with the venue's answer: one that the market has cleared, or that was replaced, stays so.

    A word that we do not know says nothing about an offer whose outcome was known.
    """
    if receipt.status not in STATUS and record.state not in UNRESOLVED:
        return record
    told = replace(record, receipt=receipt, detail="; ".join(receipt.reasons) or None)
    state = STATUS.get(receipt.status, OfferState.UNKNOWN)
    if record.state in CLEARED and state is not OfferState.CANCELLED:
        return told
    if record.state is OfferState.SUPERSEDED and state in TAKEN | {OfferState.PENDING}:
        return record
    return replace(told, state=state)


def held_again(record: OfferRecord, receipt: Receipt) -> OfferRecord:
    """Return *record* as the venue's *receipt* says that it holds it, in place of the revision that replaced it."""
    replaced = record.state is OfferState.SUPERSEDED
    return _answered(replace(record, state=OfferState.UNKNOWN) if replaced else record, receipt)


CHANGES: dict[type[Document], Callable[[OfferRecord, Any], OfferRecord]] = {
    Sent: lambda record, _: replace(record, state=OfferState.SENT, attempts=record.attempts + 1),
    Unknown: lambda record, unknown: replace(
        record, state=OfferState.UNKNOWN, unknowns=record.unknowns + 1, detail=unknown.detail
    ),
    Absent: lambda record, _: replace(record, state=OfferState.INTENT, detail="the venue never saw it"),
    Receipt: _answered,
    Refused: lambda record, refused: replace(record, state=OfferState.REJECTED, detail=refused.reason),
    Cancelled: lambda record, entry: replace(record, state=OfferState.CANCELLED, detail=entry.notice.reason),
    NotAwarded: lambda record, _: replace(record, state=OfferState.NOT_AWARDED),
    Award: lambda record, _: replace(
        record, state=OfferState.DISPATCHED if record.state is OfferState.DISPATCHED else OfferState.AWARDED
    ),
    Dispatch: lambda record, _: replace(record, state=OfferState.DISPATCHED),
}
