"""A portfolio strategy, live: what is due is planned together, every offer says why, and what is missing stops it."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import MINUTE, NOON, SECOND, award, capacity, intent, pool, rules, terms
from doubles.clocks import SetClock

from bidding.agents.baselines import Baselines
from bidding.agents.feed import World
from bidding.agents.portfolio import REPLAN, PortfolioOffers
from bidding.book import Book
from bidding.entries import Explained, Refused, Sent
from bidding.gate.settings import Effect, Obligation
from bidding.journal import Journal
from bidding.offers import NoOffer
from bidding.products import Family
from bidding.settings import Bidding
from pipeline.errors import InsufficientDataError
from pipeline.interval import Interval
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import Tier

HEADER = "scenario,probability,product,interval_start,price_per_mwh,called,activation_per_mwh"
MINUTES = [NOON + k * MINUTE for k in range(1, 6)]
PRODUCTS = {
    "energy-dr": rules(),
    "spin": rules(product="spin", family=Family.SPINNING, response_s=600, duration_s=60),
}


class Known(Baselines):
    """1,000 kW always, or history is too short."""

    def __init__(self, *, short: bool = False) -> None:
        self.short = short

    def kw(self, _interval: Interval, _now: datetime) -> float:
        if self.short:
            raise InsufficientDataError(5, 2, "days")
        return 1000.0

    def reload(self, _now: datetime) -> None:
        pass


@pytest.fixture
def book(tmp_path: Path) -> Iterator[Book]:
    with Journal(tmp_path / "journal") as journal:
        yield Book(journal, SetClock())


def forecast(tmp_path: Path, **price: float) -> Path:
    """Write one certain scenario with these prices for each of the next minutes."""
    path = tmp_path / "prices.csv"
    rows = [f"only,1,{name.replace('_', '-')},{at.isoformat()},{p},," for name, p in price.items() for at in MINUTES]
    path.write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    return path


def desk(
    tmp_path: Path, book: Book, strategy: str = "simple", *, short: bool = False, **more: object
) -> PortfolioOffers:
    """Return the strategy over a site that draws 1,000 kW and lets 280 kW of T3 go, seen for half a minute."""
    world = World("site-1", 10 * MINUTE, MINUTE)
    for seconds in range(-40, 1):
        world.take(capacity(NOON + seconds * SECOND, pool(Tier.T3, 1000, 280)))
    settings = Bidding(
        resource="r1",
        products=tuple(PRODUCTS),
        strategy=strategy,
        forecast=str(tmp_path / "prices.csv"),
        **more,  # type: ignore[arg-type]
    )
    return PortfolioOffers(settings, PRODUCTS, terms(), book=book, world=world, baselines=Known(short=short))


@pytest.mark.parametrize("strategy", ["simple", "optimiser"])
async def test_the_power_goes_where_it_earns_more_and_says_why(tmp_path: Path, book: Book, strategy: str) -> None:
    """Energy at 50 less a cost of 10 is 40; standing ready earns 15. All 280 kW, as 0.28 MW, go to energy."""
    forecast(tmp_path, energy_dr=50, spin=15)

    found = await desk(tmp_path, book, strategy, risk_weight=0.0).due(NOON)

    offers = [one for one in found if isinstance(one, Offer)]
    assert {offer.product for offer in offers} == {"energy-dr"}
    assert {offer.quantity_mw for offer in offers} == {Decimal("0.28")}
    assert {offer.steps[0].price_per_mwh for offer in offers} <= {Decimal(k) / 100 for k in range(1000, 5001)}
    reasons = {one.offer_id: one for one in found if isinstance(one, Explained)}
    assert set(reasons) == {offer.offer_id for offer in offers}
    assert any("0.28 MW as energy-dr" in line for line in reasons[offers[0].offer_id].lines)
    assert all("simulated" in " ".join(one.lines) for one in reasons.values()), "the telemetry is"


async def test_a_desk_that_minds_the_tail_stands_ready_instead(tmp_path: Path, book: Book) -> None:
    """
    The power is there on 95 % of days; on the others energy costs 1.5 × 50.

    A MWh of energy is worth 0.95 × 40 − 0.05 × 75 = 34.25 on average and −75 in the worst twentieth: at λ = 0.2
    0.8 × 34.25 − 0.2 × 75 = 12.40, less than the 15 of a reserve that is never called.
    """
    forecast(tmp_path, energy_dr=50, spin=15)

    found = await desk(tmp_path, book, "optimiser", risk_weight=0.2).due(NOON)

    assert {one.product for one in found if isinstance(one, Offer)} == {"spin"}


async def test_the_other_way_round_it_stands_ready(tmp_path: Path, book: Book) -> None:
    forecast(tmp_path, energy_dr=12, spin=15)

    found = await desk(tmp_path, book).due(NOON)

    assert {one.product for one in found if isinstance(one, Offer)} == {"spin"}


async def test_power_that_is_promised_already_is_not_promised_again(tmp_path: Path, book: Book) -> None:
    """One minute's 280 kW are sold: the next look offers the other minutes only."""
    forecast(tmp_path, energy_dr=50, spin=15)
    first = [one for one in await desk(tmp_path, book).due(NOON) if isinstance(one, Offer)]
    book.write(intent(first[0]))

    again = [one for one in await desk(tmp_path, book).due(NOON) if isinstance(one, Offer)]

    assert [one.interval for one in again] == [one.interval for one in first[1:]]


