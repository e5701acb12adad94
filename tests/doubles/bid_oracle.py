"""
What went wrong, by two files alone: the venue's journal of every request and its outcome, and ours.

It shares no code with the submitter. A venue's line is plain JSON here; of ours the ledger is what is judged.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from bidding.journal import read
from bidding.ledger import Ledger, fold
from bidding.states import TAKEN
from pipeline.errors import ConfigError
from pipeline.messages.market import OfferState

ACCEPTED = {"accepted", "partly_accepted"}
HAD = TAKEN | {OfferState.SUPERSEDED, OfferState.WITHDRAWN, OfferState.CANCELLED}
"""The venue must have accepted these at some time."""

Slot = tuple[str, str, str]


@dataclass
class Books:
    """The venue's book as its own journal tells it."""

    accepted: set[str] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    cancelled: set[str] = field(default_factory=set)
    """Of these: by the venue."""
    standing: dict[Slot, tuple[int, str]] = field(default_factory=dict)
    applied: int = 0
    duplicates: int = 0
    stale: int = 0
    after_gate: int = 0
    fenced: int = 0
    replies_lost: int = 0


@dataclass(frozen=True)
class Verdict:
    """Everything but `offers`, `applied`, `asked`, `fenced` and `replies_lost` has to be nothing."""

    offers: int
    applied: int
    asked: int
    """Offers whose outcome was unknown, or that were sent more than once."""
    replies_lost: int
    fenced: int
    """Requests of a stale sender that the venue refused."""
    lost: int
    duplicates: int
    stale: int
    after_gate: int
    unresolved: int
    unheard: int
    """Cancelled by the venue, and the interval had begun before the last process compared: nothing is due any more."""
    which: tuple[str, ...]
    """The lost ones: what they are to us."""
    damaged: int = 0
    """Whether our journal no longer chains: two have written it."""

    @property
    def wrong(self) -> dict[str, int]:
        """What is not nothing and has to be."""
        must = ("lost", "duplicates", "stale", "after_gate", "unresolved", "damaged")
        return {name: count for name, count in asdict(self).items() if name in must and count}


def judge(journal: Path, venue_journal: Path, compared_at: datetime) -> Verdict:
    """Return what the two files come to, once nobody writes them any more; *compared_at* the last process began."""
    books, damaged = _books(venue_journal), False
    try:
        ledger = fold(read(journal))
    except ConfigError:
        ledger, damaged = Ledger(), True
    records = ledger.offers.values()
    lost = set(_disagreements(ledger, books))
    unheard = {name for name in lost & books.cancelled if _begun(ledger, name, compared_at)}
    lost -= unheard
    return Verdict(
        offers=len(ledger.offers),
        applied=books.applied,
        asked=sum(record.unknowns > 0 or record.attempts > 1 for record in records),
        replies_lost=books.replies_lost,
        fenced=books.fenced,
        lost=len(lost),
        unheard=len(unheard),
        which=tuple(f"{name}: {ledger.offers.get(name, 'not known')}" for name in sorted(lost)),
        duplicates=books.duplicates,
        stale=books.stale,
        after_gate=books.after_gate,
        unresolved=len(ledger.open_documents),
        damaged=damaged,
    )


def _begun(ledger: Ledger, name: str, instant: datetime) -> bool:
    record = ledger.offers.get(name)
    return record is not None and record.state in TAKEN and record.offer.interval.start <= instant


def _books(path: Path) -> Books:
    books = Books()
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        books.replies_lost += entry.get("reply") == "lost"
        outcome = entry.get("outcome", "")
        books.after_gate += outcome == "gate_closed"
        match entry["kind"]:
            case "fenced":
                books.fenced += 1
            case "offer":
                _submission(entry, outcome, books)
            case "withdrawal" if outcome == "withdrawn":
                books.ended.add(entry["offer_id"])
            case "withdrawal":
                books.duplicates += outcome == "duplicate"
            case "cancel":
                books.ended.add(entry["offer_id"])
                books.cancelled.add(entry["offer_id"])
            case _:
                pass
    return books


def _submission(entry: dict[str, object], outcome: str, books: Books) -> None:
    body, offer_id = entry["body"], str(entry["offer_id"])
    assert isinstance(body, dict)
    slot = (body["resource"], body["product"], body["interval_start"])
    revision = int(body["revision"])
    books.applied += outcome in ACCEPTED
    books.duplicates += outcome == "duplicate"
    books.stale += outcome in {"stale_revision", "conflict"}
    if outcome in ACCEPTED:
        books.stale += slot in books.standing and books.standing[slot][0] >= revision
        books.accepted.add(offer_id)
        books.standing[slot] = (revision, offer_id)


def _disagreements(ledger: Ledger, books: Books) -> Iterator[str]:
    """Yield the offers about which the two differ: what was had, and what stands."""
    had = {name for name, record in ledger.offers.items() if record.state in HAD}
    yield from had ^ books.accepted
    ours = {name for name, record in ledger.offers.items() if record.state in TAKEN}
    theirs = {name for _, name in books.standing.values() if name not in books.ended}
    yield from ours ^ theirs
