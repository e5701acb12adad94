"""The rules that an offer or a batch of readings breaks, in words. Pure."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import groupby, pairwise

from bidding.sandbox.market import Market
from bidding.sandbox.rules import Family, Rules, Shape
from bidding.sandbox.wire import CurvePoint, OfferBody, Reading

_SHAPE = {
    Shape.RISING: "prices must not fall from step to step",
    Shape.FALLING: "prices must not rise from step to step",
    Shape.SINGLE: "one price for all of it",
}


def violations(offer: OfferBody, rules: Rules) -> Iterator[str]:
    """Yield every rule of the product that *offer* breaks."""
    if not rules.aligned(offer.interval_start, offer.interval_end):
        yield f"interval must be {rules.interval_s} s long and start on a multiple of that"
    yield from _of_quantities(offer, rules)
    yield from _of_prices(offer.curve, rules)


def _of_quantities(offer: OfferBody, rules: Rules) -> Iterator[str]:
    curve = offer.curve
    if len(curve) > rules.max_steps:
        yield f"at most {rules.max_steps} steps, got {len(curve)}"
    if offer.total_mw < rules.min_mw:
        yield f"at least {rules.min_mw} MW, got {offer.total_mw}"
    if rules.max_mw is not None and offer.total_mw > rules.max_mw:
        yield f"at most {rules.max_mw} MW, got {offer.total_mw}"
    lets_go = rules.family is not Family.REGULATION_DOWN
    if lets_go and offer.capacity_mw is not None and offer.capacity_mw < offer.total_mw:
        yield f"capacity_mw is {offer.capacity_mw}, less than the {offer.total_mw} MW offered"
    if any(Fraction(point.mw) % Fraction(rules.block_mw) for point in curve):
        yield f"MW must be multiples of {rules.block_mw}"
    if curve[0].mw <= 0 or any(low.mw >= high.mw for low, high in pairwise(curve)):
        yield "MW must be positive, cumulative and increasing from step to step"


def _of_prices(curve: tuple[CurvePoint, ...], rules: Rules) -> Iterator[str]:
    if any(Fraction(point.price) % Fraction(rules.price_tick) for point in curve):
        yield f"prices must be multiples of {rules.price_tick}"
    if not all(rules.price_floor <= point.price <= rules.price_cap for point in curve):
        yield f"prices must lie between {rules.price_floor} and {rules.price_cap}"
    floor = rules.net_benefits_floor
    if floor is not None and any(point.price < floor for point in curve):
        yield f"prices must not lie below {floor}, the net benefits floor"
    if not _runs(curve, rules.shape):
        yield _SHAPE[rules.shape]
    longest = max(len(list(group)) for _, group in groupby(point.price for point in curve))
    if rules.max_equal_steps is not None and longest > rules.max_equal_steps:
        yield f"at most {rules.max_equal_steps} neighbouring steps of one price, got {longest}"


def _runs(curve: tuple[CurvePoint, ...], shape: Shape) -> bool:
    """Tell whether prices run as *shape* says."""
    pairs = [(low.price, high.price) for low, high in pairwise(curve)]
    if shape is Shape.RISING:
        return all(low <= high for low, high in pairs)
    if shape is Shape.FALLING:
        return all(low >= high for low, high in pairs)
    return all(low == high for low, high in pairs)


def meter_violations(readings: tuple[Reading, ...], market: Market) -> Iterator[str]:
    """Yield what is wrong with a batch of meter *readings*."""
    if any(not market.on_meter_grid(reading.start, reading.end) for reading in readings):
        yield f"readings must lie on the market's grid of {market.meter_s} s"
    if any(reading.kwh < 0 for reading in readings):
        yield "kWh must not be negative: consumption is positive"
