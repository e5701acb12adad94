"""Energy and reserves cleared together: worked examples by hand, and what holds for all bids."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

import pytest
from doubles.sandbox_book import START, venue
from hypothesis import given
from hypothesis import strategies as st

from bidding.sandbox import clearing
from bidding.sandbox.coclearing import Bid, CoClearing, Limits, co_clear
from bidding.sandbox.competition import requirements, simulated
from bidding.sandbox.rules import Family, Rules
from bidding.sandbox.settings import SandboxSettings

MARKET = SandboxSettings(products="all").market()
SESSION = MARKET.session("energy-dr")
SPIN = SandboxSettings(products="energy-dr,spin").market().session("spin")
BLOCK = Decimal("0.01")


def bid(bidder: str, product: str, mw: str, price: str) -> Bid:
    return Bid(bidder, product, Decimal(mw), Decimal(price))


def limit(capacity: str | None = None, ramp: str | None = None) -> Limits:
    return Limits(Decimal(capacity) if capacity else None, Decimal(ramp) if ramp else None)


def cleared(
    bids: Iterable[Bid], limits: Mapping[str, Limits] | None = None, session: tuple[Rules, ...] = SESSION, **mw: str
) -> CoClearing:
    """Clear with demand by product; `_` stands for `-` in a product's name."""
    wanted = {name.replace("_", "-"): Decimal(given) for name, given in mw.items()}
    return co_clear(session, list(bids), limits or {}, wanted)


def sold(found: CoClearing, bidder: str, product: str) -> str:
    return str(found.award_mw(bidder, product, BLOCK))


# ------------------------------------------------------------------------------------------ worked examples


def test_a_reserve_is_paid_what_its_supplier_could_have_earned_with_energy() -> None:
    """
    1 MW of energy and 0.4 MW of spin. A has 1 MW: energy at 50, spin at 5. B has energy at 80, no spin.

    Only A has spin, so A holds 0.4 back and B fills in: energy costs 80. A forgoes 80 − 50 = 30 $/MW, so spin costs 35.
    In both products A earns 30 above its own price.
    """
    bids = [bid("A", "energy-dr", "1.0", "50"), bid("A", "spin", "0.5", "5"), bid("B", "energy-dr", "1.0", "80")]

    found = cleared(bids, {"A": limit("1.0")}, energy_dr="1.0", spin="0.4")

    assert (sold(found, "A", "energy-dr"), sold(found, "A", "spin"), sold(found, "B", "energy-dr")) == (
        "0.60",
        "0.40",
        "0.40",
    )
    assert (found.prices["energy-dr"], found.prices["spin"]) == (Decimal(80), Decimal(35))


def test_energy_is_dearer_where_less_of_it_would_set_cheap_reserve_free() -> None:
    """
    C sells the spin at 20, and A all its MW as energy at 50.

    A MW less of energy would save 50, and let A's spin at 5 take the place of C's at 20: 15 more. So energy costs 65,
    and A earns 15 above its own price in both.
    """
    bids = [
        bid("A", "energy-dr", "1.0", "50"),
        bid("A", "spin", "0.5", "5"),
        bid("B", "energy-dr", "1.0", "80"),
        bid("C", "spin", "0.5", "20"),
    ]

    found = cleared(bids, {"A": limit("1.0")}, energy_dr="1.0", spin="0.4")

    assert (sold(found, "A", "energy-dr"), sold(found, "C", "spin")) == ("1.00", "0.40")
    assert (found.prices["energy-dr"], found.prices["spin"]) == (Decimal(65), Decimal(20))


def test_spin_serves_as_non_spin_where_that_is_cheaper() -> None:
    """0.2 MW of each: non-spin at 3 has 0.1 MW; the next 0.1 is spin at 4, not non-spin at 9. Both cost 4."""
    bids = [bid("A", "spin", "0.5", "4"), bid("B", "non-spin", "0.1", "3"), bid("C", "non-spin", "0.5", "9")]

    found = cleared(bids, spin="0.2", non_spin="0.2")

    assert (sold(found, "A", "spin"), sold(found, "B", "non-spin"), sold(found, "C", "non-spin")) == (
        "0.30",
        "0.10",
        "0.00",
    )
    assert (found.prices["spin"], found.prices["non-spin"]) == (Decimal(4), Decimal(4))


