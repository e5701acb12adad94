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

from dataclasses import dataclass

import linopy
import numpy as np

from bidding.portfolio.cells import mean_worth, most_mw
from bidding.portfolio.grid import Bools, Floats, Grid
from bidding.portfolio.levels import Levels, max_steps
from bidding.portfolio.limits import Runs, promised_runs, response_min, runs, tier_steps
from bidding.portfolio.rows import Ints, Rows, Terms, add, add_binary, sums
from bidding.portfolio.value import states
from pipeline.units import KW_PER_MW

NUDGE = 1e-7
"""Money per MW by which a lower price level is preferred where it makes no difference: equal optima look alike."""


@dataclass(frozen=True)
class Cells:
    """The cells that may be sold at all, one variable each: a flat axis N keeps linopy's arrays small."""

    p: Ints
    t: Ints
    j: Ints
    k: Ints
    most: Floats
    """MW."""
    shape: tuple[int, ...]
    """P, T, J, K."""

    def of(self, values: Floats | Bools) -> Floats:
        """Return the cells' part of *values*, P, T, J, K and more."""
        return np.asarray(values[self.p, self.t, self.j, self.k], dtype=np.float64)


@dataclass
class Program:
    """The program and what is needed to read it back."""

    model: linopy.Model
    cells: Cells
    minimum: Floats
    """P; the least a product takes, MW, where that is more than its block…"""
    few: Ints
    """…and how many steps it takes, P, where the levels are more."""
    must_branch: bool
    """Runs are limited: only branching gets the binaries right."""


def cells_of(most: Floats) -> Cells:
    """Return the cells in which anything may be sold."""
    p, t, j, k = np.nonzero(most > 0)
    return Cells(p, t, j, k, most[p, t, j, k], most.shape)


def build(grid: Grid, levels: Levels) -> Program:
    """Return the program of *grid* at the prices of *levels*."""
    model = linopy.Model()
    cells = cells_of(most_mw(grid, levels))
    mw = add(model, "mw", len(cells.p), upper=cells.most)
    program = Program(
        model=model,
        cells=cells,
        minimum=np.array([float(r.min_mw) if r.min_mw > r.block_mw else 0.0 for r in grid.rules]),
        few=np.array([max_steps(rules) for rules in grid.rules], dtype=np.int64),
        must_branch=runs(grid).bind,
    )
    put = Rows(model)
    _power(put, cells, mw, grid)
    _energy(put, cells, mw, grid, levels)
    _ramp(put, cells, mw, grid)
    _minimum(program, put, mw, grid)
    _few_steps(program, put, mw)
    if program.must_branch:
        _runs(program, put, mw, grid, levels)
    weight = grid.problem.risk_weight
    worth = (1 - weight) * cells.of(mean_worth(grid, levels)) - NUDGE * cells.k
    parts = [Terms(np.zeros_like(mw), mw, worth)]
    if weight > 0:
        parts += _cvar(put, cells, mw, grid, levels)
    put.write()
    model.add_objective(sums(model, 1, *parts).sum(), sense="max")
    return program


def _power(put: Rows, cells: Cells, mw: Ints, grid: Grid) -> None:
    """No power is sold twice: all products together at most what is there of each step; none above its most."""
    intervals, steps = grid.room.mw.shape
    put.limit(grid.room.mw.ravel(), Terms(cells.t * steps + cells.j, mw))
    most = np.array([np.inf if rules.max_mw is None else float(rules.max_mw) for rules in grid.rules])
    if np.isfinite(most).any():
        put.limit(np.repeat(most, intervals), Terms(cells.p * intervals + cells.t, mw))


def _energy(put: Rows, cells: Cells, mw: Ints, grid: Grid, levels: Levels) -> None:
    """Keep within the day's limit what any scenario takes, and a reserve held for its duration on top of energy."""
    down = ~grid.up
    owed = grid.forecast.called * grid.hours * down[:, None, None]
    held = grid.duration_h * (down & ~grid.energy)
    if grid.room.called_mwh is not None:
        falls = down[cells.p]
        put.limit(np.array(grid.room.called_mwh), Terms(grid.day[cells.t[falls]], mw[falls], grid.hours))
    for (d, tier), most in sorted(grid.room.energy_mwh.items(), key=lambda item: (item[0][0], item[0][1].value)):
        of_tier = tier_steps(grid, tier)[cells.t, cells.j] * (grid.day[cells.t] == d)
        here = np.flatnonzero(of_tier)
        if not len(here):
            continue
        labels = mw[here]
        p, t, k = cells.p[here], cells.t[here], cells.k[here]
        ready = add(put.model, f"ready_{d}_{tier.value}", 1, upper=np.inf)
        by_hour = Terms(t, labels, held[p])
        every = np.arange(len(grid.intervals))
        put.limit(np.zeros(len(every)), by_hour, Terms(every, np.repeat(ready, len(every)), -1.0))
        spent = np.unique((owed[p, t] * levels.taken[p, t, k]).T, axis=0)
        firm = np.unique((owed[p, t] * levels.taken[p, t, k] * grid.energy[p, None]).T, axis=0)
        put.limit(np.full(len(spent), most), *_dense(spent, labels))
        rest = Terms(np.arange(len(firm)), np.repeat(ready, len(firm)))
        put.limit(np.full(len(firm), most), *_dense(firm, labels), rest)


