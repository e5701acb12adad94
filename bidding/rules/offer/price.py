"""Rules about what is asked for it."""

from collections.abc import Iterator

from bidding.rules.case import Case
from bidding.rules.refusal import Breach, cited


def price_tick(case: Case) -> Iterator[Breach]:
    """Require whole ticks of price."""
    tick, unit = case.rules.price_tick, case.unit
    for step in case.offer.steps:
        if step.price_per_mwh % tick:
            text = f"{step.price_per_mwh} {unit} is no multiple of {tick}; round the price up to the tick"
            yield Breach(text, cited(case.rules, "price_tick"), case.offer.offer_id)


def price_range(case: Case) -> Iterator[Breach]:
    """Require prices between the venue's floor and cap."""
    floor, cap, unit = case.rules.price_floor, case.rules.price_cap, case.unit
    for step in case.offer.steps:
        price = step.price_per_mwh
        if price < floor:
            text = f"{price} {unit} is {floor - price} below the floor of {floor}; leave the step out"
            yield Breach(text, cited(case.rules, "price_floor"), case.offer.offer_id)
        if price > cap:
            text = f"{price} {unit} is {price - cap} above the cap of {cap}; leave the step out"
            yield Breach(text, cited(case.rules, "price_cap"), case.offer.offer_id)


def net_benefits(case: Case) -> Iterator[Breach]:
    """Require a price that the net benefits test lets a venue buy demand response at."""
    least, unit = case.rules.net_benefits_floor, case.unit
    for step in case.offer.steps:
        if least is not None and step.price_per_mwh < least:
            short = least - step.price_per_mwh
            text = f"{step.price_per_mwh} {unit} is {short} below the net benefits price of {least}; ask at least that"
            yield Breach(text, cited(case.rules, "net_benefits_floor"), case.offer.offer_id)


def currency(case: Case) -> Iterator[Breach]:
    """Require the venue's currency."""
    if case.offer.currency != case.rules.currency:
        text = f"{case.offer.currency} offered, {case.rules.currency} traded; price it in {case.rules.currency}"
        yield Breach(text, cited(case.rules, "currency"), case.offer.offer_id)
