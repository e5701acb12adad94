"""Why an offer is what it is: the sentences a desk reads, and their numbers."""

from decimal import Decimal

from unit.bidding.portfolio.problems import flexibility, hours, problem, product, scenario, step

from bidding.portfolio.explain import Explanation, explain, summary, worst_scenario
from bidding.portfolio.model import Obligation
from bidding.portfolio.strategies import optimiser
from bidding.products import Family
from pipeline.messages.telemetry import Tier

ENERGY = product("energy")
SPIN = product("spin", Family.SPINNING, duration_s=3600)


def test_what_is_offered_for_how_much_and_what_it_is_worth() -> None:
    """10 MW, cost 20, energy at 100 or 15, spin at 8. Taken half the time: 0.5 × 80 × 10 = 400 $; spin: 80 $."""
    case = problem(
        flexibility([step(10, "20")]),
        [scenario(0.5, energy=[100], spin=[8], name="hot"), scenario(0.5, energy=[15], spin=[8], name="mild")],
        [ENERGY, SPIN],
    )
    plan = optimiser.plan(case)

    (why,) = explain(plan, case)

    assert why.lines[0] == (
        "We offer to let go 10.0 MW as energy from 12:00 on 23 Jul 2026 UTC to 13:00 on 23 Jul 2026 UTC."
    )
    assert "10.0 MW of T3 power at 20.00 USD/MWh. It is taken with 50% probability." in why.lines
    assert why.lines[2].startswith("A MWh of it costs 20.00: 20,000,000 tokens forgone or late, worth 20.00")
    assert "The expected price is 57.50 USD/MWh, between 15.00 and 100.00 in 2 scenarios." in why.lines
    assert any(
        line.startswith("The best other product is spin: there the same power would be worth 80.00")
        for line in why.lines
    )
    assert any(line.startswith("It is held back by firm power of T3") for line in why.lines)
    assert (why.figures["expected_value"], why.figures["acceptance"]) == (400.0, 0.5)
    assert (why.figures["alternative"], why.figures["alternative_value"]) == ("spin", 80.0)
    assert worst_scenario(plan, case) == ("mild", Decimal("0.00"))


def test_what_is_not_sold_and_why() -> None:
    """T1 costs 500 and nobody pays that; 2 MW are kept for a duty."""
    duty = Obligation(interval=hours(1)[0], reserved_mw=Decimal(2), source="large-load rule, section 4")
    case = problem(
        flexibility([step(10, "20"), step(3, "500", Tier.T1)]), [scenario(energy=[100])], [ENERGY], obligations=[duty]
    )

    (why,) = explain(optimiser.plan(case), case)

    assert (
        "3.00 MW of T1 power stay unsold: at a cost of 500.00 per MWh no product is expected to pay for it."
        in why.lines
    )
    assert "2 MW are kept for large-load rule, section 4." in why.lines
    assert (why.figures["unsold_mw"], why.figures["reserved_mw"]) == (3.0, 2.0)


def test_a_better_product_that_is_out_of_reach_is_named_with_the_limit() -> None:
    """Energy would pay more, but only 4 MWh can be caught up; spin is hardly called."""
    case = problem(
        flexibility([step(10, "20")], [step(10, "20")], all_called_mwh=20.0, energy_mwh={"T3": 10.0}),
        [scenario(energy=[100, 90], spin=[50, 1])],
        [ENERGY, product("spin", Family.SPINNING, duration_s=0)],
    )
    plan = optimiser.plan(case)
    why = {(one.product, one.interval.start.hour): one for one in explain(plan, case)}

    spin = why["spin", 12]
    assert spin.figures["alternative"] == "energy"
    assert spin.figures["alternative_breaks"] == "energy of the day, T3"
    assert "It cannot be sold there: energy of the day, T3: 20 of 10 MWh would be needed." in spin.lines


def test_what_is_assumed_is_said_with_the_figures_and_the_explanation_is_a_document() -> None:
    flexible = flexibility([step(5)]).model_copy(update={"assumptions": ("one confidence",)})
    case = problem(flexible, [scenario(0.6, energy=[50])], [ENERGY])
    plan = optimiser.plan(case)

    (why,) = explain(plan, case)

    assert "Assumed: one confidence." in why.lines
    assert "Note: 40% of probability is unaccounted for and counts as loss." in why.lines
    assert Explanation.model_validate_json(why.model_dump_json()) == why
    assert summary(plan, case)[0] == "scenarios: 40% of probability is unaccounted for and counts as loss."
    assert "Prices are simulated." in summary(plan, case)[-1]
