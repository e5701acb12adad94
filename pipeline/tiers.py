"""
How far each tier may be held back: one table for what may be sold (capacity) and what may be done (the actuator).

Shares of a GPU's maximum limit, not of its draw, so that a host can enforce them without trusting a measurement; the
same shares bound clocks and admitted requests. The levels are firmwatt's defaults after the tiers of knowledge about
power against throughput: flat to about two thirds of the limit, a cliff below half (A40 sweep of Zeus, NSDI '23; RTX
PRO 6000 vLLM sweep of MMBT).
"""

from pipeline.messages.telemetry import Tier

FLOOR_SHARE: dict[Tier, float] = {Tier.T0: 1.0, Tier.T1: 0.7, Tier.T2: 0.5, Tier.T3: 0.3}

PAUSABLE = frozenset({Tier.T3})
"""Tiers whose jobs may stand still: preemptible work only."""


def floor(tier: Tier, lowest: float, highest: float) -> float:
    """Return the lowest set-point that *tier* allows on a device that takes *lowest* to *highest*, in their unit."""
    return max(lowest, FLOOR_SHARE[tier] * highest)


def floor_w(tier: Tier, min_w: float, max_w: float) -> float:
    """Return the lowest cap in watts that *tier* allows on a GPU with limits *min_w* to *max_w*."""
    return floor(tier, min_w, max_w)
