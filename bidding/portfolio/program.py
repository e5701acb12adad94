"""
The optimiser's stochastic program, written in linopy. Built here, solved in `solver`.

First stage: MW offered by product, interval, step of power and price level. Second stage, by scenario and by what may
be there that day: what is taken, called, delivered, missing, forgone. Nothing is free to choose there, because prices
decide what is taken, the venue what is called and the day what is there; so the second stage is written out as
expressions of the first, and only CVaR's excess below the tail stays a variable. Which step's power delivers is fixed
when it is sold: with hindsight a cheaper one might have been free, and that is left out.

Binary where a rule needs it: a product's minimum above its block; fewer steps than price levels; the lowest level that
is offered, where runs, rests or calls are limited, because it decides in which scenarios the load is reduced at all.
"""

from dataclasses import dataclass, field

import linopy
import numpy as np
import numpy.typing as npt
import xarray as xr

from bidding.portfolio.cells import mean_worth, most_mw
from bidding.portfolio.grid import Bools, Floats, Grid
from bidding.portfolio.levels import Levels, max_steps
from bidding.portfolio.limits import Runs, counts_as_run, promised_runs, response_min, runs, tier_steps
from bidding.portfolio.value import states
from pipeline.units import KW_PER_MW

CELL = ("product", "interval", "step", "level")
NUDGE = 1e-7
"""Money per MW by which an earlier price level is preferred where it makes no difference: equal optima look alike."""


@dataclass
class Program:
    """The program and the names of what is read back from it."""

    model: linopy.Model
    most: Floats
    """P, T, J, K; upper bound of each cell, MW."""
    minimum: Floats
    """P; the least a product takes, MW, where that is more than its block…"""
    few: npt.NDArray[np.int64]
    """…and how many steps it takes, P, where the levels are more."""
    must_branch: bool
    """Runs are limited: only branching gets the binaries right."""
    sizes: dict[str, int] = field(default_factory=dict)


def array(values: Floats | Bools, *dims: str) -> xr.DataArray:
    """Return *values* with named axes, which is how linopy lines them up."""
    return xr.DataArray(values, dims=dims)


def build(grid: Grid, levels: Levels) -> Program:
    """Return the program of *grid* at the prices of *levels*."""
    model = linopy.Model()
    most = most_mw(grid, levels)
    coords = [range(size) for size in most.shape]
    mw = model.add_variables(lower=0, upper=array(most, *CELL), coords=coords, dims=list(CELL), name="mw")
    program = Program(
        model=model,
        most=most,
        minimum=np.array([float(r.min_mw) if r.min_mw > r.block_mw else 0.0 for r in grid.rules]),
        few=np.array([max_steps(rules) for rules in grid.rules], dtype=np.int64),
        must_branch=runs(grid).bind,
    )
    _power(model, mw, grid)
    _energy(model, mw, grid, levels)
    _ramp(model, mw, grid)
    _minimum(program, mw, grid)
    _few_steps(program, mw)
    if program.must_branch:
        _runs(program, mw, grid, levels)
    weight = grid.problem.risk_weight
    nudge = -NUDGE * np.arange(most.shape[3], dtype=np.float64)
    worth = (1 - weight) * mean_worth(grid, levels) + nudge[None, None, None, :]
    objective = (array(worth, *CELL) * mw).sum()
    if weight > 0:
        objective = objective + weight * _cvar(model, mw, grid, levels, most)
    model.add_objective(objective, sense="max")
    program.sizes = {"variables": model.nvars, "constraints": model.ncons}
    return program


def _power(model: linopy.Model, mw: linopy.Variable, grid: Grid) -> None:
    """No power is sold twice: all products together at most what is there of each step."""
    model.add_constraints(mw.sum(["product", "level"]) <= array(grid.room.mw, "interval", "step"), name="power")
    caps = [(p, float(rules.max_mw)) for p, rules in enumerate(grid.rules) if rules.max_mw is not None]
    if caps:
        which = [p for p, _ in caps]
        cap = array(np.array([most for _, most in caps]), "product").assign_coords(product=which)
        model.add_constraints(mw.sel(product=which).sum(["step", "level"]) <= cap, name="most")