def _dense(coefficients: Floats, labels: Ints) -> tuple[Terms, ...]:
    """Return rows in which most variables appear; zeros are left out."""
    row, column = np.nonzero(coefficients)
    return (Terms(row, labels[column], coefficients[row, column]),)


def _ramp(put: Rows, cells: Cells, mw: Ints, grid: Grid) -> None:
    """All that is due within some minutes can be ramped in them."""
    ramp = grid.flexibility.ramp_kw_per_min
    if ramp is None:
        return
    minutes = response_min(grid)
    for up in (False, True):
        for within in sorted(set(minutes[grid.up == up].tolist())):
            due = np.flatnonzero((minutes <= within) & (grid.up == up))
            here = np.isin(cells.p, due)
            most = np.full(len(grid.intervals), ramp * within / KW_PER_MW)
            put.limit(most, Terms(cells.t[here], mw[here]))


def _minimum(program: Program, put: Rows, mw: Ints, grid: Grid) -> None:
    """Nothing, or at least the product's minimum."""
    cells = program.cells
    here = program.minimum[cells.p] > 0
    if not here.any():
        return
    pair, row = np.unique(cells.p[here] * len(grid.intervals) + cells.t[here], return_inverse=True)
    offered = add_binary(put.model, "offered", len(pair))
    every, zero = np.arange(len(pair)), np.zeros(len(pair))
    least = program.minimum[pair // len(grid.intervals)]
    most = np.bincount(row, weights=cells.most[here])
    put.limit(zero, Terms(row, mw[here], -1.0), Terms(every, offered, least))
    put.limit(zero, Terms(row, mw[here]), Terms(every, offered, -most))


def _few_steps(program: Program, put: Rows, mw: Ints) -> None:
    """Use no more price levels than the curve may have steps."""
    cells = program.cells
    _, intervals, _, size = cells.shape
    have = np.zeros((cells.shape[0], intervals, size), dtype=np.bool_)
    have[cells.p, cells.t, cells.k] = True
    crowded = have.sum(axis=2) > program.few[:, None]
    here = crowded[cells.p, cells.t]
    if not here.any():
        return
    place = (cells.p * intervals + cells.t) * size + cells.k
    level, row = np.unique(place[here], return_inverse=True)
    used = add_binary(put.model, "used", len(level))
    most = np.bincount(row, weights=cells.most[here])
    put.limit(np.zeros(len(level)), Terms(row, mw[here]), Terms(np.arange(len(level)), used, -most))
    pair, of_pair = np.unique(level // size, return_inverse=True)
    put.limit(program.few[pair // intervals].astype(np.float64), Terms(of_pair, used))


def _runs(program: Program, put: Rows, mw: Ints, grid: Grid, levels: Levels) -> None:
    """In every scenario: runs long and short enough, rest between them, no more of them in a day than allowed."""
    cells = program.cells
    _, intervals, _, size = cells.shape
    here = grid.energy[cells.p]
    place = (cells.p * intervals + cells.t) * size + cells.k
    level, row = np.unique(place[here], return_inverse=True)
    pair = level // size
    lowest = add_binary(put.model, "lowest", len(level))
    every, zero = np.arange(len(level)), np.zeros(len(level))
    one, of_pair = np.unique(pair, return_inverse=True)
    put.limit(np.ones(len(one)), Terms(of_pair, lowest))
    most = np.bincount(row, weights=cells.most[here], minlength=len(level))
    below, above = np.nonzero((pair[:, None] == pair[None, :]) & (level[:, None] <= level[None, :]))
    put.limit(zero, Terms(row, mw[here]), Terms(above, lowest[below], -most[above]))
    block = np.array([float(rules.block_mw) for rules in grid.rules])[pair // intervals]
    put.limit(zero, Terms(row, mw[here], -1.0), Terms(every, lowest, block))
    taken = levels.taken[pair // intervals, pair % intervals, level % size]
    _patterns(put, lowest, (pair // intervals, pair % intervals), np.unique(taken, axis=1), grid)


def _patterns(put: Rows, lowest: Ints, where: tuple[Ints, Ints], taken: Bools, grid: Grid) -> None:
    """Write the limits on runs for each different pattern, N, of what scenarios take of each lowest level."""
    bound = runs(grid)
    intervals, count = len(grid.intervals), taken.shape[1]
    product, interval = where
    promised = promised_runs(grid).astype(np.float64)
    on = add(put.model, "on", intervals * count, upper=1.0, lower=np.repeat(promised, count)).reshape(intervals, count)
    starts = add(put.model, "starts", intervals * count, upper=1.0).reshape(intervals, count)
    grid_of = np.arange(intervals * count).reshape(intervals, count)
    at, pattern = np.nonzero(taken)
    slot = (product * intervals + interval)[at] * count + pattern
    offered, row = np.unique(slot, return_inverse=True)
    of_on = on.ravel()[offered % (intervals * count)]
    put.limit(np.zeros(len(offered)), Terms(row, lowest[at]), Terms(np.arange(len(offered)), of_on, -1.0))
    only = Terms(interval[at] * count + pattern, lowest[at], -1.0)
    put.limit(np.repeat(promised, count), Terms(grid_of, on), only)
    began = [Terms(grid_of, on), Terms(grid_of[1:], on[:-1], -1.0)]
    put.limit(np.zeros(intervals * count), *began, Terms(grid_of, starts, -1.0))
    _shape(put, on, bound)
    if bound.calls is not None:
        day = grid.day[:, None] * count + np.arange(count)[None, :]
        put.limit(np.full(len(grid.days) * count, float(bound.calls)), Terms(day, starts))


def _shape(put: Rows, on: Ints, bound: Runs) -> None:
    """Let every run last its shortest and no longer than its longest, and be followed by its rest."""
    intervals, count = on.shape
    for ahead in range(1, bound.shortest):
        row = np.arange(intervals * count).reshape(intervals, count)
        later = [Terms(row[:-ahead], on[ahead:], -1.0)] if ahead < intervals else []
        began = [Terms(row, on), Terms(row[1:], on[:-1], -1.0)]
        put.limit(np.zeros(row.size), *began, *later)
    for ahead in range(1, bound.rest):
        if intervals > 1 + ahead:
            row = np.arange((intervals - 1 - ahead) * count).reshape(-1, count)
            ended = [Terms(row, on[: -1 - ahead]), Terms(row, on[1:-ahead], -1.0)]
            put.limit(np.ones(row.size), *ended, Terms(row, on[1 + ahead :]))
    if bound.longest is not None and bound.longest < intervals:
        row = np.arange((intervals - bound.longest) * count).reshape(-1, count)
        span = [Terms(row, on[first : first + len(row)]) for first in range(bound.longest + 1)]
        put.limit(np.full(row.size, float(bound.longest)), *span)


def _cvar(put: Rows, cells: Cells, mw: Ints, grid: Grid, levels: Levels) -> list[Terms]:
    """
    Return λ CVaR as terms: the tail's threshold less the mean excess below it (Rockafellar and Uryasev, 2000).

    Outcomes are scenarios times what may be there that day.
    """
    confidence = grid.room.confidence[cells.t, cells.j]
    thresholds, shares = states(confidence.tolist())
    taken = levels.taken[cells.p, cells.t, cells.k]
    there, missing = (worth[cells.p, cells.t, cells.j] * taken for worth in grid.worth)
    outcomes = [np.where((confidence >= threshold)[:, None], there, missing).T for threshold in thresholds]
    chance = np.concatenate([share * grid.forecast.probability for share in shares])
    below = add(put.model, "below", len(chance), upper=np.inf)
    threshold_money = add(put.model, "threshold", 1, upper=np.inf, lower=-np.inf)
    every = np.arange(len(chance))
    worth = _dense(-np.concatenate(outcomes), mw)
    threshold = Terms(every, np.repeat(threshold_money, len(every)))
    put.limit(np.zeros(len(every)), *worth, threshold, Terms(every, below, -1.0))
    weight = grid.problem.risk_weight
    first = np.zeros(1, dtype=np.int64)
    excess = Terms(np.zeros_like(below), below, -weight * chance / (1 - grid.problem.tail))
    return [Terms(first, threshold_money, weight), excess]
