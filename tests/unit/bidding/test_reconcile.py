"""What the venue holds against what we hold: every verdict by hand, and what is done about it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from doubles.builders import INTERVAL, NOON, offer, patience
from doubles.clocks import WaitedClock
from doubles.scripted import ScriptedVenue

from bidding.book import Book
from bidding.journal import Journal
from bidding.markets import Notice, Receipt
from bidding.offers import offer_id
from bidding.reconcile import Reconciler, Verdict, compare, report
from bidding.states import OfferRecord
from bidding.submit import Submitter
from pipeline.messages.market import Offer, OfferState

OFFER = offer()
ID = OFFER.offer_id
LATE = INTERVAL.start - timedelta(seconds=20)


def revised(revision: int) -> Offer:
    return offer(offer_id=offer_id("r1", "sandbox", "energy-dr", INTERVAL, revision), revision=revision)


def receipt(status: str, given: Offer = OFFER, mw: str = "0.3") -> Receipt:
    return Receipt(offer_id=given.offer_id, receipt="R", status=status, accepted_mw=Decimal(mw))


@pytest.mark.parametrize(
    ("held", "verdict"),
    [
        ({revised(2).offer_id: receipt("accepted", revised(2))}, Verdict.SAME),
        ({revised(2).offer_id: receipt("accepted", revised(2), "0.1")}, Verdict.CHANGED),
        ({revised(2).offer_id: receipt("partly_accepted", revised(2), "0.1")}, Verdict.CHANGED),
        ({revised(2).offer_id: receipt("cancelled", revised(2))}, Verdict.TAKEN_BACK),
        ({revised(2).offer_id: receipt("rejected", revised(2))}, Verdict.TAKEN_BACK),
        ({revised(2).offer_id: receipt("suspended", revised(2))}, Verdict.UNCLEAR),
        ({ID: receipt("accepted")}, Verdict.OLDER),
        ({ID: receipt("cancelled")}, Verdict.GONE),
        ({}, Verdict.GONE),
        (None, Verdict.SILENT),
    ],
    ids=str,
)
def test_every_verdict(held: dict[str, Receipt] | None, verdict: Verdict) -> None:
    """Revision 2 of 0.3 MW was accepted, revision 1 was sent before it."""
    record = OfferRecord(revised(2), state=OfferState.ACCEPTED, receipt=receipt("accepted", revised(2)))

    assert compare(record, [OFFER], held).verdict is verdict


@dataclass
class Rig:
    venue: ScriptedVenue
    book: Book
    clock: WaitedClock
    submitter: Submitter
    reconciler: Reconciler
    closed: list[str]
    """Why nothing may leave, where nothing may."""

    def state(self, name: str = ID) -> OfferState:
        return self.book.ledger.offers[name].state


@contextmanager
def rig(path: Path, venue: ScriptedVenue, instant: datetime = NOON) -> Iterator[Rig]:
    clock = WaitedClock.from_(instant)
    with Journal(path) as journal:
        book = Book(journal, clock)
        closed: list[str] = []
        submitter = Submitter(venue, book, clock, patience(milliseconds=1), closed=lambda: "; ".join(closed))
        yield Rig(venue, book, clock, submitter, Reconciler(venue, book, submitter), closed)


async def test_agreement_writes_and_sends_nothing(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        lines = await r.reconciler.tick(NOON)

    assert [line.verdict for line in lines] == [Verdict.SAME]
    assert r.venue.calls == ["submit", "status"]
    assert r.book.ledger.found == {}


async def test_an_offer_that_the_venue_lost_is_sent_again_before_the_gate(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        del r.venue.book[ID]
        (line,) = await r.reconciler.tick(NOON)

    assert line.verdict is Verdict.GONE
    assert r.venue.applied == [ID, ID]
    assert r.state() is OfferState.ACCEPTED
    assert r.book.ledger.found[ID].theirs == "nothing"


async def test_an_older_revision_in_the_newest_ones_place_is_overwritten_again(tmp_path: Path) -> None:
    """A stale process, woken late, got revision 1 through at a venue without a fence."""
    newest = revised(2)
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([newest])
        del r.venue.book[newest.offer_id]
        (line,) = await r.reconciler.tick(NOON)

    assert line.verdict is Verdict.OLDER
    assert r.venue.applied == [ID, newest.offer_id, newest.offer_id]
    assert r.state(newest.offer_id) is OfferState.ACCEPTED


async def test_what_the_venue_holds_binds_us_while_a_halt_keeps_the_newest_from_it(tmp_path: Path) -> None:
    """The venue restored a backup in a halt: 1 counts as well as 2; after the halt 2 is sent again."""
    newest = revised(2)
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([newest])
        del r.venue.book[newest.offer_id]
        r.closed.append("halted by anna")
        await r.reconciler.tick(NOON)

        assert (r.state(), r.state(newest.offer_id)) == (OfferState.ACCEPTED, OfferState.ACCEPTED)
        assert {line.verdict for line in await r.reconciler.tick(NOON)} == {Verdict.SAME, Verdict.OLDER}

        r.closed.clear()
        await r.reconciler.tick(NOON)
        assert (r.state(), r.state(newest.offer_id)) == (OfferState.SUPERSEDED, OfferState.ACCEPTED)

        del r.venue.book[newest.offer_id]  # once more, the same
        r.closed.append("halted by anna")
        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.ACCEPTED


async def test_what_the_venue_holds_binds_us_where_it_refuses_the_newest(tmp_path: Path) -> None:
    newest = revised(2)
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([newest])
        del r.venue.book[newest.offer_id]
        r.venue.on_submit = ["rejected"]
        await r.reconciler.tick(NOON)

        assert (r.state(), r.state(newest.offer_id)) == (OfferState.ACCEPTED, OfferState.REJECTED)
        assert [line.verdict for line in await r.reconciler.tick(NOON)] == [Verdict.SAME]


async def test_a_revision_that_came_back_and_is_not_there_is_let_go_and_not_sent(tmp_path: Path) -> None:
    """2 replaced 1 and was rejected after all; the venue dropped both: 1 is not what we mean any more."""
    newest = revised(2)
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.verdict = "pending"
        await r.submitter.submit([newest])
        r.venue.book = {newest.offer_id: receipt("rejected", newest)}
        await r.submitter.poll()
        assert r.state() is OfferState.ACCEPTED

        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.WITHDRAWN
        assert r.venue.applied == [ID, newest.offer_id]


async def test_a_silence_lets_nothing_go(tmp_path: Path) -> None:
    """As above, but the second question has no answer: 1 goes on binding us."""
    newest = revised(2)
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.on_submit = ["rejected"]
        await r.submitter.submit([newest])
        r.venue.book.clear()
        r.venue.on_status = ["ok", "lost"]
        await r.reconciler.tick(NOON)

        assert r.state() is OfferState.ACCEPTED


async def test_after_the_gate_a_loss_is_said_once_and_nothing_is_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, venue = tmp_path / "j", ScriptedVenue()
    with rig(path, venue) as r:
        await r.submitter.submit([OFFER])
    venue.book.clear()
    with rig(path, venue, LATE) as r:
        await r.reconciler.tick(LATE)
        await r.reconciler.tick(LATE)
        assert r.state() is OfferState.ACCEPTED
    with Journal(path) as journal:
        kinds = [record.kind for record in journal.records]

    assert venue.applied == [ID]
    assert kinds.count("found") == 1
    assert caplog.text.count("the venue's is nothing") == 1


async def test_what_was_judged_otherwise_since_is_written(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.book[ID] = receipt("partly_accepted", mw="0.1")
        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.PARTLY_ACCEPTED

        r.venue.book[ID] = receipt("cancelled", mw="0")
        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.CANCELLED
        assert await r.reconciler.tick(NOON) == []


async def test_a_word_that_we_do_not_know_changes_nothing_and_is_asked_about_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.book[ID] = receipt("suspended")
        await r.reconciler.tick(NOON)
        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.ACCEPTED
        assert caplog.text.count("the venue's is revision 1 suspended") == 1

        r.venue.book[ID] = receipt("cancelled", mw="0")
        await r.reconciler.tick(NOON)
        assert r.state() is OfferState.CANCELLED

    assert r.venue.applied == [ID]


async def test_a_silent_venue_changes_nothing(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue(on_status=["lost"])) as r:
        await r.submitter.submit([OFFER])
        (line,) = await r.reconciler.tick(NOON)

    assert line.verdict is Verdict.SILENT
    assert r.state() is OfferState.ACCEPTED
    assert r.venue.applied == [ID]


def notice(name: str = "n-1") -> Notice:
    return Notice(
        notice_id=name, resource="r1", product="energy-dr", interval=INTERVAL, reason="outage", issued_at=NOON
    )


async def test_a_notice_of_cancellation_ends_the_offer_once(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.cancelled.append(notice())
        r.venue.book[ID] = receipt("cancelled")
        await r.reconciler.tick(NOON)
        await r.reconciler.tick(NOON)
    with Journal(tmp_path / "j") as journal:
        kinds = [record.kind for record in journal.records]

    assert r.state() is OfferState.CANCELLED
    assert kinds.count("cancelled") == 1


async def test_a_notice_about_an_older_revision_leaves_the_newest_alone(tmp_path: Path) -> None:
    """The venue, asked, still holds revision 2: the notice was about 1, and is only kept."""
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        await r.submitter.submit([revised(2)])
        r.venue.cancelled.append(notice())
        await r.reconciler.tick(NOON)

    assert r.state(revised(2).offer_id) is OfferState.ACCEPTED
    assert list(r.book.ledger.notices) == ["n-1"]


async def test_a_notice_about_nothing_of_ours_is_kept(tmp_path: Path) -> None:
    other = notice("n-2").model_copy(update={"interval": INTERVAL.next()})
    with rig(tmp_path / "j", ScriptedVenue(cancelled=[other])) as r:
        await r.submitter.submit([OFFER])
        await r.reconciler.tick(NOON)

    assert r.state() is OfferState.ACCEPTED
    assert list(r.book.ledger.notices) == ["n-2"]


async def test_a_report_sends_and_writes_nothing(tmp_path: Path) -> None:
    with rig(tmp_path / "j", ScriptedVenue()) as r:
        await r.submitter.submit([OFFER])
        r.venue.book.clear()
        (line,) = await report(r.venue, r.book.ledger, NOON)
    with Journal(tmp_path / "j") as journal:
        assert [record.kind for record in journal.records] == ["intent", "sent", "receipt"]

    assert (line.verdict, line.ours, line.theirs) == (Verdict.GONE, "revision 1 accepted, 0.3 MW", "nothing")
    assert r.venue.applied == [ID]
