"""Missing data lowers an offer, never raises it: hours, steps, confidences, scenarios, prices."""

from collections.abc import Callable
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.bidding.portfolio.problems import flexibility, problem, product, scenario, step

from bidding.portfolio import strategy
from bidding.portfolio.model import Flexibility, Plan, Problem, Scenario, Series, Slot
from bidding.products import Family
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier

ENERGY = product("energy", min_mw="1")
SPIN = product("spin", Family.SPINNING, duration_s=3600)


def by_hour(plan: Plan, case: Problem) -> dict[Interval, Decimal]:
    """Return what is offered in each hour, all products together."""
    return {
        interval: sum((o.quantity_mw for o in plan.offers if o.interval == interval), Decimal(0))
        for interval in case.prices.intervals
    }


def test_an_hour_without_telemetry_frees_nothing_for_another_hour() -> None:
    """
    5 MWh a day and 5 MW: hour 2 at 90 is sold, hour 1 at 50 is not.

    Hour 2 loses its telemetry: against the reference nothing moves to hour 1. Without a reference it would.
    """
    rated = flexibility([step(5, "10")], [step(5, "10")], energy_mwh={"T3": 5.0})
    seen = rated.model_copy(update={"slots": rated.slots[:1]})
    case = problem(seen, [scenario(energy=[50, 90])], [ENERGY], reference=rated)

    for name in ("optimiser", "simple"):
        assert strategy(name).plan(case).offers == ()
        moved = strategy(name).plan(case.model_copy(update={"reference": None}))
        assert [o.interval.start.hour for o in moved.offers] == [12]


def test_less_firm_power_than_the_reference_cuts_the_same_plan() -> None:
    """Of 5 MW rated 3.27 MW are firm: 3.2 MW of the same hour at the same price."""
    rated = flexibility([step(5, "10")], [step(5, "10")], energy_mwh={"T3": 5.0})
    seen = flexibility([step(3.27, "10")], [step(3.27, "10")], energy_mwh={"T3": 5.0})
    plan = strategy("optimiser").plan(problem(seen, [scenario(energy=[50, 90])], [ENERGY], reference=rated))

    assert [(o.interval.start.hour, o.quantity_mw) for o in plan.offers] == [(13, Decimal("3.2"))]
    assert "shrunk" in {note.name for note in plan.notes}


def test_a_price_that_is_missing_in_one_scenario_is_not_known_at_all() -> None:
    case = problem(flexibility([step(5, "10")]), [scenario(0.5, energy=[None]), scenario(0.5, energy=[90])], [ENERGY])

    assert strategy("optimiser").plan(case).offers == ()
    assert strategy("simple").plan(case).offers == ()


def test_a_scenario_that_got_lost_makes_no_offer_look_better() -> None:
    """
    Cost 20; 30 with 50 %, 5 with 50 %. Spin pays nothing but calls everything with the second.

    Sold at cost: 0.5 × 10 = 5 $/MW. Without the second scenario its 50 % cost 20 $/MW: nothing is sold.
    """
    whole = problem(flexibility([step(5, "20")]), [scenario(0.5, energy=[30]), scenario(0.5, energy=[5])], [ENERGY])
    lost = problem(flexibility([step(5, "20")]), [scenario(0.5, energy=[30])], [ENERGY])

    for name in ("optimiser", "simple"):
        assert by_hour(strategy(name).plan(whole), whole) == {whole.prices.intervals[0]: Decimal(5)}
        plan = strategy(name).plan(lost)
        assert plan.offers == ()
        assert [note.name for note in plan.notes if note.loud] == ["scenarios"]


