"""Which market intervals are due to be offered at an instant. Pure."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from bidding.products import Rules
from bidding.settings import Bidding
from pipeline.interval import Interval, floor

DAYS_AHEAD = timedelta(days=2)
"""A day-ahead gate is for tomorrow; its last hour ends within two days of today's first."""


def planned(settings: Bidding, rules: Rules) -> list[Interval]:
    """Return the intervals that the settings name, none where every interval is meant."""
    if settings.plan_start is None or not settings.intervals:
        return []
    first = Interval(settings.plan_start, settings.plan_start + rules.interval)
    return list(Interval(first.start, first.start + settings.intervals * rules.interval).split(rules.interval))


def candidates(settings: Bidding, rules: Rules, now: datetime) -> Iterator[Interval]:
    """Yield the intervals that may be offered at *now*: the gate is open, its margin not yet begun."""
    margin, lead = timedelta(seconds=settings.gate_margin_s), timedelta(seconds=settings.offer_lead_s)
    for interval in planned(settings, rules) or upcoming(rules, now, lead):
        begun = settings.plan_start is None or interval.start >= settings.plan_start
        closes = rules.gate_closes(interval)
        if begun and max(rules.gate_opens(interval), closes - lead) <= now < closes - margin:
            yield interval


def upcoming(rules: Rules, now: datetime, lead: timedelta) -> Iterator[Interval]:
    """Yield the intervals whose gate may close within *lead* from *now*, and some more."""
    nearest, furthest = floor(now, rules.interval), now + DAYS_AHEAD + lead
    if rules.closes is None or rules.closes.at is None:
        interval = Interval(now, now + rules.interval)
        nearest = floor(now + (now - rules.gate_closes(interval)), rules.interval)
        furthest = nearest + lead + 2 * rules.interval
    return Interval(nearest, floor(furthest, rules.interval)).split(rules.interval)
