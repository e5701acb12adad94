"""
MISO, spoken as its Market User Interface 2.0 is published (OpenAPI 3.3.0): JSON over HTTP with a client certificate.

| request | repeated here? | an answer that does not come |
|---|---|---|
| queries | yes, a bounded number of times: they change nothing | `VenueError`; for `status` `UnknownOutcomeError` |
| `submit`, `withdraw`, `notify` | never | `UnknownOutcomeError`: only `status` can tell |

Nothing here was ever exchanged with MISO itself: see this folder's README for what that leaves open.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from bidding.markets import Feature, Market, MeterReading, Notice, Receipt, Shortfall
from bidding.markets.miso import codec
from bidding.markets.miso.client import open_session
from bidding.markets.miso.codec import Codec
from bidding.markets.miso.day import day_of
from bidding.markets.miso.desk import Desk
from bidding.markets.miso.override import Overrides
from bidding.markets.miso.reports import Reports
from bidding.markets.miso.settings import NAME, MisoVenue
from bidding.products import Rules
from bidding.products.load import confirmations
from bidding.products.load import load as load_products
from pipeline.clock import Clock
from pipeline.messages.market import Award, Dispatch, Offer, Statement
from pipeline.settings import load

FEATURES = frozenset({Feature.WITHDRAW, Feature.NOTICES, Feature.DISPATCH, Feature.NOTIFY})


async def connect(path: Path, clock: Clock) -> Market:
    """Return the venue of ``[venue.miso]``; nothing is asked of it yet. Raise `ConfigError` on what cannot work."""
    settings = load(path, "venue.miso", MisoVenue)
    figures = confirmations(path).get(NAME)
    words = Codec(settings.resource, load_products(NAME, day_of(clock.now()), figures))
    session = open_session(settings)
    return MisoMarket(
        words, Desk(session, words, clock), Reports(session, words, clock), Overrides(session, words, clock)
    )


class MisoMarket:
    """The venue behind `bidding.markets.Market`: each part of it does one thing."""

    def __init__(self, words: Codec, desk: Desk, reports: Reports, overrides: Overrides) -> None:
        self._codec = words
        self._desk = desk
        self._reports = reports
        self._overrides = overrides

    @property
    def products(self) -> Mapping[str, Rules]:
        """What it buys, by product name, from `bidding/products/miso.toml`."""
        return self._codec.products

    @property
    def features(self) -> frozenset[Feature]:
        """No fence: MISO knows no sender's epoch. No meter data and no statements: they are not in this interface."""
        return FEATURES

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        """Return *offers* by market and day, which is how they travel; a document changes the hours it names only."""
        return self._codec.documents(offers)

    def encode(self, offers: Sequence[Offer]) -> bytes:
        """Write a MultiVariantScheduleOffer, and beside it the member `firmwatt` that is not sent."""
        return self._codec.encode(offers)

    def decode(self, document: bytes) -> tuple[Offer, ...]:
        """Read back what `encode` wrote; raise `VenueError` on anything else."""
        return codec.decode(document)

    async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:  # noqa: ARG002
        """Send *document* once and only once; where MISO found errors, its book says which offers it took."""
        return await self._desk.submit(codec.sent(document), offers)

    async def withdraw(self, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:  # noqa: ARG002
        """Delete the curves of *offers* and set what they were sold under to not participating."""
        return await self._desk.withdraw(offers)

    async def status(self, offers: Sequence[Offer]) -> Mapping[str, Receipt]:
        """Ask the book, and for what it does not say the log of transactions."""
        return await self._desk.status(offers)

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        """Return whose curve stands although it is no longer for sale, today and tomorrow."""
        return await self._reports.notices(resource)

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:  # noqa: ARG002
        """Override the limit of the hour that runs; `RejectedError` where overrides have no word for it."""
        await self._overrides.notify(shortfall)

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """Return what the day ahead bought for today and tomorrow, and what real time asked for beyond it today."""
        return await self._reports.awards(resource)

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        """Return today's instructions: energy by five minutes, contingency reserve by deployment."""
        return await self._reports.dispatches(resource)

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        """Do nothing: metering is not in this interface."""

    async def statement(self, resource: str) -> Statement | None:  # noqa: ARG002
        """Return nothing: settlement statements are not in this interface."""
        return None

    async def close(self) -> None:
        """Let go of connections."""
        await self._desk.close()
