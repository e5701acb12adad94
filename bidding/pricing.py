"""
What a MWh of reduction costs in tokens. Pure.

Capping a pool costs throughput; the model is the published one: piecewise linear in x = cap ÷ uncapped draw, from the
A40 training sweep of Zeus (NSDI '23: 300 W GPU, caps 300 to 100 W). It is an assumption for every other GPU and for
inference until the curve has been learned on site. Part of the tokens may only be late, not lost (`deferrable_share`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal
from itertools import pairwise

import msgspec

from bidding.capacity import pool_relief_kw
from pipeline.messages.telemetry import PoolLoad, Tier
from pipeline.tiers import FLOOR_SHARE
from pipeline.units import W_PER_KW

SECONDS_PER_HOUR = 3600.0
KW_PER_MW = 1000.0
TOKEN_UNIT = Decimal(1_000_000)

#: (cap ÷ uncapped draw, share of throughput kept), Zeus A40 sweep; below its lowest cap a straight line to nothing.
THROUGHPUT: tuple[tuple[float, float], ...] = (
    (0.0, 0.0),
    (0.40, 0.25),
    (0.46, 0.40),
    (0.55, 0.60),
    (0.63, 0.77),
    (0.71, 0.91),
    (0.79, 0.94),
    (0.87, 0.97),
    (1.0, 1.0),
)


class TierCost(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``[bidding.tiers.T1]`` …: what a tier's tokens are worth and what a cut costs beside them, in the currency."""

    price_per_million_tokens: Decimal
    deferrable_share: Decimal = Decimal(0)
    """Share of the tokens forgone that is produced later instead, 0 to 1."""
    service_credit_per_mwh: Decimal = Decimal(0)
    restart_cost_per_mwh: Decimal = Decimal(0)
    tokens_per_mwh_unmetered: Decimal | None = None
    """Assumed for pools whose tokens nobody counts; left out, such pools are not sold."""


@dataclass(frozen=True)
class StepPrice:
    """A step's price and what stands behind it, per MWh of reduction."""

    tier: Tier
    price_per_mwh: Decimal
    tokens_forgone: Decimal
    token_cost: Decimal
    service_credit: Decimal
    restart_cost: Decimal


def throughput_kept(x: float) -> float:
    """Return the share of throughput left at *x* = cap ÷ uncapped draw, 0 to 1."""
    if x >= 1:
        return 1.0
    for (x0, kept0), (x1, kept1) in pairwise(THROUGHPUT):
        if x <= x1:
            return kept0 + (kept1 - kept0) * (max(x, x0) - x0) / (x1 - x0)
    return 1.0


def tokens_lost_per_s(pool: PoolLoad) -> float | None:
    """Return the tokens per second that the tier's floor cap takes from *pool*; None where nobody counts tokens."""
    if pool.tokens_per_s is None or pool.gpus <= 0 or not pool.power_kw > 0:
        return None
    draw_w = pool.power_kw * W_PER_KW / pool.gpus
    return pool.tokens_per_s * (1 - throughput_kept(FLOOR_SHARE[pool.tier] * pool.max_w / draw_w))


def sellable(pool: PoolLoad, costs: Mapping[Tier, TierCost], margin: Decimal, price_cap: Decimal) -> bool:
    """
    Return whether what *pool* lets go has a price, and one that the venue's cap allows.

    Decided pool by pool: a costly pool whose token counts are lost must not make its tier look cheap enough to sell.
    """
    cost = costs.get(pool.tier)
    if cost is None or (tokens_lost_per_s(pool) is None and cost.tokens_per_mwh_unmetered is None):
        return False
    tokens = tokens_per_mwh((pool,), cost)
    return tokens is not None and price_of(tokens, cost, margin) <= price_cap


def tokens_per_mwh(pools: Sequence[PoolLoad], cost: TierCost) -> Decimal | None:
    """
    Return the tokens that a MWh let go by *pools* (one tier) costs; None when they let go nothing, or next to it.

    900 tokens/s lost for 100 kW let go is 900 × 3600 s over 0.1 MWh: 32.4 million tokens per MWh.
    """
    relief_mw = sum(pool_relief_kw(pool) for pool in pools) / KW_PER_MW
    if not relief_mw > 0:
        return None
    tokens_per_h = 0.0
    for pool in pools:
        lost_per_s = tokens_lost_per_s(pool)
        if lost_per_s is not None:
            tokens_per_h += lost_per_s * SECONDS_PER_HOUR
        elif cost.tokens_per_mwh_unmetered is not None:
            tokens_per_h += float(cost.tokens_per_mwh_unmetered) * pool_relief_kw(pool) / KW_PER_MW
    tokens = tokens_per_h / relief_mw
    return Decimal(repr(round(tokens, 1))) if math.isfinite(tokens) else None


def token_cost_of(tokens: Decimal, cost: TierCost) -> Decimal:
    """Return what *tokens* forgone are worth, those only deferred left out."""
    return tokens / TOKEN_UNIT * cost.price_per_million_tokens * (1 - cost.deferrable_share)


def price_of(tokens: Decimal, cost: TierCost, margin: Decimal) -> Decimal:
    """
    Return the price of a MWh that costs *tokens*, not rounded.

    10 million tokens at 2 $ per million, half of them deferrable, 5 $ credits, 1 $ restarts, margin 10 %:
    (10 + 5 + 1) × 1.1 = 17.60 $/MWh.
    """
    return (token_cost_of(tokens, cost) + cost.service_credit_per_mwh + cost.restart_cost_per_mwh) * (1 + margin)


def step_price(tier: Tier, tokens: Decimal, cost: TierCost, margin: Decimal, tick: Decimal) -> StepPrice:
    """Return the price of a MWh from *tier*, rounded up to *tick*: never sold below cost."""
    return StepPrice(
        tier=tier,
        price_per_mwh=round_up(price_of(tokens, cost, margin), tick),
        tokens_forgone=tokens,
        token_cost=token_cost_of(tokens, cost).quantize(Decimal("0.01"), ROUND_CEILING),
        service_credit=cost.service_credit_per_mwh,
        restart_cost=cost.restart_cost_per_mwh,
    )


def round_up(price: Decimal, tick: Decimal) -> Decimal:
    """Return the lowest multiple of *tick* that is not below *price*."""
    return (price / tick).to_integral_value(ROUND_CEILING) * tick
