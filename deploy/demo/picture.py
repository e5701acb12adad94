"""What the demo knows of the running loop: a fold over the messages that pass by. Pure."""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import Any

from bidding.capacity import pool_relief_kw
from bidding.ledger import OURS
from deploy.demo.plan import INTERVAL
from pipeline.messages.control import AckStatus, CommandAck
from pipeline.messages.market import Award, Dispatch, Offer, OfferEvent, Performance, Statement
from pipeline.messages.telemetry import PoolLoad, SiteCapacity, SiteInterval, Workload
from pipeline.units import KW_PER_MW, W_PER_KW

KEPT_NOTES = 12
KEPT_SECONDS = 400


@dataclass(frozen=True)
class Note:
    """One line of what happened, and when."""

    at: datetime
    text: str


@dataclass
class Picture:
    """The newest of everything, and a short past."""

    capacity: SiteCapacity | None = None
    loads: deque[tuple[datetime, float]] = field(default_factory=lambda: deque(maxlen=KEPT_SECONDS))
    offers: dict[str, Offer] = field(default_factory=dict)
    states: dict[str, str] = field(default_factory=dict)
    awards: dict[str, Award] = field(default_factory=dict)
    dispatches: dict[str, Dispatch] = field(default_factory=dict)
    performance: dict[str, Performance] = field(default_factory=dict)
    statements: dict[str, Statement] = field(default_factory=dict)
    intervals: dict[datetime, SiteInterval] = field(default_factory=dict)
    applied: int = 0
    refused: int = 0
    commanded_hosts: set[str] = field(default_factory=set)
    released_hosts: set[str] = field(default_factory=set)
    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=KEPT_NOTES))

    def note(self, at: datetime, text: str) -> None:
        """Add a line to what happened."""
        self.notes.append(Note(at, text))

    def add(self, message: Any, now: datetime) -> None:
        """Take in one message of any kind; seeing it twice changes nothing but the notes."""
        match message:
            case SiteCapacity():
                self.capacity = message
                self.loads.append((message.as_of, message.load_kw))
            case SiteInterval() if message.interval.length == INTERVAL:
                self.intervals[message.interval.start] = message
            case CommandAck():
                self._add_ack(message)
            case Offer():
                self.offers[message.offer_id] = message
                prices = ", ".join(f"{step.quantity_mw} MW @ ${step.price_per_mwh}" for step in message.steps)
                self.note(now, f"offer for {message.interval.start:%H:%M}: {prices}")
            case OfferEvent():
                self._add_offer_event(message)
            case Award():
                self.awards[message.award_id] = message
                price = f"${message.price_per_mwh}/MWh"
                self.note(
                    message.awarded_at,
                    f"award {message.quantity_mw} MW at {price} for {message.interval.start:%H:%M}",
                )
            case Dispatch():
                self.dispatches[message.dispatch_id] = message
                self.note(
                    message.issued_at,
                    f"dispatch: reduce by {message.reduction_mw} MW from {message.interval.start:%H:%M}",
                )
            case Performance():
                self.performance[message.award_id] = message
                self.note(now, f"delivered {message.delivered_kw:.1f} of {message.awarded_kw:.1f} kW")
            case Statement():
                self.statements[message.issuer] = message
                self.note(now, f"statement of {message.issuer}: {message.currency} {message.total}")

    def _add_ack(self, ack: CommandAck) -> None:
        match ack.status:
            case AckStatus.APPLIED:
                self.applied += 1
                self.commanded_hosts.add(ack.host)
                self.released_hosts.discard(ack.host)
            case AckStatus.REFUSED:
                self.refused += 1
            case AckStatus.RELEASED:
                self.released_hosts.add(ack.host)

    def _add_offer_event(self, event: OfferEvent) -> None:
        self.states[event.offer_id] = event.state
        offer = self.offers.get(event.offer_id)
        name = f"offer for {offer.interval.start:%H:%M}" if offer else f"offer {event.offer_id[:8]}"
        self.note(event.at, f"{name}: {event.state}{f' ({event.detail})' if event.detail else ''}")

    def target_kw(self, now: datetime) -> float | None:
        """Return what the site should draw at *now*: baseline minus award; None outside awarded intervals."""
        for award in self.awards.values():
            offer = self.offers.get(award.offer_id)
            if offer is not None and now in award.interval:
                return offer.baseline_kw - float(award.quantity_mw * KW_PER_MW)
        return None

    def baseline_kw(self, now: datetime) -> float | None:
        """Return the baseline of the offer for the interval at *now*, or of the nearest offer before the event."""
        offers = sorted(self.offers.values(), key=lambda offer: offer.interval.start)
        covering = (offer.baseline_kw for offer in offers if now in offer.interval)
        return next(covering, next((offer.baseline_kw for offer in islice(offers, 1)), None))

    def tokens_per_joule(self) -> float | None:
        """Return tokens per second per watt of the inference pools that count tokens, None while nobody does."""
        if self.capacity is None:
            return None
        pools = [
            (pool.tokens_per_s, pool.power_kw)
            for pool in self.capacity.pools
            if pool.tokens_per_s is not None and pool.workload is Workload.INFERENCE
        ]
        watts = sum(power_kw for _, power_kw in pools) * W_PER_KW
        return sum(tokens or 0.0 for tokens, _ in pools) / watts if watts > 0 else None

    def relief_kw(self) -> dict[str, float]:
        """Return the relief at each tier's floor, kW."""
        return relief_by_tier(self.capacity.pools) if self.capacity else {}


def relief_by_tier(pools: Iterable[PoolLoad]) -> dict[str, float]:
    """Return what each tier could let go at its floor, kW, T0 first."""
    relief: dict[str, float] = {}
    for pool in pools:
        relief[pool.tier] = relief.get(pool.tier, 0.0) + pool_relief_kw(pool)
    return dict(sorted(relief.items()))


def dollars(picture: Picture) -> tuple[Decimal | None, Decimal | None]:
    """Return our statement's total and the venue's, None where there is none yet."""
    ours = picture.statements.get(OURS)
    theirs = next((s for issuer, s in picture.statements.items() if issuer != OURS), None)
    return (ours.total if ours else None, theirs.total if theirs else None)
