"""Rules about the shape of the price-quantity curve."""

from collections.abc import Iterator
from decimal import Decimal
from itertools import groupby, pairwise

from bidding.products import Shape
from bidding.rules.case import Case
from bidding.rules.refusal import Breach, cited


def curve_shape(case: Case) -> Iterator[Breach]:
    """Require prices that never fall along an offer, never rise along a bid, one price where one is taken."""
    shape, unit = case.rules.shape, case.unit
    if shape is Shape.SINGLE and len(case.offer.steps) > 1:
        text = f"{len(case.offer.steps)} steps where all of it has one price; offer it at the dearest, {unit}"
        yield Breach(text, cited(case.rules, "shape"), case.offer.offer_id)
        return
    for earlier, later in pairwise(step.price_per_mwh for step in case.offer.steps):
        change = later - earlier
        if (shape is Shape.RISING and change < 0) or (shape is Shape.FALLING and change > 0):
            word = "never falls" if shape is Shape.RISING else "never rises"
            text = f"{later} {unit} follows {earlier}: the price {word} along this curve; sort the steps"
            yield Breach(text, cited(case.rules, "shape"), case.offer.offer_id)


def max_steps(case: Case) -> Iterator[Breach]:
    """Require no more steps than the venue takes."""
    have, most = len(case.offer.steps), case.rules.max_steps
    if have > most:
        text = f"{have} steps are {have - most} more than the {most} it takes; join neighbours at the dearer price"
        yield Breach(text, cited(case.rules, "max_steps"), case.offer.offer_id)


def max_points(case: Case) -> Iterator[Breach]:
    """Require no more points than the venue's own curve may have, the one at 0 MW included."""
    have, most = len(_points(case)), case.rules.max_points
    if most is not None and have > most:
        text = f"{have} points are {have - most} more than the {most} it takes; join neighbours at the dearer price"
        yield Breach(text, cited(case.rules, "max_points"), case.offer.offer_id)


def equal_steps(case: Case) -> Iterator[Breach]:
    """Require that no more neighbouring points share a price or a quantity than the venue takes."""
    most = case.rules.max_equal_steps
    if most is None:
        return
    points = _points(case)
    for name, column in (("MW", [mw for mw, _ in points]), ("price", [price for _, price in points])):
        for amount, run in groupby(column):
            if (have := len(list(run))) > most:
                text = f"{have} points in a row have the {name} {amount}, at most {most} may; join these steps"
                yield Breach(text, cited(case.rules, "max_equal_steps"), case.offer.offer_id)


def first_point(case: Case) -> Iterator[Breach]:
    """Require that every step adds power: the point at 0 MW, where a venue wants one, is its encoder's to add."""
    for number, step in enumerate(case.offer.steps, start=1):
        if step.quantity_mw <= 0:
            text = (
                f"step {number} adds {step.quantity_mw} MW; leave it out, the curve's first point is added on the way"
            )
            yield Breach(text, cited(case.rules, "first_quantity_zero"), case.offer.offer_id)


def _points(case: Case) -> list[tuple[Decimal, Decimal]]:
    """Return the curve as it travels: cumulated MW and price, the point at 0 MW included where the venue has one."""
    points = [(Decimal(0), case.offer.steps[0].price_per_mwh)] if case.rules.first_quantity_zero else []
    total = Decimal(0)
    for step in case.offer.steps:
        total += step.quantity_mw
        points.append((total, step.price_per_mwh))
    return points
