"""
What the four hubs' venues buy, as the back-test takes it. Pure data.

Gates, steps and caps of CAISO, NYISO and PJM could not be read in their manuals: configurable defaults, unverified.
Only what decides over money here is set; a live desk uses `bidding/products`.
"""

from collections.abc import Mapping
from datetime import time
from decimal import Decimal

from bidding.products import Family, Gate, Rules, Trading

ENERGY, RESERVE = "energy", "sync-reserve"
UNVERIFIED = ("min_mw", "block_mw", "max_steps", "price_cap", "closes", "shortfall_factor")
ERCOT_SOURCE = "Nodal Protocols section 4 of 1 August 2026, quoted by github.com/wattness/ercot-ews-check"
COMMON_SOURCE = "general knowledge, not read in the manual"
#: A MWh that was sold the day before and is not there is bought back at its own price: the real-time price at which it
#: would be bought back is not in the data.
BOUGHT_BACK = Decimal(1)


def _energy(
    venue: str, timezone: str, gate: time, cap: str, *, least: str = "0.1", source: str = COMMON_SOURCE
) -> Rules:
    return Rules(
        venue=venue,
        product=ENERGY,
        family=Family.ENERGY,
        trading=Trading.DAY_AHEAD,
        title=f"{venue.upper()} hub energy, offered the day before",
        timezone=timezone,
        interval_s=3600,
        block_mw=Decimal("0.1"),
        min_mw=Decimal(least),
        max_steps=10,
        price_tick=Decimal("0.01"),
        price_floor=Decimal(0),
        price_cap=Decimal(cap),
        currency="USD",
        gate_closure_s=0,
        horizon_s=7 * 86400,
        closes=Gate(days_before=1, at=gate),
        baseline_method="",
        shortfall_factor=BOUGHT_BACK,
        sources=(source,),
        unverified=UNVERIFIED,
    )


#: By the name of the price series.
HUBS: Mapping[str, Rules] = {
    "CAISO_NP15_DAM": _energy("caiso", "America/Los_Angeles", time(10), "1000"),
    "ERCOT_HB_HUBAVG_DAM": _energy("ercot", "America/Chicago", time(10), "5000", source=ERCOT_SOURCE),
    "NYISO_CAPITL_DAM": _energy("nyiso", "America/New_York", time(5), "1000", least="1"),
    "PJM_DOM_RT": _energy("pjm", "America/New_York", time(11), "1000"),
}


def sync_reserve(shortfall_factor: Decimal) -> Rules:
    """Return PJM's synchronized reserve; what a missing MWh costs is learned from its own reports."""
    return Rules(
        venue="pjm",
        product=RESERVE,
        family=Family.SPINNING,
        trading=Trading.DAY_AHEAD,
        title="PJM synchronized reserve, offered the day before",
        timezone="America/New_York",
        interval_s=3600,
        block_mw=Decimal("0.1"),
        min_mw=Decimal("0.1"),
        max_steps=1,
        price_tick=Decimal("0.01"),
        price_floor=Decimal(0),
        price_cap=Decimal(1000),
        currency="USD",
        response_s=600,
        duration_s=1800,
        gate_closure_s=0,
        horizon_s=7 * 86400,
        closes=Gate(days_before=1, at=time(11)),
        baseline_method="",
        shortfall_factor=shortfall_factor,
        penalty="a call that is missed loses the hour's pay, and the factor stands for the retroactive charge",
        sources=("10 minutes and events of at most 30: an aggregator's FAQ; the rest: " + COMMON_SOURCE,),
        unverified=UNVERIFIED,
    )
