"""
HiGHS for a linopy program: one thread, one seed, and a way that ends in bounded time with a bound on what it misses.

    relaxation ─▶ rules kept? ─▶ done: optimal
                    └─▶ few binaries, or runs limited ─▶ branch and bound
                    └─▶ else: forbid what breaks a rule, solve again; the relaxation bounds what that costs
"""

import os
import threading
from dataclasses import dataclass

import highspy
import linopy
import numpy as np

from bidding.portfolio.grid import Floats
from bidding.portfolio.program import Program

SEED = 1
GAP = 1e-6
"""Relative gap at which branching stops."""
NODES = 200
"""Branching ends after so many nodes: a count, not a time, so that the same problem ends the same way."""
FEW_BINARIES = 150
"""Up to so many the exact way is taken."""
DIVES = 12
SMALL_MW = 1e-7


class SolverFailedError(Exception):
    """HiGHS came to no usable answer; the text is its status. Caught by the strategy, which falls back."""


@dataclass(frozen=True)
class Solution:
    """MW of every cell."""

    mw: Floats
    """P, T, J, K."""
    objective: float
    bound: float
    """No plan of these price levels is worth more."""
    how: str
    """`linear`, `branched` or `dived`."""


class _Local(threading.local):
    """Each thread has a solver of its own."""

    highs: highspy.Highs | None = None


_LOCAL = _Local()


def _highs() -> highspy.Highs:
    """Return this thread's solver. Its constructor writes a banner to standard output, which belongs to our caller."""
    if _LOCAL.highs is not None:
        return _LOCAL.highs
    kept, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        _LOCAL.highs = highspy.Highs()  # type: ignore[no-untyped-call] # its constructor has no annotations
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)
    return _LOCAL.highs


class Solver:
    """One program in HiGHS."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.model: linopy.Model = program.model
        self.highs = _highs()
        self._load()
        labels = {int(label): at for at, label in enumerate(self.model.matrices.vlabels)}
        self.columns = np.array(
            [labels[int(label)] for label in self.model.variables["mw"].labels.values], dtype=np.int32
        )

    def _load(self) -> None:
        """Pass the matrices that linopy built, without their names: writing those costs more than the solve."""
        matrices, highs = self.model.matrices, self.highs
        highs.clear()
        for option, setting in (("output_flag", False), ("threads", 1), ("random_seed", SEED), ("mip_rel_gap", GAP)):
            highs.setOptionValue(option, setting)
        highs.setOptionValue("mip_max_nodes", NODES)
        highs.addVars(len(matrices.vlabels), matrices.lb, matrices.ub)
        highs.changeColsCost(len(matrices.c), np.arange(len(matrices.c), dtype=np.int32), matrices.c)
        if matrices.A is None:
            raise SolverFailedError("the program has no constraints")
        rows = matrices.A.tocsr()
        rows.eliminate_zeros()
        low = np.where(matrices.sense != "<", matrices.b, -np.inf)
        high = np.where(matrices.sense != ">", matrices.b, np.inf)
        highs.addRows(rows.shape[0], low, high, rows.nnz, rows.indptr, rows.indices, rows.data)
        highs.changeObjectiveSense(highspy.ObjSense.kMaximize)
        self.binary = np.flatnonzero(matrices.vtypes == "B").astype(np.int32)

    def solve(self) -> Solution:
        """Return the best plan found; raise `SolverFailedError` where there is none."""
        first = self._run()
        bound = self.highs.getObjectiveValue()
        if self._keeps_rules(first) and not self.program.must_branch:
            return Solution(first, bound, bound, "linear")
        if self.program.must_branch or len(self.binary) <= FEW_BINARIES:
            kind = np.ones(len(self.binary), dtype=np.uint8)
            self.highs.changeColsIntegrality(len(self.binary), self.binary, kind)
            mw = self._run(branched=True)
            return Solution(mw, self.highs.getObjectiveValue(), self.highs.getInfo().mip_dual_bound, "branched")
        mw = self._dive(first)
        return Solution(mw, self.highs.getObjectiveValue(), bound, "dived")

    def _run(self, *, branched: bool = False) -> Floats:
        """Solve what is loaded and return the MW."""
        self.highs.run()
        status = self.highs.getModelStatus()
        fine = {highspy.HighsModelStatus.kOptimal}
        if branched:
            fine.add(highspy.HighsModelStatus.kSolutionLimit)
        solution = self.highs.getSolution()
        if status not in fine or not solution.value_valid:
            raise SolverFailedError(f"HiGHS says {self.highs.modelStatusToString(status).lower()}")
        values = np.asarray(solution.col_value, dtype=np.float64)[self.columns]
        cells = self.program.cells
        mw = np.zeros(cells.shape)
        mw[cells.p, cells.t, cells.j, cells.k] = np.where(values > SMALL_MW, values, 0.0)
        return mw

    def _below(self, mw: Floats) -> Floats:
        """Return by product and interval how much is missing to the minimum, 0 where nothing is offered."""
        total = mw.sum(axis=(2, 3))
        short = np.maximum(0.0, self.program.minimum[:, None] - total)
        return np.asarray(np.where(total > 0, short, 0.0))

    def _too_many(self, mw: Floats) -> Floats:
        """Return by product and interval how many price levels too many are used."""
        used = (mw.sum(axis=2) > 0).sum(axis=2)
        return np.asarray(np.maximum(0.0, used - self.program.few[:, None]))

    def _keeps_rules(self, mw: Floats) -> bool:
        return not (self._below(mw) > SMALL_MW).any() and not (self._too_many(mw) > 0).any()

    def _dive(self, mw: Floats) -> Floats:
        """Forbid product by product what breaks a rule, and let the rest move, until nothing does."""
        cells = self.program.cells
        most = np.zeros(cells.shape)
        most[cells.p, cells.t, cells.j, cells.k] = cells.most
        for attempt in range(DIVES):
            if self._keeps_rules(mw):
                return mw
            self._forbid(mw, most, last=attempt >= DIVES - 2)
            upper = cells.of(most)
            self.highs.changeColsBounds(len(upper), self.columns, np.zeros(len(upper)), upper)
            mw = self._run()
        if not self._keeps_rules(mw):
            raise SolverFailedError(f"minimum and steps not kept after {DIVES} attempts")
        return mw

    def _forbid(self, mw: Floats, most: Floats, *, last: bool) -> None:
        """Lower *most*: keep the levels used most, drop the product furthest below its minimum in each interval."""
        for p, t in np.argwhere(self._too_many(mw) > 0):
            used = mw[p, t].sum(axis=0)
            keep = np.argsort(-used, kind="stable")[: int(self.program.few[p])]
            most[p, t, :, np.setdiff1d(np.arange(len(used)), keep)] = 0.0
        below = self._below(mw)
        for t in np.flatnonzero((below > SMALL_MW).any(axis=0)):
            short = np.flatnonzero(below[:, t] > SMALL_MW) if last else [int(np.argmax(below[:, t]))]
            most[short, t] = 0.0
