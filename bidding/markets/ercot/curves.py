"""
What ERCOT's curves say, and what ours do. Pure.

We sell reductions: *q1* MW for *p1* or more per MWh, *q2* more for *p2* ≥ *p1*, … A controllable load's RTM Energy Bid
says the same from the other side: what it would pay for each MW it goes on drawing. The MW that it gives up first is
the one it pays least for, and a bid never rises, so steps are laid from the dearest to the cheapest, in whichever of
the two orders the offer lists them:

    offer   5 MW from 120, 10 MW from 350         bid   (0, 350) (10, 350) (10, 120) (15, 120)
            at a price of 200 the 5 MW go                at 200 the last 5 MW are not worth their price: 10 MW stay

The x axis is the part of the load that may go, 0 to the sum of the steps; not the load. ERCOT shifts the curve right,
so that its last MW lies at the telemetered maximum consumption (MPC), and holds what lies left of it at the cap
(ERCOT, *Load Resource characteristics for Loads in SCED 1.0*). **The bid therefore means our offer only while telemetry
gives the offer's `baseline_kw` as MPC**: were MPC above the load, the first MW sold would be MW that nobody draws.

Between two points ERCOT draws a line. Steps are therefore written with both corners, two points a step: five steps of
different price fill the ten points that the schema allows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import groupby, pairwise

from pipeline.errors import VenueError
from pipeline.messages.market import OfferStep

MW_TENTH = Decimal("0.1")
CENT = Decimal("0.01")
MW_LIMIT = Decimal(100_000)
PRICE_LIMIT = Decimal(1_000_000)


@dataclass(frozen=True)
class Segment:
    """So many MW more, from this price per MWh on."""

    mw: Decimal
    price: Decimal


def mw_text(mw: Decimal) -> str:
    """Write *mw* with one decimal; `ValueError` where it has more or is no quantity ERCOT could mean."""
    if not 0 <= mw < MW_LIMIT or mw != mw.quantize(MW_TENTH):
        raise ValueError(f"ERCOT takes tenths of MW between 0 and {MW_LIMIT}, not {mw}")
    return str(mw.quantize(MW_TENTH) + 0)


def price_text(price: Decimal) -> str:
    """Write *price* with two decimals; `ValueError` where it has more, or more than six digits before them."""
    if not -PRICE_LIMIT < price < PRICE_LIMIT or price != price.quantize(CENT):
        raise ValueError(f"ERCOT takes whole cents below {PRICE_LIMIT} per MWh, not {price}")
    return str(price.quantize(CENT) + 0)


def merged(steps: Sequence[OfferStep]) -> tuple[tuple[Segment, tuple[OfferStep, ...]], ...]:
    """Return neighbours of equal price as one segment each, with the steps in it."""
    groups = [(price, tuple(group)) for price, group in groupby(steps, key=lambda step: step.price_per_mwh)]
    return tuple(
        (Segment(sum((step.quantity_mw for step in group), Decimal(0)), price), group) for price, group in groups
    )


def bid_points(segments: Sequence[Segment]) -> tuple[tuple[Decimal, Decimal], ...]:
    """Return the (MW, price) corners of the bid for reductions of strictly rising price; `ValueError` otherwise."""
    prices = [segment.price for segment in segments]
    if any(low >= high for low, high in pairwise(prices)):
        raise ValueError(f"a reduction's price has to rise from step to step, not {', '.join(map(str, prices))}")
    points: list[tuple[Decimal, Decimal]] = []
    upto = Decimal(0)
    for segment in reversed(segments):
        points += [(upto, segment.price), (upto + segment.mw, segment.price)]
        upto += segment.mw
    return tuple(points)


def reductions(points: Sequence[tuple[Decimal, Decimal]]) -> tuple[Segment, ...]:
    """Return the reductions that `bid_points` wrote as *points*; `VenueError` where they are no such staircase."""
    if not points or len(points) % 2 or points[0][0] != 0:
        raise VenueError("an energy bid is not a staircase from 0 MW: it is not one of ours")
    segments: list[Segment] = []
    upto, dearer = Decimal(0), None
    for (left, price), (right, same) in zip(points[::2], points[1::2], strict=True):
        if left != upto or right <= left or same != price or (dearer is not None and price >= dearer):
            raise VenueError("an energy bid is not a falling staircase: it is not one of ours")
        segments.append(Segment(right - left, price))
        upto, dearer = right, price
    return tuple(reversed(segments))
