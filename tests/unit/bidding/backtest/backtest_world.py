"""A small market made for tests: prices that go as a pattern says, and a site whose power never changes."""

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from bidding.backtest.cases import Case
from bidding.backtest.day import Cost, Truth
from bidding.backtest.forecast import Site
from bidding.backtest.hourly import Prices, hours_of
from bidding.backtest.rules import ENERGY, RESERVE, sync_reserve
from bidding.backtest.walk import Contestant
from bidding.portfolio.model import Plan, Planned, PlannedStep, Problem
from bidding.products import Family, Gate, Rules, Trading
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier

ZONE = "America/New_York"
ZERO = Decimal(0)
COSTS = {Tier.T3: Cost(Decimal(20), Decimal(1_000_000)), Tier.T2: Cost(Decimal(60), Decimal(2_000_000))}
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


def energy_rules(timezone: str = ZONE, factor: str = "1") -> Rules:
    return Rules(
        venue="test",
        product=ENERGY,
        family=Family.ENERGY,
        trading=Trading.DAY_AHEAD,
        timezone=timezone,
        interval_s=3600,
        block_mw=Decimal("0.1"),
        min_mw=Decimal("0.1"),
        max_steps=10,
        price_tick=Decimal("0.01"),
        price_floor=ZERO,
        price_cap=Decimal(1000),
        currency="USD",
        gate_closure_s=0,
        horizon_s=7 * 86400,
        closes=Gate(days_before=1, at=datetime(2000, 1, 1, 10, tzinfo=UTC).time()),
        baseline_method="",
        shortfall_factor=Decimal(factor),
        sources=("a test",),
    )


PRODUCTS = {ENERGY: energy_rules(), RESERVE: sync_reserve(Decimal(4))}


def hours(count: int) -> tuple[Interval, ...]:
    start = datetime(2021, 6, 1, 4, tzinfo=UTC)
    return tuple(Interval(start + HOUR * number, start + HOUR * (number + 1)) for number in range(count))


def step(mw: str, price: str, tier: Tier = Tier.T3) -> PlannedStep:
    return PlannedStep(
        quantity_mw=Decimal(mw),
        price_per_mwh=Decimal(price),
        tier=tier,
        confidence=0.95,
        tokens_per_mwh=COSTS[tier].tokens_per_mwh,
        token_cost_per_mwh=COSTS[tier].per_mwh,
        service_credit_per_mwh=ZERO,
        restart_cost_per_mwh=ZERO,
    )


def planned(hour: Interval, *steps: PlannedStep, product: str = ENERGY) -> Planned:
    return Planned(product=product, interval=hour, steps=steps)


def truth(
    energy: Iterable[str | None] = (),
    reserve: Iterable[str | None] = (),
    *,
    t3_mw: float = 2.0,
    t2_mw: float = 0.0,
    called: dict[int, str] | None = None,
    energy_mwh: dict[Tier, Decimal] | None = None,
) -> Truth:
    """Return a day of as many hours as there are prices; None is an hour without one."""
    columns = {ENERGY: list(energy), RESERVE: list(reserve)}
    of = hours(max(map(len, columns.values())))
    return Truth(
        hours=of,
        price={
            name: {hour: Decimal(text) for hour, text in zip(of, texts, strict=False) if text is not None}
            for name, texts in columns.items()
        },
        called_h={of[number]: Decimal(text) for number, text in (called or {}).items()},
        available_kw={hour: {Tier.T3: t3_mw * 1000, Tier.T2: t2_mw * 1000} for hour in of},
        energy_mwh=energy_mwh or {},
    )


Pattern = Callable[[date, int], str | None]


def prices(first: date, days: int, pattern: Pattern, timezone: str = ZONE, name: str = "test") -> Prices:
    """Prices by local day and number of its hour; where the pattern says None there is a gap."""
    return Prices(
        name,
        timezone,
        {
            hour.start: Decimal(price)
            for day in (first + DAY * number for number in range(days))
            for number, hour in enumerate(hours_of(day, timezone))
            if (price := pattern(day, number)) is not None
        },
    )


def case(series: Prices, *, mw: float = 2.0, energy_mwh: dict[Tier, Decimal] | None = None) -> Case:
    """Energy of one hub, for a site that can always let go *mw* of T3."""
    first, last = series.days()[0] - DAY * 40, series.days()[-1]
    everything = (first + DAY * number for number in range((last - first).days + 1))
    kw = {
        hour.start: {Tier.T3: mw * 1000, Tier.T2: 0.0} for day in everything for hour in hours_of(day, series.timezone)
    }
    return Case(
        name="test",
        title="Test",
        products={ENERGY: energy_rules(series.timezone)},
        series={ENERGY: series},
        site=Site(timezone=series.timezone, kw=kw, costs=COSTS, energy_mwh=energy_mwh or {}),
        calls=None,
        days=tuple(series.days()),
    )


AT_COST = Contestant("at cost", "at cost")
BY_FORECAST = Contestant("by forecast", "by forecast")


def planner(contestant: Contestant, problem: Problem) -> Plan:
    """Offer all firm power at its cost, or at the mean of the scenarios where that is more: no solver."""
    offers = []
    for index, slot in enumerate(problem.flexibility.slots):
        known = [(s.probability, s.series[ENERGY].price[index]) for s in problem.prices.scenarios]
        expected = sum(chance * price for chance, price in known if price is not None)
        if any(price is None for _, price in known):
            continue
        for given in slot.steps[:1]:
            ask = (
                max(given.cost_per_mwh, Decimal(round(expected, 2)))
                if contestant == BY_FORECAST
                else given.cost_per_mwh
            )
            mw = Decimal(int(given.firm_kw // 100)) / 10
            offers.append(planned(slot.interval, step(str(mw), str(ask.quantize(Decimal("0.01"))), given.tier)))
    return Plan(strategy=contestant.strategy, offers=tuple(offers))
