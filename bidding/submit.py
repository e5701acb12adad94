"""
Send an offer so that it is applied once, whatever gets lost on the way.

    intent (fsync) ─▶ sent ─▶ receipt
                        └───▶ unknown ─▶ ask ─┬─▶ receipt
                                 ▲            ├─▶ no answer: ask again
                                 └── sent ◀───┴─▶ absent, twice: send again, before the gate only

An unknown outcome is resolved by asking, never by sending again. Absence is believed when the venue says so twice, one
`in_flight` apart: the request may still be under way when the first question is answered.
"""

import logging
from dataclasses import dataclass
from datetime import timedelta

from bidding.book import Book
from bidding.ledger import UNRESOLVED, Absent, Intent, OfferRecord, Refused, Sent, Unknown
from bidding.markets import Market, Receipt
from pipeline.clock import Clock
from pipeline.errors import RejectedError, VenueError
from pipeline.messages.market import Offer

log = logging.getLogger("bidding.submit")


@dataclass(frozen=True)
class Patience:
    """How long to wait between questions, spans of the clock."""

    retry: timedelta
    """Between two questions to a venue that does not answer."""
    in_flight: timedelta
    """Between two questions before "never saw it" is believed."""
    gate_margin: timedelta
    """Nothing is sent later than this before gate closure."""


class Submitter:
    """One venue's outbox; the journal remembers, this only drives."""

    def __init__(self, market: Market, book: Book, clock: Clock, patience: Patience) -> None:
        self._market = market
        self._book = book
        self._clock = clock
        self._patience = patience

    async def submit(self, offer: Offer) -> OfferRecord:
        """
        Return what became of *offer*; an offer that is in the journal already is resolved, not repeated.

        The state is unresolved only when the venue did not answer until its gate closed.
        """
        known = self._book.ledger.offers.get(offer.offer_id)
        if known is None:
            self._book.write(Intent(offer=offer, document=self._market.encode(offer).decode()))
            await self._send(self._record(offer))
        return await self.resolve(self._record(offer))

    async def recover(self) -> bool:
        """Resolve what an earlier run, or a silent venue, left open; return whether everything is resolved."""
        for record in self._book.ledger.unresolved:
            await self.resolve(record)
        return not self._book.ledger.unresolved

    async def resolve(self, record: OfferRecord) -> OfferRecord:
        """Ask until the venue answers or its gate has closed, then once; send again what it never saw."""
        while record.state in UNRESOLVED:
            answered, receipt = await self._ask(record.offer.offer_id)
            if receipt is not None:
                self._book.write(receipt)
            elif answered and await self._absent(record.offer.offer_id):
                self._book.write(Absent(offer_id=record.offer.offer_id))
                await self._send(record)
            elif not answered and self._gate_closed(record.offer):
                break
            elif not answered:
                await self._clock.sleep(self._patience.retry)
            record = self._record(record.offer)
        return record

    async def _absent(self, offer_id: str) -> bool:
        """Return whether the venue still never saw the offer one `in_flight` later."""
        await self._clock.sleep(self._patience.in_flight)
        return await self._ask(offer_id) == (True, None)

    async def _ask(self, offer_id: str) -> tuple[bool, Receipt | None]:
        """Return whether the venue answered, and the receipt it holds."""
        try:
            return True, await self._market.status(offer_id)
        except VenueError as error:
            log.debug("offer %s: no answer to the question what became of it: %s", offer_id, error)
            return False, None

    async def _send(self, record: OfferRecord) -> None:
        offer_id = record.offer.offer_id
        if self._gate_closed(record.offer):
            self._book.write(Refused(offer_id=offer_id, reason="the gate closed before it could be sent"))
            return
        self._book.write(Sent(offer_id=offer_id, attempt=self._record(record.offer).attempts + 1))
        try:
            self._book.write(await self._market.submit(record.document.encode(), offer_id))
        except RejectedError as error:
            self._book.write(Refused(offer_id=offer_id, reason=str(error)))
        except VenueError as error:
            log.info("offer %s: outcome unknown, asking the venue (%s)", offer_id, error)
            self._book.write(Unknown(offer_id=offer_id, detail=str(error)))

    def _gate_closed(self, offer: Offer) -> bool:
        closes = self._market.rules.gate_closes(offer.interval)
        return self._clock.now() >= closes - self._patience.gate_margin

    def _record(self, offer: Offer) -> OfferRecord:
        return self._book.ledger.offers[offer.offer_id]