def test_spin_that_serves_as_non_spin_has_a_price_though_none_is_wanted_as_such() -> None:
    found = cleared([bid("A", "spin", "0.5", "4")], non_spin="0.2")

    assert (sold(found, "A", "spin"), found.prices["spin"]) == ("0.20", Decimal(4))


def test_non_spin_does_not_serve_as_spin() -> None:
    bids = [bid("A", "spin", "0.5", "40"), bid("B", "non-spin", "0.5", "3")]

    found = cleared(bids, spin="0.2", non_spin="0.2")

    assert (found.prices["spin"], found.prices["non-spin"]) == (Decimal(40), Decimal(3))


def test_a_ramp_bounds_reserves_by_their_response_times() -> None:
    """0.02 MW a minute: 0.1 MW within the 5 minutes of reg-up, 0.2 MW within 10, reg-up's part in it."""
    bids = [
        bid("A", "reg-up", "1", "1"),
        bid("A", "spin", "1", "1"),
        bid("B", "reg-up", "1", "12"),
        bid("B", "spin", "1", "9"),
    ]

    found = cleared(bids, {"A": limit(ramp="0.02")}, reg_up="0.3", spin="0.3")

    assert (sold(found, "A", "reg-up"), sold(found, "A", "spin")) == ("0.10", "0.10")
    assert (found.prices["reg-up"], found.prices["spin"]) == (Decimal(12), Decimal(9))


def test_a_ramp_does_not_bound_energy_or_what_responds_within_a_second() -> None:
    bids = [bid("A", "energy-dr", "1", "50"), bid("A", "fast", "1", "5")]

    found = cleared(bids, {"A": limit(ramp="0.001")}, energy_dr="0.5", fast="0.5")

    assert (sold(found, "A", "energy-dr"), sold(found, "A", "fast")) == ("0.50", "0.50")


def test_regulation_down_takes_nothing_from_what_can_be_let_go() -> None:
    bids = [bid("A", "energy-dr", "1", "50"), bid("A", "reg-down", "1", "2")]

    found = cleared(bids, {"A": limit("1.0")}, energy_dr="1.0", reg_down="1.0")

    assert (sold(found, "A", "energy-dr"), sold(found, "A", "reg-down")) == ("1.00", "1.00")


def test_what_is_not_there_goes_short_at_the_products_price_cap() -> None:
    """0.3 MW of 0.5: what there is is bought, and costs the cap of 250 $/MW."""
    found = cleared([bid("A", "spin", "0.3", "5")], spin="0.5")

    assert (sold(found, "A", "spin"), found.short_kw["spin"], found.prices["spin"]) == (
        "0.30",
        Fraction(200),
        Decimal(250),
    )


def test_a_reserve_goes_short_rather_than_cost_more_than_its_cap() -> None:
    """Only A has spin; each MW of it would cost 1000 − 50 more in energy, which is above 250: it stays with energy."""
    bids = [bid("A", "energy-dr", "1.0", "50"), bid("A", "spin", "0.5", "5"), bid("B", "energy-dr", "1.0", "1000")]

    found = cleared(bids, {"A": limit("1.0")}, energy_dr="1.0", spin="0.4")

    assert (sold(found, "A", "energy-dr"), sold(found, "A", "spin")) == ("1.00", "0.00")
    assert found.prices["spin"] is None


def test_without_demand_nothing_is_bought_and_there_is_no_price() -> None:
    found = cleared([bid("A", "spin", "0.3", "0")], spin="0")

    assert (found.bought_kw, found.prices["spin"]) == ({}, None)


def test_prices_are_as_fine_as_the_product_s_own() -> None:
    fine = tuple(rules.model_copy(update={"price_tick": Decimal("0.001")}) for rules in SPIN)

    found = cleared([bid("A", "spin", "0.3", "5.125")], session=fine, spin="0.2")

    assert found.prices["spin"] == Decimal("5.125")


# --------------------------------------------------------------------------------------------- for all bids

NAMES = [rules.product for rules in SESSION]
mw = st.integers(1, 200).map(lambda blocks: blocks * BLOCK)
prices = st.integers(0, 25_000).map(lambda cents: Decimal(cents) / 100)


