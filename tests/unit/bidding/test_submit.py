"""A document is applied once, whatever is lost: unknown outcomes are asked for, never sent again."""

import asyncio
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from doubles.builders import INTERVAL, MINUTE, NOON, intent, offer, patience, rules
from doubles.clocks import WaitedClock
from doubles.scripted import ScriptedVenue

from bidding.book import Book
from bidding.entries import Held, Intent, Sent, Unknown, document_id_of
from bidding.journal import Journal, read_lease
from bidding.markets import Receipt
from bidding.offers import offer_id
from bidding.products import Pause
from bidding.standby import Primary
from bidding.submit import Submitter
from pipeline.clock import Clock
from pipeline.errors import FencedError
from pipeline.messages.market import Document, Offer, OfferEvent, OfferState

OFFER = offer()
ID = OFFER.offer_id
QUICK = patience(milliseconds=1)


def meant(*offers: Offer) -> Intent:
    offers = offers or (OFFER,)
    return intent(*offers, content=ScriptedVenue().encode(offers))


def revised(revision: int) -> Offer:
    return offer(offer_id=offer_id("r1", "sandbox", "energy-dr", INTERVAL, revision), revision=revision)


@dataclass
class Rig:
    venue: ScriptedVenue
    book: Book
    submitter: Submitter
    events: list[OfferState]


@contextmanager
def rig(path: Path, venue: ScriptedVenue, clock: Clock | None = None) -> Iterator[Rig]:
    clock = clock or WaitedClock.from_(NOON)
    events: list[OfferState] = []

    def listen(_document: Document, steps: list[OfferEvent]) -> None:
        events.extend(step.state for step in steps)

    with Journal(path) as journal:
        book = Book(journal, clock, listen)
        yield Rig(venue, book, Submitter(venue, book, clock, QUICK), events)


async def test_a_good_day_is_intent_sent_accepted(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.ACCEPTED
    assert r.events == [OfferState.INTENT, OfferState.SENT, OfferState.ACCEPTED]
    assert r.venue.calls == ["submit"]


async def test_the_intent_is_on_disk_before_anything_is_sent(tmp_path: Path) -> None:
    """When the venue is called, the journal already holds the intent and that it is being sent."""
    path = tmp_path / "j"

    class Looking(ScriptedVenue):
        async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
            with closing(sqlite3.connect(path)) as other:
                seen.extend(kind for (kind,) in other.execute("SELECT kind FROM records ORDER BY number"))
            return await super().submit(document, offers, epoch)

    seen: list[str] = []
    with rig(path, Looking()) as r:
        await r.submitter.submit([OFFER])

    assert seen == ["intent", "sent"]


async def test_a_lost_reply_is_asked_for_and_not_sent_again(tmp_path: Path) -> None:
    """The venue applied the offer and its reply was lost; the first two questions go unanswered as well."""
    with rig(tmp_path / "j", ScriptedVenue(on_submit=["lost after"], on_status=["lost", "lost"])) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.ACCEPTED
    assert record.unknowns == 1
    assert r.venue.applied == [ID]
    assert r.venue.calls == ["submit", "status", "status", "status"]


@pytest.mark.parametrize("trouble", ["lost before", "refused connection"])
async def test_what_the_venue_never_saw_is_sent_again_once_it_said_so_twice(tmp_path: Path, trouble: str) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_submit=[trouble])) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert (record.state, record.attempts) == (OfferState.ACCEPTED, 2)
    assert r.venue.applied == [ID]
    assert r.venue.calls == ["submit", "status", "status", "submit"]


async def test_a_fast_clock_does_not_shorten_the_time_that_a_request_is_under_way(tmp_path: Path) -> None:
    """100 times as fast as the machine: half a second of the machine's is 50 s, not the millisecond in the settings."""
    clock, venue = WaitedClock(speed=100.0, shown=[NOON]), ScriptedVenue(on_submit=["lost before"])
    with Journal(tmp_path / "j") as journal:
        (record,) = await Submitter(venue, Book(journal, clock), clock, patience(1, least_s=0.5)).submit([OFFER])

    assert record.attempts == 2
    assert clock.now() == NOON + timedelta(seconds=50)


