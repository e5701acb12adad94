"""
What a portfolio of offers costs: 100 resources × 24 h × 5 products (`--full`), by default 10 resources.

`python tests/bench/bench_portfolio.py [--full]` prints one JSON line a figure: process time, median of the runs. The
solver is held against the simple strategy on the same problems, writing documents against a plain `json.dumps`.
"""

import argparse
import json
import math
import random
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median, quantiles

sys.path.insert(0, str(Path(__file__).parent.parent))

from doubles.builders import GATE_MARGIN, NOON
from unit.bidding.portfolio.problems import flexibility, problem, product, scenario_of, step

from bidding.markets.sandbox import wire
from bidding.portfolio import strategy
from bidding.portfolio.build import Figures, offers
from bidding.portfolio.explain import explain
from bidding.portfolio.grid import Grid
from bidding.portfolio.levels import levels
from bidding.portfolio.model import Plan, Problem
from bidding.products import Family
from bidding.rules import check
from pipeline.messages.market import Offer
from pipeline.messages.telemetry import Tier

HOURS, SCENARIOS, RUNS = 24, 30, 3
BEFORE = NOON - timedelta(hours=2)
PRODUCTS: tuple[tuple[str, Family, dict[str, object]], ...] = (
    ("energy-da", Family.ENERGY, {}),
    ("spin", Family.SPINNING, {"duration_s": 3600, "response_s": 600}),
    ("non-spin", Family.NON_SPINNING, {"duration_s": 3600, "response_s": 1800}),
    ("reg-up", Family.REGULATION_UP, {"duration_s": 3600, "response_s": 300}),
    ("contingency", Family.CONTINGENCY, {"duration_s": 7200, "response_s": 600}),
)
SHARE_OF_ENERGY = {"spin": 0.2, "non-spin": 0.1, "reg-up": 0.35, "contingency": 0.22}
SPREAD = 0.3


@dataclass(frozen=True)
class Run:
    """Process seconds of one pass over all resources, and what came of it."""

    seconds: list[float]
    """By resource."""
    plans: list[Plan]


def case(number: int) -> Problem:
    """Return resource *number*'s day: about 10 MW in three tiers, lognormal prices by day and hour, some calls."""
    dice = random.Random(number)
    rows = [
        [step(4 + dice.random(), "8"), step(3 + dice.random(), "25", Tier.T2), step(2 + dice.random(), "90", Tier.T1)]
        for _ in range(HOURS)
    ]
    rows = [[one.model_copy(update={"confidence": 0.95}) for one in row] for row in rows]
    scenarios = []
    for n in range(SCENARIOS):
        level = dice.lognormvariate(0, 0.4)
        energy = [
            (30 + 20 * math.sin(hour / HOURS * 2 * math.pi)) * level * dice.lognormvariate(0, 0.2)
            for hour in range(HOURS)
        ]
        reserves = {
            name: [price * share * dice.lognormvariate(0, SPREAD) for price in energy]
            for name, share in SHARE_OF_ENERGY.items()
        }
        called = {name: 0.05 * (dice.random() < 0.2) for name in SHARE_OF_ENERGY}
        scenarios.append(scenario_of({"energy-da": energy} | reserves, 1 / SCENARIOS, called, f"{n}"))
    return problem(
        flexibility(*rows, ramp_kw_per_min=1000, energy_mwh={"T3": 30.0, "T2": 15.0}),
        scenarios,
        [product(name, family, shortfall_factor="1.5", **rules) for name, family, rules in PRODUCTS],
        resource=f"r{number}",
        confidence=0.5,
        risk_weight=0.2,
    )


def clocked(work: Callable[[], object]) -> float:
    """Return how long *work* takes, seconds of this process."""
    began = time.process_time()
    work()
    return time.process_time() - began


def planned(name: str, problems: Sequence[Problem]) -> Run:
    """Return one pass of strategy *name*."""
    seconds, plans = [], []
    chosen = strategy(name)
    for one in problems:
        began = time.process_time()
        plans.append(chosen.plan(one))
        seconds.append(time.process_time() - began)
    return Run(seconds, plans)


