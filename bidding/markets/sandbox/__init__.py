"""
The sandbox venue, the reference to copy: capability data from the venue, pure encode and decode, a thin client.

| request | repeated here? | a reply that does not come |
|---|---|---|
| queries | yes, a bounded number of times: they change nothing | `VenueError`; for `status` `UnknownOutcomeError` |
| `submit`, `withdraw` | never | `UnknownOutcomeError`: only `status` can tell |
| `notify` | by who calls it: the same again changes nothing | `UnknownOutcomeError` |
| `report_meter` | only after the venue said it does not hold the batch | asks; `UnknownOutcomeError` in the end |

A connection that was refused is a `VenueError`: nothing was sent, so nothing was applied.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

import httpx
from pydantic import ValidationError

from bidding.markets import Feature, Market, MeterReading, Notice, Receipt, Shortfall
from bidding.markets.sandbox import statements, wire
from bidding.markets.sandbox.client import SandboxVenue, Session, open_session, raise_refusal
from bidding.products import Rules
from pipeline.clock import Clock
from pipeline.errors import ConfigError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Award, Dispatch, Offer, Statement
from pipeline.settings import load

log = logging.getLogger(__name__)

VENUE = "sandbox"


async def connect(path: Path, clock: Clock) -> Market:
    """Return the venue of ``[venue.sandbox]``, its rules fetched; raise `ConfigError` when its clock is not ours."""
    settings = load(path, "venue.sandbox", SandboxVenue)
    session = open_session(settings)
    try:
        traded = await session.get(wire.WireProducts, "/v1/products")
        _same_time(await session.get(wire.VenueClock, "/v1/clock"), clock)
    except BaseException:  # a cancellation too: no connection may be left half-open
        await session.close()
        raise
    return SandboxMarket(session, traded.products)


class SandboxMarket:
    """The venue behind `bidding.markets.Market`; one offer makes one document."""

    def __init__(self, session: Session, products: Iterable[Rules]) -> None:
        self._session = session
        self._products = {rules.product: rules for rules in products}
        self._pending: frozenset[str] = frozenset()

    @property
    def products(self) -> Mapping[str, Rules]:
        """What it buys."""
        return self._products

    @property
    def features(self) -> frozenset[Feature]:
        """Everything there is."""
        return frozenset(Feature)

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        """Return every offer by itself."""
        return [(offer,) for offer in offers]

    def encode(self, offers: Sequence[Offer]) -> bytes:
        """Write the one of *offers* as a cumulative curve; what the venue has no word for travels in `note`."""
        (offer,) = offers
        return wire.encode(offer)

    def decode(self, document: bytes) -> tuple[Offer, ...]:
        """Read back what `encode` wrote; raise `VenueError` on anything else."""
        return (wire.decode(document),)

    async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """Send *document* once and only once."""
        (offer,) = offers
        timeout_s = self._session.settings.submit_timeout_s
        return (_receipt(offer, await self._session.put(_path_of(offer), document, timeout_s, epoch)),)

    async def withdraw(self, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """Take the one offer back, once and only once."""
        (offer,) = offers
        timeout_s = self._session.settings.submit_timeout_s
        return (_receipt(offer, await self._session.delete(_path_of(offer), timeout_s, epoch)),)

    async def status(self, offers: Sequence[Offer]) -> Mapping[str, Receipt]:
        """
        Ask what became of each of *offers*.

        Left out is one that the venue never saw, one that it holds in other words than ours, and one in whose place a
        later revision stands.
        """
        found = {offer.offer_id: await self._status(offer) for offer in offers}
        return {name: receipt for name, receipt in found.items() if receipt is not None}

    async def _status(self, offer: Offer) -> Receipt | None:
        try:
            held = await self._session.find(wire.WireReceipt, _path_of(offer), "unknown_offer")
        except VenueError as error:
            raise UnknownOutcomeError(f"what became of offer {offer.offer_id} is not known: {error}") from error
        ours = held is not None and held.sha256 in {"", sha256(wire.encode(offer)).hexdigest()}
        return held.ours() if held is not None and ours and held.replaced_by is None else None

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        """Return what the venue took back of *resource*, oldest first."""
        found = await self._session.get(wire.WireNotices, "/v1/notices", resource=resource)
        return tuple(notice.ours() for notice in found.notices)

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:
        """Tell the venue that less will be there; it takes the same again as one."""
        path = f"/v1/shortfalls/{quote(shortfall.shortfall_id, safe='')}"
        timeout_s = self._session.settings.submit_timeout_s
        raise_refusal(await self._session.put(path, wire.shortfall_document(shortfall), timeout_s, epoch))

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """Return all awards to *resource*, oldest first."""
        found = await self._session.get(wire.WireAwards, "/v1/awards", resource=resource)
        return tuple(award.ours() for award in found.awards)

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        """Return all instructions to *resource*, oldest first."""
        found = await self._session.get(wire.WireDispatches, "/v1/dispatches", resource=resource)
        return tuple(dispatch.ours() for dispatch in found.dispatches)

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        """Send *readings*; when the reply is lost, ask whether they arrived, and send again only if they did not."""
        path = f"/v1/meter/{quote(resource, safe='')}/{quote(batch_id, safe='')}"
        document = wire.meter_document(readings)
        for _ in range(self._session.settings.tries):
            try:
                response = await self._session.put(path, document, self._session.settings.meter_timeout_s)
            except UnknownOutcomeError:
                held = await self._session.find(wire.MeterBatch, path, "unknown_batch")
                if held and held.sha256 == sha256(document).hexdigest():
                    return
            else:
                raise_refusal(response)
                return
        raise UnknownOutcomeError(f"meter batch {batch_id} of {resource} was sent {self._session.settings.tries} times")

    async def statement(self, resource: str) -> Statement | None:
        """Return the venue's dollars so far, None while nothing is settled; say in the log what it waits for."""
        found = await self._session.get(statements.WireStatement, "/v1/statements", resource=resource)
        pending = frozenset(f"{entry.award_id}: {entry.reason}" for entry in found.pending)
        for text in sorted(pending - self._pending):
            log.info("not settled by the venue: %s", text)
        self._pending = pending
        return found.ours(VENUE) if found.lines or found.capacity_lines else None

    async def close(self) -> None:
        """Let go of connections."""
        await self._session.close()


def _path_of(offer: Offer) -> str:
    return f"/v1/offers/{quote(offer.offer_id, safe='')}"


def _receipt(offer: Offer, response: httpx.Response) -> Receipt:
    """Return the receipt in the answer to a request about *offer*; raise what any other answer means."""
    raise_refusal(response)
    try:
        return wire.WireReceipt.model_validate_json(response.content).ours()
    except ValidationError as error:
        raise UnknownOutcomeError(
            f"the venue's answer to offer {offer.offer_id} was not understood: {wire.why(error)}"
        ) from error


def _same_time(venue: wire.VenueClock, clock: Clock) -> None:
    """Refuse a venue whose clock is more than a second, ours or the machine's, away: its gate would not be ours."""
    apart = abs(venue.now - clock.now())
    if apart > timedelta(seconds=max(1.0, clock.speed)):
        raise ConfigError(f"the venue's clock shows {venue.now}, ours is {apart} away; give both the same clock word")
