"""Offers from a plan: blocks, ticks, joined curves, natural keys; what the rule layer says of them."""

from datetime import timedelta
from decimal import Decimal

from doubles.builders import GATE_MARGIN, NOON
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.bidding.portfolio.problems import flexibility, hours, problem, product, scenario, step

from bidding.markets.sandbox import wire
from bidding.offers import offer_id
from bidding.portfolio.build import Figures, curve, offers
from bidding.portfolio.model import Plan, Planned, Problem
from bidding.portfolio.planning import planned_step
from bidding.portfolio.strategies import optimiser
from bidding.products import Family, Rules, Shape
from bidding.rules import check
from pipeline.messages.telemetry import Tier

BEFORE = NOON - timedelta(hours=2)
FIGURES = Figures(as_of=BEFORE, baseline_kw=lambda _interval: 12_000.0, simulated=True)


def test_an_offer_says_what_the_plan_says() -> None:
    case = problem(
        flexibility([step(4.26, "10"), step(2, "30", Tier.T2)]), [scenario(energy=[50])], [product("energy")]
    )

    (offer,) = offers(optimiser.plan(case), case, FIGURES)

    assert [(s.quantity_mw, s.price_per_mwh, s.tier) for s in offer.steps] == [
        (Decimal("4.2"), Decimal("10.00"), Tier.T3),
        (Decimal("2.0"), Decimal("30.00"), Tier.T2),
    ]
    assert offer.offer_id == offer_id("r1", "sandbox", "energy", hours(1)[0], 1)
    assert (offer.firm_kw, offer.baseline_kw, offer.as_of) == (6260.0, 12_000.0, BEFORE)
    assert offer.steps[0].tokens_forgone_per_mwh == 10_000_000
    assert check(offer, case.products["energy"], BEFORE, (), GATE_MARGIN) == ()


def test_an_hour_of_the_plan_is_every_interval_of_the_product() -> None:
    """A product of quarters of an hour gets four offers of the same curve, each with a key of its own."""
    quarters = product("energy", interval_s=900)
    case = problem(flexibility([step(4, "10")]), [scenario(energy=[50])], [quarters])

    made = offers(optimiser.plan(case), case, FIGURES)

    assert [offer.interval.start.minute for offer in made] == [0, 15, 30, 45]
    assert len({offer.offer_id for offer in made}) == 4
    assert {offer.quantity_mw for offer in made} == {Decimal("4.0")}


def test_a_bid_to_buy_load_begins_with_the_dearest() -> None:
    """At any price the load that is not bought is what the offer would have let go."""
    steps = [planned_step(step(4, "10"), Decimal(4), Decimal(10)), planned_step(step(2, "30"), Decimal(2), Decimal(30))]

    assert [(s.quantity_mw, s.price_per_mwh) for s in curve(steps, product("energy", shape=Shape.FALLING))] == [
        (Decimal(2), Decimal(30)),
        (Decimal(4), Decimal(10)),
    ]


def test_steps_of_one_price_are_one_and_too_many_are_joined_at_the_dearer() -> None:
    steps = [
        planned_step(step(1, "10"), Decimal(1), Decimal(30)),
        planned_step(step(1, "30", Tier.T2), Decimal(2), Decimal(30)),
        planned_step(step(1, "40", Tier.T1), Decimal(4), Decimal(40)),
    ]

    (low, high) = curve(steps, product("energy"))
    (single,) = curve(steps, product("energy", shape=Shape.SINGLE))

    assert (low.quantity_mw, low.price_per_mwh, low.tier) == (Decimal(3), Decimal(30), Tier.T2)
    assert (high.quantity_mw, high.price_per_mwh) == (Decimal(4), Decimal(40))
    assert (single.quantity_mw, single.price_per_mwh, single.tier) == (Decimal(7), Decimal(40), Tier.T1)


def test_the_point_that_a_venue_adds_at_zero_counts_among_its_points() -> None:
    """Three points with the one at 0 MW are two steps."""
    few = product("energy", max_points=3, first_quantity_zero=True)
    steps = [planned_step(step(1), Decimal(1), Decimal(price)) for price in (10, 20, 30)]

    assert [s.quantity_mw for s in curve(steps, few)] == [Decimal(2), Decimal(1)]


def test_below_the_minimum_there_is_no_offer() -> None:
    case = problem(flexibility([step(4)]), [scenario(energy=[50])], [product("energy", min_mw="5")])
    small = Planned(product="energy", interval=hours(1)[0], steps=(planned_step(step(4), Decimal(4), Decimal(0)),))

    assert offers(Plan(strategy="simple", offers=(small,)), case, FIGURES) == ()


@st.composite
def cases(draw: st.DrawFn) -> Problem:
    """Return three hours of products with blocks, ticks, curves and floors at random."""

    def rules(name: str, family: Family) -> Rules:
        block = draw(st.sampled_from(["0.001", "0.1", "1"]))
        return product(
            name,
            family,
            block_mw=block,
            min_mw=str(Decimal(block) * draw(st.integers(1, 3))),
            max_steps=draw(st.integers(1, 4)),
            shape=draw(st.sampled_from([Shape.RISING, Shape.FALLING, Shape.SINGLE])),
            price_tick=draw(st.sampled_from(["0.01", "0.25", "1"])),
            net_benefits_floor=draw(st.sampled_from([None, "12.5"])) if family is Family.ENERGY else None,
        )

    power = st.floats(0, 6)
    rows = [[step(draw(power), "8.13"), step(draw(power), "31.07", Tier.T2)] for _ in range(3)]
    price = st.floats(-20, 90)
    scenarios = [
        scenario(0.5, {"spin": 0.1}, energy=[draw(price) for _ in range(3)], spin=[draw(price) for _ in range(3)])
        for _ in range(2)
    ]
    return problem(flexibility(*rows), scenarios, [rules("energy", Family.ENERGY), rules("spin", Family.SPINNING)])


@settings(max_examples=25, deadline=None)
@given(case=cases())
def test_what_the_optimiser_makes_passes_the_rule_layer_and_the_wire(case: Problem) -> None:
    made = offers(optimiser.plan(case), case, FIGURES)

    for offer in made:
        others = [other for other in made if other is not offer]
        assert check(offer, case.products[offer.product], BEFORE, others, GATE_MARGIN) == ()
    for offer in made[:1]:
        assert wire.decode(wire.encode(offer)) in (offer, (offer,))