def _energy(model: linopy.Model, mw: linopy.Variable, grid: Grid, levels: Levels) -> None:
    """Keep within the day's limit what any scenario takes, and a reserve held for its duration on top of energy."""
    f = grid.forecast
    down = ~grid.up
    owed = f.called * grid.hours * down[:, None, None]
    firm = owed * grid.energy[:, None, None]
    held = grid.duration_h * (down & ~grid.energy)
    for (d, tier), limit in sorted(grid.room.energy_mwh.items(), key=lambda item: (item[0][0], item[0][1].value)):
        cells = tier_steps(grid, tier) * (grid.day == d)[:, None]
        name = f"{d}_{tier.value}"
        ready = model.add_variables(lower=0, name=f"ready_{name}")
        hold = array(held[:, None, None, None] * cells[None, :, :, None], *CELL[:3], "level").isel(level=0, drop=True)
        model.add_constraints((hold * mw).sum(["product", "step", "level"]) - ready <= 0, name=f"duration_{name}")
        for which, share in (("called", owed), ("energy", firm)):
            of = np.einsum("pts,ptks,tj->ptjks", share, levels.taken.astype(np.float64), cells)
            spent = (array(of, *CELL, "scenario") * mw).sum(CELL)
            model.add_constraints(
                spent <= limit if which == "called" else spent + ready <= limit, name=f"{which}_{name}"
            )


def _ramp(model: linopy.Model, mw: linopy.Variable, grid: Grid) -> None:
    """All that is due within some minutes can be ramped in them."""
    ramp = grid.flexibility.ramp_kw_per_min
    if ramp is None:
        return
    minutes = response_min(grid)
    total = mw.sum(["step", "level"])
    for up in (False, True):
        for within in sorted(set(minutes[grid.up == up].tolist())):
            due = array(((minutes <= within) & (grid.up == up)).astype(np.float64), "product")
            name = f"ramp_{'up' if up else 'down'}_{within:g}"
            model.add_constraints((due * total).sum("product") <= ramp * within / KW_PER_MW, name=name)


def _minimum(program: Program, mw: linopy.Variable, grid: Grid) -> None:
    """Nothing, or at least the product's minimum."""
    which = np.flatnonzero(program.minimum > 0).tolist()
    if not which:
        return
    model = program.model
    coords = [which, range(program.most.shape[1])]
    offered = model.add_variables(binary=True, coords=coords, dims=["product", "interval"], name="offered")
    total = mw.sel(product=which).sum(["step", "level"])
    room = np.stack([grid.room.mw[:, -1] if grid.up[p] else grid.room.mw[:, :-1].sum(axis=1) for p in which])
    least = array(program.minimum[which], "product").assign_coords(product=which)
    model.add_constraints(total - least * offered >= 0, name="minimum")
    model.add_constraints(
        total - array(room, "product", "interval").assign_coords(product=which) * offered <= 0, name="offered_at_all"
    )


def crowded(program: Program) -> Bools:
    """Return where, P and T, there are more usable price levels than the curve may have steps."""
    have = (program.most.max(axis=2, initial=0.0) > 0).sum(axis=2)
    return np.asarray(have > program.few[:, None])


def _few_steps(program: Program, mw: linopy.Variable) -> None:
    """Use no more price levels than the curve may have steps."""
    which = np.flatnonzero(crowded(program).any(axis=1)).tolist()
    if not which:
        return
    model, most = program.model, program.most
    coords = [which, range(most.shape[1]), range(most.shape[3])]
    used = model.add_variables(binary=True, coords=coords, dims=["product", "interval", "level"], name="used")
    cap = array(most[which].sum(axis=2), "product", "interval", "level").assign_coords(product=which)
    model.add_constraints(mw.sel(product=which).sum("step") - cap * used <= 0, name="used_at_all")
    few = array(program.few[which].astype(np.float64), "product").assign_coords(product=which)
    model.add_constraints(used.sum("level") <= few, name="steps")


def _runs(program: Program, mw: linopy.Variable, grid: Grid, levels: Levels) -> None:
    """In every scenario: runs long and short enough, rest between them, no more of them in a day than allowed."""
    model, most = program.model, program.most
    which = np.flatnonzero(counts_as_run(grid)).tolist()
    if not which:
        return
    size = most.shape[3]
    coords = [which, range(most.shape[1]), range(size)]
    lowest = model.add_variables(binary=True, coords=coords, dims=["product", "interval", "level"], name="lowest")
    some = (most[which].max(axis=2, initial=0.0) > 0).astype(np.float64)
    model.add_constraints(
        lowest <= array(some, "product", "interval", "level").assign_coords(product=which), name="exists"
    )
    model.add_constraints(lowest.sum("level") <= 1, name="one_lowest")
    sold = mw.sel(product=which).sum("step")
    cap = array(most[which].sum(axis=2), "product", "interval", "level").assign_coords(product=which)
    for k in range(size):
        at_most = lowest.sel(level=list(range(k + 1))).sum("level")
        model.add_constraints(sold.sel(level=k) - cap.sel(level=k) * at_most <= 0, name=f"not_below_{k}")
    block = array(np.array([float(grid.rules[p].block_mw) for p in which]), "product").assign_coords(product=which)
    model.add_constraints(sold - block * lowest >= 0, name="at_lowest")
    _patterns(program, lowest, grid, levels, which)


