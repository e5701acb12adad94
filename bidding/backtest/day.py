"""
One day as it turned out, and what offers for it were worth: clearing, delivery, money. Pure.

    offers ─▶ clear: steps not above the price ─▶ deliver: what is there, hour by hour ─▶ money, tokens, shortfalls

Money as `bidding.portfolio.model` says, with two things it cannot know beforehand: what was really there, hour by hour,
and that a reserve is paid only for power that stood ready. That is stricter than a market, which pays phantom reserve
until it calls it; without it no bound from perfect foresight would hold.

What is owed is delivered from the tier that the step was sold from, then from what others have left, cheapest first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from decimal import Decimal

from bidding.portfolio.model import Planned, PlannedStep, is_energy
from bidding.products import Rules
from bidding.settlement import money
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW

NOTHING = Decimal(0)


@dataclass(frozen=True)
class Cost:
    """What a MWh of a tier costs and how many tokens it forgoes."""

    per_mwh: Decimal
    tokens_per_mwh: Decimal


@dataclass(frozen=True)
class Truth:
    """A day as it turned out. Hours in time order; an hour without a real price is not in it."""

    hours: tuple[Interval, ...]
    price: Mapping[str, Mapping[Interval, Decimal]]
    """By product: real clearing prices, of energy per MWh, of reserve per MW and hour."""
    called_h: Mapping[Interval, Decimal]
    """For how long reserve was called in an hour, hours; one that is not in it was not. Simulated."""
    available_kw: Mapping[Interval, Mapping[Tier, float]]
    """What could really be let go. Simulated."""
    energy_mwh: Mapping[Tier, Decimal]
    """Most that a tier may let go that day; a tier that is not in it is not bound."""


@dataclass(frozen=True)
class Outcome:
    """What a day came to. Energies MWh, money in the currency; sums add up over days."""

    revenue: Decimal = NOTHING
    penalty: Decimal = NOTHING
    """Positive: what was paid for power that was missing."""
    cost: Decimal = NOTHING
    """Tokens, credits and restarts of what was delivered."""
    sold_mwh: Decimal = NOTHING
    """Energy, and reserve by MW and hour."""
    sold_energy_mwh: Decimal = NOTHING
    delivered_mwh: Decimal = NOTHING
    """Energy let go, that of reserve calls included."""
    missing_mwh: Decimal = NOTHING
    """Energy owed and not there, and reserve that did not stand ready."""
    tokens: Decimal = NOTHING
    hours_sold: int = 0
    shortfalls: int = 0
    """Products and hours in which something was missing."""
    calls: int = 0
    """Hours in which reserve that was sold was called."""

    @property
    def value(self) -> Decimal:
        """Revenue less penalties less cost."""
        return self.revenue - self.penalty - self.cost

    def __add__(self, other: "Outcome") -> "Outcome":
        return Outcome(**{entry.name: getattr(self, entry.name) + getattr(other, entry.name) for entry in fields(self)})


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Return the sum of *outcomes*."""
    return sum(outcomes, Outcome())


def taken(offer: Planned, price: Decimal) -> tuple[PlannedStep, ...]:
    """Return the steps that the venue buys at a clearing *price*: those that are not above it, whole."""
    return tuple(step for step in offer.steps if step.price_per_mwh <= price)


@dataclass
class _Left:
    """What is left: power of one hour, energy of the day. The one thing here that changes."""

    power_mw: dict[Tier, Decimal] = field(default_factory=dict)
    energy_mwh: dict[Tier, Decimal] = field(default_factory=dict)

    def take(self, tier: Tier, wanted_mw: Decimal, hours: Decimal) -> Decimal:
        """Take power of *tier* for so many hours; return how much there was."""
        power = min(wanted_mw, self.power_mw.get(tier, NOTHING))
        if hours and tier in self.energy_mwh:
            power = min(power, self.energy_mwh[tier] / hours)
            self.energy_mwh[tier] -= power * hours
        if power:
            self.power_mw[tier] -= power
        return power


def settle(
    offers: Sequence[Planned], truth: Truth, products: Mapping[str, Rules], costs: Mapping[Tier, Cost]
) -> Outcome:
    """Return what *offers* came to on that day; offers for hours or products that it lacks count as not made."""
    left = _Left(energy_mwh=dict(truth.energy_mwh))
    by_hour: dict[Interval, list[Planned]] = {}
    for offer in offers:
        by_hour.setdefault(offer.interval, []).append(offer)
    return total(
        _hour(hour, by_hour[hour], truth, products=products, costs=costs, left=left)
        for hour in truth.hours
        if hour in by_hour
    )