async def test_a_duty_to_curtail_takes_its_power_out(tmp_path: Path, book: Book) -> None:
    """280 kW firm, 100 kW of them owed to a docket: 180 kW are for sale."""
    forecast(tmp_path, energy_dr=50, spin=15)
    duty = Obligation(name="shed", source="a docket", effect=Effect.REDUCES, mw=Decimal("0.1"))

    found = await desk(tmp_path, book, obligations=(duty,)).due(NOON)

    assert {one.quantity_mw for one in found if isinstance(one, Offer)} == {Decimal("0.18")}


async def test_what_a_duty_bars_is_not_planned_and_the_rest_is(tmp_path: Path, book: Book) -> None:
    """Energy pays more, and may not be sold: all goes to standing ready."""
    forecast(tmp_path, energy_dr=50, spin=15)
    duty = Obligation(name="curtailable", source="a docket", effect=Effect.BARS, families=(Family.ENERGY,))

    found = await desk(tmp_path, book, obligations=(duty,)).due(NOON)

    assert {one.product for one in found if isinstance(one, Offer)} == {"spin"}
    assert {one.quantity_mw for one in found if isinstance(one, Offer)} == {Decimal("0.28")}


async def test_a_duty_of_others_or_of_another_time_takes_nothing(tmp_path: Path, book: Book) -> None:
    forecast(tmp_path, energy_dr=50, spin=15)
    duties = (
        Obligation(name="theirs", source="x", effect=Effect.BARS, resources=("r2",)),
        Obligation(name="elsewhere", source="x", effect=Effect.BARS, venues=("ercot",)),
        Obligation(name="over", source="x", effect=Effect.BARS, ends=NOON),
        Obligation(name="later", source="x", effect=Effect.BARS, begins=NOON + 60 * MINUTE),
    )

    found = await desk(tmp_path, book, obligations=duties).due(NOON)

    assert {one.quantity_mw for one in found if isinstance(one, Offer)} == {Decimal("0.28")}


@pytest.mark.parametrize(
    ("short", "text", "said"),
    [
        (False, None, "forecast: cannot read the price forecast"),
        (False, "scenario\n", "forecast: price forecast"),
        (False, HEADER + "\n", "has no scenario"),
        (True, HEADER + f"\nonly,1,energy-dr,{MINUTES[0].isoformat()},50,,\n", "baseline: need 5 days, have 2"),
    ],
)
async def test_what_is_missing_stops_it_and_is_named(
    tmp_path: Path,
    book: Book,
    short: bool,  # noqa: FBT001 - one case a row
    text: str | None,
    said: str,
) -> None:
    if text is not None:
        (tmp_path / "prices.csv").write_text(text, encoding="utf-8")

    found = await desk(tmp_path, book, short=short).due(NOON)

    assert found
    assert all(isinstance(one, NoOffer) and said in str(one) for one in found), [str(one) for one in found]


