"""Rule about work: how much of it can wait."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

from bidding.rules.portfolio_view import NOTHING, Portfolio, Promise
from bidding.rules.refusal import Breach
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
