"""
From what the pipeline publishes to what can be let go over the plan's intervals. Pure.

Capacity messages say what is there now: the firm power of the window stands for every interval, which is an assumption
and said so. They carry no quantiles, so there is one confidence, the window's; and no learned price of a token, so the
throughput curve of `bidding.pricing` stands in. Prices are per pool and tier, as the single-product builder's are.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal

from bidding.capacity import ORDER, Finding, empty_slots, firm_kw
from bidding.offers import Terms, newest_first, only_sellable
from bidding.portfolio.model import Flexibility, Slot, Step
from bidding.pricing import TierCost, token_cost_of, tokens_per_mwh
from bidding.products import Rules
from pipeline.interval import Interval
from pipeline.messages.telemetry import SiteCapacity, Tier

NOW_FOR_LATER = "the firm power of now stands for every interval of the plan"
CURVE = "tokens lost by capping: throughput curve of the Zeus A40 sweep, not learned on this site"
UNMETERED = "tokens of pools that nobody counts: the settings' figure"


@dataclass(frozen=True)
class SiteLimits:
    """What no telemetry says: the owner's figures. None: no limit."""

    deferrable_mwh: float | None = None
    """Per local day, all that is promised called in full: what can be caught up later."""
    tier_mwh: Mapping[Tier, float] = field(default_factory=dict)
    """Per local day and tier."""
    ramp_kw_per_min: float | None = None
    recovery_s: float = 0.0
    min_run_s: float = 0.0
    max_run_s: float | None = None
    max_calls_per_day: int | None = None
    up_kw: float = 0.0
    """Load that can be taken on."""
    up_cost_per_mwh: Decimal = Decimal(0)


@dataclass(frozen=True)
class Found:
    """What can be let go, and what a reader should know of it."""

    flexibility: Flexibility
    findings: tuple[Finding, ...] = ()
    """Why there is nothing, where there is nothing."""


@dataclass(frozen=True)
class Telemetry:
    """Capacity messages, and the baseline of each interval that they are held against."""

    messages: Sequence[SiteCapacity]
    baseline_kw: Callable[[Interval], float]
    now: datetime


def of_site(
    telemetry: Telemetry,
    intervals: Sequence[Interval],
    terms: Terms,
    products: Sequence[Rules],
    limits: SiteLimits = SiteLimits(),
) -> Found:
    """
    Return the flexibility that *telemetry* shows, for each of *intervals*.

    A pool is for sale if any of *products* could pay for it. No message removed, delayed, lowered or made NaN raises
    any step: quantities are `bidding.capacity.firm_kw`'s.
    """
    cap = max((rules.price_cap for rules in products), default=Decimal(0))
    dearest = _widest(products, cap)
    if dearest is None:
        return Found(_limited((), limits, ()), (Finding("products", "there is no product to sell as"),))
    for_sale = [only_sellable(message, dearest, terms) for message in telemetry.messages]
    fresh = newest_first(for_sale, terms.window, telemetry.now)
    if not fresh:
        reason = Finding("halted", f"no whole capacity message younger than {terms.window.max_age}")
        return Found(_limited((), limits, ()), (reason,))
    costs = costs_by_tier(fresh, terms)
    if not costs:
        return Found(_limited((), limits, ()), (Finding("price", "no tier has a price that a product would pay"),))
    sellable = replace(telemetry, messages=for_sale)
    slots = tuple(_slot(interval, sellable, terms, costs, limits.up_kw) for interval in intervals)
    findings: tuple[Finding, ...] = ()
    if not any(step.power_kw > 0 for slot in slots for step in slot.steps):
        empty = empty_slots(telemetry.messages, terms.window, telemetry.now)
        text = f"nothing is firm; {empty} of {terms.window.slots} slots of capacity history are empty"
        findings = (Finding("window", text),)
    return Found(_limited(slots, limits, assumptions(fresh, terms)), findings)


def _widest(products: Sequence[Rules], cap: Decimal) -> Rules | None:
    """Return the product with the highest cap: what it could not pay for nothing can."""
    return next((rules for rules in products if rules.price_cap == cap), None)


def _slot(interval: Interval, telemetry: Telemetry, terms: Terms, costs: dict[Tier, Step], up_kw: float) -> Slot:
    """Return one interval's steps; none where its baseline is not a number."""
    baseline_kw = telemetry.baseline_kw(interval)
    if not math.isfinite(baseline_kw):
        return Slot(interval=interval)
    firm = firm_kw(telemetry.messages, terms.window, baseline_kw, telemetry.now, tuple(costs))
    steps, below = [], 0.0
    for tier, upto in zip(firm.tiers, firm.cumulative_kw, strict=True):
        steps.append(costs[tier].model_copy(update={"firm_kw": max(0.0, upto - below)}))
        below = max(below, upto)
    return Slot(interval=interval, steps=tuple(steps), up_kw=up_kw)


def costs_by_tier(fresh: Sequence[SiteCapacity], terms: Terms) -> dict[Tier, Step]:
    """Return a step without power for each tier for sale, each at its newest cost, in the order they are let go."""
    found: dict[Tier, Step] = {}
    for tier in ORDER:
        pools = next((pools for m in fresh if (pools := [p for p in m.pools if p.tier is tier])), [])
        tokens = tokens_per_mwh(pools, terms.costs[tier]) if pools else None
        if tokens is not None:
            found[tier] = _costed(tier, tokens, terms.costs[tier], terms.window.confidence)
    return found


def _costed(tier: Tier, tokens: Decimal, cost: TierCost, confidence: float) -> Step:
    return Step(
        tier=tier,
        confidence=confidence,
        firm_kw=0.0,
        tokens_per_mwh=tokens,
        token_cost_per_mwh=token_cost_of(tokens, cost),
        service_credit_per_mwh=cost.service_credit_per_mwh,
        restart_cost_per_mwh=cost.restart_cost_per_mwh,
    )


def assumptions(fresh: Sequence[SiteCapacity], terms: Terms) -> tuple[str, ...]:
    """Return in words what the figures rest on beside measurement."""
    said = [NOW_FOR_LATER, f"one confidence, {terms.window.confidence:.0%}: the pipeline publishes no quantiles", CURVE]
    if any(pool.tokens_per_s is None for message in fresh for pool in message.pools):
        said.append(UNMETERED)
    if any(message.simulated for message in fresh):
        said.append("telemetry is simulated")
    return tuple(said)


def _limited(slots: tuple[Slot, ...], limits: SiteLimits, said: tuple[str, ...]) -> Flexibility:
    return Flexibility(
        slots=slots,
        energy_mwh=limits.tier_mwh,
        all_called_mwh=limits.deferrable_mwh,
        ramp_kw_per_min=limits.ramp_kw_per_min,
        recovery_s=limits.recovery_s,
        min_run_s=limits.min_run_s,
        max_run_s=limits.max_run_s,
        max_calls_per_day=limits.max_calls_per_day,
        up_cost_per_mwh=limits.up_cost_per_mwh,
        assumptions=said,
    )
