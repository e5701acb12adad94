"""
Rows of a linear program for linopy: written as arrays and handed over together.

linopy takes some 50 ms to add a constraint, whether it has one row or a thousand, and pads all rows of one to
the widest. So rows are collected, and narrow ones are written apart from wide ones.
"""

from dataclasses import dataclass

import linopy
import numpy as np
import numpy.typing as npt
import xarray as xr

from bidding.portfolio.grid import Floats

Ints = npt.NDArray[np.int64]

WIDE = 24
"""Rows of more terms than this are written apart."""


@dataclass(frozen=True)
class Terms:
    """Some terms of rows of a constraint: *coefficient* times the variable with *label*, in *row*."""

    row: Ints
    label: Ints
    coefficient: Floats | Ints | float = 1.0


class Rows:
    """Constraints as they come, handed over together: linopy takes as long for one row as for a thousand."""

    def __init__(self, model: linopy.Model) -> None:
        self.model = model
        self.parts: list[tuple[Floats, tuple[Terms, ...]]] = []

    def limit(self, most: Floats, *terms: Terms) -> None:
        """Hold sums of *terms* at or below *most*, one row per element."""
        self.parts.append((most, terms))

    def write(self) -> None:
        """Hand all over, narrow rows apart from wide ones, because linopy pads to the widest."""
        for name, wide in (("narrow", False), ("wide", True)):
            parts = [part for part in self.parts if (widest(*part) > WIDE) == wide]
            if not parts:
                continue
            start = np.cumsum([0, *(len(most) for most, _ in parts)])
            terms = [
                Terms(term.row + first, term.label, term.coefficient)
                for first, (_, of_part) in zip(start, parts, strict=False)
                for term in of_part
            ]
            most = xr.DataArray(np.concatenate([most for most, _ in parts]), dims=["row"])
            most = most.assign_coords(row=np.arange(len(most)))
            self.model.add_constraints(sums(self.model, len(most), *terms) <= most, name=name)


def widest(most: Floats, terms: tuple[Terms, ...]) -> int:
    """Return the most terms that any row has."""
    counts = sum(np.bincount(term.row.ravel(), minlength=len(most)) for term in terms)
    return int(np.max(counts, initial=0))


def sums(model: linopy.Model, count: int, *terms: Terms) -> linopy.LinearExpression:
    """Return *count* sums of *terms*, as padded arrays: term by term linopy takes seconds."""
    row = np.concatenate([part.row.ravel() for part in terms])
    label = np.concatenate([part.label.ravel() for part in terms])
    coefficient = np.concatenate([np.broadcast_to(part.coefficient, part.row.shape).ravel() for part in terms])
    order = np.argsort(row, kind="stable")
    row, label, coefficient = row[order], label[order], coefficient[order]
    sizes = np.bincount(row, minlength=count)
    width = max(1, int(sizes.max(initial=0)))
    at = np.arange(len(row)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    labels, coefficients = np.full((count, width), -1, dtype=np.int64), np.zeros((count, width))
    labels[row, at], coefficients[row, at] = label, coefficient
    data = xr.Dataset({"coeffs": (("row", "_term"), coefficients), "vars": (("row", "_term"), labels)})
    return linopy.LinearExpression(data.assign_coords(row=np.arange(count)), model)


def add(model: linopy.Model, name: str, size: int, *, upper: Floats | float, lower: Floats | float = 0.0) -> Ints:
    """Add *size* variables and return their labels."""
    axis = [np.arange(size)]
    low, high = (np.broadcast_to(value, (size,)).astype(np.float64) for value in (lower, upper))
    return np.asarray(
        model.add_variables(low, high, coords=axis, dims=["row"], name=name).labels.values, dtype=np.int64
    )


def add_binary(model: linopy.Model, name: str, size: int) -> Ints:
    """Add *size* binary variables and return their labels."""
    variable = model.add_variables(binary=True, coords=[np.arange(size)], dims=["row"], name=name)
    return np.asarray(variable.labels.values, dtype=np.int64)