def _patterns(program: Program, lowest: linopy.Variable, grid: Grid, levels: Levels, which: list[int]) -> None:
    """Write the limits on runs for each different pattern of what scenarios take."""
    model, limit = program.model, runs(grid)
    taken = levels.taken[which].astype(np.float64)
    flat = np.unique(taken.reshape(-1, taken.shape[3]), axis=1)
    count, intervals = flat.shape[1], program.most.shape[1]
    taken = flat.reshape(*taken.shape[:3], count)
    on = model.add_variables(
        lower=array(np.tile(promised_runs(grid).astype(np.float64)[:, None], (1, count)), "interval", "pattern"),
        upper=1,
        coords=[range(intervals), range(count)],
        dims=["interval", "pattern"],
        name="on",
    )
    for p, of_product in zip(which, taken, strict=True):
        offered = (array(of_product, "interval", "level", "pattern") * lowest.sel(product=p)).sum("level")
        model.add_constraints(on - offered >= 0, name=f"on_{p}")
    anything = (array(taken, "product", "interval", "level", "pattern").assign_coords(product=which) * lowest).sum(
        ["product", "level"]
    )
    base = array(promised_runs(grid).astype(np.float64), "interval")
    model.add_constraints(on - anything <= base, name="on_only_if_sold")
    row = [on.sel(interval=t) for t in range(intervals)]
    starts = model.add_variables(
        lower=0, coords=[range(intervals), range(count)], dims=["interval", "pattern"], name="starts"
    )
    for t in range(intervals):
        began = row[t] - row[t - 1] if t else 1 * row[t]
        model.add_constraints(starts.sel(interval=t) - began >= 0, name=f"starts_{t}")
        _shape(model, row, t, limit, began)
        if limit.longest is not None and t + limit.longest < intervals:
            span = on.sel(interval=list(range(t, t + limit.longest + 1))).sum("interval")
            model.add_constraints(span <= limit.longest, name=f"longest_{t}")
    if limit.calls is not None:
        for d in range(len(grid.days)):
            of_day = starts.sel(interval=np.flatnonzero(grid.day == d).tolist()).sum("interval")
            model.add_constraints(of_day <= limit.calls, name=f"calls_{d}")


def _shape(
    model: linopy.Model,
    row: list[linopy.Variable],
    t: int,
    limit: Runs,
    began: linopy.LinearExpression,
) -> None:
    """Let a run that begins at *t* last the shortest, and one that ended before *t* be followed by its rest."""
    for ahead in range(1, limit.shortest):
        if t + ahead >= len(row):
            model.add_constraints(began <= 0, name=f"no_time_{t}")
            break
        model.add_constraints(began - row[t + ahead] <= 0, name=f"shortest_{t}_{ahead}")
    if t:
        for ahead in range(1, limit.rest):
            if t + ahead < len(row):
                again = row[t - 1] - row[t] + row[t + ahead]
                model.add_constraints(again <= 1, name=f"rest_{t}_{ahead}")


def _cvar(
    model: linopy.Model, mw: linopy.Variable, grid: Grid, levels: Levels, most: Floats
) -> linopy.LinearExpression:
    """
    Return CVaR as an expression: the tail's threshold less the mean excess below it (Rockafellar and Uryasev, 2000).

    Outcomes are scenarios times what may be there that day.
    """
    f = grid.forecast
    sellable = most.max(axis=(0, 3), initial=0.0) > 0
    thresholds, shares = states(grid.room.confidence[sellable].tolist())
    there, missing = grid.worth
    terms = []
    for threshold in thresholds:
        here = grid.room.confidence[None, :, :, None] >= threshold
        terms.append(np.einsum("ptjs,ptks->ptjks", np.where(here, there, missing), levels.taken))
    of_cell = np.stack(terms, axis=-1)
    size = of_cell.shape[-2] * of_cell.shape[-1]
    outcome = array(of_cell.reshape(*of_cell.shape[:4], size), *CELL, "outcome")
    chance = (f.probability[:, None] * shares[None, :]).ravel()
    below = model.add_variables(lower=0, coords=[range(size)], dims=["outcome"], name="below")
    threshold_money = model.add_variables(lower=-np.inf, name="threshold")
    model.add_constraints(below - threshold_money + (outcome * mw).sum(CELL) >= 0, name="excess")
    mean = array(chance / (1 - grid.problem.tail), "outcome")
    return threshold_money - (mean * below).sum()
