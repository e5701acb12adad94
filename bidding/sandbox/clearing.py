"""
Uniform-price clearing of offered reductions against a demand for reduction. Pure, exact.

    price │        ┌──── 900
          │   ┌────┘ ← marginal step: sets the price, accepted in part
      300 │───┘
          └────────│──── MW
                 demand
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import groupby

from bidding.sandbox.draws import uniform


@dataclass(frozen=True)
class Step:
    """What a bidder would let go at a price per MWh."""

    bidder: str
    mw: Decimal
    price: Decimal


@dataclass(frozen=True)
class Clearing:
    """Who was bought, at which one price."""

    price: Decimal | None
    """The marginal accepted step's price; None where nothing was bought."""
    bought_mw: dict[str, Fraction]
    """By bidder, exact; only those bought from."""

    def award_mw(self, bidder: str, block_mw: Decimal) -> Decimal:
        """Return what *bidder* is awarded, rounded down to whole blocks."""
        return block_mw * (self.bought_mw.get(bidder, Fraction(0)) // Fraction(block_mw))


def clear(steps: Sequence[Step], demand_mw: Decimal) -> Clearing:
    """Buy *demand_mw* from the cheapest *steps*; those at the marginal price share pro rata."""
    left, price = Fraction(demand_mw), None
    bought: dict[str, Fraction] = {}
    for level, group in groupby(sorted(steps, key=lambda step: step.price), key=lambda step: step.price):
        if left <= 0:
            break
        at_level = list(group)
        supply = sum(Fraction(step.mw) for step in at_level)
        share = min(Fraction(1), left / supply)
        for step in at_level:
            bought[step.bidder] = bought.get(step.bidder, Fraction(0)) + share * Fraction(step.mw)
        left -= share * supply
        price = level
    return Clearing(price, bought)


#: The simulated competition. Chosen so that a few hundred kW at 50 to 700 $/MWh are bought and the dearest step of a
#: curve is not always: the marginal price lies mostly between 700 and 1500 $/MWh. Made up, like the market.
BIDDERS = 20
BIDDER_MW = (Decimal("0.10"), Decimal("0.80"))
BIDDER_PRICE = (Decimal(100), Decimal(1600))
DEMAND_SHARE = (Decimal("0.40"), Decimal("0.95"))
_CENT = Decimal("0.01")


def between(bounds: tuple[Decimal, Decimal], seed: int, name: str) -> Decimal:
    """Return a draw within *bounds*, to the hundredth."""
    low, high = bounds
    return (low + (high - low) * Decimal(uniform(seed, name))).quantize(_CENT)


def other_bidders(seed: int, interval: str, scale: int = 1) -> tuple[Step, ...]:
    """Return the simulated supply for *interval* (any text that names it), *scale* times as large: the same by seed."""
    return tuple(
        Step(
            f"simulated-{number}",
            between(BIDDER_MW, seed, f"mw|{interval}|{number}") * scale,
            between(BIDDER_PRICE, seed, f"price|{interval}|{number}"),
        )
        for number in range(BIDDERS)
    )


def demand(seed: int, interval: str, scale: int = 1) -> Decimal:
    """Return the simulated demand for reduction in *interval*, MW: a share of what the others offer."""
    supply = sum((step.mw for step in other_bidders(seed, interval, scale)), Decimal(0))
    return (supply * between(DEMAND_SHARE, seed, f"demand|{interval}")).quantize(_CENT)