POWER = st.floats(0, 5)
REPLACEMENT: dict[str, Callable[[Slot], Slot | None]] = {
    "interval gone": lambda _slot: None,
    "steps gone": lambda slot: slot.model_copy(update={"steps": ()}),
    "first step gone": lambda slot: slot.model_copy(update={"steps": slot.steps[1:]}),
    "last step gone": lambda slot: slot.model_copy(update={"steps": slot.steps[:-1]}),
    "no number": lambda slot: slot.model_copy(
        update={"steps": tuple(s.model_copy(update={"firm_kw": float("nan")}) for s in slot.steps)}
    ),
    "negative": lambda slot: slot.model_copy(
        update={"steps": tuple(s.model_copy(update={"firm_kw": -abs(s.firm_kw)}) for s in slot.steps)}
    ),
    "lower": lambda slot: slot.model_copy(
        update={"steps": tuple(s.model_copy(update={"firm_kw": s.firm_kw * 0.6}) for s in slot.steps)}
    ),
}


def spoiled(flexible: Flexibility, harm: list[tuple[int, str]]) -> Flexibility:
    slots: list[Slot | None] = list(flexible.slots)
    for index, how in harm:
        at = index % len(slots)
        if (slot := slots[at]) is not None:
            slots[at] = REPLACEMENT[how](slot)
    return flexible.model_copy(update={"slots": tuple(slot for slot in slots if slot is not None)})


@settings(max_examples=25, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["optimiser", "simple"])
def test_whatever_telemetry_is_lost_no_hour_offers_more(name: str, data: st.DataObject) -> None:
    """Rated power stays what it is; what telemetry shows of it is lost, lowered or made NaN, twice over."""
    size = 4
    energy = {"energy_mwh": {"T3": data.draw(st.floats(0, 10))}} if data.draw(st.booleans()) else {}
    run = {"max_run_s": 7200, "recovery_s": 3600} if data.draw(st.booleans()) else {}
    rated = flexibility(
        *[[step(5, "8", Tier.T3, 0.95), step(3, "9", Tier.T3, 0.8), step(4, "30", Tier.T2, 0.95)] for _ in range(size)],
        **energy,
        **run,
    )
    harms = st.lists(st.tuples(st.integers(0, size - 1), st.sampled_from(sorted(REPLACEMENT))), max_size=4)
    some = spoiled(rated, data.draw(harms))
    prices = st.floats(0, 100).map(lambda dollars: round(dollars, 2))
    scenarios = [
        scenario(
            0.5,
            {"spin": data.draw(st.sampled_from([0.0, 0.2]))},
            energy=[data.draw(prices) for _ in range(size)],
            spin=[data.draw(prices) / 5 for _ in range(size)],
        )
        for _ in range(2)
    ]
    case = problem(some, scenarios, [ENERGY, SPIN], reference=rated)
    less = case.model_copy(update={"flexibility": spoiled(some, data.draw(harms))})
    before, after = (by_hour(strategy(name).plan(one), one) for one in (case, less))

    assert all(after[interval] <= before[interval] for interval in before)


@settings(max_examples=15, deadline=None)
@given(
    harm=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.sampled_from(["scenario", "price"])), max_size=3),
    prices=st.lists(st.floats(0, 60), min_size=12, max_size=12),
)
@pytest.mark.parametrize("name", ["optimiser", "simple"])
def test_whatever_forecast_is_lost_no_hour_offers_more(
    name: str, harm: list[tuple[int, int, str]], prices: list[float]
) -> None:
    scenarios: list[Scenario] = [scenario(1 / 3, energy=prices[n * 4 : n * 4 + 4]) for n in range(3)]
    case = problem(flexibility(*[[step(4, "8"), step(3, "30", Tier.T2)]] * 4), scenarios, [ENERGY])
    for s, t, how in harm:
        if how == "scenario" and len(scenarios) > 1:
            scenarios.pop(s % len(scenarios))
        else:
            at = s % len(scenarios)
            row = scenarios[at].series["energy"].price
            gone = Series(price=tuple(None if n == t else price for n, price in enumerate(row)))
            scenarios[at] = scenarios[at].model_copy(update={"series": {"energy": gone}})
    less = case.model_copy(update={"prices": case.prices.model_copy(update={"scenarios": tuple(scenarios)})})
    before, after = (by_hour(strategy(name).plan(one), one) for one in (case, less))

    assert all(after[interval] <= before[interval] for interval in before)
