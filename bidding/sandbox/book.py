"""The venue's book: a fold over journal entries. Nothing is decided here."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import singledispatchmethod

from bidding.sandbox.answers import Award, Notice, Score
from bidding.sandbox.entries import (
    KNOWN,
    STANDING,
    AnyEntry,
    CancelEntry,
    ClearingEntry,
    DocumentEntry,
    EpochEntry,
    FencedEntry,
    MeterEntry,
    OfferEntry,
    Opened,
    Outcome,
    ResponseEntry,
    ShortfallEntry,
    WithdrawalEntry,
)
from bidding.sandbox.wire import Receipt

Slot = tuple[str, datetime]
"""Product and interval start."""


@dataclass
class Book:
    """Everything the venue knows; changed by `apply` alone."""

    offers: dict[str, OfferEntry] = field(default_factory=dict)
    latest: dict[Slot, dict[str, str]] = field(default_factory=dict)
    """By resource: the newest offer that was accepted, taken back since or not."""
    ended: dict[str, WithdrawalEntry | CancelEntry] = field(default_factory=dict)
    """Offers taken back, by id."""
    cancel_at: dict[str, datetime] = field(default_factory=dict)
    """Offers that the venue is going to take back, and when."""
    uncleared: set[Slot] = field(default_factory=set)
    """With offers and without a clearing."""
    clearings: dict[Slot, ClearingEntry] = field(default_factory=dict)
    awards: dict[str, list[Award]] = field(default_factory=dict)
    """By resource, in the order of clearing."""
    documents: dict[str, DocumentEntry] = field(default_factory=dict)
    """As they first came."""
    notices: dict[str, list[Notice]] = field(default_factory=dict)
    """By resource."""
    shortfalls: dict[str, ShortfallEntry] = field(default_factory=dict)
    meter: dict[tuple[str, str], MeterEntry] = field(default_factory=dict)
    """(resource, batch) → readings, in the order in which the batches arrived."""
    scores: dict[tuple[str, str, datetime], Score] = field(default_factory=dict)
    """By resource, product and hour."""
    counts: Counter[str] = field(default_factory=Counter)
    epoch: int = 0
    """The highest heard."""
    entries: int = 0

    def apply(self, entry: AnyEntry) -> None:
        """Take *entry* into the book."""
        self.entries += 1
        if reply := getattr(entry, "reply", None):
            self.counts[f"reply_{reply}"] += 1
        self._take(entry)

    @singledispatchmethod
    def _take(self, entry: AnyEntry) -> None:
        raise TypeError(f"no journal entry: {entry!r}")

    @_take.register
    def _(self, _: Opened) -> None: ...

    @_take.register
    def _(self, entry: EpochEntry) -> None:
        self.epoch = entry.epoch

    @_take.register
    def _(self, _: FencedEntry) -> None:
        self.counts["fenced"] += 1

    @_take.register
    def _(self, entry: OfferEntry) -> None:
        self.counts[entry.outcome] += 1
        if entry.outcome in KNOWN:
            self.offers[entry.offer_id] = entry
        if entry.outcome in STANDING:
            slot = entry.body.product, entry.body.interval_start
            of_slot = self.latest.setdefault(slot, {})
            self.cancel_at.pop(of_slot.get(entry.body.resource, ""), None)
            of_slot[entry.body.resource] = entry.offer_id
            self.uncleared.add(slot)
            if entry.cancel_at:
                self.cancel_at[entry.offer_id] = entry.cancel_at

    @_take.register
    def _(self, entry: DocumentEntry) -> None:
        self.counts["document"] += 1
        self.documents.setdefault(entry.document_id, entry)
        for offer in entry.offers:
            self._take(offer)

    @_take.register
    def _(self, entry: WithdrawalEntry) -> None:
        told = entry.outcome in {Outcome.WITHDRAWN, Outcome.GATE_CLOSED}
        self.counts[entry.outcome if told else f"withdrawal_{entry.outcome}"] += 1
        if entry.outcome is Outcome.WITHDRAWN:
            self.ended[entry.offer_id] = entry
            self.cancel_at.pop(entry.offer_id, None)

    @_take.register
    def _(self, entry: CancelEntry) -> None:
        self.counts["cancelled"] += 1
        self.ended[entry.offer_id] = entry
        self.cancel_at.pop(entry.offer_id, None)
        body = self.offers[entry.offer_id].body
        notice = Notice(
            notice_id=f"N-{entry.offer_id}",
            offer_id=entry.offer_id,
            resource=body.resource,
            product=body.product,
            interval_start=body.interval_start,
            interval_end=body.interval_end,
            reason=entry.reason,
            issued_at=entry.at,
        )
        self.notices.setdefault(body.resource, []).append(notice)

    @_take.register
    def _(self, entry: ShortfallEntry) -> None:
        self.counts[f"shortfall_{entry.outcome}"] += 1
        if entry.outcome is Outcome.TAKEN:
            self.shortfalls[entry.shortfall_id] = entry

    @_take.register
    def _(self, entry: ClearingEntry) -> None:
        for product in entry.prices:
            self.clearings[product, entry.interval_start] = entry
            self.uncleared.discard((product, entry.interval_start))
        for award in entry.awards:
            self.awards.setdefault(award.resource, []).append(award)

    @_take.register
    def _(self, entry: MeterEntry) -> None:
        self.counts["meter"] += 1
        self.meter.pop((entry.resource, entry.batch_id), None)
        self.meter[entry.resource, entry.batch_id] = entry

    @_take.register
    def _(self, entry: ResponseEntry) -> None:
        self.scores[entry.score.resource, entry.score.product, entry.score.hour] = entry.score

    def latest_offer(self, resource: str, slot: Slot) -> OfferEntry | None:
        """Return the newest accepted offer of *resource* in *slot*, taken back since or not."""
        offer_id = self.latest.get(slot, {}).get(resource)
        return self.offers[offer_id] if offer_id else None

    def standing_offers(self, slot: Slot) -> list[OfferEntry]:
        """Return the offers that count in *slot*."""
        return [self.offers[offer_id] for offer_id in self.latest.get(slot, {}).values() if offer_id not in self.ended]

    def receipt(self, offer_id: str) -> Receipt | None:
        """Return what has become of *offer_id*; None for an offer the venue does not know."""
        entry = self.offers.get(offer_id)
        if entry is None or entry.receipt is None or entry.outcome not in STANDING:
            return entry.receipt if entry else None
        changes: dict[str, object] = {}
        current = self.latest_offer(entry.body.resource, (entry.body.product, entry.body.interval_start))
        if current is not None and current.offer_id != offer_id:
            changes["replaced_by"] = current.offer_id
        if ended := self.ended.get(offer_id):
            by_us = isinstance(ended, CancelEntry)
            reason = ended.reason if isinstance(ended, CancelEntry) else "withdrawn by its sender"
            changes |= {
                "status": "cancelled" if by_us else "withdrawn",
                "accepted_mw": Decimal(0),
                "reasons": (reason,),
            }
        return entry.receipt.model_copy(update=changes)

    def due_cancels(self, now: datetime) -> Iterator[tuple[datetime, str]]:
        """Yield when and which accepted offers the venue has to have taken back by *now*, in that order."""
        yield from sorted((at, offer_id) for offer_id, at in self.cancel_at.items() if at <= now)

    def award_of(self, resource: str, slot: Slot) -> Award | None:
        """Return what *resource* was awarded in *slot*."""
        own = self.awards.get(resource, ())
        return next((award for award in own if (award.product, award.interval_start) == slot), None)

    def available_mw(self, award: Award, by: datetime) -> Decimal:
        """Return what is left of *award* after the notices of shortfall that had come *by* then."""
        noticed = [
            entry.body.available_mw
            for entry in self.shortfalls.values()
            if (entry.body.resource, entry.body.product, entry.body.interval_start)
            == (award.resource, award.product, award.interval_start)
            and entry.at <= by
        ]
        return min(award.mw, noticed[-1]) if noticed else award.mw

    def readings(self, resource: str) -> dict[datetime, Decimal]:
        """Return metered kWh of *resource* by interval start; what arrived later holds."""
        return {
            reading.start: reading.kwh
            for (owner, _), batch in self.meter.items()
            if owner == resource
            for reading in batch.readings
        }
