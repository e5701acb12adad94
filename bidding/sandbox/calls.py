"""
Instructions: energy is dispatched as it was awarded, a reserve only when a contingency calls it.

    contingency    ├──────── call_s ────────┤        begins with a meter interval, drawn by seed
    awards      │      │      │      │      │      │
    called             ×      ×      ×      ×        every award whose interval the contingency touches
    judged                 ├──────────────────┤      from response_s after it began; whole meter intervals

Of several contingencies that touch an award the first counts.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from bidding.sandbox.answers import Award, Dispatch
from bidding.sandbox.book import Book
from bidding.sandbox.draws import uniform
from bidding.sandbox.market import Market
from bidding.sandbox.rules import REGULATION, Family, Rules


def contingency(award: Award, market: Market, seed: int) -> datetime | None:
    """Return when the first contingency that touches the interval of *award* began, None where there is none."""
    if not market.call_share:
        return None
    step = timedelta(seconds=market.meter_s)
    begin = market.meter_floor(award.interval_start - timedelta(seconds=market.call_s)) + step
    while begin < award.interval_end:
        if uniform(seed, f"contingency|{begin.isoformat()}") < market.call_share:
            return begin
        begin += step
    return None


def is_reserve(rules: Rules) -> bool:
    """Tell whether a product is held ready for calls."""
    return rules.family is not Family.ENERGY and rules.family not in REGULATION


def dispatches(awards: Iterable[Award], book: Book, market: Market, seed: int, now: datetime) -> Iterator[Dispatch]:
    """Yield the instructions that *awards* have led to by *now*."""
    for award in awards:
        rules = market.rules(award.product)
        if rules is None or rules.family in REGULATION:
            continue
        issued_at = contingency(award, market, seed) if is_reserve(rules) else rules.dispatched_at(award.interval_start)
        if issued_at is None or issued_at > now:
            continue
        start, end, by = award.interval_start, award.interval_end, award.interval_start
        if is_reserve(rules):
            start, end = max(start, issued_at), min(end, issued_at + timedelta(seconds=market.call_s))
            by = max(start, issued_at + timedelta(seconds=rules.response_s or 0))
        yield Dispatch(
            dispatch_id=f"D-{award.award_id.removeprefix('A-')}",
            award_id=award.award_id,
            resource=award.resource,
            product=award.product,
            interval_start=start,
            interval_end=end,
            reduction_mw=book.available_mw(award, issued_at),
            issued_at=issued_at,
            respond_by=by,
        )
