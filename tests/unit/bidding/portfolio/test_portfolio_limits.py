"""Ramp, duration, energy, runs, rest and calls, by hand; for both strategies where both have to keep them."""

from decimal import Decimal

import pytest
from unit.bidding.portfolio.problems import flexibility, problem, product, scenario, step

from bidding.portfolio import strategy
from bidding.portfolio.grid import Grid
from bidding.portfolio.limits import broken
from bidding.portfolio.model import Plan, Problem
from bidding.portfolio.planning import planned_step
from bidding.products import Family
from pipeline.messages.telemetry import Tier

ENERGY = product("energy")
BOTH = pytest.mark.parametrize("name", ["optimiser", "simple"])


def hours_of(plan: Plan) -> list[int]:
    return sorted(offer.interval.start.hour - 12 for offer in plan.offers)


def day(prices: list[float], cost: str = "10", **limits: object) -> Problem:
    """Return 1 MW of energy in each hour at one known price."""
    return problem(flexibility(*[[step(1, cost)]] * len(prices), **limits), [scenario(energy=prices)], [ENERGY])


def made(name: str, case: Problem) -> Plan:
    """Return the plan of that strategy; one that another had to stand in for would hide what its own got wrong."""
    plan = strategy(name).plan(case)
    assert plan.strategy == name
    assert not [note for note in plan.notes if note.loud]
    return plan


@BOTH
def test_what_answers_in_ten_minutes_is_what_can_be_ramped_in_ten_minutes(name: str) -> None:
    """100 kW a minute: 1 MW of 10 MW."""
    spin = product("spin", Family.SPINNING, response_s=600)
    case = problem(flexibility([step(10)], ramp_kw_per_min=100), [scenario(spin=[5])], [spin])

    assert [offer.quantity_mw for offer in made(name, case).offers] == [Decimal("1.0")]


def test_two_products_share_one_ramp() -> None:
    """100 kW a minute: within 5 minutes 0.5 MW of regulation at 9, within 10 minutes 0.5 MW more of spin at 5."""
    rules = [
        product("spin", Family.SPINNING, response_s=600),
        product("reg", Family.REGULATION_UP, response_s=300),
    ]
    case = problem(flexibility([step(10)], ramp_kw_per_min=100), [scenario(spin=[5], reg=[9])], rules)

    assert {o.product: o.quantity_mw for o in made("optimiser", case).offers} == {
        "reg": Decimal("0.5"),
        "spin": Decimal("0.5"),
    }


@BOTH
def test_a_reserve_can_be_held_for_its_duration(name: str) -> None:
    """A call lasts two hours, 5 MWh can be caught up: 2.5 MW of 10 MW."""
    spin = product("spin", Family.SPINNING, duration_s=7200)
    case = problem(flexibility([step(10)], energy_mwh={"T3": 5.0}), [scenario(spin=[5])], [spin])

    assert [offer.quantity_mw for offer in made(name, case).offers] == [Decimal("2.5")]


@BOTH
def test_a_reserve_stands_ready_beside_the_energy_that_is_sold(name: str) -> None:
    """5 MWh a day, 4 MW: energy at 50 in hour 1 takes 4 MWh, of spin in hour 2 for an hour 1 MW is left."""
    spin = product("spin", Family.SPINNING, duration_s=3600)
    case = problem(
        flexibility([step(4, "10")], [step(4, "10")], energy_mwh={"T3": 5.0}),
        [scenario(energy=[50, 0], spin=[0, 6])],
        [ENERGY, spin],
    )

    assert {o.product: o.quantity_mw for o in made(name, case).offers} == {
        "energy": Decimal("4.0"),
        "spin": Decimal("1.0"),
    }


@BOTH
def test_all_that_is_promised_of_a_day_can_be_called(name: str) -> None:
    """3 MWh of all promises: the three best hours of five."""
    assert hours_of(made(name, day([20, 50, 30, 40, 15], all_called_mwh=3.0))) == [1, 2, 3]


@BOTH
def test_rest_is_kept_between_runs(name: str) -> None:
    """Runs of one hour. Rest of one: hours 1 and 3 (40 + 40 $) against hour 2 (85 $). Rest of two: hour 2."""
    if name == "optimiser":
        assert hours_of(made(name, day([55, 95, 55], max_run_s=3600, recovery_s=3600))) == [0, 2]
    assert hours_of(made(name, day([55, 95, 55], max_run_s=3600, recovery_s=7200))) == [1]


@BOTH
def test_a_run_is_not_longer_than_it_may_be(name: str) -> None:
    """Two hours at most, an hour of rest: of four hours three can be sold at best, in runs of two and one."""
    plan = made(name, day([50, 50, 20, 60], max_run_s=7200, recovery_s=3600))

    assert hours_of(plan) == [0, 1, 3]


@BOTH
def test_a_run_is_as_long_as_it_must_be(name: str) -> None:
    """Two hours at least: the best hour has no neighbour above cost, the two after it have each other."""
    assert hours_of(made(name, day([100, 0, 80, 70], min_run_s=7200))) == [2, 3]


