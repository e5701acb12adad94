"""An offer is applied once, whatever is lost: unknown outcomes are asked for, never sent again."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.builders import INTERVAL, MINUTE, NOON, offer, patience, rules

from bidding.book import Book
from bidding.journal import Journal
from bidding.ledger import Intent, Sent
from bidding.markets import MeterReading, Receipt
from bidding.products import Rules
from bidding.submit import Submitter
from pipeline.clock import Clock, real_clock_from
from pipeline.errors import GateClosedError, RejectedError, UnknownOutcomeError, VenueError
from pipeline.messages.market import Award, Dispatch, Document, Offer, OfferEvent, OfferState, Statement

OFFER = offer()
ID = OFFER.offer_id
QUICK = patience(milliseconds=1)


@dataclass
class ScriptedVenue:
    """A venue that applies what reaches it and does, call by call, what its two scripts say; then all goes well."""

    rules: Rules = field(default_factory=rules)
    on_submit: list[str] = field(default_factory=list)
    on_status: list[str] = field(default_factory=list)
    book: dict[str, Receipt] = field(default_factory=dict)
    applied: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def encode(self, given: Offer) -> bytes:
        return given.model_dump_json().encode()

    def decode(self, document: bytes) -> Offer:
        return Offer.model_validate_json(document)

    async def submit(self, document: bytes, offer_id: str) -> Receipt:
        self.calls.append("submit")
        match self.on_submit.pop(0) if self.on_submit else "ok":
            case "lost before":
                raise UnknownOutcomeError("no answer")
            case "refused connection":
                raise VenueError("nobody there")
            case "gate closed":
                raise GateClosedError("too late")
            case "rejected":
                raise RejectedError("no")
            case "lost after":
                self._apply(document, offer_id)
                raise UnknownOutcomeError("no answer")
            case _:
                return self._apply(document, offer_id)

    def _apply(self, document: bytes, offer_id: str) -> Receipt:
        self.applied.append(offer_id)
        accepted_mw = self.decode(document).quantity_mw
        self.book[offer_id] = Receipt(offer_id=offer_id, receipt="R", status="accepted", accepted_mw=accepted_mw)
        return self.book[offer_id]

    async def status(self, offer_id: str) -> Receipt | None:
        self.calls.append("status")
        match self.on_status.pop(0) if self.on_status else "ok":
            case "lost":
                raise UnknownOutcomeError("no answer")
            case "arrives meanwhile":
                self._apply(OFFER.model_dump_json().encode(), offer_id)
                return None
            case _:
                return self.book.get(offer_id)

    async def awards(self, resource: str) -> tuple[Award, ...]:
        del resource
        return ()

    async def dispatches(self, resource: str) -> tuple[Dispatch, ...]:
        del resource
        return ()

    async def report_meter(self, resource: str, batch_id: str, readings: tuple[MeterReading, ...]) -> None:
        del resource, batch_id, readings

    async def statement(self, resource: str) -> Statement | None:
        del resource
        return None

    async def close(self) -> None:
        return


@dataclass
class Rig:
    venue: ScriptedVenue
    book: Book
    submitter: Submitter
    events: list[OfferState]


@contextmanager
def rig(path: Path, venue: ScriptedVenue, clock: Clock | None = None) -> Iterator[Rig]:
    clock = clock or real_clock_from(NOON, 1.0)
    events: list[OfferState] = []

    def listen(_document: Document, steps: list[OfferEvent]) -> None:
        events.extend(step.state for step in steps)

    with Journal(path) as journal:
        book = Book(journal, clock, listen)
        yield Rig(venue, book, Submitter(venue, book, clock, QUICK), events)


async def test_a_good_day_is_intent_sent_accepted(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        record = await r.submitter.submit(OFFER)

    assert record.state is OfferState.ACCEPTED
    assert r.events == [OfferState.INTENT, OfferState.SENT, OfferState.ACCEPTED]
    assert r.venue.calls == ["submit"]


async def test_the_intent_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    """When the venue is called, the journal already holds the intent and that it is being sent."""
    path = tmp_path / "j"

    class Looking(ScriptedVenue):
        async def submit(self, document: bytes, offer_id: str) -> Receipt:
            seen.append(path.read_bytes().count(b'"kind":"intent"') + path.read_bytes().count(b'"kind":"sent"'))
            return await super().submit(document, offer_id)

    seen: list[int] = []
    with rig(path, Looking()) as r:
        await r.submitter.submit(OFFER)

    assert seen == [2]


async def test_a_lost_reply_is_asked_for_and_not_sent_again(tmp_path: Path) -> None:
    """The venue applied the offer and its reply was lost; the first two questions go unanswered as well."""
    with rig(tmp_path / "j", ScriptedVenue(on_submit=["lost after"], on_status=["lost", "lost"])) as r:
        record = await r.submitter.submit(OFFER)

    assert record.state is OfferState.ACCEPTED
    assert record.unknowns == 1
    assert r.venue.applied == [ID]
    assert r.venue.calls == ["submit", "status", "status", "status"]


@pytest.mark.parametrize("trouble", ["lost before", "refused connection"])
async def test_what_the_venue_never_saw_is_sent_again_once_it_said_so_twice(tmp_path: Path, trouble: str) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_submit=[trouble])) as r:
        record = await r.submitter.submit(OFFER)

    assert (record.state, record.attempts) == (OfferState.ACCEPTED, 2)
    assert r.venue.applied == [ID]
    assert r.venue.calls == ["submit", "status", "status", "submit"]


async def test_a_request_still_on_its_way_is_not_overtaken(tmp_path: Path) -> None:
    """The venue says "never saw it" and then the request arrives: the second question finds it."""
    venue = ScriptedVenue(on_submit=["lost before"], on_status=["arrives meanwhile"])
    with rig(tmp_path / "j", venue) as r:
        record = await r.submitter.submit(OFFER)

    assert record.state is OfferState.ACCEPTED
    assert venue.applied == [ID]
    assert venue.calls == ["submit", "status", "status", "status"]


@pytest.mark.parametrize("answer", ["gate closed", "rejected"])
async def test_a_definite_no_is_final(tmp_path: Path, answer: str) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_submit=[answer])) as r:
        record = await r.submitter.submit(OFFER)

    assert record.state is OfferState.REJECTED
    assert r.venue.calls == ["submit"]


async def test_nothing_is_sent_again_once_the_gate_has_closed(tmp_path: Path) -> None:
    """It was never applied, and now the gate is closed: the offer is over, not late."""
    late = real_clock_from(INTERVAL.start - timedelta(seconds=20), 1.0)
    path = tmp_path / "j"
    with rig(path, ScriptedVenue()) as r:
        r.book.write(Intent(offer=OFFER, document="{}"))

    with rig(path, ScriptedVenue(), late) as r:
        assert await r.submitter.recover()

    assert r.book.ledger.offers[ID].state is OfferState.REJECTED
    assert r.venue.calls == ["status", "status"]


async def test_a_venue_silent_past_the_gate_leaves_the_outcome_open(tmp_path: Path) -> None:
    """After gate closure it is asked once each time, and nothing counts as resolved until it answers."""
    late = real_clock_from(INTERVAL.start, 1.0)
    path = tmp_path / "j"
    with rig(path, ScriptedVenue()) as r:
        r.book.write(Intent(offer=OFFER, document="{}"))
        r.book.write(Sent(offer_id=ID, attempt=1))

    with rig(path, ScriptedVenue(on_status=["lost", "lost"]), late) as r:
        assert not await r.submitter.recover()
        assert not await r.submitter.recover()
        assert r.venue.calls == ["status", "status"]


@pytest.mark.parametrize("reached", ["intent", "sent", "applied"])
async def test_a_new_process_asks_before_it_sends(tmp_path: Path, reached: str) -> None:
    """A process died after the intent, after sending, or after the venue applied: one application each time."""
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        r.book.write(Intent(offer=OFFER, document=venue.encode(OFFER).decode()))
        if reached != "intent":
            r.book.write(Sent(offer_id=ID, attempt=1))
        if reached == "applied":
            await venue.submit(venue.encode(OFFER), ID)
            venue.calls.clear()

    with rig(path, venue) as r:
        assert await r.submitter.recover()

    assert venue.applied == [ID]
    assert venue.calls[0] == "status"
    assert r.book.ledger.offers[ID].state is OfferState.ACCEPTED


async def test_the_same_offer_again_is_not_sent(tmp_path: Path) -> None:
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        await r.submitter.submit(OFFER)
        await r.submitter.submit(OFFER)
    with rig(path, venue) as r:
        await r.submitter.submit(OFFER)

    assert venue.applied == [ID]


async def test_two_intervals_are_two_offers(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit(OFFER)
        await r.submitter.submit(offer(interval=INTERVAL.next()))

    assert len(set(r.venue.applied)) == 2
    assert INTERVAL.next().start - INTERVAL.start == MINUTE
