"""What promises amount to: MW at one instant, money at stake. Pure."""

from collections.abc import Iterable
from decimal import Decimal

from bidding.gate.settings import Limits
from bidding.rules.portfolio_view import Promise, swept

HOUR_S, DAY_S = 3600, 86400


def worst_case(promise: Promise, limits: Limits) -> Decimal:
    """
    Return what it costs to deliver nothing of *promise*: MW × hours, or days, × price × shortfall factor.

    Where the product's factor is below 1 a missing MWh counts once: the revenue is lost whatever the penalty.
    """
    offer, rules = promise.offer, promise.rules
    dearest = max(abs(step.price_per_mwh) for step in offer.steps)
    price = max(dearest, rules.price_cap) if rules and limits.worst_price == "cap" else dearest
    factor = max(Decimal(1), rules.shortfall_factor) if rules else Decimal(1)
    return offer.quantity_mw * price * factor * _seconds(promise) / _seconds_per(promise)


def expected_loss(promise: Promise, _limits: Limits) -> Decimal:
    """Return what non-delivery costs at the offered price, times the share that confidence leaves open."""
    offer, rules = promise.offer, promise.rules
    factor = max(Decimal(1), rules.shortfall_factor) if rules else Decimal(1)
    open_share = Decimal(1) - Decimal(repr(min(1.0, max(0.0, offer.confidence))))
    per_hour = sum((step.quantity_mw * abs(step.price_per_mwh) for step in offer.steps), Decimal(0))
    return per_hour * factor * open_share * _seconds(promise) / _seconds_per(promise)


def peak_mw(promises: Iterable[Promise]) -> Decimal:
    """Return the most that *promises* add up to at any instant, whether or not they share power."""
    sums = (sum((p.offer.quantity_mw for p in active), Decimal(0)) for _, active in swept(list(promises)))
    return max(sums, default=Decimal(0))


def _seconds(promise: Promise) -> Decimal:
    return Decimal(int(promise.offer.interval.length.total_seconds()))


def _seconds_per(promise: Promise) -> Decimal:
    """Return how long one unit of the price is for; a price of a block or a term is for all of the interval."""
    per = promise.rules.per if promise.rules else "MWh"
    if per in {"MWh", "MW-h"}:
        return Decimal(HOUR_S)
    return Decimal(DAY_S) if per == "MW-day" else _seconds(promise)
