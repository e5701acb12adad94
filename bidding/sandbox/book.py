"""
The venue's book: a fold over journal entries.

An entry says what was asked *and* what came of it, so that reading the journal again decides nothing again.
"""

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from bidding.sandbox.faults import Reply
from bidding.sandbox.rules import Rules
from bidding.sandbox.wire import Award, OfferBody, Reading, Receipt, Utc, Wire


class Outcome(StrEnum):
    """What came of a submission."""

    ACCEPTED = "accepted"
    PARTLY_ACCEPTED = "partly_accepted"
    REJECTED = "rejected"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"
    STALE_REVISION = "stale_revision"
    GATE_CLOSED = "gate_closed"
    GATE_NOT_OPEN = "gate_not_open"


#: Outcomes after which the venue knows the offer by its id.
KNOWN = frozenset({Outcome.ACCEPTED, Outcome.PARTLY_ACCEPTED, Outcome.REJECTED})
#: Outcomes that put the offer into the next clearing.
STANDING = frozenset({Outcome.ACCEPTED, Outcome.PARTLY_ACCEPTED})


class Opened(Wire):
    """First line of a journal: the rules it was kept under."""

    kind: Literal["opened"] = "opened"
    rules: Rules
    seed: int


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
    reply: Reply = Reply.SENT


class ClearingEntry(Wire):
    """One interval cleared."""

    kind: Literal["clearing"] = "clearing"
    at: Utc
    interval_start: Utc
    price: Decimal | None
    demand_mw: Decimal
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


Entry = Annotated[Opened | OfferEntry | ClearingEntry | MeterEntry, Field(discriminator="kind")]


@dataclass
class Book:
    """Everything the venue knows; changed by `apply` alone."""

    offers: dict[str, OfferEntry] = field(default_factory=dict)
    standing: dict[datetime, dict[str, str]] = field(default_factory=dict)
    """Interval start → resource → the offer that counts."""
    uncleared: set[datetime] = field(default_factory=set)
    """Starts of intervals with offers and without a clearing."""
    clearings: dict[datetime, ClearingEntry] = field(default_factory=dict)
    awards: dict[str, list[Award]] = field(default_factory=dict)
    """By resource, in the order of clearing."""
    meter: dict[tuple[str, str], MeterEntry] = field(default_factory=dict)
    """(resource, batch) → readings, in the order in which the batches arrived."""
    counts: Counter[str] = field(default_factory=Counter)
    entries: int = 0

    def apply(self, entry: Opened | OfferEntry | ClearingEntry | MeterEntry) -> None:
        """Take *entry* into the book."""
        self.entries += 1
        if isinstance(entry, OfferEntry):
            self._apply_offer(entry)
        elif isinstance(entry, ClearingEntry):
            self.clearings[entry.interval_start] = entry
            self.uncleared.discard(entry.interval_start)
            for award in entry.awards:
                self.awards.setdefault(award.resource, []).append(award)
        elif isinstance(entry, MeterEntry):
            self.counts.update(["meter", f"reply_{entry.reply}"])
            self.meter.pop((entry.resource, entry.batch_id), None)
            self.meter[entry.resource, entry.batch_id] = entry

    def _apply_offer(self, entry: OfferEntry) -> None:
        self.counts.update([entry.outcome, f"reply_{entry.reply}"])
        if entry.outcome in KNOWN:
            self.offers[entry.offer_id] = entry
        if entry.outcome in STANDING:
            self.standing.setdefault(entry.body.interval_start, {})[entry.body.resource] = entry.offer_id
            self.uncleared.add(entry.body.interval_start)

    def standing_offer(self, resource: str, start: datetime) -> OfferEntry | None:
        """Return the offer that counts for *resource* in the interval from *start*."""
        offer_id = self.standing.get(start, {}).get(resource)
        return self.offers[offer_id] if offer_id else None

    def standing_offers(self, start: datetime) -> list[OfferEntry]:
        """Return the offers that count in the interval from *start*."""
        return [self.offers[offer_id] for offer_id in self.standing.get(start, {}).values()]

    def receipt(self, offer_id: str) -> Receipt | None:
        """Return the receipt of *offer_id*, and which offer replaced it; None for an offer the venue does not know."""
        entry = self.offers.get(offer_id)
        if entry is None or entry.receipt is None:
            return None
        current = self.standing_offer(entry.body.resource, entry.body.interval_start)
        if entry.outcome not in STANDING or current is None or current.offer_id == offer_id:
            return entry.receipt
        return entry.receipt.model_copy(update={"replaced_by": current.offer_id})

    def readings(self, resource: str) -> dict[datetime, Decimal]:
        """Return metered kWh of *resource* by interval start; what arrived later holds."""
        return {
            reading.start: reading.kwh
            for (owner, _), batch in self.meter.items()
            if owner == resource
            for reading in batch.readings
        }
