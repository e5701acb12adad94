"""One JSON line a figure: the median of the runs, the runs themselves beside it."""

import json
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any


def say(bench: str, **figures: Any) -> None:
    """Print one line."""
    print(json.dumps({"bench": bench} | figures), flush=True)  # noqa: T201 - a benchmark talks


def digits(number: float) -> float:
    """Return *number* with four significant digits, as a whole number where it has no others."""
    short = float(f"{number:.4g}")
    return int(short) if short == int(short) else short


def medians(runs: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Return the median of each figure over *runs* that all have the same."""
    known = list(runs)
    return {name: digits(median(run[name] for run in known)) for name in known[0]}


def ratio(runs: Iterable[Mapping[str, float]], others: Iterable[Mapping[str, float]], name: str) -> float:
    """Return the median ratio of figure *name*, each of *runs* to the one of *others* that was made beside it."""
    return digits(median(one[name] / other[name] for one, other in zip(runs, others, strict=True)))
