"""
Venues, one file each: capability data, pure encode and decode, a thin client. The file name is the venue's name.

| member | purpose |
|---|---|
| `connect(path, clock)` | module function: read `[venue.NAME]` of the settings file at *path*, return a `Market` |
| `Market.products` | what the venue buys, by product name, fetched or loaded once |
| `Market.features` | what can be asked of it beyond offers; the rest answers with nothing |
| `Market.documents` | which offers travel together; pure |
| `Market.encode`, `decode` | offers in the venue's own words and back; pure |
| `Market.submit`, `withdraw` | send one document; raise `UnknownOutcomeError` when the reply is lost |
| `Market.status` | what the venue knows of offers: the only way out of an unknown outcome |
| `Market.notices` | what it took back late |
| `Market.notify` | that less will be there, once its gate has closed |
| `Market.awards`, `dispatches` | what it bought, what it instructs |
| `Market.report_meter` | metered energy, history included, for its settlement |
| `Market.statement` | its own dollars |

`sandbox` is the reference to copy.
"""

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from pydantic import AwareDatetime

from bidding.products import Rules
from pipeline.clock import Clock
from pipeline.interval import Interval
from pipeline.messages.market import Award, Dispatch, Document, Offer, Statement


class Feature(StrEnum):
    """What a venue exchanges beside offers and awards."""

    WITHDRAW = "withdraw"
    """An accepted offer can be taken back before its gate."""
    NOTICES = "notices"
    """It tells what it cancels after having accepted it."""
    DISPATCH = "dispatch"
    METER = "meter"
    """It settles on readings that we report."""
    STATEMENT = "statement"
    NOTIFY = "notify"
    """After the gate it wants to hear that less will be there than it bought."""
    FENCE = "fence"
    """It refuses a sender whose epoch is older than one it has heard from."""


class Receipt(Document):
    """The venue's answer about one offer, to its submission or to the question what became of it."""

    offer_id: str
    receipt: str
    """The venue's own name for the answer: a transaction id, a receipt number."""
    status: str
    """`pending` (not judged yet), `accepted`, `partly_accepted`, `rejected`, `cancelled` or `withdrawn`."""
    accepted_mw: Decimal
    reasons: tuple[str, ...] = ()


class Notice(Document):
    """The venue takes back, late, what it had accepted. Natural key `notice_id`."""

    notice_id: str
    resource: str
    product: str
    interval: Interval
    reason: str
    issued_at: AwareDatetime


class Shortfall(Document):
    """We tell the venue, its gate closed, that less of an accepted offer will be there. Natural key `shortfall_id`."""

    shortfall_id: str
    resource: str
    product: str
    interval: Interval
    available_mw: Decimal
    reason: str


class MeterReading(Document):
    """Metered energy of a resource over one interval, as sent to the venue."""

    interval: Interval
    energy_kwh: Decimal


class Market(Protocol):
    """Everything bidding may ask of a venue."""

    @property
    def products(self) -> Mapping[str, Rules]:
        """What it buys, by product name."""
        ...

    @property
    def features(self) -> frozenset[Feature]:
        """What it exchanges beside offers and awards; a member for anything else returns nothing."""
        ...

    def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
        """
        Return *offers* grouped as they travel: one tuple, in the venue's order, is one document. Pure.

        All revisions of an offer travel under the same group key, so that a newer document replaces an older one.
        """
        ...

    def encode(self, offers: Sequence[Offer]) -> bytes:
        """Write one document's *offers* in the venue's own words. Pure; `ValueError` where they are no one document."""
        ...

    def decode(self, document: bytes) -> tuple[Offer, ...]:
        """Read back what `encode` wrote; raise `VenueError` on anything else. Pure."""
        ...

    async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """
        Send one document once; return the receipt of each of *offers*, which are what it says.

        *epoch* is the sender's; a venue with `Feature.FENCE` is told. Raise `GateClosedError` or `RejectedError` on a
        definite no to the whole document, `FencedError` where the venue has heard of a newer epoch,
        `UnknownOutcomeError` when the reply is lost.
        """
        ...

    async def withdraw(self, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
        """Take accepted offers of one document back; raises as `submit` does. `Feature.WITHDRAW` only."""
        ...

    async def status(self, offers: Sequence[Offer]) -> Mapping[str, Receipt]:
        """
        Return what the venue knows of *offers* (one document's), by offer id; one that it never saw is not in it.

        What it holds under the same key is ours only if it says the same as our offer: an older revision there
        means that it never saw this one. Raise `UnknownOutcomeError` when there is no answer.
        """
        ...

    async def notices(self, resource: str) -> tuple[Notice, ...]:
        """Return what the venue took back of *resource*; the same notice may come again. `Feature.NOTICES` only."""
        ...

    async def notify(self, shortfall: Shortfall, epoch: int) -> None:
        """Tell the venue; the same again changes nothing. Raises as `submit` does. `Feature.NOTIFY` only."""
        ...

    async def awards(self, resource: str) -> tuple[Award, ...]:
        """
        Return the awards to *resource*, at least those of today and tomorrow.

        A venue that does not know our offer ids leaves `Award.offer_id` empty: the ledger finds it by natural key.
        """
        ...

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        """Return the instructions to *resource*. `Feature.DISPATCH` only."""
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
        """Return the venue, its products known."""
        ...
