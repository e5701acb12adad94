"""Journal and ledger as one: what is written is on disk first, then in the ledger, then told to whoever listens."""

from collections.abc import Callable
from datetime import datetime

from bidding.chain import Action
from bidding.entries import KIND_OF, document_of
from bidding.journal import Journal
from bidding.ledger import Ledger
from bidding.states import OfferRecord
from pipeline.clock import Clock
from pipeline.messages.market import Document, OfferEvent

Listener = Callable[[Document, list[OfferEvent]], None]


def ignore(_document: Document, _events: list[OfferEvent]) -> None:
    """Tell nobody."""


class Book:
    """The open journal and what it adds up to."""

    def __init__(self, journal: Journal, clock: Clock, listener: Listener = ignore) -> None:
        """
        Replay *journal*.

        *listener* hears of every document and of the offers it moved on, what is replayed included: a process may
        have died between writing and telling, and whoever hears something twice knows it by its natural key.
        """
        self._journal = journal
        self._clock = clock
        self._listener = listener
        self.ledger = Ledger()
        for record in journal.records:
            self._take(document_of(record), record.at)

    @property
    def epoch(self) -> int:
        """The fencing epoch of this process."""
        return self._journal.epoch

    def write(self, document: Document) -> None:
        """Return once *document* is on disk and in the ledger; raise `FencedError` when a newer process writes now."""
        record = self._journal.append(self._clock.now(), KIND_OF[type(document)], document)
        self._take(document, record.at)

    def actions(self, after: int = 0) -> list[Action]:
        """Return what people did after action number *after*."""
        return self._journal.actions(after)

    def _take(self, document: Document, at: datetime) -> None:
        moved = self.ledger.apply(document)
        self._listener(document, [offer_event(record, at) for record in moved])


def offer_event(record: OfferRecord, at: datetime) -> OfferEvent:
    """Return the step that *record* has just made."""
    return OfferEvent(
        offer_id=record.offer.offer_id,
        state=record.state,
        at=at,
        receipt=record.receipt.receipt if record.receipt else None,
        accepted_mw=record.receipt.accepted_mw if record.receipt else None,
        detail=record.detail,
    )
