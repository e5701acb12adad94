"""Rules about work: how much of it can wait, how often and after what rest it may be called on."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from bidding.products import Rules
from bidding.rules.portfolio_view import NOTHING, Portfolio, Promise
from bidding.rules.refusal import Breach, cited
from pipeline.interval import Interval
from pipeline.units import KW_PER_MW


def deferrable(portfolio: Portfolio) -> Iterator[Breach]:
    """Require that a day's promises, called as far as they may be, hold back no more work than can wait."""
    for site in portfolio.by_site:
        limit_kwh = portfolio.situation.flexibility.get(site, NOTHING).deferrable_kwh
        for day in sorted(portfolio.days(offer for offer in portfolio.offers if offer.site == site)):
            promises = [p for p in portfolio.of_day(day) if p.offer.site == site and p.is_down]
            needed_kwh = _called_kwh(promises)
            if not needed_kwh <= limit_kwh:
                text = (
                    f"{site} {day}: {needed_kwh:g} kWh may be called, {limit_kwh:g} kWh of work can wait, "
                    f"{needed_kwh - limit_kwh:g} kWh too much; offer fewer hours or less power"
                )
                yield Breach(text, "firmwatt: deferrable work of the site, settings and job queue")


def recovery(portfolio: Portfolio) -> Iterator[Breach]:
    """Require the product's rest between two runs of intervals of one resource."""
    for resource, rules, runs in _runs(portfolio):
        if rules.recovery_s is None:
            continue
        rest = timedelta(seconds=rules.recovery_s)
        for earlier, later in pairwise(runs):
            if (gap := later.start - earlier.end) < rest:
                text = (
                    f"{resource} {rules.venue}/{rules.product}: {gap} of rest before {later.start:%Y-%m-%d %H:%M}Z, "
                    f"{rest} are needed; leave {rest - gap} more free"
                )
                yield Breach(text, cited(rules, "recovery_s"))


def calls_per_day(portfolio: Portfolio) -> Iterator[Breach]:
    """Require no more separate runs in a local day than the product may be called."""
    for resource, rules, runs in _runs(portfolio):
        if rules.max_calls_per_day is None:
            continue
        for day in sorted({portfolio.situation.day_of(run.start) for run in runs}):
            have = sum(portfolio.situation.day_of(run.start) == day for run in runs)
            if have > rules.max_calls_per_day:
                text = (
                    f"{resource} {rules.venue}/{rules.product} {day}: {have} separate runs, "
                    f"{rules.max_calls_per_day} calls a day; join or leave out {have - rules.max_calls_per_day}"
                )
                yield Breach(text, cited(rules, "max_calls_per_day"))


def _runs(portfolio: Portfolio) -> Iterator[tuple[str, Rules, Sequence[Interval]]]:
    """Yield the runs of adjoining intervals of every resource and product that a new offer is for."""
    named = {(offer.resource, offer.venue, offer.product) for offer in portfolio.offers}
    spans: dict[tuple[str, str, str], list[Interval]] = defaultdict(list)
    for promise in portfolio.promises:
        name = (promise.offer.resource, promise.offer.venue, promise.offer.product)
        if name in named:
            spans[name].append(promise.offer.interval)
    for (resource, venue, product), intervals in sorted(spans.items()):
        if rules := portfolio.situation.products.get((venue, product)):
            yield resource, rules, _joined(intervals)


def _joined(intervals: Iterable[Interval]) -> list[Interval]:
    runs: list[Interval] = []
    for interval in sorted(intervals):
        if runs and interval.start <= runs[-1].end:
            runs[-1] = Interval(runs[-1].start, max(runs[-1].end, interval.end))
        else:
            runs.append(interval)
    return runs


def _called_kwh(promises: Sequence[Promise]) -> float:
    """Return the most energy that *promises* of one day can be called for."""
    products: dict[tuple[str, str, str], list[Promise]] = defaultdict(list)
    for promise in promises:
        products[promise.offer.resource, promise.offer.venue, promise.offer.product].append(promise)
    return sum(map(_product_kwh, products.values()))


def _product_kwh(promises: Sequence[Promise]) -> float:
    """All intervals in full, or, where calls are counted and last so long, that many of the largest."""
    whole = sum(float(p.offer.quantity_mw) * p.offer.interval.hours for p in promises) * KW_PER_MW
    rules = promises[0].rules
    if rules is None or rules.duration_s is None or rules.max_calls_per_day is None:
        return whole
    largest = max(float(p.offer.quantity_mw) for p in promises)
    return min(whole, largest * KW_PER_MW * rules.duration_s / 3600 * rules.max_calls_per_day)
