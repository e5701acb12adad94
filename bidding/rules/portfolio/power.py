"""Rules about power: never promised twice, never faster than it goes, never what a duty to curtail lays claim to."""

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

from bidding.gate.settings import Effect, Obligation
from bidding.rules.portfolio_view import NOTHING, Portfolio, Promise, Segment, needed_mw
from bidding.rules.refusal import Breach, cited
from pipeline.interval import Interval
from pipeline.messages.market import Offer
from pipeline.units import KW_PER_MW

FIRM = "firmwatt: the same power is never promised twice"


def promised_twice(portfolio: Portfolio) -> Iterator[Breach]:
    """Require that all promises of an instant, at all venues, are kept by the firm power there is."""
    for segment in portfolio.segments:
        firm = portfolio.firm_mw(segment.site, segment.interval, is_up=segment.is_up)
        if (needed := segment.needed_mw) > firm:
            text = (
                f"{_where(segment)}: {segment.words} need {needed} MW, {firm} MW are firm, "
                f"{needed - firm} MW too much; offer less or withdraw"
            )
            yield Breach(text, FIRM)


def ramp(portfolio: Portfolio) -> Iterator[Breach]:
    """Require that what answers within a time is no more than can be let go in that time."""
    for segment in portfolio.segments:
        kw_per_s = portfolio.situation.flexibility.get(segment.site, NOTHING).ramp_kw_per_s
        times = sorted({p.response_s for p in segment.promises if p.response_s is not None})
        for seconds in times:
            quick = [p for p in segment.promises if p.response_s is not None and p.response_s <= seconds]
            needed = needed_mw(quick)
            reach_kw = kw_per_s * seconds
            reach = Decimal(repr(reach_kw if reach_kw > 0 else 0.0)) / KW_PER_MW
            if needed > reach:
                slowest = next(p.rules for p in quick if p.response_s == seconds and p.rules)
                text = (
                    f"{_where(segment)}: {needed} MW within {seconds:g} s, {kw_per_s:g} kW/s reach {reach} MW; "
                    f"offer {needed - reach} MW less in products this fast"
                )
                yield Breach(text, cited(slowest, "response_s"))
                break


def held_long_enough(portfolio: Portfolio) -> Iterator[Breach]:
    """Require firm power for as long as one call may have to be held, beyond the interval where that is longer."""
    for offer in portfolio.offers:
        rules = portfolio.situation.products.get((offer.venue, offer.product))
        if rules is None or rules.duration_s is None or timedelta(seconds=rules.duration_s) <= offer.interval.length:
            continue
        held = Interval(offer.interval.start, offer.interval.start + timedelta(seconds=rules.duration_s))
        promise = Promise(offer, rules)
        ways = [is_up for is_up, is_promised in ((False, promise.is_down), (True, promise.is_up)) if is_promised]
        firm = min(portfolio.firm_mw(offer.site, held, is_up=is_up) for is_up in ways)
        if offer.quantity_mw > firm:
            text = (
                f"{_named(offer)}: a call may last {rules.duration_s:g} s, {firm} MW are firm that long, "
                f"{offer.quantity_mw} MW offered; offer {offer.quantity_mw - firm} MW less"
            )
            yield Breach(text, cited(rules, "duration_s"), offer.offer_id)


def obligation_bars(portfolio: Portfolio) -> Iterator[Breach]:
    """Sell nothing of what a duty to curtail bars from sale."""
    for offer in portfolio.offers:
        for obligation in _applying(portfolio, offer):
            if obligation.effect is Effect.BARS:
                text = f"{_named(offer)}: {offer.quantity_mw} MW must not be sold while this duty holds; leave it out"
                yield Breach(text, obligation.cited, offer.offer_id)


def obligation_reduces(portfolio: Portfolio) -> Iterator[Breach]:
    """Keep back the power that a duty to curtail lays claim to."""
    for segment in portfolio.segments:
        if segment.is_up:
            continue
        duties = {
            duty.name: duty
            for promise in segment.promises
            for duty in _applying(portfolio, promise.offer, segment.interval)
            if duty.effect is Effect.REDUCES
        }
        if not duties:
            continue
        firm = portfolio.firm_mw(segment.site, segment.interval, is_up=False)
        kept = sum((_claim(duty, firm) for duty in duties.values()), Decimal(0))
        left = max(Decimal(0), firm - kept)
        if (needed := segment.needed_mw) > left:
            text = (
                f"{_where(segment)}: {kept} of {firm} MW are owed to curtailment, {left} MW may be sold, "
                f"{needed} MW are offered, {needed - left} MW too much; offer less"
            )
            yield Breach(text, "; ".join(duty.cited for duty in duties.values()))


def _claim(duty: Obligation, firm: Decimal) -> Decimal:
    return duty.mw if duty.mw is not None else firm * Decimal(repr(duty.share or 0.0))


def _applying(portfolio: Portfolio, offer: Offer, span: Interval | None = None) -> Iterator[Obligation]:
    """Yield the obligations that hold in some of *span*, by default the offer's interval, and concern *offer*."""
    span = span or offer.interval
    rules = portfolio.situation.products.get((offer.venue, offer.product))
    for duty in portfolio.situation.obligations:
        concerns = (
            (not duty.resources or offer.resource in duty.resources)
            and (not duty.venues or offer.venue in duty.venues)
            and (not duty.families or rules is None or rules.family in duty.families)
        )
        begun = duty.begins is None or duty.begins < span.end
        if concerns and begun and (duty.ends is None or duty.ends > span.start):
            yield duty


def _where(segment: Segment) -> str:
    start, end = segment.interval.start, segment.interval.end
    return f"{segment.site} {start:%Y-%m-%d %H:%M}-{end:%H:%M}Z"


def _named(offer: Offer) -> str:
    return f"{offer.resource} {offer.venue}/{offer.product} {offer.interval.start:%Y-%m-%d %H:%M}Z"
