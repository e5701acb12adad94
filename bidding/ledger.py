"""
The ledger: what the journal adds up to. A pure fold, so that a restart knows what the process before it knew.

Each kind of journal record is one document below; `Ledger.apply` says what it changes.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from bidding.journal import Record
from bidding.markets import MeterReading, Receipt
from pipeline.errors import ConfigError
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, OfferState, Performance, Statement
from pipeline.messages.telemetry import Tier


class Intent(Document):
    """We mean to send this offer, in these words of the venue's."""

    offer: Offer
    document: str


class Sent(Document):
    """The offer goes on the wire now, or may have."""

    offer_id: str
    attempt: int


class Unknown(Document):
    """No answer came: the venue may or may not have the offer."""

    offer_id: str
    detail: str


class Absent(Document):
    """The venue, asked, never saw the offer."""

    offer_id: str


class Refused(Document):
    """A definite no, from the venue or from the gate."""

    offer_id: str
    reason: str


class NotAwarded(Document):
    """The venue has cleared the interval and bought nothing of the offer."""

    offer_id: str


class Commanded(Document):
    """Leases were sent: the highest sequence among them, and what they are to reach."""

    award_id: str
    dispatch_id: str
    seq: int
    hosts: int
    load_kw: float | None
    """None where leases were renewed while telemetry was silent."""
    target_kw: float
    expires_at: datetime
    cuts: dict[Tier, tuple[float, float]]
    """By tier: cap as a share of the limit, and the relief it was set for, kW: what a new process goes on from."""


class MeterReport(Document):
    """Metered energy goes to the venue under this batch id."""

    batch_id: str
    readings: tuple[MeterReading, ...]


KINDS: dict[str, type[Document]] = {
    "intent": Intent,
    "sent": Sent,
    "unknown": Unknown,
    "absent": Absent,
    "receipt": Receipt,
    "refused": Refused,
    "award": Award,
    "not-awarded": NotAwarded,
    "dispatch": Dispatch,
    "commanded": Commanded,
    "meter-report": MeterReport,
    "performance": Performance,
    "statement": Statement,
}
KIND_OF: dict[type[Document], str] = {kind: name for name, kind in KINDS.items()}

#: Who issues our own statements.
OURS = "firmwatt"

#: The venue's word for a receipt's status → the offer's state; any other word leaves the outcome unknown.
STATUS = {
    "accepted": OfferState.ACCEPTED,
    "partly_accepted": OfferState.PARTLY_ACCEPTED,
    "rejected": OfferState.REJECTED,
}

#: The outcome of these is open: the venue has to be asked before anything new is sent.
UNRESOLVED = frozenset({OfferState.INTENT, OfferState.SENT, OfferState.UNKNOWN})

#: What the venue bought of these, or may still buy.
STANDING = UNRESOLVED | {OfferState.ACCEPTED, OfferState.PARTLY_ACCEPTED}


@dataclass(frozen=True)
class OfferRecord:
    """An offer and how far it has come."""

    offer: Offer
    document: str
    state: OfferState = OfferState.INTENT
    attempts: int = 0
    unknowns: int = 0
    """How often its outcome was unknown and had to be asked for."""
    receipt: Receipt | None = None
    detail: str | None = None


