"""Offers for ERCOT's book, by hand and by Hypothesis, and the real schemas they are held against."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import cache
from pathlib import Path

from hypothesis import strategies as st
from lxml import etree

from bidding.markets.ercot import hours, names
from bidding.markets.ercot.encode import documents
from bidding.products import Shape
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import Tier

RESOURCE = "AIFAC_CLR1"
DAY = date(2026, 7, 25)
SHORT_DAY, LONG_DAY = date(2026, 3, 8), date(2026, 11, 1)
AS_OF = datetime(2026, 7, 24, 5, tzinfo=UTC)
SCHEMAS = Path("schemas/ercot_ews/xsds")


@cache
def schema(shared: Path, root: str) -> etree.XMLSchema:
    """Return the schema whose file is *root*, such as `ErcotTransactions`, as published."""
    return etree.XMLSchema(etree.parse(str(shared / SCHEMAS / f"{root}.xsd")))


def hour(ending: int, day: date = DAY) -> Interval:
    """Return the hour of *day* that is the *ending*-th, counted from 1."""
    return hours.hours(day)[ending - 1]


def offer(
    product: str, interval: Interval, *steps: tuple[str, str], revision: int = 1, resource: str = RESOURCE
) -> Offer:
    """Return an offer of (MW, price) *steps*; two modest ones by default."""
    return Offer(
        offer_id=f"{product}-{interval.start:%Y%m%dT%H%M}-{revision}",
        resource=resource,
        site="site-1",
        venue="ercot",
        product=product,
        interval=interval,
        revision=revision,
        steps=tuple(_step(Decimal(mw), Decimal(price)) for mw, price in steps or (("1.0", "20.00"), ("2.5", "65.00"))),
        currency="USD",
        as_of=AS_OF,
        baseline_method="",
        baseline_kw=21_500.5,
        firm_kw=12_000.25,
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


def _decimal(low: str, high: str, places: int) -> st.SearchStrategy[Decimal]:
    return st.decimals(min_value=low, max_value=high, places=places, allow_nan=False, allow_infinity=False)


def steps(prices: st.SearchStrategy[Decimal], most: int) -> st.SearchStrategy[tuple[OfferStep, ...]]:
    """Return up to *most* steps of rising price, neighbours of equal price among them."""
    one = st.builds(
        OfferStep,
        quantity_mw=_decimal("0.1", "150", 1),
        price_per_mwh=prices,
        tier=st.sampled_from(Tier),
        tokens_forgone_per_mwh=_decimal("0", "1e9", 3),
        token_cost_per_mwh=_decimal("0", "5000", 4),
        service_credit_per_mwh=_decimal("0", "500", 2),
        restart_cost_per_mwh=_decimal("0", "500", 2),
    )
    return st.lists(one, min_size=1, max_size=most).map(
        lambda found: tuple(sorted(found, key=lambda step: step.price_per_mwh))
    )


def days() -> st.SearchStrategy[date]:
    """Return trading dates; both days on which the clocks change come often."""
    return st.one_of(st.sampled_from([SHORT_DAY, LONG_DAY]), st.dates(date(2025, 12, 6), date(2035, 12, 31)))


@st.composite
def sets(draw: st.DrawFn, on: st.SearchStrategy[date] | None = None) -> tuple[Offer, ...]:
    """Draw offers that ERCOT would take and that make one document; energy lists its steps in either order."""
    day = draw(on or days())
    kinds = [(names.ENERGY,), (names.REG_DOWN,), tuple(names.BLOCK_PRICES)]
    kind = draw(st.sampled_from(kinds))
    resource = draw(st.from_regex(r"[A-Z][A-Z0-9_]{0,13}", fullmatch=True))
    chosen = draw(st.lists(st.sampled_from(hours.hours(day)), min_size=1, max_size=5, unique=True))
    found: list[Offer] = []
    for interval in chosen:
        left = names.MAX_BLOCKS
        for product in draw(st.lists(st.sampled_from(kind), min_size=1, max_size=min(3, len(kind)), unique=True)):
            if not left:
                break
            energy = product == names.ENERGY
            prices = _decimal("-250", "2000", 2) if energy else _decimal("0", "5000", 2)
            curve = draw(steps(prices, left))
            left -= len(curve)
            if energy and draw(st.booleans()):
                curve = curve[::-1]
            found.append(_drawn(draw, resource, product, interval, curve))
    (document,) = documents(found)
    return document


def _drawn(draw: st.DrawFn, resource: str, product: str, interval: Interval, curve: tuple[OfferStep, ...]) -> Offer:
    revision = draw(st.integers(1, 99))
    firm_kw = float(sum(step.quantity_mw for step in curve)) * 1000 + draw(st.floats(0, 1e7))
    return Offer(
        offer_id=draw(st.text("0123456789abcdef", min_size=24, max_size=24)) + f"{revision:02d}",
        resource=resource,
        site=draw(st.text(st.characters(codec="utf-8"), max_size=12)),
        venue="ercot",
        product=product,
        interval=interval,
        revision=revision,
        steps=curve,
        currency="USD",
        as_of=interval.start - timedelta(seconds=draw(st.integers(0, 10**6))),
        baseline_method=draw(st.sampled_from(["", "ercot-middle-8-of-10", "--->"])),
        baseline_kw=firm_kw + draw(st.floats(0, 1e7)),
        firm_kw=firm_kw,
        confidence=draw(st.floats(0.5, 0.999)),
        simulated=draw(st.booleans()),
    )


def as_listed(offer: Offer, shape: Shape) -> Offer:
    """Return *offer* as the rules of energy want it listed: one step a price, rising, or from the dearest on."""
    by_price = {step.price_per_mwh: step for step in offer.steps}
    ordered = tuple(by_price[price] for price in sorted(by_price, reverse=shape is Shape.FALLING))
    return offer.model_copy(update={"steps": ordered})