@st.composite
def books(draw: st.DrawFn) -> tuple[list[Bid], dict[str, Limits], dict[str, Decimal]]:
    """Draw bids of up to six bidders, joint capacities for some, and a demand for some products."""
    bids = draw(st.lists(st.builds(Bid, st.sampled_from("ABCDEF"), st.sampled_from(NAMES), mw, prices), max_size=25))
    limits = draw(st.dictionaries(st.sampled_from("ABCDEF"), st.builds(Limits, capacity_mw=mw), max_size=6))
    demand = draw(st.dictionaries(st.sampled_from(NAMES), mw, min_size=1, max_size=len(NAMES)))
    return bids, limits, demand


def bought_kw(found: CoClearing, product: str) -> Fraction:
    return sum((kw for (_, name), kw in found.bought_kw.items() if name == product), Fraction(0))


@given(books())
def test_supply_equals_demand(book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]]) -> None:
    """In every product, what is short included; spin and non-spin together, since one may serve as the other."""
    bids, limits, demand = book

    found = co_clear(SESSION, bids, limits, demand)

    def supplied(*names: str) -> Fraction:
        return sum((bought_kw(found, name) + found.short_kw[name] for name in names), Fraction(0))

    def wanted(*names: str) -> Fraction:
        return sum((Fraction(demand.get(name, Decimal(0))) * 1000 for name in names), Fraction(0))

    for name in set(NAMES) - {"spin", "non-spin"}:
        assert abs(supplied(name) - wanted(name)) < Fraction(1, 1000)
    assert abs(supplied("spin", "non-spin") - wanted("spin", "non-spin")) < Fraction(1, 1000)
    assert supplied("spin") > wanted("spin") - Fraction(1, 1000)


@given(books())
def test_nobody_sells_more_than_he_offered_or_can(
    book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]],
) -> None:
    bids, limits, demand = book

    found = co_clear(SESSION, bids, limits, demand)

    for (bidder, product), kw in found.bought_kw.items():
        offered = sum((each.mw for each in bids if (each.bidder, each.product) == (bidder, product)), Decimal(0))
        assert kw <= Fraction(offered) * 1000 + Fraction(1, 1000)
    for bidder, own in limits.items():
        up = sum(
            (kw for (name, product), kw in found.bought_kw.items() if name == bidder and product != "reg-down"),
            Fraction(0),
        )
        assert up <= Fraction(own.capacity_mw or 0) * 1000 + Fraction(1, 1000)


@given(books())
def test_at_these_prices_nobody_would_rather_have_sold_something_else(
    book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]],
) -> None:
    """
    What a bidder earns is the most that its steps and its capacity allow at the prices found.

    The most is found without a solver: fill the capacity with the steps that earn most, best first.
    """
    bids, limits, demand = book

    found = co_clear(SESSION, bids, limits, demand)

    for bidder in {each.bidder for each in bids}:
        own = [each for each in bids if each.bidder == bidder and found.prices[each.product] is not None]
        assert earned(own, found, bidder) >= most(own, found, limits.get(bidder, Limits())) - Fraction(3)


def earned(own: list[Bid], found: CoClearing, bidder: str) -> Fraction:
    """Return what *bidder* earns above its prices, $ per 1000 hours: of each product its cheapest steps were bought."""
    total = Fraction(0)
    for product in {each.product for each in own}:
        left = found.bought_kw.get((bidder, product), Fraction(0))
        for each in sorted((each for each in own if each.product == product), key=lambda each: each.price):
            taken = min(left, Fraction(each.mw) * 1000)
            total += taken * margin(each, found)
            left -= taken
    return total


def most(own: list[Bid], found: CoClearing, limits: Limits) -> Fraction:
    capacity = Fraction(limits.capacity_mw) * 1000 if limits.capacity_mw is not None else None
    total = Fraction(0)
    for each in sorted(own, key=lambda each: margin(each, found), reverse=True):
        if (gain := margin(each, found)) <= 0:
            break
        taken = Fraction(each.mw) * 1000
        if capacity is not None and each.product != "reg-down":
            taken = min(taken, capacity)
            capacity -= taken
        total += taken * gain
    return total


def margin(each: Bid, found: CoClearing) -> Fraction:
    price = found.prices[each.product]
    assert price is not None
    return Fraction(price) - Fraction(each.price)


