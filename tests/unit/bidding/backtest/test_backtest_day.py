"""Clearing, delivery and money of one day, and the bound that nobody beats: numbers to check by hand."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.bidding.backtest.backtest_world import COSTS, PRODUCTS, hours, planned, step, truth

from bidding.backtest.day import Outcome, Truth, settle, taken
from bidding.backtest.foresight import bound
from bidding.backtest.rules import RESERVE
from bidding.portfolio.model import Planned
from pipeline.messages.telemetry import Tier

ONE, TWO, THREE = hours(3)


def came(day: Truth, *offers: Planned) -> Outcome:
    return settle(offers, day, PRODUCTS, COSTS)


def figures(outcome: Outcome, names: str) -> list[float]:
    return [float(getattr(outcome, name)) for name in names.split()]


def test_a_step_is_bought_if_it_is_not_dearer_than_the_clearing_price() -> None:
    offer = planned(ONE, step("1", "50"), step("2", "50.01"))

    assert [s.quantity_mw for s in taken(offer, Decimal(50))] == [1]
    assert taken(offer, Decimal("49.99")) == ()


def test_everything_bought_is_paid_the_clearing_price() -> None:
    """1 MW asked 50 and 0.5 MW asked 90, cleared at 100: 150 $, less 1.5 MWh at 20 $."""
    outcome = came(truth(["100"]), planned(ONE, step("1", "50"), step("0.5", "90")))

    assert figures(outcome, "revenue cost penalty value") == [150, 30, 0, 120]
    assert figures(outcome, "sold_mwh delivered_mwh hours_sold") == [1.5, 1.5, 1]
    assert outcome.tokens == 1_500_000


def test_what_is_missing_is_not_paid_and_bought_back() -> None:
    """3 MW sold at 100, 2 MW there: 200 − 100 for the missing one − 2 × 20."""
    outcome = came(truth(["100"]), planned(ONE, step("3", "50")))

    assert figures(outcome, "revenue penalty cost value") == [200, 100, 40, 60]
    assert figures(outcome, "missing_mwh shortfalls") == [1, 1]


def test_what_a_tier_lacks_comes_from_the_next_at_its_cost() -> None:
    """3 MW of T3 sold, 2 there and 1 of T2: all delivered, 2 × 20 + 1 × 60."""
    outcome = came(truth(["100"], t2_mw=5.0), planned(ONE, step("3", "50")))

    assert figures(outcome, "value cost missing_mwh") == [200, 100, 0]


def test_the_energy_of_a_day_is_used_up_hour_by_hour() -> None:
    """2 MW in each of two hours with 3 MWh for the day: the second hour lacks 1 MWh."""
    day = truth(["100", "100"], energy_mwh={Tier.T3: Decimal(3)})

    outcome = came(day, planned(TWO, step("2", "50")), planned(ONE, step("2", "50")))

    assert figures(outcome, "delivered_mwh missing_mwh") == [3, 1]
    assert outcome.value == 300 - 100 - 60


def test_an_hour_without_a_price_buys_nothing_and_costs_nothing() -> None:
    day = truth(["100", None])

    assert came(day, planned(TWO, step("2", "50"))) == Outcome()


def test_reserve_is_paid_for_standing_ready() -> None:
    assert came(truth([], ["10"]), planned(ONE, step("2", "5"), product=RESERVE)).value == 20


def test_a_call_costs_the_tokens_of_its_length() -> None:
    """2 MW at 10 $ and a quarter of an hour: 20 − 0.5 MWh × 20 $."""
    outcome = came(truth([], ["10"], called={0: "0.25"}), planned(ONE, step("2", "5"), product=RESERVE))

    assert figures(outcome, "value delivered_mwh calls") == [10, 0.5, 1]


def test_a_call_that_is_not_met_in_full_loses_the_hour_and_costs_the_factor() -> None:
    """3 MW sold at 10 $, 2 there: nothing paid, 0.25 MWh short × 10 $ × factor 4, and 0.5 MWh × 20 $ delivered."""
    outcome = came(truth([], ["10"], called={0: "0.25"}), planned(ONE, step("3", "5"), product=RESERVE))

    assert figures(outcome, "revenue penalty cost") == [0, 10, 10]
    assert outcome.shortfalls == 1


def test_reserve_that_is_not_there_is_not_paid_even_if_nobody_calls() -> None:
    outcome = came(truth([], ["10"]), planned(ONE, step("3", "5"), product=RESERVE))

    assert figures(outcome, "value missing_mwh") == [20, 1]


def test_power_that_runs_as_energy_does_not_stand_ready() -> None:
    """1.5 MW of 2 run: half a MW is left for the 2 MW of reserve."""
    day = truth(["100"], ["10"])
    offers = planned(ONE, step("2", "5"), product=RESERVE), planned(ONE, step("1.5", "50"))

    assert came(day, *offers).value == 150 - 30 + 5


def test_perfect_foresight_gives_scarce_energy_to_the_best_hours() -> None:
    """2 MW, 3 MWh, 20 $ a MWh: 2 MWh at 90 and 1 at 70, none at 50."""
    day = truth(["50", "90", "70"], energy_mwh={Tier.T3: Decimal(3)})

    best = bound(day, PRODUCTS, COSTS)

    assert figures(best, "value delivered_mwh hours_sold") == [2 * 70 + 50, 3, 2]


def test_perfect_foresight_stands_ready_where_that_earns_more() -> None:
    """
    Per MW: energy earns 30 − 20 = 10 and 100 − 20 = 80, reserve 15 in both hours, so it stands ready in the first.

    In the third the call of half an hour would cost 10 of the 8 $: nothing is sold.
    """
    day = truth(["30", "100", "10"], ["15", "15", "8"], called={2: "0.5"})

    best = bound(day, PRODUCTS, COSTS)

    assert best.value == 2 * 15 + 2 * 80
    assert figures(best, "sold_mwh sold_energy_mwh calls") == [4, 2, 0]


def test_perfect_foresight_does_not_spend_energy_on_a_call_that_is_worth_less_than_another_hour() -> None:
    """One MWh for 2 MW: as energy at 100 it earns 80, in the call of half an hour 15 − 10 = 5 a MW, 10 a MWh."""
    day = truth(["20", "100"], ["15", "0"], called={0: "0.5"}, energy_mwh={Tier.T3: Decimal(1)})

    assert bound(day, PRODUCTS, COSTS).value == 80


PRICE = st.integers(-20, 300).map(lambda cents: str(Decimal(cents) / 2))
QUANTITY = st.integers(1, 60).map(lambda tenths: str(Decimal(tenths) / 10))
OFFERS = st.lists(
    st.tuples(st.integers(0, 2), QUANTITY, PRICE, st.sampled_from([Tier.T3, Tier.T2]), st.booleans()), max_size=8
)


@given(
    energy=st.lists(PRICE, min_size=3, max_size=3),
    reserve=st.lists(PRICE, min_size=3, max_size=3),
    t3_mw=st.floats(0, 5),
    t2_mw=st.floats(0, 5),
    called=st.dictionaries(st.integers(0, 2), st.sampled_from(["0.1", "0.25", "0.5"]), max_size=3),
    limit=st.none() | st.integers(0, 12),
    offers=OFFERS,
)
def test_nobody_earns_more_than_perfect_foresight(
    *,
    energy: list[str],
    reserve: list[str],
    t3_mw: float,
    t2_mw: float,
    called: dict[int, str],
    limit: int | None,
    offers: list[tuple[int, str, str, Tier, bool]],
) -> None:
    """Whatever is offered, even below cost and beyond what is there."""
    bounds = {} if limit is None else {Tier.T3: Decimal(limit), Tier.T2: Decimal(limit) / 2}
    day = truth(energy, reserve, t3_mw=t3_mw, t2_mw=t2_mw, called=called, energy_mwh=bounds)
    made = {
        (hour, is_energy): planned(
            (ONE, TWO, THREE)[hour], step(mw, price, tier), **({} if is_energy else {"product": RESERVE})
        )
        for hour, mw, price, tier, is_energy in offers
    }

    assert came(day, *made.values()).value <= bound(day, PRODUCTS, COSTS).value + Decimal("0.25")


@pytest.mark.parametrize("price", ["-5", "0"])
def test_a_price_that_earns_nothing_is_left_alone_by_foresight(price: str) -> None:
    assert bound(truth([price], [price]), PRODUCTS, COSTS) == Outcome()
