"""
Venues, one file each: capability data, pure encode and decode, a thin client. The file name is the venue's name.

| member | purpose |
|---|---|
| `connect(path, clock)` | module function: read `[venue.NAME]` of the settings file at *path*, return a `Market` |
| `Market.rules` | what the venue accepts, fetched once |
| `Market.encode`, `decode` | an offer in the venue's own words and back; pure |
| `Market.submit` | send one offer document; raise `UnknownOutcomeError` when the reply is lost |
| `Market.status` | what the venue knows of an offer: the only way out of an unknown outcome |
| `Market.awards`, `dispatches` | what it bought, what it instructs |
| `Market.report_meter` | metered energy, history included, for its settlement |
| `Market.statement` | its own dollars |

`sandbox` is the reference to copy.
"""

from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Protocol

from pipeline.calendar import NERC_HOLIDAYS
from pipeline.clock import Clock
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, Statement


class Rules(Document):
    """What a venue accepts, as data, so that no strategy needs to ask which venue it is."""

    venue: str
    product: str
    timezone: str
    interval_s: int
    block_mw: Decimal
    min_mw: Decimal
    max_steps: int
    price_tick: Decimal
    price_floor: Decimal
    price_cap: Decimal
    currency: str
    gate_closure_s: int
    """Offers close this long before the interval starts, seconds of the venue's clock."""
    horizon_s: int
    """Offers open this long before the interval starts."""
    baseline_method: str
    """Name in `pipeline.cbl.methods`."""
    shortfall_factor: Decimal
    """A missing MWh costs this many times the clearing price."""
    energy_decimals: int
    """kWh on statements are rounded half to even to this many decimals; money to the cent, half to even."""
    sources: tuple[str, ...]
    """Where each figure comes from; `simulated` where the venue made it up."""
    holidays: tuple[date, ...] = tuple(sorted(NERC_HOLIDAYS))
    """Days that are no business days for the baseline; NERC's where the venue publishes none."""
    simulated: bool = False
    """No real money moves here, so every document about it says so."""

    @property
    def interval(self) -> timedelta:
        """The market interval."""
        return timedelta(seconds=self.interval_s)

    def gate_closes(self, interval: Interval) -> datetime:
        """Return the first instant at which an offer for *interval* is too late."""
        return interval.start - timedelta(seconds=self.gate_closure_s)

    def gate_opens(self, interval: Interval) -> datetime:
        """Return the first instant at which an offer for *interval* is taken."""
        return interval.start - timedelta(seconds=self.horizon_s)


class Receipt(Document):
    """The venue's answer to a submission, or to the question what became of it."""

    offer_id: str
    receipt: str
    status: str
    """`accepted`, `partly_accepted` or `rejected`."""
    accepted_mw: Decimal
    reasons: tuple[str, ...] = ()


class MeterReading(Document):
    """Metered energy of a resource over one interval, as sent to the venue."""

    interval: Interval
    energy_kwh: Decimal


class Market(Protocol):
    """Everything bidding may ask of a venue."""

    @property
    def rules(self) -> Rules:
        """What it accepts."""
        ...

    def encode(self, offer: Offer) -> bytes:
        """Write *offer* in the venue's own words. Pure."""
        ...

    def decode(self, document: bytes) -> Offer:
        """Read back what `encode` wrote. Pure."""
        ...

    async def submit(self, document: bytes, offer_id: str) -> Receipt:
        """
        Send an encoded offer once.

        Raise `GateClosedError` or `RejectedError` on a definite no, `UnknownOutcomeError` when the reply is lost.
        """
        ...

    async def status(self, offer_id: str) -> Receipt | None:
        """Return what the venue knows of the offer, None when it never saw it; `UnknownOutcomeError` as above."""
        ...

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """Return all awards to *resource*."""
        ...

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        """Return all instructions to *resource*."""
        ...

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        """Send metered energy; the same *batch_id* again replaces it. A lost reply is resolved by asking."""
        ...

    async def statement(self, resource: str) -> Statement | None:
        """Return the venue's settlement so far, None while nothing is settled."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


class Connect(Protocol):
    """What a venue's module exposes as `connect`."""

    async def __call__(self, path: Path, clock: Clock) -> Market:
        """Return the venue, its rules fetched."""
        ...
