"""What becomes of an offer: the product's rules and its gate, by the venue's own clock. Pure."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Literal

from bidding.sandbox.book import Book
from bidding.sandbox.checks import violations
from bidding.sandbox.entries import OfferEntry, Outcome
from bidding.sandbox.faults import Faults
from bidding.sandbox.market import Market
from bidding.sandbox.rules import Rules
from bidding.sandbox.wire import OfferBody, Receipt, utc


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
            sha256=self.sha256,
            revision=self.body.revision,
        )
        return self.entry(outcome, "; ".join(reasons), receipt)


def decide(submission: Submission, book: Book, market: Market, faults: Faults, request: str) -> OfferEntry:
    """
    Return what becomes of *submission*: seen before, out of time, superseded, or judged by the rules.

    *request* names it for the draws of the simulated faults.
    """
    if seen := _seen_before(submission, book):
        return seen
    rules = market.rules(submission.body.product)
    if rules is None:
        sold = (
            f"product is {market.names[0]!r}" if len(market.names) == 1 else f"products are {', '.join(market.names)}"
        )
        return submission.answered(Outcome.REJECTED, Decimal(0), f"{sold}, got {submission.body.product!r}")
    return (
        _out_of_time(submission, rules)
        or _cleared(submission, book)
        or _superseded(submission, book)
        or _to_be_taken_back(_judged(submission, rules, faults, request), rules, market, faults, request)
    )


def _seen_before(submission: Submission, book: Book) -> OfferEntry | None:
    known = book.offers.get(submission.offer_id)
    if known is None:
        return None
    if known.body == submission.body:
        return submission.entry(Outcome.DUPLICATE, receipt=book.receipt(submission.offer_id))
    return submission.entry(Outcome.CONFLICT, f"offer {submission.offer_id} is known with another content")


def _out_of_time(submission: Submission, rules: Rules) -> OfferEntry | None:
    start, now = submission.body.interval_start, submission.at
    if now >= (closed := rules.gate_closes(start)):
        return submission.entry(Outcome.GATE_CLOSED, f"the gate closed at {utc(closed)}, it is {utc(now)}")
    if now < (opens := rules.gate_opens(start)):
        return submission.entry(Outcome.GATE_NOT_OPEN, f"the gate opens at {utc(opens)}, it is {utc(now)}")
    if pause := rules.pause(now):
        return submission.entry(
            Outcome.PAUSED, f"nothing is taken from {pause.start} to {pause.end} {rules.timezone}: {pause.why}"
        )
    return None


def _cleared(submission: Submission, book: Book) -> OfferEntry | None:
    """Refuse what comes after the clearing, whatever the clock says: it may have been set back."""
    start = submission.body.interval_start
    if (submission.body.product, start) not in book.clearings:
        return None
    return submission.entry(Outcome.GATE_CLOSED, f"the interval from {utc(start)} is cleared")


def _superseded(submission: Submission, book: Book) -> OfferEntry | None:
    latest = book.latest_offer(submission.body.resource, (submission.body.product, submission.body.interval_start))
    revision = submission.body.revision
    if latest is None or revision > latest.body.revision:
        return None
    if revision < latest.body.revision:
        return submission.entry(
            Outcome.STALE_REVISION, f"revision {latest.body.revision} holds, this is revision {revision}"
        )
    return submission.entry(Outcome.CONFLICT, f"revision {revision} is offer {latest.offer_id}")


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


def _to_be_taken_back(entry: OfferEntry, rules: Rules, market: Market, faults: Faults, request: str) -> OfferEntry:
    """Note in *entry* when the venue will take back what it accepts, if the draw says so: always before the gate."""
    if entry.outcome is Outcome.REJECTED or not faults.takes_back(request):
        return entry
    left = rules.gate_closes(entry.body.interval_start) - entry.at
    return entry.model_copy(update={"cancel_at": entry.at + min(timedelta(seconds=market.cancel_after_s), left / 2)})
