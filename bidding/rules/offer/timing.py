"""Rules about when: the venue's intervals, its gate, its pauses."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from bidding.rules.case import Case
from bidding.rules.refusal import Breach, cited

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
_MIDNIGHT = datetime(1970, 1, 1)  # noqa: DTZ001 - wall clocks count from a local midnight


def interval_grid(case: Case) -> Iterator[Breach]:
    """Require one of the venue's intervals: its length and, below an hour, its grid."""
    interval, length = case.offer.interval, case.rules.interval
    wall = case.end_local.replace(tzinfo=None) - case.start_local.replace(tzinfo=None)
    lasts = wall if length > HOUR else interval.length  # a block of a day with 23 or 25 hours is as long as its clock
    if lasts != length:
        text = f"lasts {lasts}, the market interval {length}; offer market intervals"
        yield Breach(text, cited(case.rules, "interval_s"), case.offer.offer_id)
    if length < HOUR and (off := (case.start_local.replace(tzinfo=None) - _MIDNIGHT) % length):
        text = f"starts {off} after the grid of {length}; offer market intervals"
        yield Breach(text, cited(case.rules, "interval_s"), case.offer.offer_id)


def whole_local_hours(case: Case) -> Iterator[Breach]:
    """Require that intervals of an hour or more begin on whole local hours, longer ones on blocks from midnight."""
    start, length = case.start_local, case.rules.interval
    if length < HOUR:
        return
    off = (start.replace(tzinfo=None) - _MIDNIGHT) % (length if not DAY % length else HOUR)
    if off:
        text = f"starts at {start:%H:%M:%S} local time, {off} after its block; offer whole local hours"
        yield Breach(text, cited(case.rules, "interval_s"), case.offer.offer_id)


def trading_day(case: Case) -> Iterator[Breach]:
    """Require an interval within one local day, where it is no longer than that."""
    first, last = case.start_local.date(), (case.end_local - timedelta(microseconds=1)).date()
    if case.rules.interval <= DAY and first != last:
        text = f"runs from {first} into {last}; an offer belongs to one trading day, split it at local midnight"
        yield Breach(text, cited(case.rules, "timezone"), case.offer.offer_id)


def gate_closure(case: Case) -> Iterator[Breach]:
    """Require the margin between now and gate closure."""
    closes = case.rules.gate_closes(case.offer.interval)
    left = closes - case.now
    if left <= case.margin:
        when = f"{left} from now" if left > timedelta(0) else f"{-left} ago"
        text = (
            f"the gate closes at {closes.isoformat()}, {when}, the margin is {case.margin}; too late, offer a later one"
        )
        figure = "closes" if case.rules.closes is not None else "gate_closure_s"
        yield Breach(text, f"{cited(case.rules, figure)}; [bidding] gate_margin_s", case.offer.offer_id)


def horizon(case: Case) -> Iterator[Breach]:
    """Require an interval near enough to be traded already."""
    opens = case.rules.gate_opens(case.offer.interval)
    if case.now < opens:
        text = f"opens at {opens.isoformat()}, in {opens - case.now}; send it then"
        figure = "opens" if case.rules.opens is not None else "horizon_s"
        yield Breach(text, cited(case.rules, figure), case.offer.offer_id)


def pause(case: Case) -> Iterator[Breach]:
    """Send nothing while the venue runs its own validation."""
    for span in case.rules.pauses:
        if span.holds(case.now, case.rules.timezone):
            text = (
                f"nothing is sent from {span.start:%H:%M} to {span.end:%H:%M} local time, {span.why}; wait until then"
            )
            yield Breach(text, cited(case.rules, "pauses"), case.offer.offer_id)
