"""What was counted."""

from bidding.sandbox.answers import Audit
from bidding.sandbox.book import Book
from bidding.sandbox.entries import Outcome


def audit(book: Book, query_replies_lost: int, query_replies_late: int) -> Audit:
    """Return the counts of *book*, and those of queries, which no journal holds."""
    counts = book.counts
    accepted, partial = counts[Outcome.ACCEPTED], counts[Outcome.PARTLY_ACCEPTED]
    return Audit(
        submissions_applied=accepted + partial + counts[Outcome.REJECTED],
        duplicate_submissions=counts[Outcome.DUPLICATE],
        accepted=accepted,
        partial=partial,
        rejected=counts[Outcome.REJECTED],
        conflicts=counts[Outcome.CONFLICT] + counts[Outcome.STALE_REVISION],
        after_gate=counts[Outcome.GATE_CLOSED],
        before_gate=counts[Outcome.GATE_NOT_OPEN],
        in_pause=counts[Outcome.PAUSED],
        stale_epochs=counts["fenced"],
        stale_revisions=counts[Outcome.STALE_REVISION],
        withdrawn=counts[Outcome.WITHDRAWN],
        cancelled=counts["cancelled"],
        shortfalls=len(book.shortfalls),
        documents=counts["document"],
        highest_epoch=book.epoch,
        meter_batches=counts["meter"],
        replies_lost=counts["reply_lost"],
        replies_late=counts["reply_late"],
        query_replies_lost=query_replies_lost,
        query_replies_late=query_replies_late,
        journal_entries=book.entries,
    )
