"""
What MISO bought and wants: day-ahead results, five-minute dispatch and deployments as awards and dispatches. Pure.

    day-ahead results   hour 18: 5.0 MW cleared                     ─▶ award 5.0 MW of the day-ahead product
    dispatch            18:05: 6.5 MW, LMP 80 (hour 18's first)     ─▶ award 1.5 MW real time at 80: what exceeds 5.0
                                                                    ─▶ dispatches: 5.0 on the one, 1.5 on the other
    deployment          17:20: 3.0 MW of contingency reserve        ─▶ dispatch 3.0 on the reserve award, to 18:00
                        17:40: 0 MW                                 ─▶ the same dispatch, to 17:40

A dispatch is named by its award and its start: what MISO says of it later takes its place, 0 MW where it is let go.

MISO's real time has no award of its own: the first instruction of an hour that asks for more than the day ahead bought
stands for it, its MW and its price. An hour whose later instructions differ is paid by MISO every five minutes, so our
own statement of such an hour is an approximation.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from bidding.markets import Notice
from bidding.markets.miso.answers import (
    Cleared,
    ClearedHour,
    DayAheadResults,
    Instruction,
    Notification,
    Priced,
    Qualified,
)
from bidding.markets.miso.cells import PRODUCTS, TYPES, Kind, Place, curve_in
from bidding.markets.miso.day import FIVE_MINUTES, HOUR, hour_of, interval_of
from bidding.markets.miso.schedule import Book, Key, market_of
from bidding.products import Rules
from pipeline.interval import Interval, floor
from pipeline.messages.market import Award, Dispatch

RESERVES: tuple[Kind, ...] = ("spin", "supplemental", "short-term-reserve")
"""In the order in which a deployment is laid on what was bought."""
FOR_SALE = frozenset({"Economic", "SelfSchedule", "Emergency", "MustRun"})

Sold = Mapping[tuple[str, Kind], Rules]
"""By market and kind: the product."""


def sold(products: Mapping[str, Rules]) -> dict[tuple[str, Kind], Rules]:
    """Return the product of each kind in each market."""
    return {(market_of(name, products), PRODUCTS[name]): rules for name, rules in products.items() if name in PRODUCTS}


def day_ahead_awards(results: DayAheadResults, resource: str, products: Sold) -> tuple[Award, ...]:
    """Return what the day-ahead market bought of *resource*; the report has no time, the gate's stands in."""
    return tuple(
        _award("day-ahead", resource, rules, interval_of(results.day, hour.hour), cleared)
        for node in results.pnodes
        if node.pnode_name == resource
        for hour in node.hours
        for kind, cleared in _cleared(hour)
        if cleared is not None and cleared.mw > 0 and (rules := products.get(("day-ahead", kind))) is not None
    )


def _cleared(hour: ClearedHour) -> Iterator[tuple[Kind, Cleared | None]]:
    yield "energy", hour.cleared_energy
    yield "reg", hour.cleared_regulation
    yield "spin", hour.cleared_spin
    yield "supplemental", hour.cleared_supplemental
    yield "short-term-reserve", hour.cleared_short_term


def _award(market: str, resource: str, rules: Rules, interval: Interval, cleared: Cleared) -> Award:
    day, hour = hour_of(interval)
    return Award(
        award_id=f"miso:{market}:{resource}:{rules.product}:{day}:HE{hour:02}",
        offer_id="",
        resource=resource,
        product=rules.product,
        interval=interval,
        quantity_mw=cleared.mw,
        price_per_mwh=cleared.price,
        currency=rules.currency,
        awarded_at=rules.gate_closes(interval),
    )


@dataclass(frozen=True)
class Order:
    """One instruction to one resource: its five minutes, what it is about and when it was given."""

    interval: Interval
    instruction: Instruction
    issued_at: datetime
    before: tuple[Instruction, ...] = ()
    """What was said of the same five minutes earlier, the oldest first."""

    @property
    def hour(self) -> Interval:
        """The market hour that the five minutes are in."""
        start = floor(self.interval.start, HOUR)
        return Interval(start, start + HOUR)


def orders(log: Iterable[Notification], resource: str, *, label_ends: bool) -> tuple[Order, ...]:
    """Return the instructions to *resource* in order of their five minutes; of several for the same, the newest."""
    found: dict[datetime, Order] = {}
    for entry in log:
        for instruction in entry.request_payload.notification_data.dispatch_instructions:
            if instruction.pnode_name == resource:
                label = instruction.interval.astimezone(UTC)
                start = label - FIVE_MINUTES if label_ends else label
                issued_at = entry.created.astimezone(UTC)
                earlier = found.get(start)
                before = (*earlier.before, earlier.instruction) if earlier else ()
                found[start] = Order(Interval(start, start + FIVE_MINUTES), instruction, issued_at, before)
    return tuple(found[start] for start in sorted(found))


def replaced(given: Iterable[Order]) -> tuple[Order, ...]:
    """Return what was said of the five minutes of *given* earlier: awards that it made may still be journaled."""
    return tuple(Order(order.interval, earlier, order.issued_at) for order in given for earlier in order.before)


def real_time_awards(
    given: Iterable[Order], bought: Iterable[Award], resource: str, products: Sold
) -> tuple[Award, ...]:
    """Return one award an hour and product: what the first instruction asks beyond what the day ahead *bought*."""
    ahead = {(award.product, award.interval): award.quantity_mw for award in bought}
    found: dict[tuple[str, Interval], Award] = {}
    for order in given:
        for kind, asked in _asked(order.instruction):
            rules, before = products.get(("real-time", kind)), products.get(("day-ahead", kind))
            if asked is None or rules is None:
                continue
            beyond = asked.mw - (ahead.get((before.product, order.hour), Decimal(0)) if before else Decimal(0))
            if beyond > 0 and (rules.product, order.hour) not in found:
                award = _award("real-time", resource, rules, order.hour, Cleared(mw=beyond, price=asked.price))
                found[rules.product, order.hour] = award.model_copy(update={"awarded_at": order.issued_at})
    return tuple(found.values())


