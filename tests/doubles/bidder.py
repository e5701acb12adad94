"""
A submitter process with a plan of work, as it is, or with one planted bug.

    take over ─▶ recover ─▶ item 0, 1, 2 … of the plan: offers, their revisions, withdrawals, offers at a closing gate

What an item consists of follows from its number alone, so that every life goes on where the ledger says the one before
ended. The clock runs 20 times as fast as the machine's: a market minute, and with it a gate, comes every 3 s.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from doubles.builders import offer, step

from bidding import standby
from bidding.book import Book
from bidding.fence import up_s
from bidding.journal import Journal
from bidding.markets import Market, sandbox
from bidding.offers import offer_id
from bidding.reconcile import Reconciler
from bidding.standby import Primary, take_over
from bidding.states import TAKEN
from bidding.submit import Patience, Submitter
from pipeline.clock import Clock
from pipeline.errors import FencedError
from pipeline.interval import Interval, floor
from pipeline.messages.market import Offer

ORIGIN = datetime.fromisoformat("2026-07-23T12:00:00+00:00")
MINUTE = timedelta(minutes=1)
SPEED = 20.0
FIRST = ORIGIN + timedelta(hours=8)
"""Of the ordinary offers: no gate of theirs closes during a run of less than 24 minutes."""
RESOURCES = 8
AT_ONCE = 4
MOST_REVISIONS = 3
MOST_ITEMS = 7000
"""Their intervals stay within the venue's horizon of a day."""
TAKEOVER_S = 2.0
IN_FLIGHT_S = 0.5
"""Longer than the slow wire takes; the default is 1 s."""
PATIENCE = Patience(
    retry=timedelta(seconds=0.05 * SPEED),
    in_flight=timedelta(seconds=IN_FLIGHT_S * SPEED),
    gate_margin=timedelta(seconds=1.0 * SPEED),
    request_s=1.0,
)
SUBMIT_TIMEOUT_S = 0.4
FENCED = FencedError.exit_code


@dataclass(frozen=True)
class Life:
    """What one process is started with."""

    config: Path
    journal: Path
    word: str
    lives: Path
    """Where it says that everything open is resolved, one JSON line."""
    started_s: float
    """When its parent started it, by `up_s`."""
    items: int = MOST_ITEMS
    """It ends after so many, having compared everything with the venue."""
    last: bool = False


@dataclass(frozen=True)
class Build:
    """The parts that a planted bug replaces."""

    journal: type[Journal] = Journal
    submitter: type[Submitter] = Submitter
    primary: type[Primary] = Primary


def live(life: Life, build: Callable[[], Build] = Build) -> None:
    """Run one life; exit as the program would when another process has taken over."""
    entered_s = up_s()
    parts = build()
    vars(standby)["Journal"] = parts.journal  # a planted bug takes the place of the real one, in this process only
    try:
        asyncio.run(_live(life, parts, entered_s))
    except FencedError:
        sys.exit(FENCED)


async def _live(life: Life, build: Build, entered_s: float) -> None:
    clock = Clock.parse(life.word)
    async with take_over(life.journal, TAKEOVER_S) as journal:
        taken_s = up_s()
        market = await sandbox.connect(life.config, clock)
        book = Book(journal, clock)
        primary = build.primary(journal, TAKEOVER_S)
        work = Work(life, market, book, build.submitter(market, book, clock, PATIENCE, primary), clock)
        tasks = [asyncio.ensure_future(primary.run()), asyncio.ensure_future(work.run(entered_s, taken_s))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with suppress(Exception):
                await market.close()


class Work:
    """The plan, carried out from where the ledger says it is."""

    def __init__(self, life: Life, market: Market, book: Book, submitter: Submitter, clock: Clock) -> None:
        self._life, self._market, self._book, self._submitter, self._clock = life, market, book, submitter, clock
        self._made: dict[str, list[Offer]] = {}
        for record in book.ledger.offers.values():
            self._made.setdefault(record.offer.resource, []).append(record.offer)

    async def run(self, entered_s: float, taken_s: float) -> None:
        """Resolve what is open and say so, then go on with the plan."""
        told: dict[str, float] = {"open": len(self._book.ledger.open_documents)}
        while not await self._submitter.recover():  # noqa: ASYNC110 - nobody tells when the venue answers again
            await asyncio.sleep(0.05)
        told |= {"epoch": self._book.epoch, "started_s": self._life.started_s, "entered_s": entered_s}
        told |= {"taken_s": taken_s, "resolved_s": up_s(), "pid": os.getpid()}
        with self._life.lives.open("a", encoding="utf-8") as lives:
            lives.write(json.dumps(told) + "\n")
        for first in range(0, self._life.items, AT_ONCE):
            await self._advance(range(first, min(first + AT_ONCE, self._life.items)))
        if self._life.last:
            await self._submitter.recover()
            await Reconciler(self._market, self._book, self._submitter).tick(self._clock.now())

    async def _advance(self, items: Iterable[int]) -> None:
        """Bring *items* to their ends, revision by revision, side by side."""
        for revision in range(1, MOST_REVISIONS + 1):
            due = [offer for item in items if (offer := self._due(item, revision)) is not None]
            for offer in due:
                self._made.setdefault(offer.resource, []).append(offer)
            if due:
                await self._submitter.submit(due)
        made = [offer for item in items if withdraws(item) for offer in self._made[name_of(item)]]
        standing = [o.offer_id for o in made if self._book.ledger.offers[o.offer_id].state in TAKEN]
        if standing:
            await self._submitter.withdraw(standing, "planned")

    def _due(self, item: int, revision: int) -> Offer | None:
        """Return the offer of *item* to make now, None where it has been made or there is none."""
        name, quantities, made = name_of(item), revisions(item), self._made.get(name_of(item), [])
        if revision > len(quantities) or any(offer.revision >= revision for offer in made):
            return None
        interval = made[0].interval if made else interval_of(item, self._clock.now())
        return offer(
            step(quantities[revision - 1], "10"),
            interval=interval,
            resource=name,
            revision=revision,
            offer_id=offer_id(name, "sandbox", "energy-dr", interval, revision),
        )


def revisions(item: int) -> tuple[str, ...]:
    """Return the MW of each revision of *item*: most are offered once, some grow, some shrink."""
    match item % 10:
        case 5 | 6:
            return ("0.2", "0.3")
        case 7:
            return ("0.3", "0.2", "0.1")
        case _:
            return ("0.2",)


def withdraws(item: int) -> bool:
    """Tell whether *item* is taken back in the end."""
    return item % 10 == 8


def name_of(item: int) -> str:
    """Return the resource of *item*: one of its own, so that the ledger tells how far it has come."""
    return f"r{item}"


def interval_of(item: int, now: datetime) -> Interval:
    """Return an interval far away, or, for one item in ten, the one whose gate is closing, or has closed."""
    if item % 10 == 9:
        nearest = floor(now, MINUTE) + MINUTE * (item % 20 == 9)
        return Interval(nearest, nearest + MINUTE)
    start = FIRST + MINUTE * (item // RESOURCES)
    return Interval(start, start + MINUTE)
