"""Keep what stands in step with the capacity behind it: revisions, withdrawals, word of shortfalls."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from bidding.book import Book
from bidding.entries import Told
from bidding.markets import Feature, Market, Shortfall
from bidding.reoffer import Action, Bounds, Revise, Standing, Tell, Withdraw, reoffer, standing
from bidding.settings import Bidding
from bidding.states import Key, OfferRecord, key_of
from bidding.submit import Submitter
from pipeline.errors import RejectedError, VenueError
from pipeline.messages.market import Offer, OfferState, OfferStep

log = logging.getLogger("bidding.revise")

LAST_LOOK = timedelta(seconds=3)
"""So shortly before a gate what is missing now is taken to stay missing."""

FIRST_PAUSE = timedelta(minutes=1)
"""Before a curve that was refused is proposed again; each refusal of it doubles the pause. An assumption."""

FirmNow = Callable[[Offer, datetime], tuple[OfferStep, ...]]
"""What could be offered now in the place of an offer, in whole blocks; nothing where that is not known."""
Propose = Callable[[Sequence[Offer], datetime], Awaitable[None]]
"""Judge revisions and send those that may leave."""


class Revising:
    """One resource's offers at one venue."""

    def __init__(
        self, settings: Bidding, market: Market, *, book: Book, submitter: Submitter, firm: FirmNow, propose: Propose
    ) -> None:
        self._market, self._book, self._submitter = market, book, submitter
        self._firm, self._propose = firm, propose
        self._since: dict[Key, datetime] = {}
        self._untold: dict[str, str] = {}
        """By shortfall: why the venue may not have heard of it."""
        self._wait = timedelta(seconds=settings.revise_wait_s)
        self._lead = timedelta(seconds=settings.ramp_lead_s)
        self._bounds = Bounds(
            deadband=Decimal(repr(settings.revise_deadband)),
            most_raises=settings.most_raises,
            gate_margin=settings.patience.gate_margin,
            can_withdraw=Feature.WITHDRAW in market.features,
            can_tell=Feature.NOTIFY in market.features,
        )

    async def tick(self, now: datetime) -> None:
        """Do what has to be done at *now*; nothing new while load is held down, when relief cannot be told."""
        await self._tell_again(now)
        if self._delivers(now):
            return
        stands = standing(self._book.ledger, now)
        actions = reoffer(stands, self._firm_of(stands, now), self._market.products, now, self._bounds)
        for action in self._lasting(actions, now):
            match action:
                case Revise(offer) if put_off(offer, self._book.ledger.revisions(key_of(offer)), now):
                    log.debug("the revision for %s was refused already", offer.interval.start.isoformat())
                case Revise(offer):
                    log.warning("offer for %s is revised to %s MW", offer.interval.start.isoformat(), offer.quantity_mw)
                    await self._propose([offer], now)
                case Withdraw(offer_id, reason):
                    log.warning("offer %s is withdrawn: %s", offer_id[:8], reason)
                    await self._submitter.withdraw([offer_id], reason)
                case Tell(shortfall):
                    log.warning("shortfall at %s: %s", shortfall.interval.start.isoformat(), shortfall.reason)
                    self._book.write(shortfall)
                    await self._tell(shortfall)

    def _lasting(self, actions: Sequence[Action], now: datetime) -> list[Action]:
        """Return those of *actions* that have been called for without a break for long enough, or have no more time."""
        offers = self._book.ledger.offers
        keys = {key_of_action(action, offers): action for action in actions}
        self._since = {key: self._since.get(key, now) for key in keys}
        return [action for key, action in keys.items() if now - self._since[key] >= self._wait or self._last(key, now)]

    def _last(self, key: Key, now: datetime) -> bool:
        """Tell whether the gate closes, or the interval begins, before it will have lasted."""
        _, product, interval = key
        closes = self._market.products[product].gate_closes(interval) - self._bounds.gate_margin
        return any(now < end <= now + LAST_LOOK for end in (closes, interval.start))

    def _firm_of(self, stands: Sequence[Standing], now: datetime) -> Mapping[Key, tuple[OfferStep, ...]]:
        return {key_of(one.offer): self._firm(one.offer, now) for one in stands}

    def _delivers(self, now: datetime) -> bool:
        """Return whether an instruction is in force at *now*, or about to be."""
        dispatches = self._book.ledger.dispatches.values()
        return any(
            one.reduction_mw > 0 and one.interval.start - self._lead <= now < one.interval.end for one in dispatches
        )

    async def _tell_again(self, now: datetime) -> None:
        """
        Tell the venue of the shortfalls that it may not have heard of: the same again changes nothing.

        Of several for one interval only the newest is told: an older one would promise more than there is.
        """
        ledger = self._book.ledger
        newest = {key_of(shortfall): shortfall for shortfall in ledger.shortfalls.values()}
        for shortfall in newest.values():
            if shortfall.shortfall_id not in ledger.told and now < shortfall.interval.end:
                await self._tell(shortfall)

    async def _tell(self, shortfall: Shortfall) -> None:
        try:
            await self._market.notify(shortfall, self._book.epoch)
        except RejectedError as error:
            log.error("the venue will not hear of a shortfall: %s", error)  # noqa: TRY400 - one line, no traceback
            self._book.write(Told(shortfall_id=shortfall.shortfall_id, refused=str(error)))
        except VenueError as error:
            if self._untold.get(shortfall.shortfall_id) != str(error):
                log.warning("the venue may not have heard of a shortfall, telling it again: %s", error)
            self._untold[shortfall.shortfall_id] = str(error)
        else:
            self._book.write(Told(shortfall_id=shortfall.shortfall_id))


def put_off(offer: Offer, revisions: Sequence[OfferRecord], now: datetime) -> bool:
    """
    Tell whether the curve of *offer* waits for people already, or was refused too short a time before *now*. Pure.

    *revisions* are those under its key, the highest last. A refusal may have been of the moment, so the same curve is
    proposed again: one minute after the first refusal, two after the second, and so on. Another curve does not wait.
    """
    refused = 0
    for record in reversed(revisions):
        if record.offer.steps != offer.steps or record.state not in {OfferState.REJECTED, OfferState.HELD}:
            break
        if record.state is OfferState.HELD:
            return True
        refused += 1
    return refused > 0 and now < revisions[-1].offer.as_of + FIRST_PAUSE * 2 ** (refused - 1)


def key_of_action(action: Action, offers: Mapping[str, OfferRecord]) -> Key:
    """Return the natural key of what *action* is about."""
    match action:
        case Revise(offer):
            return key_of(offer)
        case Withdraw(offer_id):
            return key_of(offers[offer_id].offer)
        case Tell(shortfall):
            return key_of(shortfall)
