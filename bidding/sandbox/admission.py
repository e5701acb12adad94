"""What becomes of a submission: the venue's rules and its gate, by its own clock. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from itertools import pairwise
from typing import Literal

from bidding.sandbox.book import Book, OfferEntry, Outcome
from bidding.sandbox.faults import Faults
from bidding.sandbox.rules import Rules
from bidding.sandbox.wire import OfferBody, Reading, Receipt, utc


def violations(offer: OfferBody, rules: Rules) -> Iterator[str]:
    """Yield every rule that *offer* breaks, in words."""
    if offer.product != rules.product:
        yield f"product is {rules.product!r}, got {offer.product!r}"
    if not rules.aligned(offer.interval_start, offer.interval_end):
        yield f"interval must be {rules.interval_s} s long and start on a multiple of that"
    if len(offer.curve) > rules.max_steps:
        yield f"at most {rules.max_steps} steps, got {len(offer.curve)}"
    if offer.total_mw < rules.min_mw:
        yield f"at least {rules.min_mw} MW, got {offer.total_mw}"
    if any(Fraction(point.mw) % Fraction(rules.block_mw) for point in offer.curve):
        yield f"MW must be multiples of {rules.block_mw}"
    if any(Fraction(point.price) % Fraction(rules.price_tick) for point in offer.curve):
        yield f"prices must be multiples of {rules.price_tick}"
    if not all(rules.price_floor <= point.price <= rules.price_cap for point in offer.curve):
        yield f"prices must lie between {rules.price_floor} and {rules.price_cap}"
    if offer.curve[0].mw <= 0 or any(low.mw >= high.mw for low, high in pairwise(offer.curve)):
        yield "MW must be positive, cumulative and increasing from step to step"
    if any(low.price > high.price for low, high in pairwise(offer.curve)):
        yield "prices must not fall from step to step"


def meter_violations(readings: tuple[Reading, ...], rules: Rules) -> Iterator[str]:
    """Yield what is wrong with a batch of meter *readings*."""
    if any(not rules.aligned(reading.start, reading.end) for reading in readings):
        yield f"readings must lie on the market's grid of {rules.interval_s} s"
    if any(reading.kwh < 0 for reading in readings):
        yield "kWh must not be negative: consumption is positive"


@dataclass(frozen=True)
class Submission:
    """An offer as it came in."""

    offer_id: str
    body: OfferBody
    sha256: str
    """Of the document as it was sent."""
    at: datetime

    def entry(self, outcome: Outcome, detail: str = "", receipt: Receipt | None = None) -> OfferEntry:
        """Return what the journal keeps of this submission."""
        return OfferEntry(
            at=self.at,
            offer_id=self.offer_id,
            body=self.body,
            sha256=self.sha256,
            outcome=outcome,
            detail=detail,
            receipt=receipt,
        )

    def answered(
        self, outcome: Literal[Outcome.ACCEPTED, Outcome.PARTLY_ACCEPTED, Outcome.REJECTED], mw: Decimal, *reasons: str
    ) -> OfferEntry:
        """Return an outcome with a receipt; its number depends on the document alone."""
        receipt = Receipt(
            offer_id=self.offer_id,
            receipt=f"R-{sha256(f'{self.offer_id}|{self.sha256}'.encode()).hexdigest()[:16]}",
            status=outcome.value,
            accepted_mw=mw,
            reasons=reasons,
        )
        return self.entry(outcome, "; ".join(reasons), receipt)


def decide(submission: Submission, book: Book, rules: Rules, faults: Faults) -> OfferEntry:
    """Return what becomes of *submission*: seen before, out of time, superseded, or judged by the rules."""
    return (
        _seen_before(submission, book)
        or _out_of_time(submission, rules)
        or _superseded(submission, book)
        or _judged(submission, rules, faults, f"offer|{book.entries}")
    )


def _seen_before(submission: Submission, book: Book) -> OfferEntry | None:
    known = book.offers.get(submission.offer_id)
    if known is None:
        return None
    if known.sha256 == submission.sha256:
        return submission.entry(Outcome.DUPLICATE, receipt=book.receipt(submission.offer_id))
    return submission.entry(Outcome.CONFLICT, f"offer {submission.offer_id} is known with another content")


def _out_of_time(submission: Submission, rules: Rules) -> OfferEntry | None:
    start, now = submission.body.interval_start, submission.at
    if now >= (closed := rules.gate_closes(start)):
        return submission.entry(Outcome.GATE_CLOSED, f"the gate closed at {utc(closed)}, it is {utc(now)}")
    if now < (opens := rules.gate_opens(start)):
        return submission.entry(Outcome.GATE_NOT_OPEN, f"the gate opens at {utc(opens)}, it is {utc(now)}")
    return None


def _superseded(submission: Submission, book: Book) -> OfferEntry | None:
    standing = book.standing_offer(submission.body.resource, submission.body.interval_start)
    revision = submission.body.revision
    if standing is None or revision > standing.body.revision:
        return None
    if revision < standing.body.revision:
        return submission.entry(
            Outcome.STALE_REVISION, f"revision {standing.body.revision} holds, this is revision {revision}"
        )
    return submission.entry(Outcome.CONFLICT, f"revision {revision} is offer {standing.offer_id}")


def _judged(submission: Submission, rules: Rules, faults: Faults, request: str) -> OfferEntry:
    total_mw = submission.body.total_mw
    if broken := tuple(violations(submission.body, rules)):
        return submission.answered(Outcome.REJECTED, Decimal(0), *broken)
    if faults.rejects(request):
        return submission.answered(Outcome.REJECTED, Decimal(0), "simulated: the venue does not want this offer")
    part_mw = max(rules.min_mw, total_mw / 2 // rules.block_mw * rules.block_mw)
    if faults.takes_part(request) and part_mw < total_mw:
        return submission.answered(
            Outcome.PARTLY_ACCEPTED, part_mw, f"simulated: only {part_mw} of {total_mw} MW accepted"
        )
    return submission.answered(Outcome.ACCEPTED, total_mw)
