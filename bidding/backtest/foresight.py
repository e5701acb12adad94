"""
What a day could have been worth to someone who knew it: an upper bound under the same constraints. Pure.

Tier by tier it is a linear knapsack of the day's energy. An hour's power can stand idle, stand ready as reserve or run
as energy, in any mixture; each choice uses energy and earns, and what is better than any mixture of the others makes a
concave curve. Its pieces are taken over all hours by what they earn per MWh until the energy is used up: exact, and it
shares nothing with the optimiser, whose blocks, least quantities and steps it ignores.

    earned │      ╭──● energy          pieces of an hour: the hull of the choices
           │   ●──╯  reserve, called
           │ ╱  ○ not on the hull
           └──────────── MWh used
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from bidding.backtest.day import NOTHING, Cost, Outcome, Truth, total
from bidding.portfolio.model import is_energy
from bidding.products import Rules
from pipeline.interval import Interval
from pipeline.messages.telemetry import Tier
from pipeline.units import KW_PER_MW


@dataclass(frozen=True)
class Choice:
    """What one MW can do in an hour: energy it uses, MWh, and what comes of it."""

    used: Decimal
    outcome: Outcome

    @property
    def value(self) -> Decimal:
        """What it earns."""
        return self.outcome.value


@dataclass(frozen=True)
class Piece:
    """From one choice to a better one, for all of an hour's power."""

    hour: Interval
    power_mw: Decimal
    before: Choice
    after: Choice

    @property
    def used(self) -> Decimal:
        """Energy that it adds, MWh a MW."""
        return self.after.used - self.before.used

    @property
    def worth(self) -> Decimal:
        """What it adds per MWh that it uses; without bound where it uses none."""
        return (self.after.value - self.before.value) / self.used if self.used else Decimal("Infinity")


def bound(truth: Truth, products: Mapping[str, Rules], costs: Mapping[Tier, Cost]) -> Outcome:
    """Return the best that the day allowed. Its hours count each tier's by themselves, at most once an hour."""
    taken = [entry for tier, cost in costs.items() for entry in _tier(tier, cost, truth, products)]
    hours = {hour for hour, outcome in taken if outcome.sold_mwh > 0}
    calls = {hour for hour in hours if hour in truth.called_h and _reserve_sold(hour, taken)}
    sum_of = total(outcome for _, outcome in taken)
    return sum_of + Outcome(hours_sold=len(hours), calls=len(calls))


def _reserve_sold(hour: Interval, taken: list[tuple[Interval, Outcome]]) -> bool:
    mine = total(outcome for at, outcome in taken if at == hour)
    return mine.sold_mwh > mine.sold_energy_mwh


def _tier(tier: Tier, cost: Cost, truth: Truth, products: Mapping[str, Rules]) -> Iterator[tuple[Interval, Outcome]]:
    pieces = [piece for hour in truth.hours for piece in _pieces(hour, tier, cost, truth, products)]
    left = truth.energy_mwh.get(tier)
    for piece in sorted(pieces, key=lambda piece: (-piece.worth, piece.hour)):
        power = piece.power_mw
        if left is not None and piece.used > 0:
            power = min(power, left / piece.used)
            left -= power * piece.used
        yield piece.hour, _scaled(piece.after.outcome, power) + _scaled(piece.before.outcome, -power)


def _pieces(hour: Interval, tier: Tier, cost: Cost, truth: Truth, products: Mapping[str, Rules]) -> Iterator[Piece]:
    power_kw = truth.available_kw.get(hour, {}).get(tier, 0.0)
    if not power_kw > 0:
        return
    power_mw = Decimal(repr(power_kw)) / KW_PER_MW
    at = Choice(NOTHING, Outcome())
    choices = [
        _choice(rules, price, cost, truth.called_h.get(hour, NOTHING)) for rules, price in _sold(hour, truth, products)
    ]
    while better := [choice for choice in choices if choice.value > at.value and choice.used >= at.used]:
        best = max(better, key=lambda choice: (Piece(hour, power_mw, at, choice).worth, choice.value))
        yield Piece(hour, power_mw, at, best)
        at = best


def _sold(hour: Interval, truth: Truth, products: Mapping[str, Rules]) -> Iterator[tuple[Rules, Decimal]]:
    for product, rules in products.items():
        price = truth.price.get(product, {}).get(hour)
        if price is not None:
            yield rules, price


def _choice(rules: Rules, price: Decimal, cost: Cost, called_h: Decimal) -> Choice:
    used = Decimal(1) if is_energy(rules) else called_h
    outcome = Outcome(
        revenue=price,
        cost=used * cost.per_mwh,
        sold_mwh=Decimal(1),
        sold_energy_mwh=Decimal(1) if is_energy(rules) else NOTHING,
        delivered_mwh=used,
        tokens=used * cost.tokens_per_mwh,
    )
    return Choice(used, outcome)


def _scaled(outcome: Outcome, by: Decimal) -> Outcome:
    return Outcome(
        revenue=outcome.revenue * by,
        cost=outcome.cost * by,
        sold_mwh=outcome.sold_mwh * by,
        sold_energy_mwh=outcome.sold_energy_mwh * by,
        delivered_mwh=outcome.delivered_mwh * by,
        tokens=outcome.tokens * by,
    )
