"""
What the journal holds, line by line.

An entry says what was asked *and* what came of it, so that reading the journal again decides nothing again.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bidding.sandbox.answers import Award, Score
from bidding.sandbox.faults import Reply
from bidding.sandbox.market import Market
from bidding.sandbox.wire import OfferBody, OfferResult, Reading, Receipt, ShortfallBody, Utc, Wire


class Outcome(StrEnum):
    """What came of a submission, a withdrawal or a notice of shortfall."""

    ACCEPTED = "accepted"
    PARTLY_ACCEPTED = "partly_accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    STALE_REVISION = "stale_revision"
    GATE_CLOSED = "gate_closed"
    GATE_NOT_OPEN = "gate_not_open"
    PAUSED = "paused"
    WITHDRAWN = "withdrawn"
    NOT_STANDING = "not_standing"
    GATE_OPEN = "gate_open"
    NO_AWARD = "no_award"
    TAKEN = "taken"


#: Outcomes after which the venue knows the offer by its id.
KNOWN = frozenset({Outcome.ACCEPTED, Outcome.PARTLY_ACCEPTED, Outcome.REJECTED})
#: Outcomes that put the offer into the next clearing.
STANDING = frozenset({Outcome.ACCEPTED, Outcome.PARTLY_ACCEPTED})


class Opened(Wire):
    """First line of a journal: the market it was kept for."""

    kind: Literal["opened"] = "opened"
    market: Market
    seed: int


class EpochEntry(Wire):
    """A sender with a higher epoch than any before was heard."""

    kind: Literal["epoch"] = "epoch"
    at: Utc
    epoch: int


class FencedEntry(Wire):
    """A request of a sender with a lower epoch, refused."""

    kind: Literal["fenced"] = "fenced"
    at: Utc
    epoch: int
    request: str
    """Method and path."""


class OfferEntry(Wire):
    """A submission and its outcome."""

    kind: Literal["offer"] = "offer"
    at: Utc
    offer_id: str
    body: OfferBody
    sha256: str
    outcome: Outcome
    detail: str = ""
    receipt: Receipt | None = None
    """Absent where the venue answered with a refusal that leaves no trace of the offer."""
    cancel_at: Utc | None = None
    """When the venue will take back what it accepts here."""
    reply: Reply = Reply.SENT

    @property
    def result(self) -> OfferResult:
        """What a document's sender is told of this offer."""
        return OfferResult(offer_id=self.offer_id, outcome=self.outcome.value, detail=self.detail, receipt=self.receipt)


class DocumentEntry(Wire):
    """Several submissions that came as one, and their outcomes."""

    kind: Literal["document"] = "document"
    at: Utc
    document_id: str
    sha256: str
    offers: tuple[OfferEntry, ...]
    reply: Reply = Reply.SENT


class WithdrawalEntry(Wire):
    """An offer taken back by its sender, or a refusal to let that happen."""

    kind: Literal["withdrawal"] = "withdrawal"
    at: Utc
    offer_id: str
    outcome: Outcome
    detail: str = ""
    reply: Reply = Reply.SENT


class CancelEntry(Wire):
    """An accepted offer taken back by the venue."""

    kind: Literal["cancel"] = "cancel"
    at: Utc
    offer_id: str
    reason: str


class ShortfallEntry(Wire):
    """A notice that less will be there, or why it came to nothing."""

    kind: Literal["shortfall"] = "shortfall"
    at: Utc
    shortfall_id: str
    body: ShortfallBody
    sha256: str
    awarded_mw: Decimal
    outcome: Outcome
    detail: str = ""
    reply: Reply = Reply.SENT


class ClearingEntry(Wire):
    """One interval of the products that clear together."""

    kind: Literal["clearing"] = "clearing"
    at: Utc
    interval_start: Utc
    prices: dict[str, Decimal | None]
    demand_mw: dict[str, Decimal]
    awards: tuple[Award, ...]


class MeterEntry(Wire):
    """A batch of readings taken."""

    kind: Literal["meter"] = "meter"
    at: Utc
    resource: str
    batch_id: str
    sha256: str
    readings: tuple[Reading, ...]
    reply: Reply = Reply.SENT


class ResponseEntry(Wire):
    """An hour's response to the regulation signal, scored."""

    kind: Literal["response"] = "response"
    at: Utc
    score: Score
    reply: Reply = Reply.SENT


AnyEntry = (
    Opened
    | EpochEntry
    | FencedEntry
    | OfferEntry
    | DocumentEntry
    | WithdrawalEntry
    | CancelEntry
    | ShortfallEntry
    | ClearingEntry
    | MeterEntry
    | ResponseEntry
)
Entry = Annotated[AnyEntry, Field(discriminator="kind")]
