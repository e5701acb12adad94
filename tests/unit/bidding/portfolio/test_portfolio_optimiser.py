"""The optimiser against cases solved by hand, an enumeration of every plan, and what must hold of any optimum."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import combinations_with_replacement, pairwise
from itertools import product as every

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.bidding.portfolio.problems import flexibility, hours, problem, product, scenario, scenario_of, step

from bidding.portfolio import program, solver, strategy
from bidding.portfolio.grid import Grid
from bidding.portfolio.levels import levels
from bidding.portfolio.limits import broken
from bidding.portfolio.model import Commitment, Obligation, Plan, Planned, Problem
from bidding.portfolio.planning import planned_step
from bidding.portfolio.strategies import optimiser, simple
from bidding.portfolio.value import worth
from bidding.products import Family, Rules
from pipeline.errors import EnvironmentProblem
from pipeline.messages.telemetry import Tier

ENERGY = product("energy")
SPIN = product("spin", Family.SPINNING, duration_s=3600)


def sold(plan: Plan) -> dict[tuple[str, int], list[tuple[str, str, str]]]:
    """Return the plan as {(product, hour): [(MW, price, tier)]}."""
    return {
        (offer.product, offer.interval.start.hour): [
            (str(s.quantity_mw), str(s.price_per_mwh), s.tier.value) for s in offer.steps
        ]
        for offer in plan.offers
    }


def score(plan: Plan, given_problem: Problem) -> float:
    weight = given_problem.risk_weight
    found = worth(plan.offers, given_problem)
    return (1 - weight) * found.expected + weight * found.cvar


def test_two_products_two_hours_by_hand() -> None:
    """
    10 MW that cost 20 $/MWh. Spin pays 12 and 5 $/MW-h and is not called.

    Hour 1: energy at 30 or 10, taken at 20 when it is 30: 0.5 × 10 = 5 $/MW, spin 12: spin, 120 $.
    Hour 2: energy at 100 or 60: 0.5 × 80 + 0.5 × 40 = 60 $/MW, spin 5: energy, 600 $. Together 720 $.
    """
    case = problem(
        flexibility([step(10, "20")], [step(10, "20")]),
        [scenario(0.5, energy=[30, 100], spin=[12, 5]), scenario(0.5, energy=[10, 60], spin=[12, 5])],
        [ENERGY, SPIN],
    )

    plan = optimiser.plan(case)

    assert sold(plan) == {("energy", 13): [("10.0", "20.00", "T3")], ("spin", 12): [("10.0", "0.00", "T3")]}
    assert plan.expected_value == pytest.approx(Decimal(720), abs=Decimal("0.02"))


def test_scarce_energy_waits_for_the_better_hour_by_its_price() -> None:
    """
    5 MWh a day, 5 MW, cost 10, two hours. Equally likely: prices 30, 20 and 30, 100.

    Offered at cost, both hours would be taken and need 10 MWh, so one may be offered. Hour 2 at cost: 0.5 × 10 + 0.5 ×
    90 = 50 $/MW. Hour 1: 20 $/MW. Only hour 2: 250 $. (Hour 2 at 100 alone and hour 1 at cost would need 10 MWh in the
    second scenario, so it is not better.)
    """
    case = problem(
        flexibility([step(5, "10")], [step(5, "10")], energy_mwh={"T3": 5.0}),
        [scenario(0.5, energy=[30, 20]), scenario(0.5, energy=[30, 100])],
        [ENERGY],
    )

    plan = optimiser.plan(case)

    assert sold(plan) == {("energy", 13): [("5.0", "10.00", "T3")]}
    assert plan.expected_value == pytest.approx(Decimal(250), abs=Decimal("0.02"))


def test_a_price_picks_the_scenario_where_energy_is_worth_more() -> None:
    """
    5 MWh a day, 5 MW, cost 10. Equally likely: prices 40, 5 and 20, 100.

    At cost hour 1 is taken in both scenarios: then nothing is left for hour 2. Asking 40 in hour 1 sells it in the
    first scenario only, and hour 2 in the second: 0.5 × 30 × 5 + 0.5 × 90 × 5 = 300 $, against 225 $ for hour 2 alone.
    """
    case = problem(
        flexibility([step(5, "10")], [step(5, "10")], energy_mwh={"T3": 5.0}),
        [scenario(0.5, energy=[40, 5]), scenario(0.5, energy=[20, 100])],
        [ENERGY],
    )

    plan = optimiser.plan(case)

    assert sold(plan) == {("energy", 12): [("5.0", "40.00", "T3")], ("energy", 13): [("5.0", "10.00", "T3")]}
    assert plan.expected_value == pytest.approx(Decimal(300), abs=Decimal("0.02"))
    assert simple.plan(case).expected_value == pytest.approx(Decimal(225), abs=Decimal("0.02"))


def test_risk_weight_leaves_out_what_loses_on_bad_days() -> None:
    """
    10 MW there on 90 % of days, cost 0, price 100, a missing MWh costs 5 × 100.

    On average 0.9 × 1000 − 0.1 × 5000 = 400 $: sold. The worst 5 % of days lose 5000 $: at λ = 0.5 it is worth
    0.5 × 400 − 0.5 × 5000 < 0: not sold.
    """
    bold, careful = (
        problem(
            flexibility([step(10, confidence=0.9)]),
            [scenario(energy=[100])],
            [product("energy", shortfall_factor="5")],
            risk_weight=weight,
        )
        for weight in (0.0, 0.5)
    )

    assert optimiser.plan(bold).expected_value == Decimal("400.00")
    assert optimiser.plan(careful).offers == ()


def test_obligations_and_promises_are_not_sold_again() -> None:
    """10 MW firm, 3 MW to be curtailed on order, 2.5 MW awarded as spin: 4.5 MW of energy are left."""
    (hour,) = hours(1)
    case = problem(
        flexibility([step(10)]),
        [scenario(energy=[50], spin=[1])],
        [ENERGY, SPIN],
        obligations=[Obligation(interval=hour, reserved_mw=Decimal(3), source="large-load rule")],
        commitments=[Commitment(product="spin", interval=hour, quantity_mw=Decimal("2.5"))],
    )

    for name in ("optimiser", "simple"):
        assert sold(strategy(name).plan(case)) == {("energy", 12): [("4.5", "0.00", "T3")]}


def test_promises_of_a_finer_market_count_once_and_their_product_is_not_offered_again() -> None:
    """Four quarters of an hour at 2 MW are 2 MW of the hour, not 8: 8 MW of energy are left, and no spin."""
    (hour,) = hours(1)
    quarters = [
        Commitment(product="spin", interval=quarter, quantity_mw=Decimal(2))
        for quarter in hour.split(timedelta(minutes=15))
    ]
    for stand in (quarters, quarters[1:2]):
        case = problem(flexibility([step(10)]), [scenario(energy=[50], spin=[90])], [ENERGY, SPIN], commitments=stand)
        for name in ("optimiser", "simple"):
            assert sold(strategy(name).plan(case)) == {("energy", 12): [("8.0", "0.00", "T3")]}


def test_a_duty_that_bars_sale_leaves_nothing() -> None:
    barred = Obligation(interval=hours(1)[0], reserved_mw=Decimal(0), source="PUCT Docket 59220", bars_sale=True)
    case = problem(flexibility([step(10)]), [scenario(energy=[50])], [ENERGY], obligations=[barred])

    assert optimiser.plan(case).offers == ()
    assert simple.plan(case).offers == ()


def test_more_load_is_sold_beside_less_load() -> None:
    """
    4 MW can be taken on at a cost of 6 $/MWh, half of it called, for 10 $/MW-h.

    4 × (10 − 3) = 28 $ on the 95 % of days on which it can be; on the others 4 × 0.5 × 10 = 20 $ are lost. And energy.
    """
    down = product("reg-down", Family.REGULATION_DOWN)
    case = problem(
        flexibility([step(10, "20")], up_mw=4, up_cost_per_mwh="6"),
        [scenario_of({"energy": [50], "reg-down": [10]}, called={"reg-down": 0.5})],
        [ENERGY, down],
    )

    for name in ("optimiser", "simple"):
        plan = strategy(name).plan(case)
        assert sold(plan)["reg-down", 12] == [("4.0", "3.00", "T3")]
        assert sold(plan)["energy", 12] == [("10.0", "20.00", "T3")]
        assert plan.expected_value == pytest.approx(Decimal("325.60"), abs=Decimal("0.02"))


def test_a_minimum_is_reached_or_nothing_is_offered() -> None:
    """3 MW; energy takes 5 MW at least: only spin is left, although energy pays more."""
    big = product("energy", min_mw="5")
    case = problem(flexibility([step(3)]), [scenario(energy=[50], spin=[4])], [big, SPIN])

    assert sold(optimiser.plan(case)) == {("spin", 12): [("3.0", "0.00", "T3")]}


def test_a_curve_of_one_step_has_one_price() -> None:
    """T3 costs 10, T2 costs 30, price 50 or 20: one step at 30 (both, half the time) or at 10 (T3 alone, always)."""
    single = product("energy", max_steps=1)
    case = problem(
        flexibility([step(5, "10"), step(5, "30", Tier.T2)]),
        [scenario(0.5, energy=[50]), scenario(0.5, energy=[20])],
        [single],
    )

    plan = optimiser.plan(case)

    # At 30: 0.5 × 5 × (40 + 20) = 150 $; T3 alone at 10: 0.5 × 5 × (40 + 10) = 125 $.
    assert {s.price_per_mwh for offer in plan.offers for s in offer.steps} == {Decimal("30.00")}
    assert plan.expected_value == pytest.approx(Decimal(150), abs=Decimal("0.05"))


def test_a_net_benefits_floor_is_asked_even_of_cheap_power() -> None:
    floored = product("energy", net_benefits_floor="25")
    plan = optimiser.plan(problem(flexibility([step(5, "10")]), [scenario(energy=[50])], [floored]))

    assert sold(plan) == {("energy", 12): [("5.0", "25.00", "T3")]}


def test_margin_is_part_of_the_least_price() -> None:
    case = problem(flexibility([step(5, "10")]), [scenario(energy=[50])], [ENERGY], margin="0.1")

    assert sold(optimiser.plan(case)) == {("energy", 12): [("5.0", "11.00", "T3")]}


# ---------------------------------------------------------------- every plan, enumerated

CELLS = 2  # MW of room, in blocks of 1 MW


def plain_score(offers: Sequence[Planned], case: Problem) -> float:
    """Return (1 − λ) mean + λ CVaR by loops, written apart from the code under test."""
    outcomes: list[tuple[float, float]] = []
    confidences = sorted({s.confidence for o in offers for s in o.steps}, reverse=True)
    limits = [1.0, *confidences, 0.0]
    for drawn in case.prices.scenarios:
        for n in range(len(limits) - 1):
            day = (limits[n] + limits[n + 1]) / 2  # a draw between two confidences
            money = 0.0
            for offer in offers:
                t = case.prices.intervals.index(offer.interval)
                series, rules = drawn.series[offer.product], case.products[offer.product]
                price = series.price[t] or 0.0
                energy = rules.family is Family.ENERGY
                share = series.called[t] if series.called else float(energy)
                for one in offer.steps:
                    if float(one.price_per_mwh) > price:
                        continue
                    mw, cost = float(one.quantity_mw), float(one.cost_per_mwh)
                    if day <= one.confidence:
                        money += mw * share * (price - cost) if energy else mw * (price - share * cost)
                    elif share > 0:
                        money -= mw * share * float(rules.shortfall_factor) * price
                    elif not energy:
                        money += mw * price
            outcomes.append((money, drawn.probability * (limits[n] - limits[n + 1])))
    mean = sum(money * chance for money, chance in outcomes)
    left, tail = 1 - case.tail, 0.0
    for money, chance in sorted(outcomes):
        part = min(left, chance)
        tail += part * money
        left -= part
    return (1 - case.risk_weight) * mean + case.risk_weight * tail / (1 - case.tail)


def every_plan(case: Problem) -> Iterator[list[Planned]]:
    """Yield every plan in whole MW at the candidate prices, those that break a limit too."""
    grid = Grid(case)
    prices = levels(grid)
    by_hour = []
    for t, interval in enumerate(case.prices.intervals):
        cells = [
            (name, grid.room.steps[t][j], price)
            for p, name in enumerate(grid.products)
            for j in range(grid.room.mw.shape[1] - 1)
            for k, price in enumerate(prices.price[p][t])
            if prices.usable[p, t, j, k]
        ]
        plans = []
        for size in range(CELLS + 1):
            for chosen in combinations_with_replacement(range(len(cells)), size):
                offers: dict[str, list[object]] = {}
                for c in sorted(set(chosen)):
                    name, one, price = cells[c]
                    assert one is not None
                    offers.setdefault(name, []).append(planned_step(one, Decimal(chosen.count(c)), price))
                plans.append(
                    [
                        Planned.model_validate({"product": n, "interval": interval, "steps": s})
                        for n, s in offers.items()
                    ]
                )
        by_hour.append(plans)
    for chosen_plans in every(*by_hour):
        yield [offer for plans in chosen_plans for offer in plans]


def allowed(offers: Sequence[Planned], case: Problem, grid: Grid) -> bool:
    few = all(len({s.price_per_mwh for s in o.steps}) <= case.products[o.product].max_steps for o in offers)
    enough = all(o.quantity_mw >= case.products[o.product].min_mw for o in offers)
    return few and enough and not broken(offers, grid)


PRICES = st.integers(0, 12).map(float)


@st.composite
def tiny(draw: st.DrawFn) -> Problem:
    """Return two hours, energy and spin, two MW in one or two steps, two scenarios."""
    minimum = draw(st.sampled_from(["1", "1", "2"]))
    fewest = draw(st.sampled_from([1, 3]))
    rules: list[Rules] = [
        product("energy", block_mw="1", min_mw="1", max_steps=3, shortfall_factor="2"),
        product("spin", Family.SPINNING, block_mw="1", min_mw=minimum, max_steps=fewest, duration_s=3600),
    ]
    rows = [
        [
            step(1, str(draw(st.integers(0, 6))), Tier.T3, 0.95),
            step(1, str(draw(st.integers(0, 9))), Tier.T2, draw(st.sampled_from([0.95, 0.8]))),
        ]
        for _ in range(2)
    ]
    share = draw(st.floats(0.2, 0.8))
    called: Mapping[str, float] = {"spin": draw(st.sampled_from([0.0, 0.5]))}
    scenarios = [
        scenario(p, called, energy=[draw(PRICES), draw(PRICES)], spin=[draw(PRICES), draw(PRICES)])
        for p in (share, 1 - share)
    ]
    limits: dict[str, object] = {}
    if draw(st.booleans()):
        limits["energy_mwh"] = {"T3": 1.0}
    if draw(st.booleans()):
        limits["max_calls_per_day"] = 1
    return problem(
        flexibility(*rows, **limits), scenarios, rules, risk_weight=draw(st.sampled_from([0.0, 0.0, 0.4])), tail=0.9
    )


@settings(max_examples=12, deadline=None)
@given(case=tiny())
def test_no_plan_that_can_be_enumerated_is_better(case: Problem) -> None:
    """
    The solver's figure is never below the best enumerated plan, and its plan never above it.

    Between the two lies what whole blocks cost: nothing where the optimum is in whole blocks anyway.
    """
    grid = Grid(case)
    best = max(plain_score(offers, case) for offers in every_plan(case) if allowed(offers, case, grid))
    prices = levels(grid)
    if not prices.usable.any():
        assert best == 0
        return
    found = solver.Solver(program.build(grid, prices)).solve()
    plan = optimiser.plan(case)

    assert found.objective >= best - 1e-4
    assert plain_score(plan.offers, case) <= best + 1e-4
    assert plain_score(plan.offers, case) == pytest.approx(score(plan, case), abs=1e-4)
    if abs(found.mw - found.mw.round()).max() < 1e-5:
        assert plain_score(plan.offers, case) == pytest.approx(best, abs=1e-4)


# ---------------------------------------------------------------- what holds of any optimum


@st.composite
def days(draw: st.DrawFn) -> Problem:
    """Return six hours of three products, three tiers, four scenarios, with limits at random."""
    size = 6
    rules = [
        product("energy", shortfall_factor="1.5", block_mw="0.001", min_mw="0.001"),
        product("spin", Family.SPINNING, duration_s=3600, response_s=600, block_mw="0.001", min_mw="0.001"),
        product("reg-up", Family.REGULATION_UP, duration_s=1800, response_s=300, block_mw="0.001", min_mw="0.001"),
    ]
    power = st.floats(0, 5).map(lambda mw: round(mw, 3))
    rows = [
        [step(draw(power), "8", Tier.T3, 0.95), step(draw(power), "30", Tier.T2, 0.9), step(draw(power), "80", Tier.T1)]
        for _ in range(size)
    ]
    price = st.floats(0, 120).map(lambda dollars: round(dollars, 2))
    scenarios = [
        scenario_of(
            {
                "energy": [draw(price) for _ in range(size)],
                "spin": [draw(price) / 5 for _ in range(size)],
                "reg-up": [draw(price) / 4 for _ in range(size)],
            },
            0.25,
            {"spin": draw(st.sampled_from([0.0, 0.0, 0.3])), "reg-up": 0.1},
        )
        for _ in range(4)
    ]
    limits: dict[str, object] = {}
    if draw(st.booleans()):
        limits["energy_mwh"] = {"T3": draw(st.floats(0, 12)), "T2": draw(st.floats(0, 12))}
    if draw(st.booleans()):
        limits["all_called_mwh"] = draw(st.floats(0, 20))
    if draw(st.booleans()):
        limits["ramp_kw_per_min"] = draw(st.floats(0, 1000))
    if draw(st.booleans()):
        limits |= {
            "recovery_s": draw(st.sampled_from([0, 3600, 7200])),
            "max_run_s": draw(st.sampled_from([3600, 7200])),
        }
    if draw(st.booleans()):
        limits |= {"max_calls_per_day": draw(st.integers(0, 2)), "min_run_s": draw(st.sampled_from([0, 7200]))}
    return problem(flexibility(*rows, **limits), scenarios, rules, risk_weight=draw(st.sampled_from([0.0, 0.3])))


def by_hand_never_twice(plan: Plan, case: Problem) -> bool:
    """Count the megawatts of each hour without the code under test."""
    for slot in case.flexibility.slots:
        firm = sum(Decimal(repr(s.firm_kw)) / 1000 for s in slot.steps)
        if sum(o.quantity_mw for o in plan.offers if o.interval == slot.interval) > firm:
            return False
    return True


@settings(max_examples=15, deadline=None)
@given(case=days())
def test_nothing_is_sold_twice_and_every_limit_holds_in_every_scenario(case: Problem) -> None:
    for name in ("optimiser", "simple"):
        plan = strategy(name).plan(case)

        assert by_hand_never_twice(plan, case)
        assert broken(plan.offers, Grid(case)) == []
        assert not [note for note in plan.notes if note.loud]
        for offer in plan.offers:
            for one in offer.steps:
                floor = one.cost_per_mwh if offer.product == "energy" else Decimal(0)
                assert floor <= one.price_per_mwh <= 1000
            assert [s.price_per_mwh for s in offer.steps] == sorted(s.price_per_mwh for s in offer.steps)


@settings(max_examples=8, deadline=None)
@given(case=days())
def test_perfect_information_is_worth_at_least_the_plan_and_the_plan_at_least_nothing(case: Problem) -> None:
    """Knowing the scenario beforehand, each of them can be planned for by itself; not offering is always possible."""
    case = case.model_copy(update={"risk_weight": 0.0})
    known = 0.0
    for one in case.prices.scenarios:
        certain = case.prices.model_copy(update={"scenarios": (one.model_copy(update={"probability": 1.0}),)})
        found = optimiser.plan(case.model_copy(update={"prices": certain}))
        known += one.probability * float(found.expected_value)
    plan = optimiser.plan(case)

    assert float(plan.expected_value) >= -0.01
    assert known >= float(plan.expected_value) - 0.5  # blocks of 1 kW at up to 120 $/MWh, six hours, three products


@settings(max_examples=6, deadline=None)
@given(case=days())
def test_the_tail_never_gets_worse_as_risk_weighs_more(case: Problem) -> None:
    weights = (0.0, 0.2, 0.5, 0.9)
    tails = [worth(optimiser.plan(case.model_copy(update={"risk_weight": w})).offers, case).cvar for w in weights]

    for less, more in pairwise(tails):
        assert more >= less - 1.0  # blocks of 1 kW, and a penalty of up to 180 $ for each MWh of them


@settings(max_examples=4, deadline=None)
@given(case=days())
def test_the_same_problem_gives_the_same_bytes(case: Problem) -> None:
    again = Problem.model_validate_json(case.model_dump_json())

    for name in ("optimiser", "simple"):
        assert strategy(name).plan(case).model_dump_json() == strategy(name).plan(again).model_dump_json()


# ---------------------------------------------------------------- when it does not work out


class Broken:
    """A solver that gives up."""

    def __init__(self, _program: object) -> None:
        raise solver.SolverFailedError("HiGHS says time limit reached")


def test_a_solver_that_fails_is_told_of_and_the_simple_plan_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    case = problem(flexibility([step(5, "10")]), [scenario(energy=[50])], [ENERGY])
    monkeypatch.setattr(solver, "Solver", Broken)

    plan = optimiser.plan(case)

    assert plan.strategy == "simple"
    assert plan.offers == simple.plan(case).offers
    assert plan.notes[0].loud
    assert "time limit reached" in plan.notes[0].detail


def test_without_linopy_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "linopy", None)
    for name in ("program", "solver", "rows"):
        monkeypatch.delitem(sys.modules, f"bidding.portfolio.{name}", raising=False)

    with pytest.raises(EnvironmentProblem, match=r"pip install 'firmwatt\[portfolio\]'"):
        optimiser.plan(problem(flexibility([step(5)]), [scenario(energy=[50])], [ENERGY]))


def test_the_core_and_the_simple_strategy_need_no_solver() -> None:
    import subprocess
    import sys

    code = (
        "import sys, bidding.portfolio.build, bidding.portfolio.explain, bidding.portfolio.strategies.optimiser as o;"
    )
    code += "print([m for m in ('linopy', 'highspy', 'xarray', 'httpx', 'faust', 'aiokafka') if m in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
