"""What becomes of a withdrawal, of a cancellation to order and of a notice of shortfall. Pure."""

from datetime import datetime
from decimal import Decimal

from bidding.sandbox.answers import Problem
from bidding.sandbox.book import Book
from bidding.sandbox.entries import STANDING, CancelEntry, Outcome, ShortfallEntry, WithdrawalEntry
from bidding.sandbox.market import Market
from bidding.sandbox.wire import ShortfallBody, utc


def withdraw(offer_id: str, book: Book, market: Market, now: datetime) -> WithdrawalEntry:
    """Return what becomes of the withdrawal of *offer_id*, which the venue knows."""
    if offer_id in book.ended and not isinstance(book.ended[offer_id], CancelEntry):
        return WithdrawalEntry(at=now, offer_id=offer_id, outcome=Outcome.DUPLICATE)
    closed = _gate(offer_id, book, market)
    if why := not_standing(offer_id, book):
        return WithdrawalEntry(at=now, offer_id=offer_id, outcome=Outcome.NOT_STANDING, detail=why)
    if now >= closed:
        detail = f"the gate closed at {utc(closed)}, it is {utc(now)}; send a notice of shortfall"
        return WithdrawalEntry(at=now, offer_id=offer_id, outcome=Outcome.GATE_CLOSED, detail=detail)
    return WithdrawalEntry(at=now, offer_id=offer_id, outcome=Outcome.WITHDRAWN)


def cancel(offer_id: str, reason: str, book: Book, market: Market, now: datetime) -> CancelEntry | Problem:
    """Return the cancellation of *offer_id* by the venue, or why there is none."""
    if offer_id not in book.offers:
        return Problem(error="unknown_offer", detail=f"no offer {offer_id}")
    if why := not_standing(offer_id, book):
        return Problem(error=Outcome.NOT_STANDING.value, detail=why)
    if now >= (closed := _gate(offer_id, book, market)):
        return Problem(error=Outcome.GATE_CLOSED.value, detail=f"the gate closed at {utc(closed)}, it is {utc(now)}")
    return CancelEntry(at=now, offer_id=offer_id, reason=reason)


def not_standing(offer_id: str, book: Book) -> str:
    """Return why *offer_id* would not be cleared; nothing where it would."""
    entry = book.offers[offer_id]
    if entry.outcome not in STANDING:
        return f"offer {offer_id} was {entry.outcome.value}"
    if ended := book.ended.get(offer_id):
        return f"offer {offer_id} was {'cancelled' if isinstance(ended, CancelEntry) else 'withdrawn'}"
    latest = book.latest_offer(entry.body.resource, (entry.body.product, entry.body.interval_start))
    if latest is not None and latest.offer_id != offer_id:
        return f"offer {offer_id} was replaced by {latest.offer_id}"
    return ""


def _gate(offer_id: str, book: Book, market: Market) -> datetime:
    body = book.offers[offer_id].body
    rules = market.rules(body.product)
    return rules.gate_closes(body.interval_start) if rules else body.interval_start


def shortfall(
    shortfall_id: str, body: ShortfallBody, digest: str, book: Book, market: Market, *, now: datetime
) -> ShortfallEntry:
    """Return what becomes of a notice: it takes an award and an interval that is not over."""
    award = book.award_of(body.resource, (body.product, body.interval_start))
    rules = market.rules(body.product)

    def entry(outcome: Outcome, detail: str = "") -> ShortfallEntry:
        return ShortfallEntry(
            at=now,
            shortfall_id=shortfall_id,
            body=body,
            sha256=digest,
            awarded_mw=award.mw if award else Decimal(0),
            outcome=outcome,
            detail=detail,
        )

    known = book.shortfalls.get(shortfall_id)
    if known is not None:
        same = known.body == body
        return (
            entry(Outcome.DUPLICATE)
            if same
            else entry(Outcome.CONFLICT, f"{shortfall_id} is known with another content")
        )
    if rules is not None and now < (closes := rules.gate_closes(body.interval_start)):
        return entry(Outcome.GATE_OPEN, f"the gate is open until {utc(closes)}: replace or withdraw the offer")
    if award is None:
        return entry(
            Outcome.NO_AWARD, f"{body.resource} was awarded no {body.product} from {utc(body.interval_start)} on"
        )
    if now >= award.interval_end:
        return entry(Outcome.GATE_CLOSED, f"the interval was over at {utc(award.interval_end)}, it is {utc(now)}")
    return entry(Outcome.TAKEN)
