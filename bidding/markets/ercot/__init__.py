"""
ERCOT, by its External Web Services: signed SOAP over mutual TLS. See the README beside this file.

| request | repeated here? | an answer that does not come, or that ERCOT did not sign |
|---|---|---|
| queries | yes, a bounded number of times, each under a new nonce | `VenueError`; for `status` `UnknownOutcomeError` |
| `submit`, `withdraw` | never | `UnknownOutcomeError`: only `status` can tell |

A connection that was refused is a `VenueError`: nothing was sent, so nothing was applied.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from pathlib import Path
from weakref import WeakValueDictionary

from bidding.markets import Feature, Market, MeterReading, Notice, Receipt, Shortfall
from bidding.markets.ercot import encode, names, receipts, request
from bidding.markets.ercot.client import ErcotVenue, Session, open_session
from bidding.markets.ercot.decode import Held, Transaction, decode, standing, transactions
from bidding.markets.ercot.hours import trading_date
from bidding.markets.ercot.reply import Reply, bids, read_awards, read_notices, read_notifications
from bidding.products import Rules
from bidding.products.load import confirmations
from bidding.products.load import load as load_products
from pipeline.clock import Clock
from pipeline.errors import RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Award, Dispatch, Offer, Statement
from pipeline.settings import load


async def connect(path: Path, clock: Clock) -> Market:
    """
    Return the venue of ``[venue.ercot]``, its products with what ``[products.ercot]`` confirms; nothing is sent yet.

    Raise `ConfigError` for settings that cannot work.
    """
    session = open_session(load(path, "venue.ercot", ErcotVenue), clock)
    today = clock.now().astimezone(names.ZONE).date()
    known = load_products("ercot", today, confirmations(path).get("ercot"))
    return ErcotMarket(session, clock, {name: known[name] for name in names.PRODUCTS if name in known})


class ErcotMarket:
    """The venue behind `bidding.markets.Market`."""

    def __init__(self, session: Session, clock: Clock, products: Mapping[str, Rules]) -> None:
        self._session = session
        self._clock = clock
        self._products = products
        self._qse = session.settings.qse
        self._locks: WeakValueDictionary[encode.Key, asyncio.Lock] = WeakValueDictionary()

    @property
    def products(self) -> Mapping[str, Rules]:
        """What it buys from a controllable load by EWS."""
        return self._products

    @property
    def features(self) -> frozenset[Feature]:
        """What EWS can do beside offers and awards; the README says why not more."""
        return frozenset({Feature.WITHDRAW, Feature.NOTICES})

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        """Return *offers* by resource, trading date and ERCOT's key: all upward reserves of a day are one document."""
        return encode.documents(offers)

    def encode(self, offers: Sequence[Offer]) -> bytes:
        """Write one BidSet; what EWS has no word for travels as far as the journal, in a comment."""
        return encode.encode(offers)

    def decode(self, document: bytes) -> tuple[Offer, ...]:
        """Read back what `encode` wrote; raise `VenueError` on anything else."""
        return decode(document)

    async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """
        Send *document* once and only once; EWS has no word for *epoch*. All it answers at once is: pending.

        ERCOT overwrites an hour of a key whole: where another upward service stands in one, it is said again beside
        *offers*, as ERCOT holds it. The journal keeps *document*, what is ours to decide here. Raise `RejectedError`,
        nothing sent, where it cannot be said again.
        """
        del epoch
        async with self._alone_with(offers):
            if encode.bid_type(offers[0].product) == names.ONLINE:
                document = await self._beside_others(document, offers)
            reply = await self._session.change(request.create(document))
        return receipts.submitted(offers, _told(reply), self._qse)

    async def withdraw(self, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """
        Cancel the hours of *offers*; where other services stand in an hour, say again what is left of it.

        What is not there any more is withdrawn already, and nothing is sent.
        """
        del epoch
        async with self._alone_with(offers):
            rows = await self._standing(offers)
            left = receipts.remaining(offers, rows)
            shared = {hour.hour for hour in left}
            whole = [o for o in offers if o.interval not in shared and any(row.hour == o.interval for row in rows)]
            if whole:
                await self._session.change(request.cancel(self._mrids(whole)))
            if left and any(receipts.ours(offer, rows) for offer in offers if offer.interval in shared):
                day = trading_date(offers[0].interval)
                await self._session.change(request.create(encode.restate(day, left)))
        return tuple(receipts.withdrawn(offer, encode.hour_mrid(self._qse, offer)) for offer in offers)

    async def status(self, offers: Sequence[Offer]) -> Mapping[str, Receipt]:
        """
        Return what ERCOT knows of *offers*.

        It is asked what it holds; of offers that it does not hold, what it told of their submission, then what it
        cancelled later. An hour is ours only with our id and our curve.
        """
        try:
            rows = await self._standing(offers)
            found = {offer.offer_id: row for offer in offers if (row := receipts.ours(offer, rows)) is not None}
            missing = [offer for offer in offers if offer.offer_id not in found]
            told = await self._told_of(missing) if missing else ()
        except UnknownOutcomeError:
            raise
        except VenueError as error:
            raise UnknownOutcomeError(f"what became of {len(offers)} offers is not known: {error}") from error
        known: dict[str, Held | Transaction] = dict(found)
        for offer in missing:
            last = receipts.named(offer, told, encode.hour_mrid(self._qse, offer))
            if last is not None:
                known[offer.offer_id] = last
        return {
            offer.offer_id: receipts.receipt(offer, known[offer.offer_id], encode.hour_mrid(self._qse, offer))
            for offer in offers
            if offer.offer_id in known
        }

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        """Return what the second phase of validation took back of *resource* for today and tomorrow."""
        replies = [
            await self._cancelled(day, kind) for day in self._days() for kind in (names.AS_OFFER, names.ENERGY_BID)
        ]
        return tuple(notice for reply in replies for notice in read_notices(reply, resource))

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:
        """Do nothing: not a feature, see the README."""

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """Return what the Day-Ahead Market bought of *resource* for today and tomorrow."""
        replies = [await self._session.query(request.get_awards(day)) for day in self._days()]
        return tuple(award for reply in replies for award in read_awards(reply, resource))

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:  # noqa: ARG002 - the contract's
        """Return nothing: base points and deployments come by telemetry, not by EWS."""
        return ()

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        """Do nothing: ERCOT settles on its own meters."""

    async def statement(self, resource: str) -> Statement | None:  # noqa: ARG002 - the contract's
        """Return nothing: statements are files of another service."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        await self._session.close()

    @asynccontextmanager
    async def _alone_with(self, offers: Sequence[Offer]) -> AsyncIterator[None]:
        """Change what one ERCOT key holds one request at a time: what was read of it stays true until it is sent."""
        key = encode.key_of(offers[0])
        async with self._locks.setdefault(key, asyncio.Lock()):
            yield

    async def _beside_others(self, document: bytes, offers: Sequence[Offer]) -> bytes:
        """Return *document*, or one that says what stands in its hours beside it, too."""
        try:
            rows = await self._standing(offers)
        except VenueError as error:
            raise VenueError(f"nothing was sent: {error}") from error
        others = receipts.strangers(offers, rows)
        if not others:
            return document
        try:
            return encode.restate(trading_date(offers[0].interval), receipts.beside(offers, rows))
        except ValueError as error:
            raise RejectedError(
                f"nothing was sent: it would erase the {others[0].product} that stands in the hour from "
                f"{others[0].hour.start}, which cannot be said again beside it: {error}"
            ) from error

    async def _standing(self, offers: Sequence[Offer]) -> tuple[Held, ...]:
        """Return what ERCOT holds in the hours of *offers*."""
        root = bids(await self._session.query(request.get_bids(self._mrids(offers))))
        return () if root is None else standing(root)

    async def _told_of(self, offers: Sequence[Offer]) -> tuple[Transaction, ...]:
        """Return the refusals and cancellations that ERCOT told of the hours of *offers*."""
        told: list[Transaction] = []
        for start, end in receipts.submission_days(offers, self._clock.now()):
            reply = await self._session.query(request.get_notifications(start, end, self._mrids(offers)))
            told += [one for one in read_notifications(reply) if one.status in {"ERRORS", "REJECTED"}]
        day = trading_date(offers[0].interval)
        kind = names.ENERGY_BID if offers[0].product == names.ENERGY else names.AS_OFFER
        told += [one for one in _told(await self._cancelled(day, kind)) if one.status == "CANCELED"]
        return tuple(told)

    async def _cancelled(self, day: date, kind: str) -> Reply:
        return await self._session.query(request.get_cancelled(day, kind))

    def _mrids(self, offers: Sequence[Offer]) -> list[str]:
        """Return the hours of *offers* in ERCOT's words, each once."""
        return sorted({encode.hour_mrid(self._qse, offer) for offer in offers})

    def _days(self) -> tuple[date, date]:
        """Return today and tomorrow in Texas."""
        today = self._clock.now().astimezone(names.ZONE).date()
        return today, today + timedelta(days=1)


def _told(reply: Reply) -> tuple[Transaction, ...]:
    """Return the transactions that *reply* speaks of."""
    root = bids(reply)
    return () if root is None else transactions(root)
