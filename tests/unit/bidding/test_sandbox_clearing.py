"""Clearing: one price for all, cheapest first, nobody below its own price."""

from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.sandbox.clearing import Clearing, Step, clear, demand, other_bidders

BLOCK = Decimal("0.01")


def step(bidder: str, mw: str, price: str) -> Step:
    return Step(bidder, Decimal(mw), Decimal(price))


def test_the_marginal_step_sets_one_price_for_all() -> None:
    """1.0 MW wanted: a's 0.4 at 50, b's 0.4 at 90, then 0.2 of c's 0.5 at 200. All are paid 200."""
    steps = [step("c", "0.5", "200"), step("a", "0.4", "50"), step("b", "0.4", "90"), step("d", "1.0", "300")]

    cleared = clear(steps, Decimal("1.0"))

    assert cleared.price == Decimal(200)
    assert cleared.bought_mw == {"a": Fraction(4, 10), "b": Fraction(4, 10), "c": Fraction(2, 10)}


def test_equal_prices_at_the_margin_share_pro_rata() -> None:
    """0.3 MW left for 0.2 and 0.4 MW at the same price: half of each, 0.1 and 0.2."""
    steps = [step("a", "0.7", "10"), step("b", "0.2", "50"), step("c", "0.4", "50")]

    cleared = clear(steps, Decimal("1.0"))

    assert cleared.bought_mw == {"a": Fraction(7, 10), "b": Fraction(1, 10), "c": Fraction(2, 10)}


def test_awards_are_rounded_down_to_whole_blocks() -> None:
    """0.1 MW shared by three: 0.0333… each, 0.03 in blocks of 0.01."""
    cleared = clear([step(name, "0.2", "50") for name in "abc"], Decimal("0.1"))

    assert [cleared.award_mw(name, BLOCK) for name in "abc"] == [Decimal("0.03")] * 3


def test_the_steps_of_one_bidder_are_added_before_rounding() -> None:
    """0.155 and 0.155 MW at one price, all bought: 0.31 MW, not twice 0.15."""
    cleared = clear([step("a", "0.155", "50"), step("a", "0.155", "50")], Decimal(1))

    assert cleared.award_mw("a", BLOCK) == Decimal("0.31")


def test_more_demand_than_supply_buys_everything_at_the_dearest_price() -> None:
    cleared = clear([step("a", "0.1", "50"), step("b", "0.1", "900")], Decimal(5))

    assert cleared == Clearing(Decimal(900), {"a": Fraction(1, 10), "b": Fraction(1, 10)})


def test_without_demand_nothing_is_bought_and_there_is_no_price() -> None:
    assert clear([step("a", "0.1", "50")], Decimal(0)) == Clearing(None, {})


def test_who_is_not_bought_from_is_awarded_nothing() -> None:
    assert clear([], Decimal(1)).award_mw("a", BLOCK) == 0


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from("abcdef"),
        st.decimals(min_value="0.01", max_value=5, places=2),
        st.decimals(min_value=0, max_value=20, places=0),
    ),
    max_size=20,
)
demands = st.decimals(min_value="0.01", max_value=50, places=2)


@settings(deadline=None)  # a busy machine is no failure
@given(steps, demands)
def test_what_is_bought_is_the_smaller_of_demand_and_supply(offered: list[Step], wanted: Decimal) -> None:
    supply = sum((Fraction(each.mw) for each in offered), Fraction(0))

    cleared = clear(offered, wanted)

    assert sum(cleared.bought_mw.values()) == min(Fraction(wanted), supply)


@settings(deadline=None)  # a busy machine is no failure
@given(steps, demands)
def test_nobody_sells_more_than_offered_or_below_its_own_price(offered: list[Step], wanted: Decimal) -> None:
    """A bidder's award is at most what it offered at the clearing price or less."""
    cleared = clear(offered, wanted)

    for bidder in cleared.bought_mw:
        willing = sum(
            (each.mw for each in offered if each.bidder == bidder and each.price <= (cleared.price or 0)), Decimal(0)
        )
        assert cleared.award_mw(bidder, BLOCK) <= willing


@settings(deadline=None)  # a busy machine is no failure
@given(steps, demands)
def test_whoever_is_cheaper_than_the_price_sells_everything(offered: list[Step], wanted: Decimal) -> None:
    cleared = clear(offered, wanted)

    for bidder in {each.bidder for each in offered}:
        cheaper = sum(
            (
                Fraction(each.mw)
                for each in offered
                if each.bidder == bidder and cleared.price is not None and each.price < cleared.price
            ),
            Fraction(0),
        )
        assert cleared.bought_mw.get(bidder, 0) >= cheaper


@settings(deadline=None)  # a busy machine is no failure
@given(steps.flatmap(lambda offered: st.tuples(st.just(offered), st.permutations(offered))), demands)
def test_the_order_of_offers_does_not_matter(orders: tuple[list[Step], list[Step]], wanted: Decimal) -> None:
    one, other = orders

    assert clear(one, wanted) == clear(other, wanted)


def test_the_simulated_competition_is_the_same_for_the_same_seed_and_interval() -> None:
    assert other_bidders(7, "2026-07-24T01:00") == other_bidders(7, "2026-07-24T01:00")
    assert other_bidders(7, "2026-07-24T01:00") != other_bidders(8, "2026-07-24T01:00")
    assert other_bidders(7, "2026-07-24T01:00") != other_bidders(7, "2026-07-24T01:01")
    assert demand(7, "2026-07-24T01:00") == demand(7, "2026-07-24T01:00")


@pytest.mark.parametrize(
    ("price", "holds"),
    [
        ("50", lambda share: share == 1),
        ("600", lambda share: share >= 0.95),
        ("900", lambda share: 0.5 <= share < 1),
    ],
)
def test_a_few_hundred_kilowatts_are_mostly_in_the_money_but_not_always_whole(
    price: str, holds: Callable[[float], bool]
) -> None:
    """Over 300 simulated intervals, 0.1 MW at 50 is always bought, at 600 nearly always, at 900 mostly."""
    bought = 0.0
    for number in range(300):
        interval = f"interval {number}"
        cleared = clear([step("ours", "0.10", price), *other_bidders(1, interval)], demand(1, interval))
        bought += float(cleared.award_mw("ours", BLOCK)) / 0.10

    assert holds(bought / 300)
