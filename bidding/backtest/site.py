"""
The flexible power of a site that does not exist: simulated, from real demand and real GPU power. Pure.

| pool | measured | assumed |
|---|---|---|
| T1 interactive | requests a second to one model in production, 14 days (ServeGen) | scaled to the fleet |
| T2 batch, capped | watts of an engine by tokens a second (ML.ENERGY, H100) | fills `BATCH_SHARE` of idle engines |
| T3 preemptible, capped | distribution of watts of a cluster's A100 (Acme) | jobs of `GPUS_A_JOB` draw alike all day |

A calendar day takes the demand of one of the record's 14 days, drawn by seed: neither the first weekday nor the zone of
the record is published, so no day is matched with its like. Interactive work is not sold: its tokens cost more than any
price here. Each hour counts the window in which least can be let go, because what is sold must last the hour.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np
from numpy.typing import NDArray

from bidding.backtest.calls import dice
from bidding.backtest.day import Cost
from bidding.backtest.forecast import Site
from bidding.backtest.hourly import DAY, hours_of, label
from bidding.capacity import floor_index
from bidding.pricing import TierCost, price_of, round_up, tokens_per_mwh
from bidding.settlement import CENT
from pipeline.interval import Interval
from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, Tier, Workload
from pipeline.tiers import FLOOR_SHARE
from pipeline.units import W_PER_KW, contract_mw

WINDOWS_AN_HOUR = 6
DAY_HOURS = 24

ENGINES = 10_000
"""Assumed: engines of four H100."""
GPUS_AN_ENGINE = 4
MAX_W = 700.0
"""Of an H100 SXM: its highest power limit (`nvidia_smi_captures`)."""
BATCH_SHARE = 0.8
"""Assumed: of the engines that interactive work leaves idle, how many run batch work."""
TRAINING_GPUS = 20_000
"""Assumed: A100 with preemptible work, drawing as those of Acme's Kalos did."""
TRAINING_MAX_W = 400.0
"""Of an A100 SXM. Some of Acme's readings are above it."""
GPUS_A_JOB = 512
"""Assumed. What moves the pool from day to day is how its jobs happen to draw."""


@dataclass(frozen=True)
class Measured:
    """What the data folder says."""

    demand: NDArray[np.float64]
    """Requests, days × windows of ten minutes, as a share of the highest window."""
    engine_w: float
    """An engine at its highest measured rate, its GPUs alone."""
    engine_tokens_per_s: float
    training_w: NDArray[np.float64]
    """Quantiles of a GPU's draw, evenly spaced, watts."""


@dataclass(frozen=True)
class Flexible:
    """What one hour can let go, kW, in the order of `TIERS`."""

    kw: tuple[float, ...]


#: Cheapest first.
TIERS: tuple[Tier, ...] = (Tier.T3, Tier.T2)

COSTS: Mapping[Tier, TierCost] = {
    Tier.T3: TierCost(
        price_per_million_tokens=Decimal("0.15"),
        deferrable_share=Decimal("0.995"),
        tokens_per_mwh_unmetered=Decimal(38_000_000_000),
    ),
    Tier.T2: TierCost(price_per_million_tokens=Decimal("0.40"), deferrable_share=Decimal("0.98")),
}
"""
Assumed. A training token is worth 2 $ an hour of a GPU that makes 3,700 a second: half of an A100's 312 TFLOP/s at 6
operations a parameter and token of a model of 7 billion, which is also where its tokens per MWh come from. What is not
deferrable is what a deadline missed costs.
"""

CATCH_UP_HOURS: Mapping[Tier, int] = {Tier.T3: 6, Tier.T2: 4}
"""Assumed: for so many hours of a day a tier's mean flexible power may be let go, and is caught up in the others."""


def batch_relief_w(measured: Measured) -> float:
    """Return what one GPU of a full engine lets go when it is capped at the floor of T2, watts."""
    return max(0.0, measured.engine_w / GPUS_AN_ENGINE - FLOOR_SHARE[Tier.T2] * MAX_W)


def training_relief_w(measured: Measured, quantile: float) -> float:
    """Return what a GPU at one *quantile* of the measured draws lets go at the floor of T3, watts."""
    points = np.linspace(0.0, 1.0, len(measured.training_w))
    draw_w = float(np.interp(quantile, points, measured.training_w))
    return max(0.0, draw_w - FLOOR_SHARE[Tier.T3] * TRAINING_MAX_W)


