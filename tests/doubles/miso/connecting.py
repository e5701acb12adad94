"""MISO's client connected to its mock, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from doubles.counterparts import miso
from doubles.miso.offers import TOMORROW

from bidding.markets import Market, Receipt
from bidding.markets.miso import connect
from bidding.markets.miso.day import interval_of
from pipeline.clock import Clock, wall
from pipeline.messages.market import Offer

STANDING_STILL = 1e-9
SIX_PM = interval_of(TOMORROW, 18)
AFTER_THE_GATE = datetime(2026, 11, 30, 16, 0, tzinfo=UTC)
IN_THE_HOUR = SIX_PM.start + timedelta(minutes=12)
"""17:12 in MISO's market: the instructions for the first twenty minutes of hour ending 18 are out."""


def word(instant: datetime = miso.NOW) -> str:
    """Return the word of a clock that stands still at *instant*."""
    return str(Clock(instant, wall(), STANDING_STILL))


@asynccontextmanager
async def connected(folder: Path, url: str, at: datetime = miso.NOW, **more: object) -> AsyncIterator[Market]:
    """Yield the venue at *url*, and set the mock's clock to *at*, too."""
    path = folder / "firmwatt.toml"
    path.write_text(miso.section(url, folder, **more), encoding="utf-8")
    await ordered(url, "clock", word=word(at))
    market = await connect(path, Clock.parse(word(at)))
    try:
        yield market
    finally:
        await market.close()


async def submitted(market: Market, *offers: Offer) -> tuple[Receipt, ...]:
    """Send *offers* as one document."""
    return await market.submit(market.encode(offers), offers, 1)


async def ordered(url: str, name: str, **given: object) -> Any:
    """Order something of the mock."""
    return await asyncio.to_thread(lambda: miso.control(url, name, **given))
