"""
A submitter process that is killed again and again, and the count of what went wrong.

    1 journal ─▶ process 1 ✗ ─▶ process 2 ✗ ─▶ … ─▶ process n ✗ ─▶ the last one resolves what is open
                    └─ offers, minute by minute, to a venue that loses replies

Wrong is: an offer that the venue got twice, or one that journal and venue disagree about.
"""

import asyncio
import multiprocessing
import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import httpx
from doubles import venue
from doubles.builders import offer, patience

from bidding.book import Book
from bidding.journal import Journal, read
from bidding.ledger import fold
from bidding.markets import sandbox
from bidding.submit import Submitter
from pipeline.clock import Clock, real_clock_from
from pipeline.interval import Interval
from pipeline.messages.market import OfferState

ORIGIN = datetime.fromisoformat("2026-07-23T12:00:00+00:00")
FIRST = Interval(ORIGIN + timedelta(hours=1), ORIGIN + timedelta(hours=1, minutes=1))
TAKEN = frozenset({OfferState.ACCEPTED, OfferState.PARTLY_ACCEPTED})
QUICK = patience(milliseconds=50)
LONGEST_LIFE_BYTES = 9000
"""Of journal, about three offers: a life in work done, so that a slow machine kills at the same points."""
LAST_BREATH_S = 0.01
READY_WITHIN_S = 60.0
MOST_OFFERS = 1300
"""All minutes of the venue's day-long horizon, nearly."""


@dataclass(frozen=True)
class Toll:
    """What the kills cost."""

    kills: int
    offers: int
    duplicates: int
    lost: int
    asked: int
    """Offers whose outcome was unknown and was asked for."""


def submit_until_killed(config: Path, journal: Path, word: str, count: int) -> None:
    """Resolve what is open, then bring the number of offers up to *count*."""
    asyncio.run(_submit(config, journal, Clock.parse(word), count))


async def _submit(config: Path, path: Path, clock: Clock, count: int) -> None:
    market = await sandbox.connect(config, clock)
    with Journal(path) as journal:
        book = Book(journal, clock)
        submitter = Submitter(market, book, clock, QUICK)
        await submitter.recover()
        interval = FIRST
        for _ in range(count):
            if not book.ledger.revision_of("r1", "energy-dr", interval):
                await submitter.submit([offer(interval=interval)])
            interval = interval.next()
    await market.close()


def kill_again_and_again(folder: Path, kills: int, seed: int, lose_replies: float = 0.3) -> Toll:
    """Return what *kills* kills at random points come to."""
    word, draw = str(real_clock_from(ORIGIN, 1.0)), random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", __name__])  # so that a new process costs milliseconds
    journal, config = folder / "journal", folder / "firmwatt.toml"
    faults = {"lose_replies": lose_replies, "late_replies": 0.1, "late_s": 0.1, "seed": seed}
    with venue.start(folder, word, journal=folder / "venue.jsonl", min_mw="0.01", **faults) as url:
        config.write_text(f'[venue.sandbox]\nurl = "{url}"\n', encoding="utf-8")
        done = 0
        while done < kills:
            process = context.Process(target=submit_until_killed, args=(config, journal, word, MOST_OFFERS))
            process.start()
            _wait_for_growth(journal, draw.randrange(LONGEST_LIFE_BYTES))
            time.sleep(draw.uniform(0, LAST_BREATH_S))
            process.kill()
            process.join()
            done += 1
        count = len(fold(read(journal)).offers) if journal.exists() else 0
        last = context.Process(target=submit_until_killed, args=(config, journal, word, count))
        last.start()
        last.join()
        assert last.exitcode == 0
        return _toll(journal, url, done)


def _wait_for_growth(journal: Path, more: int) -> None:
    """Return once *journal* has grown by more than *more* bytes."""
    deadline = time.monotonic() + READY_WITHIN_S
    before = journal.stat().st_size if journal.exists() else 0
    while not journal.exists() or journal.stat().st_size <= before + more:
        assert time.monotonic() < deadline, "the submitter does nothing"
        time.sleep(0.0005)


def _toll(journal: Path, url: str, kills: int) -> Toll:
    ledger = fold(read(journal))
    audit = httpx.get(f"{url}/v1/audit", trust_env=False).json()
    taken = [record for record in ledger.offers.values() if record.state in TAKEN]
    known = [r for r in taken if httpx.get(f"{url}/v1/offers/{r.offer.offer_id}", trust_env=False).status_code == 200]
    unheard = abs(audit["submissions_applied"] - audit["duplicate_submissions"] - len(known))
    return Toll(
        kills=kills,
        offers=len(ledger.offers),
        duplicates=audit["duplicate_submissions"],
        lost=len(ledger.offers) - len(known) + unheard,
        asked=sum(record.unknowns > 0 or record.attempts > 1 for record in ledger.offers.values()),
    )
