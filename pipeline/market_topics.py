"""The market half of the topology; apart from `pipeline.topics` so that a GPU host needs no pydantic."""

from typing import Any

from pipeline.messages.market import Award, Dispatch, Offer, OfferEvent, Performance, Statement
from pipeline.topics import Topic

#: bidding → archive, desk
OFFERS = Topic("market.offer.v1", Offer, key=lambda m: m.resource, partitions=1)
OFFER_EVENTS = Topic("market.offer-event.v1", OfferEvent, key=lambda m: m.offer_id, partitions=1)
AWARDS = Topic("market.award.v1", Award, key=lambda m: m.resource, partitions=1)
DISPATCHES = Topic("market.dispatch.v1", Dispatch, key=lambda m: m.resource, partitions=1)
PERFORMANCE = Topic("market.performance.v1", Performance, key=lambda m: m.resource, partitions=1)
STATEMENTS = Topic("market.statement.v1", Statement, key=lambda m: m.resource, partitions=1)

MARKET_TOPICS: tuple[Topic[Any], ...] = (OFFERS, OFFER_EVENTS, AWARDS, DISPATCHES, PERFORMANCE, STATEMENTS)