async def test_hours_without_a_price_are_not_offered(tmp_path: Path, book: Book) -> None:
    path = tmp_path / "prices.csv"
    path.write_text(f"{HEADER}\nonly,1,energy-dr,{MINUTES[1].isoformat()},50,,\n", encoding="utf-8")

    found = await desk(tmp_path, book).due(NOON)

    assert [one.interval.start for one in found if isinstance(one, Offer)] == [MINUTES[1]]


async def test_a_plan_that_offers_nothing_is_not_made_again_at_every_tick(tmp_path: Path, book: Book) -> None:
    """Prices below cost; a new forecast, or half a minute, and it is."""
    path = forecast(tmp_path, energy_dr=5)
    strategy = desk(tmp_path, book)

    assert await strategy.due(NOON)
    assert await strategy.due(NOON) == []
    path.with_suffix(".new").write_text(path.read_text(encoding="utf-8").replace(",5,,", ",50,,"), encoding="utf-8")
    path.with_suffix(".new").rename(path)
    assert any(isinstance(one, Offer) for one in await strategy.due(NOON))
    assert timedelta(0) < REPLAN


async def test_products_of_two_lengths_are_each_planned_once(tmp_path: Path, book: Book) -> None:
    """Minutes and five minutes, nothing worth offering of either: at the next look neither is planned again."""
    forecast(tmp_path, energy_dr=5)
    strategy = desk(tmp_path, book, offer_lead_s=600.0)
    five = rules(product="five", interval_s=300, family=Family.SPINNING)
    strategy._products = {**PRODUCTS, "five": five}

    first = await strategy.due(NOON)

    assert {one.product for one in first if isinstance(one, NoOffer)} == {"energy-dr", "spin", "five"}
    assert await strategy.due(NOON) == []


async def test_what_was_bought_in_part_leaves_the_rest_to_sell(tmp_path: Path, book: Book) -> None:
    """0.28 MW stood ready as spin and 0.10 MW were bought: 0.18 MW of the minute are left for energy."""
    forecast(tmp_path, energy_dr=12, spin=15)
    ready = next(one for one in await desk(tmp_path, book).due(NOON) if isinstance(one, Offer))
    book.write(intent(ready))
    book.write(award("0.1", interval=ready.interval, offered=ready).model_copy(update={"product": "spin"}))

    found = await desk(tmp_path, book).due(NOON)

    left = [one for one in found if isinstance(one, Offer) and one.interval == ready.interval]
    assert [(one.product, one.quantity_mw) for one in left] == [("energy-dr", Decimal("0.18"))]


async def test_the_gate_is_told_which_price_is_expected(tmp_path: Path, book: Book) -> None:
    """A quarter of 40 and three quarters of 60 are 55; a product without a price has no reference."""
    rows = [
        f"{name},{share},energy-dr,{at.isoformat()},{price},,"
        for name, share, price in (("low", 0.25, 40), ("high", 0.75, 60))
        for at in MINUTES
    ]
    (tmp_path / "prices.csv").write_text("\n".join([HEADER, *rows, ""]), encoding="utf-8")
    strategy = desk(tmp_path, book)

    await strategy.due(NOON)

    assert set(strategy.reference.values()) == {Decimal("55.0")}
    assert {product for _, product, _ in strategy.reference} == {"energy-dr"}


async def test_what_never_left_is_offered_again_under_a_new_revision(tmp_path: Path, book: Book) -> None:
    """Our own halt turned it down before it was sent; the venue's no is final."""
    forecast(tmp_path, energy_dr=50, spin=15)
    first, second, *_ = [one for one in await desk(tmp_path, book).due(NOON) if isinstance(one, Offer)]
    for offer in (first, second):
        book.write(intent(offer))
    book.write(Refused(offer_id=first.offer_id, reason="halted"))
    book.write(Sent(document_id=intent(second).document_id, attempt=1))
    book.write(Refused(offer_id=second.offer_id, reason="the venue says no"))

    again = [one for one in await desk(tmp_path, book).due(NOON) if isinstance(one, Offer)]

    assert (again[0].interval, again[0].revision) == (first.interval, 2)
    assert ("energy-dr", second.interval) not in {(one.product, one.interval) for one in again}