@dataclass
class Ledger:
    """Everything the journal says, by natural key."""

    offers: dict[str, OfferRecord] = field(default_factory=dict)
    awards: dict[str, Award] = field(default_factory=dict)
    dispatches: dict[str, Dispatch] = field(default_factory=dict)
    performance: dict[str, Performance] = field(default_factory=dict)
    statements: dict[str, Statement] = field(default_factory=dict)
    """By issuer: the newest of each."""
    reports: dict[str, MeterReport] = field(default_factory=dict)
    commanded: Commanded | None = None
    """The newest round of leases."""

    def apply(self, document: Document) -> list[OfferRecord]:
        """Take *document* in; return the offers that it moved one step on."""
        match document:
            case Award():
                self.awards[document.award_id] = document
            case Dispatch():
                self.dispatches[document.dispatch_id] = document
            case Commanded():
                self.commanded = document
            case Performance():
                self.performance[document.award_id] = document
            case Statement():
                self.statements[document.issuer] = document
            case MeterReport():
                self.reports[document.batch_id] = document
            case _:
                pass
        moved = [record for record in self._after(document) if record != self.offers.get(record.offer.offer_id)]
        self.offers |= {record.offer.offer_id: record for record in moved}
        return moved

    def _after(self, document: Document) -> list[OfferRecord]:
        """Return the offers that *document* is about, as it leaves them."""
        if isinstance(document, Intent):
            return [OfferRecord(document.offer, document.document)]
        if isinstance(document, Statement):
            settled = document.lines if document.issuer != OURS else ()
            records = filter(None, (self._awarded(line.award_id) for line in settled))
            return [replace(record, state=OfferState.SETTLED) for record in records]
        if isinstance(document, Dispatch):
            record = self._awarded(document.award_id)
        else:
            record = self.offers.get(getattr(document, "offer_id", ""))
        return [CHANGES[type(document)](record, document)] if record and type(document) in CHANGES else []

    def _awarded(self, award_id: str) -> OfferRecord | None:
        award = self.awards.get(award_id)
        return self.offers.get(award.offer_id) if award else None

    @property
    def unresolved(self) -> list[OfferRecord]:
        """The offers whose outcome only the venue can tell, oldest first."""
        return [record for record in self.offers.values() if record.state in UNRESOLVED]

    @property
    def highest_seq(self) -> int:
        """The highest sequence that may be out: each round's is above the one before."""
        return self.commanded.seq if self.commanded else 0

    @property
    def taken(self) -> list[Offer]:
        """The offers that stand, bought ones included: no second one for the same interval."""
        return [record.offer for record in self.offers.values() if record.state is not OfferState.REJECTED]

    def revision_of(self, resource: str, product: str, interval: Interval) -> int:
        """Return the highest revision offered for *interval*, 0 for none."""
        key = (resource, product, interval)
        return max(
            (
                r.offer.revision
                for r in self.offers.values()
                if (r.offer.resource, r.offer.product, r.offer.interval) == key
            ),
            default=0,
        )


CHANGES: dict[type[Document], Callable[[OfferRecord, Any], OfferRecord]] = {
    Sent: lambda record, sent: replace(record, state=OfferState.SENT, attempts=sent.attempt),
    Unknown: lambda record, unknown: replace(
        record, state=OfferState.UNKNOWN, unknowns=record.unknowns + 1, detail=unknown.detail
    ),
    Absent: lambda record, _: replace(record, state=OfferState.INTENT, detail="the venue never saw it"),
    Receipt: lambda record, receipt: replace(
        record,
        state=STATUS.get(receipt.status, OfferState.UNKNOWN),
        receipt=receipt,
        detail="; ".join(receipt.reasons) or None,
    ),
    Refused: lambda record, refused: replace(record, state=OfferState.REJECTED, detail=refused.reason),
    NotAwarded: lambda record, _: replace(record, state=OfferState.NOT_AWARDED),
    Award: lambda record, _: replace(record, state=OfferState.AWARDED),
    Dispatch: lambda record, _: replace(record, state=OfferState.DISPATCHED),
}


def document_of(record: Record) -> Document:
    """Return the document in *record*; raise `ConfigError` on a kind that this release does not know."""
    if record.kind not in KINDS:
        raise ConfigError(f"the journal holds a record of kind {record.kind!r}; it was written by a newer firmwatt")
    return KINDS[record.kind].model_validate_json(bytes(record.payload))


def fold(records: Iterable[Record]) -> Ledger:
    """Return what *records* add up to."""
    ledger = Ledger()
    for record in records:
        ledger.apply(document_of(record))
    return ledger
