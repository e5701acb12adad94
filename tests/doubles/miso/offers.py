"""Offers to MISO for tests: one valid offer, and all sets of offers that make one document."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from hypothesis import strategies as st

from bidding.markets.miso.cells import PRODUCTS, TYPES, place_of
from bidding.markets.miso.codec import Codec
from bidding.markets.miso.day import interval_of
from bidding.markets.miso.settings import Resource
from bidding.products import Rules
from bidding.products.load import load
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

TYPE_1 = Resource(
    name="AIFAC.DRR1",
    type="drr1",
    shutdown_cost=120.5,
    curtailment_price=35.0,
    min_interruption="001:00",
    max_interruption="004:00",
    max_daily_stops=2,
)
TYPE_2 = Resource(
    name="AIFAC.DRR2", type="drr2", no_load_cost=12.25, max_mw=90.0, ramp_mw_per_min=4.5, mileage_price=0.75
)
RESOURCES = (TYPE_1, TYPE_2)
RULES: dict[str, Rules] = load("miso")
NOW = datetime(2026, 11, 30, 14, 0, tzinfo=UTC)
"""09:00 in New York and in MISO's market: tomorrow's day-ahead gate closes in an hour and a half."""
TODAY, TOMORROW = date(2026, 11, 30), date(2026, 12, 1)


def codec() -> Codec:
    """Return the codec of the two resources."""
    return Codec(RESOURCES, RULES)


def offer(
    product: str, interval: Interval, *steps: tuple[str, str], revision: int = 1, resource: str = TYPE_2.name
) -> Offer:
    """Return an offer of (MW, price) *steps*; 2.0 MW at 52.10 unless told otherwise."""
    return Offer(
        offer_id=f"{resource}-{product}-{interval.start:%Y%m%dT%H%M%S}-{revision}",
        resource=resource,
        site="site-1",
        venue="miso",
        product=product,
        interval=interval,
        revision=revision,
        steps=tuple(_step(Decimal(mw), Decimal(price)) for mw, price in steps or (("2.0", "52.10"),)),
        currency="USD",
        as_of=NOW - timedelta(minutes=5),
        baseline_method="miso-10-day",
        baseline_kw=31_234.5,
        firm_kw=4_287.25,
        confidence=0.95,
        simulated=True,
    )


def _step(mw: Decimal, price: Decimal) -> OfferStep:
    return OfferStep(
        quantity_mw=mw,
        price_per_mwh=price,
        tier=Tier.T3,
        tokens_forgone_per_mwh=Decimal(1_000_000),
        token_cost_per_mwh=Decimal(40),
        service_credit_per_mwh=Decimal(0),
        restart_cost_per_mwh=Decimal("2.5"),
    )


_DETAILS = {
    "site": st.text(max_size=12),
    "currency": st.just("USD"),
    "as_of": st.datetimes(datetime(2026, 1, 1), datetime(2026, 11, 30), timezones=st.just(UTC)),  # noqa: DTZ001
    "baseline_method": st.text(max_size=12),
    "baseline_kw": st.floats(0, 1e6),
    "firm_kw": st.floats(1e6, 1e7),
    "confidence": st.floats(0, 1),
    "simulated": st.booleans(),
    "revision": st.integers(1, 10**9),
}


@st.composite
def curves(draw: st.DrawFn, most: int, rules: Rules) -> tuple[OfferStep, ...]:
    """Draw at most *most* steps that keep *rules*: 0.1 MW, the minimum to begin with, cents that rise to the cap."""
    count = draw(st.integers(1, most))
    cents = st.integers(int(rules.price_floor * 100), int(rules.price_cap * 100))
    prices = sorted(draw(st.lists(cents, min_size=count, max_size=count, unique=True)))
    sizes = [draw(st.integers(int(rules.min_mw * 10), 500)), *(draw(st.integers(1, 500)) for _ in range(count - 1))]
    tiers, costs = draw(st.lists(st.sampled_from(Tier), min_size=count, max_size=count)), draw(st.integers(0, 10**9))
    return tuple(
        OfferStep(
            quantity_mw=Decimal(tenths) / 10,
            price_per_mwh=Decimal(price) / 100,
            tier=tier,
            tokens_forgone_per_mwh=Decimal(costs),
            token_cost_per_mwh=Decimal(costs + price) / 100,
            service_credit_per_mwh=Decimal(tenths) / 7,
            restart_cost_per_mwh=Decimal(costs) / 1000,
        )
        for tenths, price, tier in zip(sizes, prices, tiers, strict=True)
    )


@st.composite
def offers(draw: st.DrawFn, most: int = 8) -> tuple[Offer, ...]:
    """Draw up to *most* offers of one market and day, in any order, that keep every rule: firm power is above all."""
    market_products, day, hours = draw(
        st.sampled_from(
            (
                (("energy-da", "spin", "supplemental", "short-term-reserve", "reg"), TOMORROW, range(1, 25)),
                (("energy-rt",), TODAY, range(12, 25)),
            )
        )
    )
    sellable = [
        (one, name) for one in RESOURCES for name in market_products if PRODUCTS[name] in TYPES[one.type].places
    ]
    places = draw(
        st.lists(st.tuples(st.sampled_from(sellable), st.sampled_from(hours)), min_size=1, max_size=most, unique=True)
    )
    return tuple(
        Offer(
            offer_id=f"offer-{number}-{draw(st.text(max_size=6))}",
            resource=resource.name,
            venue="miso",
            product=product,
            interval=interval_of(day, hour),
            steps=draw(curves(place_of(resource, PRODUCTS[product]).steps, RULES[product])),
            **{name: draw(strategy) for name, strategy in _DETAILS.items()},
        )
        for number, ((resource, product), hour) in enumerate(places)
    )
