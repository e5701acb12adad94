"""The sandbox venue without HTTP, and offers to it, for unit tests. Every instant is an argument."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256

from bidding.sandbox.admission import Submission
from bidding.sandbox.answers import Award
from bidding.sandbox.entries import OfferEntry
from bidding.sandbox.faults import Faults, FaultShares
from bidding.sandbox.journal import Journal
from bidding.sandbox.market import Market
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.venue import Venue
from bidding.sandbox.wire import OfferBody

START = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
"""18:00 on Thursday 23 July 2026 in Los Angeles."""
MINUTE = timedelta(minutes=1)
EARLY = START - MINUTE * 5
GATE = START - timedelta(seconds=20)


def venue(
    products: str = "all", journal: Journal | None = None, *, market: Market | None = None, **faults: object
) -> Venue:
    """Return a venue of seed 1 that sells *products*, with *faults* as shares."""
    sold = market or SandboxSettings(products=products).market()
    return Venue(sold, Faults(FaultShares.model_validate(faults), seed=1), journal)


def body(
    product: str = "spin",
    *steps: tuple[str, str],
    start: datetime = START,
    length: timedelta = MINUTE,
    **changes: object,
) -> OfferBody:
    """Return an offer of cumulative (MW, price) *steps*; 0.1 MW for nothing by default."""
    return OfferBody.model_validate(
        {
            "resource": "R",
            "product": product,
            "interval_start": start,
            "interval_end": start + length,
            "curve": [{"mw": mw, "price": price} for mw, price in steps or (("0.10", "0"),)],
            **changes,
        }
    )


def submission(offer_id: str, offer: OfferBody, at: datetime = EARLY) -> Submission:
    """Return *offer* as it comes in."""
    return Submission(offer_id, offer, sha256(offer.model_dump_json().encode()).hexdigest(), at)


def submit(to: Venue, offer_id: str, offer: OfferBody, at: datetime = EARLY) -> OfferEntry:
    """Send *offer* and return what came of it."""
    return to.submit(submission(offer_id, offer, at))


def award(product: str, mw: str, price: str, start: datetime = START, length: timedelta = MINUTE) -> Award:
    """Return an award to R."""
    return Award(
        award_id=f"A-{product}-{start:%d%H%M}",
        offer_id="o",
        resource="R",
        product=product,
        interval_start=start,
        interval_end=start + length,
        mw=Decimal(mw),
        price=Decimal(price),
        currency="USD",
        awarded_at=start,
    )