def _asked(instruction: Instruction) -> Iterator[tuple[Kind, Priced | None]]:
    yield "energy", instruction.energy_dispatch
    yield "reg", instruction.regulation_dispatch
    yield "spin", instruction.spinning_reserve_dispatch
    yield "supplemental", instruction.supplemental_reserve_dispatch
    yield "short-term-reserve", instruction.short_term_reserve_dispatch


def energy_dispatches(given: Iterable[Order], awards: Iterable[Award]) -> tuple[Dispatch, ...]:
    """Return what *given* asks of energy, five minutes each, laid on the day-ahead award first."""
    owed = [award for award in awards if PRODUCTS[award.product] == "energy"]
    found: list[Dispatch] = []
    for order in given:
        said = (one.energy_dispatch for one in (*order.before, order.instruction))
        asked = [energy.mw for energy in said if energy is not None]
        held = (award for award in owed if award.interval == order.hour)
        found += _laid_on(held, asked, order.interval, order.issued_at)
    return tuple(found)


def reserve_dispatches(log: Iterable[Notification], awards: Iterable[Award], resource: str) -> tuple[Dispatch, ...]:
    """Return what deployments call of reserves: from their instant to the next one's, or to the end of the hour."""
    calls: dict[datetime, list[tuple[datetime, Decimal]]] = {}
    for entry in log:
        for one in entry.request_payload.notification_data.cr_deployments:
            if one.pnode_name == resource:
                calls.setdefault(one.timestamp.astimezone(UTC), []).append((entry.created.astimezone(UTC), one.mw))
    owed = sorted(
        (award for award in awards if PRODUCTS[award.product] in RESERVES),
        key=lambda award: RESERVES.index(PRODUCTS[award.product]),
    )
    found: list[Dispatch] = []
    for start in sorted(calls):
        said = sorted(calls[start], key=lambda call: call[0])
        end = min([floor(start, HOUR) + HOUR, *(later for later in calls if later > start)])
        held = (award for award in owed if start in award.interval)
        found += _laid_on(held, [mw for _, mw in said], Interval(start, end), said[-1][0])
    return tuple(found)


def _laid_on(
    awards: Iterable[Award], asked: Sequence[Decimal], interval: Interval, issued_at: datetime
) -> Iterator[Dispatch]:
    """
    Yield the part of each award in the last of *asked*, MW: what was asked for *interval*, the newest last.

    An award that only an earlier one of them reached is told that it owes 0 MW now.
    """
    left = list(asked)
    for award in awards:
        parts = [max(min(mw, award.quantity_mw), Decimal(0)) for mw in left]
        left = [mw - part for mw, part in zip(left, parts, strict=True)]
        if any(parts):
            yield Dispatch(
                dispatch_id=f"{award.award_id}:{interval.start.isoformat()}",
                award_id=award.award_id,
                resource=award.resource,
                interval=interval,
                reduction_mw=parts[-1],
                issued_at=issued_at,
            )


def notices(book: Book, flags: Iterable[Qualified], resource: str, products: Sold, now: datetime) -> tuple[Notice, ...]:
    """
    Return which of our offers in *book* are no longer for sale although their curve still stands: not our doing.

    A withdrawal of ours deletes the curve. *flags* are the qualifications of *resource*; a product that it may no
    longer sell takes its offers along.
    """
    refused = {flag.market: flag for flag in flags}
    found = []
    for key, kind, place in book.curves():
        interval, rules = interval_of(book.day, key.hour), products.get((key.market, kind))
        if key.resource != resource or rules is None or interval.end <= now:
            continue
        curve = curve_in(book.types[resource], place, kind, book.cells[key])
        reason = _why_gone(book, key, kind, place, refused.get(key.market))
        if curve and reason:
            said = ",".join(f"{mw}@{price}" for mw, price in curve)
            found.append(
                Notice(
                    notice_id=f"miso:{key.market}:{resource}:{rules.product}:{book.day}:HE{key.hour:02}:{said}",
                    resource=resource,
                    product=rules.product,
                    interval=interval,
                    reason=reason,
                    issued_at=now,
                )
            )
    return tuple(found)


def _why_gone(book: Book, key: Key, kind: Kind, place: Place, flag: Qualified | None) -> str:
    """Return in words what stands against the offer under *key*, empty for nothing."""
    type_name = book.types[key.resource]
    entry = TYPES[type_name]
    commit = book.cells.get(Key(key.resource, key.market, entry.commit, key.hour), {}).get("status")
    if kind in entry.online and commit is not None and commit not in FOR_SALE:
        return f"commit status is {commit}"
    detail = book.cells[key].get(place.detail) or {}
    status = detail.get("dispatchStatus")
    if status is not None and status not in FOR_SALE:
        return f"dispatch status is {status}"
    return "no longer qualified" if flag is not None and _flag(flag, kind, place) is False else ""


def _flag(flag: Qualified, kind: Kind, place: Place) -> bool | None:
    """Return what *flag* says of an offer of *kind*; None where it says nothing."""
    online = place.field == "onlineSuppOfferHourly"
    supplemental = flag.online_supplemental_qualified if online else flag.offline_supplemental_qualified
    flags = {
        "spin": flag.spin_qualified,
        "supplemental": supplemental,
        "short-term-reserve": flag.offline_short_term_qualified,
        "reg": flag.regulation_qualified,
    }
    return flags.get(kind)
