"""
The kinds of journal record: what was meant, done, heard. `bidding.ledger` says what each of them changes.

One document to the venue carries one or many offers. What was written before documents had ids of their own named the
one offer in it; it still reads, the offer's id being the document's.
"""

import base64
import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from bidding.chain import Record
from bidding.markets import MeterReading, Notice, Receipt, Shortfall
from pipeline.errors import ConfigError
from pipeline.messages.market import Award, Dispatch, Document, Offer, Performance, Statement
from pipeline.messages.telemetry import Tier


def document_id_of(action: str, offer_ids: Sequence[str]) -> str:
    """Return the natural key of a document: the same offers in it are the same document, whenever it is sent."""
    return hashlib.sha256("\x1f".join((action, *offer_ids)).encode()).hexdigest()[:32]


class OfDocument(Document):
    """About one document that was, or was to be, sent."""

    document_id: str

    @model_validator(mode="before")
    @classmethod
    def _of_one_offer(cls, given: Any) -> Any:
        """Read what was written when a document was one offer."""
        if isinstance(given, dict) and "document_id" not in given and "offer_id" in given:
            return {**given, "document_id": given["offer_id"]}
        return given


class Held(Document):
    """These offers, one document, wait for people's approval; nothing of them has been written as intent."""

    document: str
    """`bidding.gate.approval.content_hash`: what people sign."""
    offers: tuple[Offer, ...]
    why: tuple[str, ...]
    """The limits that it is above."""
    needs: int
    """So many people have to agree."""


class Intent(Document):
    """We mean to send these offers, in these words of the venue's."""

    document_id: str
    offers: tuple[Offer, ...]
    document: str
    """The bytes: as text, or in base64 where they are no UTF-8."""
    encoding: Literal["text", "base64"] = "text"
    sha256: str = ""
    """Of the bytes."""

    @model_validator(mode="before")
    @classmethod
    def _of_one_offer(cls, given: Any) -> Any:
        if isinstance(given, dict) and "offer" in given and "offers" not in given:
            offer = given["offer"]
            name = offer.offer_id if isinstance(offer, Offer) else offer["offer_id"]
            return {"document_id": name, "offers": (offer,), "document": given["document"]}
        return given

    @classmethod
    def of(cls, offers: Sequence[Offer], content: bytes) -> Self:
        """Return the intent to send *content*, which says *offers*."""
        try:
            text, encoding = content.decode(), "text"
        except UnicodeDecodeError:
            text, encoding = base64.b64encode(content).decode(), "base64"
        name = document_id_of("submit", [offer.offer_id for offer in offers])
        digest = hashlib.sha256(content).hexdigest()
        return cls.model_validate(
            {"document_id": name, "offers": tuple(offers), "document": text, "encoding": encoding, "sha256": digest}
        )

    @property
    def content(self) -> bytes:
        """The bytes to send."""
        return base64.b64decode(self.document) if self.encoding == "base64" else self.document.encode()


class Withdrawal(OfDocument):
    """We mean to take these offers back."""

    offer_ids: tuple[str, ...]
    reason: str


class Sent(OfDocument):
    """The document goes on the wire now, or may have."""

    attempt: int


class Unknown(OfDocument):
    """No answer came: the venue may or may not have the document."""

    detail: str


class Absent(OfDocument):
    """The venue, asked twice, never saw the document."""


class Refused(Document):
    """A definite no, from the venue or from us: to a whole document, or to one offer."""

    document_id: str = ""
    offer_id: str = ""
    reason: str


class NotAwarded(Document):
    """The venue has cleared the interval and bought nothing of the offer."""

    offer_id: str


class Cancelled(Document):
    """The venue took an offer back after it had accepted it; empty where none of ours stood under the key."""

    notice: Notice
    offer_id: str


class Told(Document):
    """The venue knows of the shortfall, or will not hear of it."""

    shortfall_id: str
    refused: str = ""


class Found(Document):
    """The venue was asked about a standing offer and says something else than we hold."""

    offer_id: str
    verdict: str
    ours: str
    theirs: str
    holds: Receipt | None = None
    """Of an older revision that the venue holds in the offer's place."""


class Explained(Document):
    """Why an offer is what it is, for the desk."""

    offer_id: str = ""
    document_id: str = ""
    lines: tuple[str, ...] = ()
    figures: dict[str, str | float | None] = Field(default_factory=dict)


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
    "held": Held,
    "explained": Explained,
    "intent": Intent,
    "withdrawal": Withdrawal,
    "sent": Sent,
    "unknown": Unknown,
    "absent": Absent,
    "receipt": Receipt,
    "refused": Refused,
    "found": Found,
    "cancelled": Cancelled,
    "shortfall": Shortfall,
    "told": Told,
    "award": Award,
    "not-awarded": NotAwarded,
    "dispatch": Dispatch,
    "commanded": Commanded,
    "meter-report": MeterReport,
    "performance": Performance,
    "statement": Statement,
}
KIND_OF: dict[type[Document], str] = {kind: name for name, kind in KINDS.items()}


def document_of(record: Record) -> Document:
    """Return the document in *record*; raise `ConfigError` on a kind that this release does not know."""
    if record.kind not in KINDS:
        raise ConfigError(f"the journal holds a record of kind {record.kind!r}; it was written by a newer firmwatt")
    return KINDS[record.kind].model_validate_json(bytes(record.payload))