@BOTH
def test_reductions_of_a_day_are_counted(name: str) -> None:
    """One call: two hours apart cannot both be sold, because the hour between them costs more than it pays."""
    assert hours_of(made(name, day([50, 0, 60], max_calls_per_day=1))) == [2]


def test_calls_are_counted_scenario_by_scenario() -> None:
    """
    One call a day. Equally likely: hours 1 and 3 at 50, or hour 2 alone. Cost 10.

    Hours 1 and 3 together are two calls in the first scenario. Hour 2 with one of them is one call in either: 40 $.
    """
    case = problem(
        flexibility(*[[step(1, "10")]] * 3, max_calls_per_day=1),
        [scenario(0.5, energy=[50, 5, 50]), scenario(0.5, energy=[5, 50, 5])],
        [ENERGY],
    )

    plan = made("optimiser", case)

    assert plan.expected_value == pytest.approx(Decimal(40), abs=Decimal("0.02"))
    assert 1 in hours_of(plan)
    assert len(plan.offers) == 2


@BOTH
def test_a_reserve_that_may_be_called_too_often_is_not_sold_and_it_is_said(name: str) -> None:
    often = product("spin", Family.SPINNING)
    seldom = product("rrs", Family.FAST, max_calls_per_day=2, recovery_s=3600)
    case = problem(
        flexibility([step(5)], max_calls_per_day=2, recovery_s=3600), [scenario(spin=[9], rrs=[3])], [often, seldom]
    )

    plan = made(name, case)

    assert [offer.product for offer in plan.offers] == ["rrs"]
    assert [note.detail.split(":")[0] for note in plan.notes if note.name == "not planned"] == ["spin"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"trading": "season"}, "by the season"),
        ({"interval_s": 14400}, "14400 s"),
        ({"per": "MW-day"}, "per MW-day"),
        ({"symmetric": True}, "both directions"),
        ({"sold": "by tender"}, "by tender"),
    ],
)
def test_what_cannot_be_planned_by_the_hour_is_left_out_and_said(change: dict[str, object], why: str) -> None:
    case = problem(flexibility([step(5)]), [scenario(odd=[9])], [product("odd", Family.SPINNING, **change)])

    plan = made("optimiser", case)

    assert plan.offers == ()
    assert any(why in note.detail for note in plan.notes)


def test_a_step_may_be_served_by_firmer_power_of_its_tier_and_by_no_other_tiers() -> None:
    """1 MW of T3 at 95 %, 1 MW at 80 %, 1 MW of T2. Two at 80 % are there; two at 95 % and two of T2 are not."""
    sure, likely, batch = step(1, confidence=0.95), step(1, confidence=0.8), step(1, tier=Tier.T2, confidence=0.95)
    case = problem(flexibility([sure, likely, batch]), [scenario(energy=[50])], [ENERGY])
    (offer,) = made("optimiser", case).offers

    def over(one: object) -> list[str]:
        steps = (planned_step(one, Decimal(2), Decimal(1)),)  # type: ignore[arg-type]
        return [bound.name for bound in broken([offer.model_copy(update={"steps": steps})], Grid(case))]

    assert over(likely) == []
    assert over(sure) == ["firm power of T3 at 95%"]
    assert over(batch) == ["firm power of T2 at 95%"]


def test_a_minimum_pushes_a_better_product_back() -> None:
    """6 MW. Energy earns 11 and takes 5 MW at least, regulation 50 and takes 2 MW at most: 5 × 11 + 50 > 2 × 50."""
    rules = [product("energy", min_mw="5"), product("reg", Family.REGULATION_UP, max_mw="2")]
    case = problem(flexibility([step(6)]), [scenario(energy=[11], reg=[50])], rules)

    assert {o.product: o.quantity_mw for o in made("optimiser", case).offers} == {
        "energy": Decimal("5.0"),
        "reg": Decimal("1.0"),
    }


@BOTH
def test_quantities_are_rounded_down(name: str) -> None:
    """2.57 MWh can be caught up: 2.5 MW for an hour, in blocks of 0.1 MW."""
    case = problem(flexibility([step(4, "10")], energy_mwh={"T3": 2.57}), [scenario(energy=[50])], [ENERGY])

    assert [offer.quantity_mw for offer in made(name, case).offers] == [Decimal("2.5")]


@BOTH
def test_power_is_added_digit_by_digit(name: str) -> None:
    """2025.9999999999998 and 4306.0 kW are 6332.0 in floats, and a hair less in truth: 6.331 MW at blocks of 1 kW."""
    hair = step(0, "10").model_copy(update={"firm_kw": 2025.9999999999998})
    rest = step(0, "30", Tier.T2).model_copy(update={"firm_kw": 4306.0})
    fine = product("energy", block_mw="0.001", min_mw="0.001")
    plan = made(name, problem(flexibility([hair, rest]), [scenario(energy=[50])], [fine]))

    assert [offer.quantity_mw for offer in plan.offers] == [Decimal("6.331")]