def flexible(measured: Measured, day: date, timezone: str, seed: str) -> dict[Interval, Flexible]:
    """
    Return what each hour of a local *day* can let go: simulated.

    10,000 engines, 60 % of them busy with interactive work: 3,200 run batch; at 287 W a GPU they let go 3.7 MW.
    """
    index = dice(seed, "demand", day).randrange(len(measured.demand))
    by_hour = measured.demand[index].reshape(DAY_HOURS, WINDOWS_AN_HOUR).max(axis=1)
    training_kw = _training_kw(measured, day, seed)
    return {
        hour: Flexible((training_kw, _batch_kw(measured, float(by_hour[label(hour, timezone)[0]]))))
        for hour in hours_of(day, timezone)
    }


def _batch_kw(measured: Measured, interactive_share: float) -> float:
    gpus = ENGINES * (1 - interactive_share) * BATCH_SHARE * GPUS_AN_ENGINE
    return gpus * batch_relief_w(measured) / W_PER_KW


def _training_kw(measured: Measured, day: date, seed: str) -> float:
    chance = dice(seed, "training", day)
    jobs = TRAINING_GPUS // GPUS_A_JOB
    return sum(training_relief_w(measured, chance.random()) for _ in range(jobs)) * GPUS_A_JOB / W_PER_KW


def pool_of(tier: Tier, measured: Measured) -> PoolLoad:
    """Return one MW or so of *tier* as the pipeline would publish it, to price it with the desk's own functions."""
    relief = [0.0] * len(CAP_SHARES)
    if tier is Tier.T2:
        gpus = GPUS_AN_ENGINE * 1000
        relief[floor_index(tier)] = gpus * batch_relief_w(measured) / W_PER_KW
        draw_kw, tokens = 1000 * measured.engine_w / W_PER_KW, 1000 * measured.engine_tokens_per_s
        return PoolLoad(
            tier=tier,
            workload=Workload.INFERENCE,
            gpu_model="H100",
            gpus=gpus,
            power_kw=draw_kw,
            relief_kw=tuple(relief),
            max_w=MAX_W,
            tokens_per_s=tokens,
        )
    gpus = 1000
    mean_w = float(np.mean(measured.training_w))
    relief[floor_index(tier)] = gpus * _mean_training_w(measured) / W_PER_KW
    return PoolLoad(
        tier=tier,
        workload=Workload.TRAINING,
        gpu_model="A100",
        gpus=gpus,
        power_kw=gpus * mean_w / W_PER_KW,
        relief_kw=tuple(relief),
        max_w=TRAINING_MAX_W,
    )


def costs(measured: Measured) -> dict[Tier, Cost]:
    """Return what a MWh of each tier costs, priced by the functions of `bidding.pricing`, cheapest tier first."""
    found = {tier: tokens_per_mwh((pool_of(tier, measured),), COSTS[tier]) or Decimal(0) for tier in TIERS}
    return {
        tier: Cost(round_up(price_of(tokens, COSTS[tier], Decimal(0)), CENT), tokens) for tier, tokens in found.items()
    }


def energy_mwh(measured: Measured) -> dict[Tier, Decimal]:
    """Return the most that each tier may let go a day, MWh, rounded down to a tenth."""
    training_kw = TRAINING_GPUS * _mean_training_w(measured) / W_PER_KW
    shares = measured.demand.reshape(len(measured.demand), DAY_HOURS, WINDOWS_AN_HOUR).max(axis=2)
    batch_kw = _batch_kw(measured, float(shares.mean()))
    mean_kw = {Tier.T3: training_kw, Tier.T2: batch_kw}
    return {tier: contract_mw(kw * CATCH_UP_HOURS[tier], Decimal("0.1")) for tier, kw in mean_kw.items()}


def _mean_training_w(measured: Measured) -> float:
    levels: Sequence[float] = np.linspace(0.0, 1.0, len(measured.training_w)).tolist()
    return float(np.mean([training_relief_w(measured, level) for level in levels]))


def simulate(measured: Measured, first: date, last: date, timezone: str, seed: str) -> Site:
    """Return the site over the local days from *first* to *last*, both included: simulated."""
    days = (first + DAY * number for number in range((last - first).days + 1))
    kw = {
        hour.start: dict(zip(TIERS, found.kw, strict=True))
        for day in days
        for hour, found in flexible(measured, day, timezone, seed).items()
    }
    return Site(timezone=timezone, kw=kw, costs=costs(measured), energy_mwh=energy_mwh(measured))
