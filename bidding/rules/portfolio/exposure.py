"""Rules about how much may be at stake: MW and money by resource, venue and day."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal

from bidding.gate.settings import Limits
from bidding.rules.amounts import expected_loss, peak_mw, worst_case
from bidding.rules.portfolio_view import Portfolio, Promise
from bidding.rules.refusal import Breach

LIMITS = "[bidding.limits]"
Group = Callable[[Promise], str]


def resource_power(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit what one resource promises at any instant, over all venues and products."""
    limit = portfolio.situation.limits.resource_mw
    yield from _over_power(portfolio, lambda p: p.offer.resource, limit, "resource_mw")


def venue_power(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit what is promised to one venue at any instant."""
    yield from _over_power(portfolio, lambda p: p.offer.venue, portfolio.situation.limits.venue_mw, "venue_mw")


def resource_money(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit the worst case of one resource's local day."""
    limit = portfolio.situation.limits.resource_day_money
    yield from _over_money(portfolio, lambda p: p.offer.resource, limit, "resource_day_money", worst_case)


def venue_money(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit the worst case of one venue's local day."""
    limit = portfolio.situation.limits.venue_day_money
    yield from _over_money(portfolio, lambda p: p.offer.venue, limit, "venue_day_money", worst_case)


def expected_money(portfolio: Portfolio) -> Iterator[Breach]:
    """Limit the expected loss of one resource's local day."""
    limit = portfolio.situation.limits.expected_day_money
    yield from _over_money(portfolio, lambda p: p.offer.resource, limit, "expected_day_money", expected_loss)


def _over_power(portfolio: Portfolio, group: Group, limit: Decimal, key: str) -> Iterator[Breach]:
    for name, promises in _touched(portfolio, group, portfolio.promises):
        if (peak := peak_mw(promises)) > limit:
            text = f"{name}: {peak} MW at one instant, {limit} MW allowed, {peak - limit} MW too much; offer less"
            yield Breach(text, f"{LIMITS} {key}")


def _over_money(
    portfolio: Portfolio, group: Group, limit: Decimal, key: str, cost: Callable[[Promise, Limits], Decimal]
) -> Iterator[Breach]:
    for day in sorted(portfolio.days(portfolio.offers)):
        for name, promises in _touched(portfolio, group, portfolio.of_day(day)):
            amounts: dict[str, Decimal] = defaultdict(Decimal)
            for promise in promises:
                amounts[promise.offer.currency] += cost(promise, portfolio.situation.limits)
            for currency, amount in sorted(amounts.items()):
                if amount > limit:
                    text = (
                        f"{name} {day}: {amount:,.2f} {currency} at stake, {limit:,} allowed, "
                        f"{amount - limit:,.2f} too much; offer less"
                    )
                    yield Breach(text, f"{LIMITS} {key}")


def _touched(portfolio: Portfolio, group: Group, promises: Iterable[Promise]) -> list[tuple[str, list[Promise]]]:
    """Return *promises* by group, those groups only that a new offer belongs to."""
    new = {id(offer) for offer in portfolio.offers}
    names = {group(promise) for promise in portfolio.promises if id(promise.offer) in new}
    groups: dict[str, list[Promise]] = {name: [] for name in sorted(names)}
    for promise in promises:
        if group(promise) in groups:
            groups[group(promise)].append(promise)
    return list(groups.items())
