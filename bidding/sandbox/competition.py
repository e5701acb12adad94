"""
Who else bids where several products clear together. Simulated, the same for the same seed.

    bidder   energy 0.40 MW ───┐
             spin 0.12 MW ─────┼── together at most 0.50 MW, reserves at most ramp × response time
             reg-up 0.08 MW ───┘
"""

import math
from collections.abc import Sequence
from decimal import Decimal

from bidding.sandbox.clearing import BIDDER_MW, BIDDER_PRICE, BIDDERS, DEMAND_SHARE, between
from bidding.sandbox.coclearing import Bid, Limits
from bidding.sandbox.rules import Family, Rules

#: Made up, like the market. Power in all products is what a bidder sells as energy and a quarter more, so that a
#: requirement can mostly be met without touching energy, and sometimes not.
CAPACITY_OF_ENERGY = Decimal("1.25")
RAMP_MW_PER_MIN = (Decimal("0.02"), Decimal("0.20"))
RESERVE_SHARE = (Decimal("0.10"), Decimal("0.30"))
"""Of a bidder's energy, offered in each reserve."""
REQUIREMENT_SHARE = (Decimal("0.10"), Decimal("0.25"))
"""Of what is offered in it, required of each reserve."""
RESERVE_PRICE: dict[Family, tuple[Decimal, Decimal]] = {
    Family.SPINNING: (Decimal(2), Decimal(30)),
    Family.NON_SPINNING: (Decimal(1), Decimal(15)),
    Family.REGULATION_UP: (Decimal(4), Decimal(45)),
    Family.REGULATION_DOWN: (Decimal(2), Decimal(25)),
    Family.FAST: (Decimal(5), Decimal(40)),
    Family.CONTINGENCY: (Decimal(2), Decimal(25)),
}
_ANY_PRICE = (Decimal(1), Decimal(20))
SMALLEST_MW = Decimal("0.1")
"""The minimum for which the figures above are made."""
_CENT = Decimal("0.01")


def draw_name(product: str, start: str, default: str) -> str:
    """Return what names an interval in draws: of the default product its start alone."""
    return start if product == default else f"{product}|{start}"


def scale(session: Sequence[Rules]) -> int:
    """Return how many times larger the competition is where the smallest offer is larger than 0.1 MW."""
    return max(1, *(math.ceil(rules.min_mw / SMALLEST_MW) for rules in session))


def simulated(session: Sequence[Rules], seed: int, name: str) -> tuple[list[Bid], dict[str, Limits]]:
    """Return the simulated bids for the products of *session* in the interval *name*, and what limits each bidder."""
    bids: list[Bid] = []
    limits: dict[str, Limits] = {}
    size = scale(session)
    for number in range(BIDDERS):
        bidder = f"simulated-{number}"
        energy_mw = between(BIDDER_MW, seed, f"mw|{name}|{number}") * size
        limits[bidder] = Limits(
            capacity_mw=(energy_mw * CAPACITY_OF_ENERGY).quantize(_CENT),
            ramp_mw_per_min=between(RAMP_MW_PER_MIN, seed, f"ramp|{name}|{number}") * size,
        )
        bids += [_bid(rules, bidder, energy_mw, seed, f"{name}|{number}") for rules in session]
    return bids, limits


def _bid(rules: Rules, bidder: str, energy_mw: Decimal, seed: int, name: str) -> Bid:
    if rules.family is Family.ENERGY:
        return Bid(bidder, rules.product, energy_mw, _priced(rules, between(BIDDER_PRICE, seed, f"price|{name}")))
    share = between(RESERVE_SHARE, seed, f"share|{rules.product}|{name}")
    price = between(RESERVE_PRICE.get(rules.family, _ANY_PRICE), seed, f"price|{rules.product}|{name}")
    return Bid(bidder, rules.product, (energy_mw * share).quantize(_CENT), _priced(rules, price))


def _priced(rules: Rules, price: Decimal) -> Decimal:
    return min(max(price, rules.price_floor), rules.price_cap)


def requirements(session: Sequence[Rules], bids: Sequence[Bid], seed: int, name: str) -> dict[str, Decimal]:
    """Return by product what is wanted, MW: a share of what the others offer."""
    wanted = {}
    for rules in session:
        supply = sum((bid.mw for bid in bids if bid.product == rules.product), Decimal(0))
        energy = rules.family is Family.ENERGY
        drawn = f"demand|{name}" if energy else f"demand|{rules.product}|{name}"
        wanted[rules.product] = (supply * between(DEMAND_SHARE if energy else REQUIREMENT_SHARE, seed, drawn)).quantize(
            _CENT
        )
    return wanted