def _hour(
    hour: Interval,
    offers: Sequence[Planned],
    truth: Truth,
    *,
    products: Mapping[str, Rules],
    costs: Mapping[Tier, Cost],
    left: _Left,
) -> Outcome:
    left.power_mw = {tier: _mw(kw) for tier, kw in truth.available_kw.get(hour, {}).items()}
    lines = []
    # What is sold as energy runs all hour; reserve has to stand ready beside it.
    for offer in sorted(offers, key=lambda offer: (not is_energy(products[offer.product]), offer.product)):
        price = truth.price.get(offer.product, {}).get(hour)
        if price is None or not (steps := taken(offer, price)):
            continue
        rules = products[offer.product]
        called_h = truth.called_h.get(hour, NOTHING)
        lines.append(
            _energy(steps, price, rules, costs, left)
            if is_energy(rules)
            else _reserve(steps, price, rules, costs, left, called_h=called_h)
        )
    found = total(lines)
    return found + Outcome(hours_sold=1) if lines else found


def _mw(power_kw: float) -> Decimal:
    return Decimal(repr(power_kw)) / KW_PER_MW if power_kw > 0 else NOTHING


def _deliver(
    steps: Sequence[PlannedStep], hours: Decimal, costs: Mapping[Tier, Cost], left: _Left
) -> dict[Tier, Decimal]:
    """Return the MW that there were, by tier; its energy is that times *hours*."""
    found: dict[Tier, Decimal] = {}
    missing = NOTHING
    for step in steps:
        power = left.take(step.tier, step.quantity_mw, hours)
        found[step.tier] = found.get(step.tier, NOTHING) + power
        missing += step.quantity_mw - power
    for tier in sorted(costs, key=lambda tier: costs[tier].per_mwh):
        power = left.take(tier, missing, hours)
        found[tier] = found.get(tier, NOTHING) + power
        missing -= power
    return found


def _energy(
    steps: Sequence[PlannedStep], price: Decimal, rules: Rules, costs: Mapping[Tier, Cost], left: _Left
) -> Outcome:
    """
    2 MW sold at 100 $, 1.5 MW there at 30 $, factor 1: 150 − 45 − 50 = 55 $.

    A negative price cannot be taken: no step is offered below its cost.
    """
    sold = sum((step.quantity_mw for step in steps), NOTHING)
    found = _deliver(steps, Decimal(1), costs, left)
    delivered = sum(found.values(), NOTHING)
    missing = sold - delivered
    return Outcome(
        revenue=money(delivered * price),
        penalty=money(missing * max(price, NOTHING) * rules.shortfall_factor),
        cost=money(sum((power * costs[tier].per_mwh for tier, power in found.items()), NOTHING)),
        sold_mwh=sold,
        sold_energy_mwh=sold,
        delivered_mwh=delivered,
        missing_mwh=missing,
        tokens=sum((power * costs[tier].tokens_per_mwh for tier, power in found.items()), NOTHING),
        shortfalls=int(missing > 0),
    )


def _reserve(
    steps: Sequence[PlannedStep],
    price: Decimal,
    rules: Rules,
    costs: Mapping[Tier, Cost],
    left: _Left,
    *,
    called_h: Decimal,
) -> Outcome:
    """
    2 MW sold at 10 $, called for a quarter of an hour, all there at 30 $: 20 − 0.5 MWh × 30 = 5 $.

    With 1.5 MW there nothing is paid for the hour, and 0.125 MWh short cost 0.125 × 10 × the factor. Not called, what
    stands ready is paid: 15 $.
    """
    sold = sum((step.quantity_mw for step in steps), NOTHING)
    found = _deliver(steps, called_h, costs, left)
    ready = sum(found.values(), NOTHING)
    missing = sold - ready
    failed = called_h > 0 and missing > 0
    return Outcome(
        revenue=NOTHING if failed else money(ready * price),
        penalty=money(missing * called_h * max(price, NOTHING) * rules.shortfall_factor),
        cost=money(sum((power * called_h * costs[tier].per_mwh for tier, power in found.items()), NOTHING)),
        sold_mwh=sold,
        delivered_mwh=ready * called_h,
        missing_mwh=missing if not called_h else missing * called_h,
        tokens=sum((power * called_h * costs[tier].tokens_per_mwh for tier, power in found.items()), NOTHING),
        shortfalls=int(missing > 0),
        calls=int(called_h > 0),
    )
