"""
From a plan to offers as venues take them: one for each market interval, curves joined and sorted, natural keys. Pure.

The plan's interval may hold several of the product's: each gets the same curve. Steps of equal price become one. Where
a curve has fewer steps than that, neighbours are joined at the dearer price, never below a step's cost.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from bidding.offers import offer_id
from bidding.portfolio.grid import slot_of
from bidding.portfolio.levels import max_steps
from bidding.portfolio.model import Plan, Planned, PlannedStep, Problem, is_up
from bidding.products import Rules, Shape
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep


@dataclass(frozen=True)
class Figures:
    """What an offer says beside its curve."""

    as_of: datetime
    """Nothing known after this instant went into the plan."""
    baseline_kw: Callable[[Interval], float]
    """Of a market interval."""
    revision: Callable[[str, Interval], int] = lambda _product, _interval: 1
    """The revision that an offer of that product and interval is to have."""
    simulated: bool = False
    """Telemetry is; prices and venues say so themselves."""


def offers(plan: Plan, problem: Problem, figures: Figures) -> tuple[Offer, ...]:
    """Return the offers that *plan* makes, by product and interval."""
    return tuple(
        offer
        for planned in plan.offers
        for interval in planned.interval.split(problem.products[planned.product].interval)
        if (offer := _offer(planned, interval, problem, figures)) is not None
    )


def _offer(planned: Planned, interval: Interval, problem: Problem, figures: Figures) -> Offer | None:
    """Return the offer of one market interval, None where its quantity is below the product's minimum."""
    rules = problem.products[planned.product]
    steps = curve(planned.steps, rules)
    if sum((step.quantity_mw for step in steps), Decimal(0)) < rules.min_mw:
        return None
    revision = figures.revision(planned.product, interval)
    return Offer(
        offer_id=offer_id(problem.resource, rules.venue, rules.product, interval, revision),
        resource=problem.resource,
        site=problem.site,
        venue=rules.venue,
        product=rules.product,
        interval=interval,
        revision=revision,
        steps=steps,
        currency=rules.currency,
        as_of=figures.as_of,
        baseline_method=rules.baseline_method,
        baseline_kw=figures.baseline_kw(interval),
        firm_kw=firm_kw(planned, problem),
        confidence=min(step.confidence for step in planned.steps),
        simulated=figures.simulated or rules.simulated or problem.prices.simulated,
    )


def firm_kw(planned: Planned, problem: Problem) -> float:
    """Return what the offer is cut from, kW: all power of its interval that is as firm as its least firm step."""
    slot = slot_of(problem.flexibility, planned.interval)
    if slot is None:
        return 0.0
    if is_up(problem.products[planned.product]):
        return slot.up_kw
    least = min(step.confidence for step in planned.steps)
    return sum(step.power_kw for step in slot.steps if step.confidence >= least)


def curve(steps: Sequence[PlannedStep], rules: Rules) -> tuple[OfferStep, ...]:
    """
    Return the steps in the product's order: prices rising for an offer, falling for a bid to buy the load instead.

    A bid that buys the dear megawatts first and the cheap ones last lets go, at any price, what the offer would.
    """
    joined: list[PlannedStep] = []
    for step in sorted(steps, key=lambda one: (one.price_per_mwh, one.cost_per_mwh, one.tier, -one.confidence)):
        if joined and joined[-1].price_per_mwh == step.price_per_mwh:
            joined[-1] = _join(joined[-1], step)
        else:
            joined.append(step)
    while len(joined) > max_steps(rules):
        joined[:2] = [_join(joined[0], joined[1])]
    ordered = reversed(joined) if rules.shape is Shape.FALLING else joined
    return tuple(_offer_step(step) for step in ordered)


def _join(cheaper: PlannedStep, dearer: PlannedStep) -> PlannedStep:
    """Return both as one step, with the price, costs and tier of the dearer."""
    return dearer.model_copy(update={"quantity_mw": cheaper.quantity_mw + dearer.quantity_mw})


def _offer_step(step: PlannedStep) -> OfferStep:
    return OfferStep(
        quantity_mw=step.quantity_mw,
        price_per_mwh=step.price_per_mwh,
        tier=step.tier,
        tokens_forgone_per_mwh=step.tokens_per_mwh,
        token_cost_per_mwh=step.token_cost_per_mwh,
        service_credit_per_mwh=step.service_credit_per_mwh,
        restart_cost_per_mwh=step.restart_cost_per_mwh,
    )
