"""
The rule layer: what a schema lets through and a venue would still refuse. Pure.

One function per rule; `check` runs them all, so that a refusal lists everything that is wrong at once.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

from bidding.products import Rules
from pipeline.interval import floor
from pipeline.messages.market import Offer


@dataclass(frozen=True)
class Refusal:
    """A rule that the offer breaks, and how."""

    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.detail}"


def check(
    offer: Offer, rules: Rules, now: datetime, standing: Iterable[Offer], margin: timedelta
) -> tuple[Refusal, ...]:
    """
    Return every rule that *offer* breaks at *now*; *standing* are the offers already on their way or taken.

    It has to arrive *margin* before gate closure: the way to the venue takes time, and its clock may differ a little.
    """
    refusals = [Refusal(rule.__name__, detail) for rule in RULES for detail in rule(offer, rules)]
    refusals += [Refusal("gate_closure", detail) for detail in gate_closure(offer, rules, now, margin)]
    refusals += [Refusal("horizon", detail) for detail in horizon(offer, rules, now)]
    refusals += [Refusal("duplicate", detail) for detail in duplicate(offer, standing)]
    return tuple(refusals)


def minimum(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require that all steps together reach the venue's minimum."""
    if offer.quantity_mw < rules.min_mw:
        yield f"{offer.quantity_mw} MW is below {rules.min_mw} MW"


def block_step(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require whole blocks of quantity."""
    for step in offer.steps:
        if step.quantity_mw % rules.block_mw:
            yield f"{step.quantity_mw} MW is no multiple of {rules.block_mw} MW"


def price_tick(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require whole ticks of price."""
    for step in offer.steps:
        if step.price_per_mwh % rules.price_tick:
            yield f"{step.price_per_mwh} is no multiple of {rules.price_tick} {rules.currency}/MWh"


def price_range(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require prices between the venue's floor and cap."""
    for step in offer.steps:
        if not rules.price_floor <= step.price_per_mwh <= rules.price_cap:
            yield f"{step.price_per_mwh} is outside {rules.price_floor} to {rules.price_cap} {rules.currency}/MWh"


def monotone_price(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require prices that never fall along the curve."""
    for earlier, later in pairwise(offer.steps):
        if later.price_per_mwh < earlier.price_per_mwh:
            yield f"{later.price_per_mwh} follows {earlier.price_per_mwh} {rules.currency}/MWh"


def max_steps(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require no more steps than the venue takes."""
    if len(offer.steps) > rules.max_steps:
        yield f"{len(offer.steps)} steps, at most {rules.max_steps}"


def interval_grid(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require one of the venue's intervals: its length, on its grid."""
    if offer.interval.length != rules.interval:
        yield f"lasts {offer.interval.length}, the market interval {rules.interval}"
    if offer.interval.start != floor(offer.interval.start, rules.interval):
        yield f"starts at {offer.interval.start.isoformat()}, off the grid of {rules.interval}"


def currency(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require the venue's currency."""
    if offer.currency != rules.currency:
        yield f"{offer.currency} offered, {rules.currency} traded"


def addressee(offer: Offer, rules: Rules) -> Iterator[str]:
    """Require that the offer names this venue and its product."""
    if (offer.venue, offer.product) != (rules.venue, rules.product):
        yield f"{offer.venue}/{offer.product} offered, {rules.venue}/{rules.product} traded"


def gate_closure(offer: Offer, rules: Rules, now: datetime, margin: timedelta) -> Iterator[str]:
    """Require *margin* between *now* and gate closure."""
    if now >= rules.gate_closes(offer.interval) - margin:
        yield f"closes at {rules.gate_closes(offer.interval).isoformat()}, less than {margin} from now"


def horizon(offer: Offer, rules: Rules, now: datetime) -> Iterator[str]:
    """Require an interval near enough to be traded already."""
    if now < rules.gate_opens(offer.interval):
        yield f"opens at {rules.gate_opens(offer.interval).isoformat()}"


def duplicate(offer: Offer, standing: Iterable[Offer]) -> Iterator[str]:
    """Refuse a second offer for one resource, product and interval."""
    key = (offer.resource, offer.product, offer.interval)
    for other in standing:
        if (other.resource, other.product, other.interval) == key:
            yield f"offer {other.offer_id} revision {other.revision} stands for the same interval"


RULES: tuple[Callable[[Offer, Rules], Iterator[str]], ...] = (
    minimum,
    block_step,
    price_tick,
    price_range,
    monotone_price,
    max_steps,
    interval_grid,
    currency,
    addressee,
)
