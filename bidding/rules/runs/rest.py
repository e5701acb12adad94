"""Rules about how often, and after what rest, one resource may be called on for one product."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import pairwise

from bidding.products import Rules
from bidding.rules.portfolio_view import Portfolio
from bidding.rules.refusal import Breach, cited
from pipeline.interval import Interval


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
