"""The engines by their names; only the one that is asked for is imported."""

import importlib
from collections.abc import Callable

from pipeline.cbl.answer import Answer
from pipeline.cbl.request import Request
from pipeline.cbl.rule import Rule

Engine = Callable[[Rule, Request], Answer]
NAMES = ("polars", "duckdb")


def engine(name: str) -> Engine:
    """Return the engine called *name*, one of `NAMES`."""
    found: Engine = importlib.import_module(f"pipeline.cbl.{name}_engine").answer
    return found