@given(books())
def test_what_is_bought_costs_no_more_than_its_price(
    book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]],
) -> None:
    """Of every product's cheapest steps of a bidder, the last one bought is not dearer than the product."""
    bids, limits, demand = book

    found = co_clear(SESSION, bids, limits, demand)

    for (bidder, product), kw in found.bought_kw.items():
        left, price = kw, found.prices[product]
        assert price is not None
        steps = sorted(
            (each for each in bids if (each.bidder, each.product) == (bidder, product)), key=lambda x: x.price
        )
        for each in steps:
            if left > Fraction(1, 1000):
                assert each.price <= price
            left -= Fraction(each.mw) * 1000


@given(books(), st.sampled_from(NAMES), mw)
def test_more_demand_never_makes_a_product_cheaper(
    book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]], product: str, more: Decimal
) -> None:
    bids, limits, demand = book
    demand = demand | {product: demand.get(product, Decimal(0)) + BLOCK}

    low = co_clear(SESSION, bids, limits, demand).prices[product]
    high = co_clear(SESSION, bids, limits, demand | {product: demand[product] + more}).prices[product]

    if low is not None and high is not None:
        assert high >= low


@given(books(), st.randoms(use_true_random=False))
def test_the_order_of_bids_does_not_matter(
    book: tuple[list[Bid], dict[str, Limits], dict[str, Decimal]], random: st.DataObject
) -> None:
    bids, limits, demand = book
    other = list(bids)
    random.shuffle(other)  # type: ignore[attr-defined] # a random.Random

    assert co_clear(SESSION, bids, limits, demand) == co_clear(SESSION, other, limits, demand)


@given(
    st.lists(st.builds(clearing.Step, st.sampled_from("abcdef"), mw, prices), min_size=1, max_size=20),
    st.integers(1, 100),
)
def test_one_product_clears_as_by_merit_order(steps: list[clearing.Step], part: int) -> None:
    """To the cent, where there is enough; steps of one price may be shared otherwise."""
    supply = sum((step.mw for step in steps), Decimal(0))
    demand = max(BLOCK, (supply * part / 100).quantize(BLOCK))
    bids = [Bid(step.bidder, "energy-dr", step.mw, step.price) for step in steps]

    found = co_clear(SESSION, bids, {}, {"energy-dr": demand})
    by_merit = clearing.clear(steps, demand)

    assert found.prices["energy-dr"] == by_merit.price
    if len({step.price for step in steps}) == len(steps):
        assert {key[0]: kw / 1000 for key, kw in found.bought_kw.items()} == by_merit.bought_mw


# -------------------------------------------------------------------------------------------- the competition


def test_the_simulated_competition_offers_energy_as_where_energy_is_sold_alone() -> None:
    bids, _ = simulated(SESSION, 1, "2026-07-24T01:00")

    energy = [(each.bidder, each.mw, each.price) for each in bids if each.product == "energy-dr"]

    assert energy == [(step.bidder, step.mw, step.price) for step in clearing.other_bidders(1, "2026-07-24T01:00")]


@pytest.mark.parametrize("number", range(20))
def test_what_is_required_is_nearly_always_found(number: int) -> None:
    """Twenty simulated intervals: every product has a price, and none goes short."""
    bids, limits = simulated(SESSION, 1, f"interval {number}")

    found = co_clear(SESSION, bids, limits, requirements(SESSION, bids, 1, f"interval {number}"))

    assert None not in found.prices.values()
    assert not any(found.short_kw.values())


def test_families_are_those_of_the_default_products() -> None:
    assert [rules.family for rules in SESSION] == [
        Family.ENERGY,
        Family.SPINNING,
        Family.NON_SPINNING,
        Family.REGULATION_UP,
        Family.REGULATION_DOWN,
        Family.FAST,
        Family.CONTINGENCY,
    ]


def test_prices_without_offers_of_ours_are_computed_once() -> None:
    """Forty minutes of seven products are forty clearings: asked again, the answer is there."""
    market = venue()

    first = [market.prices(name, 40, START) for name in NAMES]
    computed = dict(market._unoffered)
    again = [market.prices(name, 40, START) for name in NAMES]

    assert first == again
    assert len(computed) == 40
    assert all(market._unoffered[slot] is found for slot, found in computed.items())