async def test_a_request_still_on_its_way_is_not_overtaken(tmp_path: Path) -> None:
    """The venue says "never saw it" and then the request arrives: the second question finds it."""
    venue = ScriptedVenue(on_submit=["lost before"], on_status=["arrives meanwhile"])
    with rig(tmp_path / "j", venue) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.ACCEPTED
    assert venue.applied == [ID]
    assert venue.calls == ["submit", "status", "status"]


@pytest.mark.parametrize("answer", ["gate closed", "rejected"])
async def test_a_definite_no_is_final(tmp_path: Path, answer: str) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_submit=[answer])) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.REJECTED
    assert r.venue.calls == ["submit"]


async def test_nothing_is_sent_again_once_the_gate_has_closed(tmp_path: Path) -> None:
    """It was never applied, and now the gate is closed: the offer is over, not late."""
    late = WaitedClock.from_(INTERVAL.start - timedelta(seconds=20))
    path = tmp_path / "j"
    with rig(path, ScriptedVenue()) as r:
        r.book.write(meant())

    with rig(path, ScriptedVenue(), late) as r:
        assert await r.submitter.recover()

    assert r.book.ledger.offers[ID].state is OfferState.REJECTED
    assert r.venue.calls == ["status", "status"]


async def test_a_venue_silent_past_the_gate_leaves_the_outcome_open(tmp_path: Path) -> None:
    """After gate closure it is asked once each time, and nothing counts as resolved until it answers."""
    late = WaitedClock.from_(INTERVAL.start)
    path = tmp_path / "j"
    with rig(path, ScriptedVenue()) as r:
        r.book.write(meant())
        r.book.write(Sent(document_id=meant().document_id, attempt=1))

    with rig(path, ScriptedVenue(on_status=["lost", "lost"]), late) as r:
        assert not await r.submitter.recover()
        assert not await r.submitter.recover()
        assert r.venue.calls == ["status", "status"]


@pytest.mark.parametrize("reached", ["intent", "sent", "applied"])
async def test_a_new_process_asks_before_it_sends(tmp_path: Path, reached: str) -> None:
    """A process died after the intent, after sending, or after the venue applied: one application each time."""
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        r.book.write(meant())
        if reached != "intent":
            r.book.write(Sent(document_id=meant().document_id, attempt=1))
        if reached == "applied":
            venue.apply([OFFER])

    with rig(path, venue) as r:
        assert await r.submitter.recover()

    assert venue.applied == [ID]
    assert venue.calls[0] == "status"
    assert r.book.ledger.offers[ID].state is OfferState.ACCEPTED


async def test_the_same_offer_again_is_not_sent(tmp_path: Path) -> None:
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([OFFER])
    with rig(path, venue) as r:
        await r.submitter.submit([OFFER])

    assert venue.applied == [ID]


