"""
The ledger: what the journal adds up to. A pure fold, so that a restart knows what the process before it knew.

Each kind of journal record is a document of `bidding.entries`; `Ledger.apply` says what it changes. A later revision of
an offer that the venue has accepted stands in the earlier one's place, because a venue holds one offer for an interval.
The earlier one binds us again once the later is refused, or the venue was found to hold the earlier.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from bidding.chain import Record
from bidding.entries import (
    Cancelled,
    Commanded,
    Explained,
    Found,
    Held,
    Intent,
    MeterReport,
    Refused,
    Sent,
    Told,
    Withdrawal,
    document_of,
)
from bidding.markets import Notice, Shortfall
from bidding.states import (
    CHANGES,
    CLEARED,
    OVER,
    STANDING,
    STATUS,
    STEP,
    TAKEN,
    UNRESOLVED,
    DocumentRecord,
    Key,
    OfferRecord,
    held_again,
    key_of,
)
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, OfferState, Performance, Statement

#: Who issues our own statements.
OURS = "firmwatt"


@dataclass
class Ledger:
    """Everything the journal says, by natural key."""

    offers: dict[str, OfferRecord] = field(default_factory=dict)
    documents: dict[str, DocumentRecord] = field(default_factory=dict)
    awards: dict[str, Award] = field(default_factory=dict)
    dispatches: dict[str, Dispatch] = field(default_factory=dict)
    notices: dict[str, Notice] = field(default_factory=dict)
    found: dict[str, Found] = field(default_factory=dict)
    """By offer: what the venue said last where it did not agree with us."""
    shortfalls: dict[str, Shortfall] = field(default_factory=dict)
    told: dict[str, Told] = field(default_factory=dict)
    """By shortfall: that the venue has heard of it."""
    held_once: dict[str, Held] = field(default_factory=dict)
    """By content hash: every document that ever waited for approval."""
    explained: dict[str, Explained] = field(default_factory=dict)
    """By offer, or by document: the newest."""
    performance: dict[str, Performance] = field(default_factory=dict)
    statements: dict[str, Statement] = field(default_factory=dict)
    """By issuer: the newest of each."""
    reports: dict[str, MeterReport] = field(default_factory=dict)
    commanded: Commanded | None = None
    """The newest round of leases."""
    _by_key: dict[Key, list[str]] = field(default_factory=dict)
    _open: dict[str, None] = field(default_factory=dict)
    """The documents whose outcome only the venue can tell."""

    def apply(self, document: Document) -> list[OfferRecord]:
        """Take *document* in; return the offers that it moved one step on."""
        if isinstance(document, Award) and (document := self.named(document)) == self.awards.get(document.award_id):
            return []
        self._keep(document)
        self._move(document)
        moved = [record for record in self._after(document) if record != self.offers.get(record.offer.offer_id)]
        for record in moved:
            self._put(record)
        others = [other for record in moved for other in (*self._superseded_by(record), *self._standing_again(record))]
        for record in others:
            self._put(record)
        self._close(moved + others)
        return moved + others

    def _put(self, record: OfferRecord) -> None:
        if record.offer.offer_id not in self.offers:
            self._by_key.setdefault(key_of(record.offer), []).append(record.offer.offer_id)
        self.offers[record.offer.offer_id] = record

    def _keep(self, document: Document) -> None:
        """Keep the newest of what is kept by its own key."""
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
                self._keep_word(document)

    def _keep_word(self, document: Document) -> None:
        """Keep what was said about an offer beside the answers to it."""
        match document:
            case Cancelled():
                self.notices[document.notice.notice_id] = document.notice
            case Found():
                self.found[document.offer_id] = document
            case Shortfall():
                self.shortfalls[document.shortfall_id] = document
            case Told():
                self.told[document.shortfall_id] = document
            case Held():
                self.held_once[document.document] = document
            case Explained():
                self.explained[document.offer_id or document.document_id] = document
            case _:
                pass

    def _move(self, document: Document) -> None:
        """Move the document to the venue that *document* is about."""
        if isinstance(document, Intent):
            ids = tuple(offer.offer_id for offer in document.offers)
            self.documents[document.document_id] = DocumentRecord(
                document.document_id, ids, document.content, attempts=self._attempts(document.document_id)
            )
            self._open[document.document_id] = None
        elif isinstance(document, Withdrawal):
            self.documents[document.document_id] = DocumentRecord(
                document.document_id,
                document.offer_ids,
                withdraws=True,
                reason=document.reason,
                attempts=self._attempts(document.document_id),
            )
            self._open[document.document_id] = None
        elif type(document) in STEP and (known := self.documents.get(getattr(document, "document_id", ""))):
            attempts = document.attempt if isinstance(document, Sent) else known.attempts
            self.documents[known.document_id] = replace(known, state=STEP[type(document)], attempts=attempts)
            if isinstance(document, Refused):
                self._open.pop(known.document_id, None)

    def _attempts(self, document_id: str) -> int:
        known = self.documents.get(document_id)
        return known.attempts if known else 0

    def _close(self, moved: Iterable[OfferRecord]) -> None:
        """Let go of the documents that the offers' answers have settled."""
        ids = {record.offer.offer_id for record in moved}
        for name in [name for name in self._open if ids & set(self.documents[name].offer_ids)]:
            if not self.waiting_for(self.documents[name]):
                del self._open[name]

    def waiting_for(self, document: DocumentRecord) -> list[OfferRecord]:
        """Return the offers of *document* whose answer is not in: none, once it has been judged."""
        records = [self.offers[name] for name in document.offer_ids if name in self.offers]
        if document.withdraws:
            return [r for r in records if r.state in STANDING and document.state is not OfferState.REJECTED]
        return [r for r in records if r.state in UNRESOLVED and r.document_id == document.document_id]

    def _after(self, document: Document) -> list[OfferRecord]:
        """Return the offers that *document* is about, as it leaves them."""
        if isinstance(document, Held):
            reason = "; ".join(document.why)
            return [OfferRecord(offer, state=OfferState.HELD, detail=reason) for offer in document.offers]
        if isinstance(document, Intent):
            return [self._meant(offer, document.document_id) for offer in document.offers]
        if isinstance(document, Found):
            return (
                [held_again(record, document.holds) for record in self._about(document.holds)] if document.holds else []
            )
        if isinstance(document, Statement):
            settled = document.lines if document.issuer != OURS else ()
            records = filter(None, (self._awarded(line.award_id) for line in settled))
            return [replace(record, state=OfferState.SETTLED) for record in records]
        change = CHANGES.get(type(document))
        return [change(record, document) for record in self._about(document)] if change else []

    def _meant(self, offer: Offer, document_id: str) -> OfferRecord:
        """Return *offer* as meant to be sent in a document; what it went through in an earlier one stays counted."""
        known = self.offers.get(offer.offer_id)
        if known is None or known.state is OfferState.HELD:
            return OfferRecord(offer, document_id)
        return replace(known, document_id=document_id, state=OfferState.INTENT)

    def _about(self, document: Document) -> Iterator[OfferRecord]:
        """Yield the offers that *document* speaks of."""
        if isinstance(document, Dispatch):
            yield from filter(None, [self._awarded(document.award_id)])
        elif known := self.offers.get(getattr(document, "offer_id", "")):
            yield known
        elif (sent := self.documents.get(getattr(document, "document_id", ""))) and not sent.withdraws:
            yield from self.waiting_for(replace(sent, state=OfferState.SENT))

    def _superseded_by(self, record: OfferRecord) -> Iterator[OfferRecord]:
        """Yield the revisions in whose place *record* stands now: the earlier ones, and where it was bought all."""
        bought = record.state is OfferState.AWARDED
        if not bought and record.state not in TAKEN | {OfferState.PENDING}:
            return
        for name in self._by_key[key_of(record.offer)]:
            other, revision = self.offers[name], record.offer.revision
            gives_way = other.offer.revision < revision or (bought and other.offer.revision > revision)
            if gives_way and other.state in STANDING - UNRESOLVED:
                detail = f"revision {revision} {'was bought' if bought else 'stands'}"
                yield replace(other, state=OfferState.SUPERSEDED, detail=detail)

    def _standing_again(self, record: OfferRecord) -> Iterator[OfferRecord]:
        """Yield the revision that had to give way to others which are all refused by now, *record* the last of them."""
        if record.state is not OfferState.REJECTED:
            return
        refused = {OfferState.REJECTED, OfferState.HELD}
        others = (known for known in reversed(self.revisions(key_of(record.offer))) if known.state not in refused)
        last = next(others, None)
        if last is not None and last.receipt is not None and last.state is OfferState.SUPERSEDED:
            detail = f"revision {record.offer.revision} was refused"
            yield replace(last, state=STATUS.get(last.receipt.status, OfferState.ACCEPTED), detail=detail)

    def _awarded(self, award_id: str) -> OfferRecord | None:
        award = self.awards.get(award_id)
        return self.offers.get(award.offer_id) if award else None

    def bought(self, award: Award) -> OfferRecord | None:
        """
        Return the offer that *award* must mean, None where none can be.

        Without an offer's id it is what the venue was found to hold, or the newest that it accepted; at last anything
        that was ever sent: who was awarded has to deliver.
        """
        if award.offer_id:
            return self.offers.get(award.offer_id)
        key = key_of(award)
        if (newest := self.newest(key, TAKEN | CLEARED)) and (found := self.found.get(newest.offer.offer_id)):
            older = self.offers.get(found.holds.offer_id) if found.holds else None
            newest = older if older is not None and older.state in TAKEN else newest
        sent = (record for record in reversed(self.revisions(key)) if record.attempts)
        return newest or self.newest(key, STANDING) or self.newest(key, {OfferState.SUPERSEDED}) or next(sent, None)

    def named(self, award: Award) -> Award:
        """Return *award* with the id of the offer that it means: a correction means the one it meant before."""
        if award.offer_id:
            return award
        known, record = self.awards.get(award.award_id), self.bought(award)
        name = (known.offer_id if known else "") or (record.offer.offer_id if record else "")
        return award.model_copy(update={"offer_id": name})

    def revisions(self, key: Key) -> list[OfferRecord]:
        """Return every revision under *key*, the highest last."""
        records = (self.offers[name] for name in self._by_key.get(key, ()))
        return sorted(records, key=lambda record: record.offer.revision)

    def newest(self, key: Key, states: Iterable[OfferState]) -> OfferRecord | None:
        """Return the highest revision under *key* in one of *states*, None where there is none."""
        allowed = frozenset(states)
        return next((record for record in reversed(self.revisions(key)) if record.state in allowed), None)

    @property
    def open_documents(self) -> list[DocumentRecord]:
        """The documents whose outcome only the venue can tell, oldest first."""
        return [self.documents[name] for name in self._open]

    @property
    def unresolved(self) -> list[OfferRecord]:
        """The offers whose outcome only the venue can tell, oldest first."""
        return [record for record in self.offers.values() if record.state in UNRESOLVED]

    @property
    def held(self) -> dict[str, Held]:
        """The documents that wait for approval, by content hash."""
        waiting = {record.offer.offer_id for record in self.offers.values() if record.state is OfferState.HELD}
        return {
            name: held
            for name, held in self.held_once.items()
            if all(offer.offer_id in waiting for offer in held.offers)
        }

    @property
    def highest_seq(self) -> int:
        """The highest sequence that may be out: each round's is above the one before."""
        return self.commanded.seq if self.commanded else 0

    @property
    def taken(self) -> list[Offer]:
        """The offers that stand, bought ones included: power promised to the venue, or about to be."""
        free = OVER | {OfferState.HELD}
        return [record.offer for record in self.offers.values() if record.state not in free]

    def is_offered(self, resource: str, product: str, interval: Interval) -> bool:
        """Tell whether *interval* is offered, or was turned down by the venue; what never left may be tried again."""
        records = self.revisions((resource, product, interval))
        return any(record.state is not OfferState.REJECTED or record.attempts for record in records)

    def revision_of(self, resource: str, product: str, interval: Interval) -> int:
        """Return the highest revision offered for *interval*, 0 for none."""
        records = self.revisions((resource, product, interval))
        return records[-1].offer.revision if records else 0


def fold(records: Iterable[Record]) -> Ledger:
    """Return what *records* add up to."""
    ledger = Ledger()
    for record in records:
        ledger.apply(document_of(record))
    return ledger
