"""The journal's way to Kafka: every document that others may read, and every step of an offer, in order."""

import asyncio
from collections import deque
from typing import Any

from bidding.entries import Held, Intent
from pipeline import market_topics
from pipeline.kafka import Sender
from pipeline.messages.market import Award, Dispatch, Document, OfferEvent, Performance, Statement
from pipeline.topics import Topic

TOPIC_OF: dict[type[Document], Topic[Any]] = {
    Award: market_topics.AWARDS,
    Dispatch: market_topics.DISPATCHES,
    Performance: market_topics.PERFORMANCE,
    Statement: market_topics.STATEMENTS,
}


class Outbox:
    """A queue between the journal and Kafka: a slow broker delays readers, never an offer."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Topic[Any], Document]] = deque()
        self._filled = asyncio.Event()

    def take(self, document: Document, events: list[OfferEvent]) -> None:
        """Queue what of *document* is public, and the steps it caused."""
        if isinstance(document, Intent | Held):  # the desk sees what waits for it, too
            self._waiting.extend((market_topics.OFFERS, offer) for offer in document.offers)
        elif topic := TOPIC_OF.get(type(document)):
            self._waiting.append((topic, document))
        self._waiting.extend((market_topics.OFFER_EVENTS, event) for event in events)
        self._filled.set()

    async def run(self, sender: Sender) -> None:
        """Send until cancelled; raise `BrokerGoneError` when Kafka stays away: a restart sends it all again."""
        while True:
            await self._filled.wait()
            self._filled.clear()
            await self.drain(sender)

    async def drain(self, sender: Sender) -> None:
        """Send what is queued; a message leaves the queue once the broker has acknowledged it."""
        while self._waiting:
            await sender.send(*self._waiting[0])
            self._waiting.popleft()