def parts(problems: Sequence[Problem]) -> dict[str, list[float]]:
    """Return by resource what reading the problem, building the program, loading it and solving take."""
    from bidding.portfolio import program, solver

    found: dict[str, list[float]] = {"arrays": [], "build": [], "load": [], "solve": []}
    for one in problems:
        marks = [time.process_time()]
        grid = Grid(one)
        prices = levels(grid)
        marks.append(time.process_time())
        made = program.build(grid, prices)
        marks.append(time.process_time())
        loaded = solver.Solver(made)
        marks.append(time.process_time())
        loaded.solve()
        marks.append(time.process_time())
        for name, begun, ended in zip(found, marks, marks[1:], strict=False):
            found[name].append(ended - begun)
    return found


def say(what: str, **figures: float | str) -> None:
    """Print one line."""
    rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}
    sys.stdout.write(json.dumps({"bench": "portfolio", "what": what} | rounded) + "\n")


def strategies(problems: Sequence[Problem]) -> list[Plan]:
    """Print what planning takes, and return the optimiser's plans."""
    runs = {name: [planned(name, problems) for _ in range(RUNS)] for name in ("simple", "optimiser")}
    middle = {
        name: [median(each) for each in zip(*(run.seconds for run in of), strict=True)] for name, of in runs.items()
    }
    reference = median(middle["simple"])
    for name, seconds in middle.items():
        p95 = quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
        value = sum(float(plan.expected_value) for plan in runs[name][0].plans)
        tail = sum(float(plan.cvar) for plan in runs[name][0].plans)
        figures = {"p50_s": median(seconds), "p95_s": p95, "ratio_to_simple": median(seconds) / reference}
        say(name, resources=len(problems), **figures, expected_value=value, cvar=tail)
    for name, seconds in parts(problems).items():
        say(f"optimiser {name}", p50_s=median(seconds), share=sum(seconds) / max(1e-9, sum(middle["optimiser"])))
    return runs["optimiser"][0].plans


class Documents:
    """From plans to documents, step by step."""

    def __init__(self, problems: Sequence[Problem], plans: Sequence[Plan]) -> None:
        self.cases = list(zip(problems, plans, strict=True))
        self.made: list[tuple[Problem, tuple[Offer, ...]]] = []
        self.build()
        self.dumps = [offer.model_dump(mode="json") for _, made in self.made for offer in made]

    def build(self) -> None:
        """Make offers of the plans."""
        figures = Figures(as_of=BEFORE, baseline_kw=lambda _interval: 20_000.0, simulated=True)
        self.made = [(one, offers(plan, one, figures)) for one, plan in self.cases]

    def check(self) -> None:
        """Hold them against the rules."""
        for one, made in self.made:
            for offer in made:
                if refusals := check(offer, one.products[offer.product], BEFORE, (), GATE_MARGIN):
                    raise AssertionError(f"{offer.offer_id}: {refusals[0]}")

    def encode(self) -> None:
        """Write them in the sandbox's words."""
        for _, made in self.made:
            for offer in made:
                wire.encode(offer)

    def dump(self) -> None:
        """Write the same as JSON, nothing asked."""
        for dumped in self.dumps:
            json.dumps(dumped)

    def explain(self) -> None:
        """Say why each is what it is."""
        for one, plan in self.cases:
            explain(plan, one)


def documents(problems: Sequence[Problem], plans: Sequence[Plan]) -> None:
    """Print how many offers a second are built, checked, explained and encoded."""
    all_of = Documents(problems, plans)
    count = len(all_of.dumps)
    work = {
        "built": all_of.build,
        "checked": all_of.check,
        "encoded": all_of.encode,
        "json dump": all_of.dump,
        "explained": all_of.explain,
    }
    seconds = {name: median(clocked(each) for _ in range(RUNS)) for name, each in work.items()}
    for name, taken in seconds.items():
        say(
            f"offers {name}",
            offers=count,
            per_second=count / taken,
            ratio_to_json_dump=taken / seconds["json dump"],
        )
    together = sum(seconds[name] for name in ("built", "checked", "encoded"))
    say("offers built, checked, encoded", offers=count, per_second=count / together)


def main() -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="100 resources in place of 10")
    problems = [case(number) for number in range(100 if parser.parse_args().full else 10)]
    planned("optimiser", problems[:1])  # imports
    documents(problems, strategies(problems))
    say("peak memory", mb=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    return 0


if __name__ == "__main__":
    sys.exit(main())
