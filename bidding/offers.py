"""
From capacity messages, a baseline and a venue's rules to an offer, or to the reasons why there is none. Pure.

    capacity window ─▶ firm kW by tier ─▶ blocks of MW, rounded down ─┐
    tokens and power ─▶ cost per MWh by tier ─▶ ticks, rounded up ────┴─▶ steps, cheapest first

Quantities are rounded on the cumulated curve, so that neither a step nor the sum exceeds what is firm.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

import msgspec

from bidding.capacity import ORDER, Finding, Firm, Window, empty_slots, firm_kw, trusted_share
from bidding.pricing import StepPrice, TierCost, sellable, step_price, tokens_per_mwh
from bidding.products import Rules
from pipeline.interval import Interval
from pipeline.messages.market import Offer, OfferStep
from pipeline.messages.telemetry import SiteCapacity, Tier
from pipeline.units import contract_mw


@dataclass(frozen=True)
class Terms:
    """What the owner of the resource decided."""

    resource: str
    site: str
    costs: Mapping[Tier, TierCost]
    """A tier that is not in it is never sold."""
    margin: Decimal
    """On top of cost, as a share of it."""
    window: Window


@dataclass(frozen=True)
class NoOffer:
    """Nothing is offered for this interval now, and why."""

    interval: Interval
    findings: tuple[Finding, ...]
    product: str = ""
    """Empty where there is but one."""

    def __str__(self) -> str:
        return "; ".join(map(str, self.findings))


def offer_id(resource: str, venue: str, product: str, interval: Interval, revision: int) -> str:
    """Return the offer's natural key as a hash, so that a retry is the same offer."""
    parts = (resource, venue, product, interval.start.isoformat(), str(revision))
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def build(
    messages: Sequence[SiteCapacity],
    baseline_kw: float,
    rules: Rules,
    *,
    interval: Interval,
    terms: Terms,
    now: datetime,
    revision: int = 1,
) -> Offer | NoOffer:
    """
    Return what can be offered for *interval* at *now*, or why nothing can.

    No message removed, delayed, lowered or made NaN raises the quantity; it never exceeds the measured relief.
    """
    for_sale = [only_sellable(message, rules, terms) for message in messages]
    fresh = newest_first(for_sale, terms.window, now)
    if not fresh:
        return no_offer(interval, "halted", f"no whole capacity message younger than {terms.window.max_age}")
    if not math.isfinite(baseline_kw):
        return no_offer(interval, "baseline", "the baseline is not a number")
    prices = prices_by_tier(fresh, rules, terms)
    if not prices:
        return no_offer(interval, "price", "no tier lets anything go at a price between the venue's floor and cap")
    firm = firm_kw(for_sale, terms.window, baseline_kw, now, tuple(prices))
    steps = curve(firm, prices, rules)
    if not steps and (empty := empty_slots(messages, terms.window, now)):
        return no_offer(interval, "window", f"{empty} of {terms.window.slots} slots of capacity history are empty")
    if not steps:
        return no_offer(interval, "minimum", f"{firm.total_kw:.1f} kW firm is below the venue's {rules.min_mw} MW")
    return Offer(
        offer_id=offer_id(terms.resource, rules.venue, rules.product, interval, revision),
        resource=terms.resource,
        site=terms.site,
        venue=rules.venue,
        product=rules.product,
        interval=interval,
        revision=revision,
        steps=steps,
        currency=rules.currency,
        as_of=now,
        baseline_method=rules.baseline_method,
        baseline_kw=baseline_kw,
        firm_kw=firm.total_kw,
        confidence=terms.window.confidence,
        simulated=rules.simulated or any(message.simulated for message in messages),
    )


def no_offer(interval: Interval, name: str, detail: str) -> NoOffer:
    """Return the refusal with its one reason."""
    return NoOffer(interval, (Finding(name, detail),))


def newest_first(messages: Sequence[SiteCapacity], window: Window, now: datetime) -> list[SiteCapacity]:
    """Return the messages that are fresh at *now* and whole enough to price with."""
    fresh = (m for m in messages if now - window.max_age < m.as_of <= now and trusted_share(m) > 0)
    return sorted(fresh, key=lambda message: message.as_of, reverse=True)


def only_sellable(message: SiteCapacity, rules: Rules, terms: Terms) -> SiteCapacity:
    """Return *message* with only the pools that may be sold; the load stays whole."""
    pools = tuple(p for p in message.pools if sellable(p, terms.costs, terms.margin, rules.price_cap))
    return msgspec.structs.replace(message, pools=pools)


def prices_by_tier(fresh: Sequence[SiteCapacity], rules: Rules, terms: Terms) -> dict[Tier, StepPrice]:
    """Return the sellable tiers as they are let go, each at its newest price, prices never falling."""
    prices: dict[Tier, StepPrice] = {}
    at_least = rules.price_floor
    for tier in ORDER:
        pools = next((found for m in fresh if (found := [p for p in m.pools if p.tier is tier])), [])
        tokens = tokens_per_mwh(pools, terms.costs[tier]) if pools else None
        if tokens is None:
            continue
        price = step_price(tier, tokens, terms.costs[tier], terms.margin, rules.price_tick)
        at_least = min(max(price.price_per_mwh, at_least), rules.price_cap)
        prices[tier] = replace(price, price_per_mwh=at_least)
    return prices


def curve(firm: Firm, prices: Mapping[Tier, StepPrice], rules: Rules) -> tuple[OfferStep, ...]:
    """
    Return the price-quantity steps, cheapest first; none when all together are below the venue's minimum.

    A first step below the minimum joins the next, dearer one, and so does the cheapest when there are more steps than
    the venue takes: joined power is sold at the dearer price, never below its cost. The minimum is of the offer, so a
    small last step stands by itself and does not make the cheap power before it dear.
    """
    totals = [contract_mw(power_kw, rules.block_mw) for power_kw in firm.cumulative_kw]
    steps: list[tuple[Decimal, StepPrice]] = []
    sold = Decimal(0)
    for tier, total in zip(firm.tiers, totals, strict=True):
        if total > sold:
            steps.append((total - sold, prices[tier]))
            sold = total
    if not steps or sold < rules.min_mw:
        return ()
    return tuple(offer_step(quantity, price) for quantity, price in merged(steps, rules))


def merged(steps: Sequence[tuple[Decimal, StepPrice]], rules: Rules) -> list[tuple[Decimal, StepPrice]]:
    """Join neighbours at the dearer price until the first has the minimum and there are not too many."""
    joined: list[tuple[Decimal, StepPrice]] = []
    for quantity, price in steps:
        too_small = len(joined) == 1 and joined[0][0] < rules.min_mw
        if joined and (too_small or joined[-1][1].price_per_mwh == price.price_per_mwh):
            joined[-1] = (joined[-1][0] + quantity, price)
        else:
            joined.append((quantity, price))
    while len(joined) > rules.max_steps:
        joined[:2] = [(joined[0][0] + joined[1][0], joined[1][1])]
    return joined


def offer_step(quantity_mw: Decimal, price: StepPrice) -> OfferStep:
    """Return the step as the venue and the desk see it."""
    return OfferStep(
        quantity_mw=quantity_mw,
        price_per_mwh=price.price_per_mwh,
        tier=price.tier,
        tokens_forgone_per_mwh=price.tokens_forgone,
        token_cost_per_mwh=price.token_cost,
        service_credit_per_mwh=price.service_credit,
        restart_cost_per_mwh=price.restart_cost,
    )
