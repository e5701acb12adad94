"""
What is tried: energy of four hubs, reserve by itself, and both together where history has no such pair. Pure.

The joint cases pair the energy of one year's January to June with the reserve prices of 2017 by the local calendar
hour. That is a construction: those prices were never seen together.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from bidding.backtest import site
from bidding.backtest.calls import CallModel
from bidding.backtest.forecast import Site
from bidding.backtest.hourly import Prices
from bidding.backtest.reserves import Retroactive
from bidding.backtest.rules import ENERGY, HUBS, RESERVE, sync_reserve
from bidding.backtest.site import Measured
from bidding.products import Rules

WARM_UP = timedelta(days=40)
"""Days before the first price for which the site is simulated too: what it could let go is known when prices begin."""
JOINT, JOINT_HUB, JOINT_YEARS, RESERVE_YEAR = "joint-", "PJM_DOM_RT", (2020, 2021, 2022), 2017


@dataclass(frozen=True)
class Case:
    """One market, or two together, and the days over which offers are made to it."""

    name: str
    title: str
    products: Mapping[str, Rules]
    series: Mapping[str, Prices]
    site: Site
    calls: CallModel | None
    days: tuple[date, ...]
    constructed: bool = False
    """Prices that were never seen together."""

    @property
    def timezone(self) -> str:
        """Of its local days."""
        return self.site.timezone


@dataclass(frozen=True)
class Real:
    """Everything read from the data folder."""

    hubs: Mapping[str, Prices]
    srmcp: Prices
    calls: CallModel
    retroactive: Retroactive
    measured: Measured

    @property
    def shortfall_factor(self) -> Decimal:
        """
        What a missing MWh of a call costs, as a multiple of the hour's price: as PJM charged for a missing MW.

        364 $ a MW over calls of a quarter of an hour at a mean price of 1.81 $: 364 ÷ (0.25 × 1.81) = 804.
        """
        mean_price = sum(self.srmcp.by_start.values(), Decimal(0)) / len(self.srmcp.by_start)
        mean_hours = Decimal(repr(round(self.calls.mean_hours, 6)))
        return (self.retroactive.per_mw / (mean_price * mean_hours)).to_integral_value()


def cases(real: Real, seed: str, wanted: Collection[str] = ()) -> Iterator[Case]:
    """Yield the cases in the order of `names`, all of them or those *wanted*; each is made when its turn comes."""
    for name in names(real):
        if wanted and name not in wanted:
            continue
        if name in real.hubs:
            yield hub(real.hubs[name], real, seed)
        elif name == RESERVE:
            yield reserve(real, seed)
        else:
            yield joint(int(name.removeprefix(JOINT)), real, seed)


def names(real: Real) -> tuple[str, ...]:
    """Return what `cases` may be asked for."""
    return (*real.hubs, RESERVE, *(f"{JOINT}{year}" for year in JOINT_YEARS))


def hub(prices: Prices, real: Real, seed: str) -> Case:
    """Return energy of one hub over all days that it has."""
    return Case(
        name=prices.name,
        title=f"Energy, {prices.name}",
        products={ENERGY: HUBS[prices.name]},
        series={ENERGY: prices},
        site=_site(prices, real, seed),
        calls=None,
        days=tuple(prices.days()),
    )


def reserve(real: Real, seed: str) -> Case:
    """Return synchronized reserve by itself, January to June 2017."""
    return Case(
        name=RESERVE,
        title="Synchronized reserve, PJM Mid Atlantic Dominion, January to June 2017",
        products={RESERVE: sync_reserve(real.shortfall_factor)},
        series={RESERVE: real.srmcp},
        site=_site(real.srmcp, real, seed),
        calls=real.calls,
        days=tuple(real.srmcp.days()),
    )


def joint(year: int, real: Real, seed: str) -> Case:
    """Return energy and reserve together, the reserve's prices moved to *year*."""
    energy, moved = real.hubs[JOINT_HUB], moved_to(real.srmcp, year)
    return Case(
        name=f"{JOINT}{year}",
        title=f"Constructed, not history: energy {JOINT_HUB} of {year} with reserve of {RESERVE_YEAR}",
        products={ENERGY: HUBS[JOINT_HUB], RESERVE: sync_reserve(real.shortfall_factor)},
        series={ENERGY: energy, RESERVE: moved},
        site=_site(moved, real, seed),
        calls=real.calls,
        days=tuple(moved.days()),
        constructed=True,
    )


def moved_to(prices: Prices, year: int) -> Prices:
    """Return *prices* at the same local month, day and hour of *year*; what that year's clocks skip is left out."""
    zone = ZoneInfo(prices.timezone)
    moved: dict[datetime, Decimal] = {}
    for start, price in prices.by_start.items():
        local = start.astimezone(zone)
        there = local.replace(year=year).astimezone(UTC)
        if there.astimezone(zone).replace(year=local.year, tzinfo=None) == local.replace(tzinfo=None):
            moved[there] = price
    return Prices(f"{prices.name} moved to {year}", prices.timezone, moved)


def _site(prices: Prices, real: Real, seed: str) -> Site:
    days = prices.days()
    return site.simulate(real.measured, days[0] - WARM_UP, days[-1], prices.timezone, seed)
