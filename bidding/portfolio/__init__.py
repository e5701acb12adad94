"""
The offer builder: a portfolio of offers across products and hours. Pure; only one strategy imports a solver.

    capacity ─▶ flexibility ─┐
    forecasts ─▶ prices ─────┼─▶ Problem ─▶ strategies/NAME.plan ─▶ Plan ─┬─▶ build: offers that pass the rule layer
    obligations, promises ───┘                                            └─▶ explain: why, in words and numbers
"""

from typing import cast

from bidding.portfolio.model import Strategy
from pipeline.plugins import load

STRATEGIES = "bidding.portfolio.strategies"


def strategy(name: str) -> Strategy:
    """Return the strategy of that name, one file each; raise `UnknownPluginError` that lists what there is."""
    return cast("Strategy", load(STRATEGIES, name))
