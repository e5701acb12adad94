"""Money on scenarios, by hand; what everything else in the portfolio is measured by."""

from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.bidding.portfolio.problems import flexibility, hours, problem, product, scenario, step

from bidding.portfolio.model import Planned, Problem, Step
from bidding.portfolio.planning import planned_step
from bidding.portfolio.value import cvar, states, worth
from bidding.products import Family


def planned(name: str, hour: int, *steps: tuple[Step, str, str]) -> Planned:
    """Return an offer of *steps*, each with its MW and price."""
    return Planned(
        product=name,
        interval=hours(hour + 1)[hour],
        steps=tuple(planned_step(one, Decimal(mw), Decimal(price)) for one, mw, price in steps),
    )


def one_hour(price: float, *, called: float = 1.0, family: Family = Family.ENERGY, **changes: object) -> Problem:
    """Return one hour of one product at one price."""
    rules = product("p", family, shortfall_factor="1.5", **changes)
    power = step(10, "20", confidence=0.95)
    return problem(flexibility([power]), [scenario(1.0, {"p": called}, p=[price])], [rules])


def test_energy_earns_the_clearing_price_less_cost_and_pays_for_what_is_missing() -> None:
    """10 MW at 40, cost 20, price 100: 800 $ if there (95 %), −1.5 × 1000 $ if not (5 %): 760 − 75 = 685 $."""
    found = worth((planned("p", 0, (step(10, "20", confidence=0.95), "10", "40")),), one_hour(100))

    assert found.expected == pytest.approx(685)
    assert (found.revenue, found.cost, found.penalty) == pytest.approx((950, 190, 75))
    assert (found.delivered_mwh, found.shortfall_mwh) == pytest.approx((9.5, 0.5))
    assert found.tokens == pytest.approx(9.5 * 20_000_000)
    assert found.cvar == pytest.approx(-1500)  # the worst 5 % of days are those without the power


def test_an_offer_above_the_price_is_not_taken_and_at_it_is() -> None:
    dear, equal = ((planned("p", 0, (step(10, "20"), "10", price)),) for price in ("100.01", "100.00"))

    assert worth(dear, one_hour(100)).expected == 0
    assert worth(equal, one_hour(100)).expected > 0


def test_a_reserve_is_paid_for_standing_ready_and_costs_only_what_is_called() -> None:
    """10 MW at 8 $/MW-h, a tenth called: 80 $ less 1 MWh × 20 $ = 60 $."""
    offer = planned("p", 0, (step(10, "20"), "10", "2"))

    assert worth((offer,), one_hour(8, called=0.1, family=Family.SPINNING)).expected == pytest.approx(60, abs=0.01)


def test_a_reserve_whose_power_is_missing_is_found_out_only_when_called() -> None:
    """Not called: paid 80 $ although 5 % of days lack the power. Called for a tenth: −1.5 × 8 $ × 1 MWh on those."""
    offer = planned("p", 0, (step(10, "20", confidence=0.95), "10", "2"))
    quiet, called = (one_hour(8, called=share, family=Family.SPINNING) for share in (0.0, 0.1))

    assert worth((offer,), quiet).expected == pytest.approx(80)
    assert worth((offer,), called).expected == pytest.approx(0.95 * 60 - 0.05 * 12)


def test_days_are_told_apart_by_what_is_there() -> None:
    """Confidences 0.95 and 0.8: all of it on 80 % of days, the firmer step alone on 15 %, nothing on 5 %."""
    thresholds, shares = states([0.8, 0.95, 0.8])

    assert thresholds.tolist() == [2.0, 0.95, 0.8]
    assert shares == pytest.approx([0.05, 0.15, 0.8])


def test_the_worst_outcomes_average() -> None:
    """−10 with 2 %, 0 with 3 %, 5 with 95 %: (−10 × 2 + 0 × 3) ÷ 5 = −4; the worst 1 % are all −10."""
    values, chance = np.array([5.0, -10.0, 0.0]), np.array([0.95, 0.02, 0.03])

    assert cvar(values, chance, 0.95) == pytest.approx(-4)
    assert cvar(values, chance, 0.99) == pytest.approx(-10)


@given(
    values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12),
    tails=st.tuples(st.floats(0.01, 0.98), st.floats(0.01, 0.98)),
)
def test_a_narrower_tail_is_never_better_than_a_wider_one_nor_than_the_mean(
    values: list[float], tails: tuple[float, float]
) -> None:
    outcomes, chance = np.array(values), np.full(len(values), 1 / len(values))
    wide, narrow = (cvar(outcomes, chance, tail) for tail in sorted(tails))

    assert narrow <= wide + 1e-3
    assert wide <= outcomes.mean() + 1e-3


def test_probability_that_is_missing_counts_as_a_day_on_which_all_is_called_and_nothing_paid() -> None:
    """Price 100 with 60 % and nothing said of the rest: 0.6 × 800 − 0.4 × 10 MWh × 20 $ = 400 $."""
    certain = problem(flexibility([step(10, "20")]), [scenario(0.6, p=[100])], [product("p")])

    assert worth((planned("p", 0, (step(10, "20"), "10", "40")),), certain).expected == pytest.approx(400, abs=0.01)
