"""
The portfolio that maximises (1 − λ) expected value + λ CVaR: a stochastic program in linopy, solved by HiGHS.

    Problem ─▶ arrays, price levels ─▶ linopy program ─▶ HiGHS ─▶ whole blocks, rounded down ─▶ limits checked ─▶ Plan

See `program` for what it says, `solver` for how it ends. Rounding is down and by step, so it cannot break a limit;
power is cut to blocks before solving, which leaves little to lose. Where the solver fails, the simple strategy's plan
is returned, and a loud note says so.
"""

from types import ModuleType

from bidding.portfolio.grid import Grid
from bidding.portfolio.levels import Levels, levels
from bidding.portfolio.limits import broken
from bidding.portfolio.model import Note, Plan, Problem
from bidding.portfolio.planning import finish, offers_of
from bidding.portfolio.strategies import simple
from pipeline.errors import EnvironmentProblem
from pipeline.plugins import load

NAME = "optimiser"
CLEAR_GAP = 1e-4
"""A gap to the bound below this is not worth a note."""


def solver_parts() -> tuple[ModuleType, ModuleType]:
    """Import what needs linopy and HiGHS; raise `EnvironmentProblem` that says how to install them."""
    try:
        return load("bidding.portfolio", "program"), load("bidding.portfolio", "solver")
    except ModuleNotFoundError as error:
        raise EnvironmentProblem(
            f"strategy 'optimiser' needs {error.name}: pip install 'firmwatt[portfolio]', or use strategy 'simple'"
        ) from error


def plan(problem: Problem) -> Plan:
    """Return the best plan found, or the simple strategy's where the solver fails; never more than what is firm."""
    programs, solvers = solver_parts()
    grid = Grid(problem, problem.reference)
    prices = levels(grid)
    if not prices.usable.any():
        return finish(NAME, (), grid, [Note(name="nothing", detail=why_nothing(grid, prices))])
    try:
        solution = solvers.Solver(programs.build(grid, prices)).solve()
    except solvers.SolverFailedError as error:
        return fall_back(problem, str(error))
    offers = offers_of(solution.mw, grid, prices)
    if over := broken(offers, grid):
        return fall_back(problem, f"the solution exceeds {over[0].name} at {over[0].where}")
    gap = (solution.bound - solution.objective) / max(abs(solution.bound), 1.0)
    notes = (
        [
            Note(
                name="gap",
                detail=f"the best plan is worth at most {gap:.2%} more: {solution.how} to keep minimum or runs",
            )
        ]
        if gap > CLEAR_GAP
        else []
    )
    return finish(NAME, offers, grid, notes)


def fall_back(problem: Problem, why: str) -> Plan:
    """Return the simple strategy's plan with a loud note of why."""
    made = simple.plan(problem)
    note = Note(name="fallback", detail=f"no optimum, the simple strategy's plan stands in: {why}", loud=True)
    return made.model_copy(update={"notes": (note, *made.notes)})


def why_nothing(grid: Grid, prices: Levels) -> str:
    """Return in words why no step can be offered anywhere."""
    if not grid.products:
        return "no product can be planned"
    if not (grid.room.mw > 0).any():
        return "no power is firm enough beyond obligations and promises"
    if not grid.forecast.known.any():
        return "no price is known"
    return "every step costs more than the venue's cap" if not any(map(any, prices.price)) else "nothing may be offered"