async def test_two_intervals_are_two_offers(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([offer(interval=INTERVAL.next())])

    assert len(set(r.venue.applied)) == 2
    assert INTERVAL.next().start - INTERVAL.start == MINUTE


async def test_documents_go_out_as_the_venue_groups_them(tmp_path: Path) -> None:
    """Two intervals of one resource make one document, one send, two receipts."""
    later = offer(interval=INTERVAL.next(), offer_id="later")
    other = offer(resource="r2", offer_id="other")
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        records = await r.submitter.submit([OFFER, other, later])

    assert [record.state for record in records] == [OfferState.ACCEPTED] * 3
    assert [record.offer for record in records] == [OFFER, other, later]
    assert r.venue.calls == ["submit", "submit"]
    assert r.venue.epochs == [1, 1]


async def test_an_offer_that_the_venue_has_no_document_for_is_said_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The venue's own grouping leaves it out: the other one is sent, the caller gets what there is."""

    class Choosy(ScriptedVenue):
        def documents(self, offers: Iterable[Offer]) -> list[tuple[Offer, ...]]:
            return super().documents(offer for offer in offers if offer.resource == "r1")

    with rig(tmp_path / "j", Choosy()) as r:
        records = await r.submitter.submit([offer(resource="r2", offer_id="other"), OFFER])

        assert [record.offer for record in records] == [OFFER]
        assert await r.submitter.withdraw(["other"], "less") == []
    assert caplog.text.count("not in the journal, so not at the venue: other") == 2


async def test_every_offer_behind_one_whose_outcome_stays_open_is_answered_for(tmp_path: Path) -> None:
    """Silence from the first request on past the gate: three revisions side by side all have a state."""
    with rig(tmp_path / "j", ScriptedVenue(on_submit=["lost before"], on_status=["lost"] * 999)) as r:
        r.submitter = Submitter(r.venue, r.book, WaitedClock.from_(NOON), patience(milliseconds=5000))
        found = await asyncio.gather(*(r.submitter.submit([revised(n)]) for n in (1, 2, 3)))

    assert [record.state for (record,) in found] == [OfferState.UNKNOWN, OfferState.REJECTED, OfferState.REJECTED]


async def test_of_a_half_applied_document_only_the_other_half_is_sent_again(tmp_path: Path) -> None:
    later = offer(interval=INTERVAL.next(), offer_id="later")
    with rig(tmp_path / "j", ScriptedVenue(on_submit=["half lost"])) as r:
        records = await r.submitter.submit([OFFER, later])

    assert r.venue.applied == [ID, "later"]
    assert [(record.state, record.attempts) for record in records] == [
        (OfferState.ACCEPTED, 1),
        (OfferState.ACCEPTED, 2),
    ]


async def test_an_offer_whose_gate_has_closed_leaves_the_document_before_it_is_sent(tmp_path: Path) -> None:
    """20 s before its start the first interval's gate is closed, the next one's is not."""
    later = offer(interval=INTERVAL.next(), offer_id="later")
    late = WaitedClock.from_(INTERVAL.start - timedelta(seconds=20))
    with rig(tmp_path / "j", ScriptedVenue(), late) as r:
        first, second = await r.submitter.submit([OFFER, later])

    assert (first.state, second.state) == (OfferState.REJECTED, OfferState.ACCEPTED)
    assert r.venue.applied == ["later"]


async def test_a_newer_revision_waits_until_the_older_one_is_resolved(tmp_path: Path) -> None:
    """Revision 1 was sent by an earlier process and arrives while it is asked for: 2 follows it, and stands."""
    path, venue = tmp_path / "j", ScriptedVenue(on_status=["arrives meanwhile"])
    with rig(path, venue) as r:
        r.book.write(meant())
        r.book.write(Sent(document_id=meant().document_id, attempt=1))

    with rig(path, venue) as r:
        (record,) = await r.submitter.submit([revised(2)])

    assert venue.applied == [ID, revised(2).offer_id]
    assert record.state is OfferState.ACCEPTED
    assert r.book.ledger.offers[ID].state is OfferState.SUPERSEDED


async def test_a_newer_revision_is_refused_where_the_older_ones_outcome_stays_open(tmp_path: Path) -> None:
    """The venue is silent past the gate: whether revision 1 is there is not known, so 2 is not sent after it."""
    path = tmp_path / "j"
    with rig(path, ScriptedVenue()) as r:
        r.book.write(meant())
        r.book.write(Sent(document_id=meant().document_id, attempt=1))

    with rig(path, ScriptedVenue(on_status=["lost"] * 2), WaitedClock.from_(INTERVAL.start)) as r:
        (record,) = await r.submitter.submit([revised(2)])

        assert record.state is OfferState.REJECTED
        assert "submit" not in r.venue.calls
        assert [open_still.offer_ids for open_still in r.book.ledger.open_documents] == [(ID,)]


async def test_an_older_revision_is_not_sent_once_a_newer_one_was(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([revised(2)])
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.REJECTED
    assert r.venue.applied == [revised(2).offer_id]


async def test_a_pending_offer_is_asked_for_until_it_is_judged(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue(verdict="pending")) as r:
        (record,) = await r.submitter.submit([OFFER])
        await r.submitter.poll()
        r.venue.book[ID] = r.venue.book[ID].model_copy(update={"status": "partly_accepted"})
        await r.submitter.poll()
        await r.submitter.poll()

        assert record.state is OfferState.PENDING
        assert r.book.ledger.offers[ID].state is OfferState.PARTLY_ACCEPTED
        assert r.venue.calls == ["submit", "status", "status"]


async def test_a_pending_offer_is_asked_for_again_after_a_word_that_we_do_not_know(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue(verdict="pending")) as r:
        await r.submitter.submit([OFFER])
        r.venue.book[ID] = r.venue.book[ID].model_copy(update={"status": "considered"})
        await r.submitter.poll()
        assert r.book.ledger.offers[ID].state is OfferState.PENDING

        r.venue.book[ID] = r.venue.book[ID].model_copy(update={"status": "accepted"})
        await r.submitter.poll()
        assert r.book.ledger.offers[ID].state is OfferState.ACCEPTED


async def test_a_pending_offer_is_not_asked_for_once_its_interval_has_begun(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with rig(path, ScriptedVenue(verdict="pending")) as r:
        await r.submitter.submit([OFFER])
    with rig(path, ScriptedVenue(), WaitedClock.from_(INTERVAL.start)) as r:
        await r.submitter.poll()

    assert r.venue.calls == []


async def test_a_word_of_the_venues_that_we_do_not_know_is_written_once(tmp_path: Path) -> None:
    """The outcome stays open until the gate closes; the journal does not fill with the same answer."""
    path = tmp_path / "j"
    venue = ScriptedVenue(verdict="considered")
    with rig(path, venue, WaitedClock.from_(INTERVAL.start - timedelta(seconds=22, milliseconds=50))) as r:
        (record,) = await r.submitter.submit([OFFER])
    with Journal(path) as journal:
        kinds = [entry.kind for entry in journal.records]

    assert record.state is OfferState.UNKNOWN
    assert kinds.count("receipt") == 1


async def test_nothing_is_sent_in_a_pause_of_the_venues(tmp_path: Path) -> None:
    """The pause ends 40 ms from now: the document leaves after it."""
    ends = NOON + timedelta(hours=-7, milliseconds=40)
    pause = Pause(start=(NOON - timedelta(hours=8)).time(), end=ends.time(), why="validation")
    venue = ScriptedVenue(products={"energy-dr": rules(pauses=(pause,))})
    clock = WaitedClock.from_(NOON)
    with rig(tmp_path / "j", venue, clock) as r:
        (record,) = await r.submitter.submit([OFFER])

    assert record.state is OfferState.ACCEPTED
    assert clock.now() >= NOON + timedelta(milliseconds=40)


async def test_a_held_offer_is_sent_when_it_is_submitted(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        r.book.write(Held(document="0" * 64, offers=(OFFER,), why=("above 1 MW",), needs=2))
        (record,) = await r.submitter.submit([OFFER])

    assert r.events == [OfferState.HELD, OfferState.INTENT, OfferState.SENT, OfferState.ACCEPTED]
    assert record.state is OfferState.ACCEPTED


async def test_of_a_withdrawal_only_the_late_ones_stay(tmp_path: Path) -> None:
    """Gates at 12:04:40 and 12:05:40; at 12:04:50 the second offer is taken back and the first stands."""
    clock, venue = WaitedClock.from_(NOON), ScriptedVenue()
    with rig(tmp_path / "j", venue, clock) as r:
        await r.submitter.submit([OFFER, offer(interval=INTERVAL.next(), offer_id="later")])
        clock.move(290)
        records = await r.submitter.withdraw([ID, "later"], "capacity shrank")

    assert [record.state for record in records] == [OfferState.ACCEPTED, OfferState.WITHDRAWN]
    assert venue.calls == ["submit", "withdraw"]
    assert venue.book[ID].status == "accepted"


async def test_an_offer_whose_gate_closes_while_a_withdrawal_is_written_leaves_it(tmp_path: Path) -> None:
    """The machine sleeps between the append and the send, past the first gate and not past the second."""
    clock, venue = WaitedClock.from_(NOON), ScriptedVenue()
    whole = document_id_of("withdraw", [ID, "later"])

    def sleeps(document: Document, _events: list[OfferEvent]) -> None:
        if isinstance(document, Sent) and document.document_id == whole:
            clock.move(290)

    with Journal(tmp_path / "j") as journal:
        book = Book(journal, clock, sleeps)
        submitter = Submitter(venue, book, clock, QUICK)
        await submitter.submit([OFFER, offer(interval=INTERVAL.next(), offer_id="later")])
        records = await submitter.withdraw([ID, "later"], "capacity shrank")

    assert [record.state for record in records] == [OfferState.ACCEPTED, OfferState.WITHDRAWN]
    assert book.ledger.open_documents == []


async def test_an_offer_whose_gate_closes_while_a_document_is_written_leaves_it(tmp_path: Path) -> None:
    """The same of new offers: the one that is in time is sent by itself."""
    clock, venue = WaitedClock.from_(NOON), ScriptedVenue()

    def sleeps(document: Document, _events: list[OfferEvent]) -> None:
        if isinstance(document, Sent) and clock.now() == NOON:
            clock.move(290)

    with Journal(tmp_path / "j") as journal:
        book = Book(journal, clock, sleeps)
        both = [OFFER, offer(interval=INTERVAL.next(), offer_id="later")]
        records = await Submitter(venue, book, clock, QUICK).submit(both)

    assert [record.state for record in records] == [OfferState.REJECTED, OfferState.ACCEPTED]
    assert venue.applied == ["later"]


@pytest.mark.parametrize("trouble", ["ok", "lost after", "lost before", "forgotten after"])
async def test_a_withdrawal_happens_once_whatever_is_lost(tmp_path: Path, trouble: str) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_withdraw=[trouble])) as r:
        await r.submitter.submit([OFFER])
        (record,) = await r.submitter.withdraw([ID], "capacity shrank")

    assert record.state is OfferState.WITHDRAWN
    assert r.venue.calls.count("withdraw") == (2 if trouble == "lost before" else 1)


async def test_a_refused_withdrawal_leaves_the_offer_standing(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_withdraw=["rejected"])) as r:
        await r.submitter.submit([OFFER])
        (record,) = await r.submitter.withdraw([ID], "capacity shrank")

        assert record.state is OfferState.ACCEPTED
        assert r.book.ledger.open_documents == []


async def test_a_withdrawal_that_a_dead_process_left_open_is_resolved(tmp_path: Path) -> None:
    """It had been applied and the reply was lost: asking tells, nothing is taken back twice."""
    path, venue = tmp_path / "j", ScriptedVenue(on_withdraw=["lost after"], on_status=["lost"] * 3)
    with rig(path, venue, late := WaitedClock.from_(INTERVAL.start - timedelta(seconds=22, milliseconds=40))) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.withdraw([ID], "capacity shrank")
    venue.on_status.clear()
    with rig(path, venue, late) as r:
        assert await r.submitter.recover()

    assert r.book.ledger.offers[ID].state is OfferState.WITHDRAWN
    assert venue.calls.count("withdraw") == 1


async def test_a_stale_primary_sends_nothing(tmp_path: Path) -> None:
    """Another process has raised the epoch: `sent` cannot be written any more, so nothing goes out."""
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE lease SET epoch = epoch + 1")
        with pytest.raises(FencedError):
            await r.submitter.submit([OFFER])

    assert venue.calls == []


async def test_a_primary_that_could_not_beat_for_half_of_the_takeover_time_sends_nothing(tmp_path: Path) -> None:
    """It was stopped for 6 s between the append and the send; a standby takes over after 10."""
    venue = ScriptedVenue()
    with Journal(tmp_path / "j") as journal:
        book = Book(journal, WaitedClock.from_(NOON))
        primary = Primary(journal, 10, lambda: journal.beaten_s + 6)
        with pytest.raises(FencedError):
            await Submitter(venue, book, WaitedClock.from_(NOON), QUICK, primary).submit([OFFER])

    assert venue.calls == []


async def test_absence_is_not_believed_while_an_earlier_process_may_have_a_request_under_way(tmp_path: Path) -> None:
    """Requests last up to a minute: 'absent' counts no sooner than a minute after this process took over."""
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        r.book.write(meant())
        r.book.write(Sent(document_id=meant().document_id, attempt=1))
    with Journal(path), Journal(path, silent=read_lease(path)) as journal:
        clock = WaitedClock.from_(NOON)
        primary = Primary(journal, 10, lambda: journal.beaten_s)
        patient = patience(milliseconds=1, request_s=60)
        assert await Submitter(venue, Book(journal, clock), clock, patient, primary).recover()

    assert clock.now() >= NOON + timedelta(seconds=60)
    assert venue.calls == ["status", "status", "submit"]


async def test_what_a_dead_process_sent_has_arrived_one_in_flight_after_it_was_succeeded(tmp_path: Path) -> None:
    """Taken over 400 ms ago, requests are under way for a second at most: the second question comes after 600 ms."""
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        r.book.write(meant())
        r.book.write(Sent(document_id=meant().document_id, attempt=1))
    with Journal(path) as journal:
        clock, began = WaitedClock.from_(NOON), iter([0.0])
        primary = Primary(journal, 10, lambda: next(began, journal.beaten_s + 0.4))
        primary._began_s = journal.beaten_s  # it took over then
        patient = patience(milliseconds=1000)
        assert await Submitter(venue, Book(journal, clock), clock, patient, primary).recover()

    assert clock.now() == NOON + timedelta(milliseconds=600)
    assert venue.calls == ["status", "status", "submit"]


async def test_what_became_too_late_while_it_was_written_down_is_not_sent(tmp_path: Path) -> None:
    """The machine sleeps between the append and the send, and wakes after the gate."""
    clock, venue = WaitedClock.from_(NOON), ScriptedVenue()

    def sleeps(document: Document, _events: list[OfferEvent]) -> None:
        if isinstance(document, Sent):
            clock.move(300)

    with Journal(tmp_path / "j") as journal:
        book = Book(journal, clock, sleeps)
        (record,) = await Submitter(venue, book, clock, QUICK).submit([OFFER])

    assert record.state is OfferState.REJECTED
    assert venue.calls == []


async def test_a_request_without_an_answer_is_given_up_and_asked_about(tmp_path: Path) -> None:
    """The venue holds the connection for ever; requests are given up after 20 ms of the machine's."""

    class Holding(ScriptedVenue):
        async def submit(self, document: bytes, offers: Sequence[Offer], epoch: int) -> tuple[Receipt, ...]:
            await super().submit(document, offers, epoch)
            await asyncio.Event().wait()
            return ()

    venue, clock = Holding(), WaitedClock.from_(NOON)
    with Journal(tmp_path / "j") as journal:
        book = Book(journal, clock)
        async with asyncio.timeout(3):
            (record,) = await Submitter(venue, book, clock, patience(1, request_s=0.02)).submit([OFFER])

    assert (record.state, record.unknowns) == (OfferState.ACCEPTED, 1)
    assert venue.calls == ["submit", "status"]


def test_an_unknown_outcome_of_old_is_still_one() -> None:
    """Records written when a document was one offer name the offer."""
    assert Unknown.model_validate({"offer_id": "o", "detail": "no answer"}).document_id == "o"
