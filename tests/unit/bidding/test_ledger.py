"""What the journal adds up to: after each record the state it leaves, by hand."""

from decimal import Decimal

import pytest
from doubles.builders import INTERVAL, NOON, award, intent, offer

from bidding import ledger
from bidding.chain import chained
from bidding.entries import (
    KIND_OF,
    Absent,
    Cancelled,
    Explained,
    Found,
    Held,
    Intent,
    NotAwarded,
    Refused,
    Sent,
    Told,
    Unknown,
    Withdrawal,
    document_id_of,
    document_of,
)
from bidding.ledger import Ledger, fold
from bidding.markets import Notice, Receipt, Shortfall
from pipeline.errors import ConfigError
from pipeline.messages.market import Dispatch, Document, Offer, OfferState, Statement, StatementLine

OFFER = offer()
ID = OFFER.offer_id
DOCUMENT = intent().document_id


def receipt(status: str = "accepted", offer_id: str = ID) -> Receipt:
    return Receipt(offer_id=offer_id, receipt="R-1", status=status, accepted_mw=OFFER.quantity_mw)


def revised(revision: int) -> Offer:
    return offer(offer_id=f"rev-{revision}", revision=revision)


def after(*documents: Document) -> Ledger:
    book = Ledger()
    for document in documents:
        book.apply(document)
    return book


def dispatched() -> Dispatch:
    return Dispatch(
        dispatch_id="d-1",
        award_id=award().award_id,
        resource="r1",
        interval=INTERVAL,
        reduction_mw=award().quantity_mw,
        issued_at=NOON,
    )


def settled(issuer: str) -> Statement:
    zero = dict.fromkeys((name for name in StatementLine.model_fields if name not in {"award_id", "interval"}), "0")
    line = StatementLine.model_validate({"award_id": award().award_id, "interval": INTERVAL, **zero})
    return Statement.model_validate(
        {
            "statement_id": "s",
            "issuer": issuer,
            "resource": "r1",
            "currency": "USD",
            "lines": (line,),
            "total": "0",
            "issued_at": NOON,
            "simulated": True,
        }
    )


LIFE: list[tuple[Document, OfferState]] = [
    (Held(document="0" * 64, offers=(OFFER,), why=("above 1 MW",), needs=2), OfferState.HELD),
    (intent(), OfferState.INTENT),
    (Sent(document_id=DOCUMENT, attempt=1), OfferState.SENT),
    (Unknown(document_id=DOCUMENT, detail="no answer"), OfferState.UNKNOWN),
    (Absent(document_id=DOCUMENT), OfferState.INTENT),
    (Sent(document_id=DOCUMENT, attempt=2), OfferState.SENT),
    (receipt("pending"), OfferState.PENDING),
    (receipt(), OfferState.ACCEPTED),
    (award(), OfferState.AWARDED),
    (receipt(), OfferState.AWARDED),
    (dispatched(), OfferState.DISPATCHED),
    (settled("firmwatt"), OfferState.DISPATCHED),
    (settled("sandbox"), OfferState.SETTLED),
]


def test_the_ledger_is_the_life_of_an_offer_after_each_record() -> None:
    """Every prefix of the journal gives the state that its last record left."""
    documents = [document for document, _ in LIFE]

    states = [after(*documents[: count + 1]).offers[ID].state for count in range(len(documents))]

    assert states == [state for _, state in LIFE]
    assert after(*documents).offers[ID].attempts == 2
    assert after(*documents).offers[ID].unknowns == 1


@pytest.mark.parametrize(
    ("document", "state"),
    [
        (receipt("partly_accepted"), OfferState.PARTLY_ACCEPTED),
        (receipt("rejected"), OfferState.REJECTED),
        (receipt("cancelled"), OfferState.CANCELLED),
        (receipt("withdrawn"), OfferState.WITHDRAWN),
        (receipt("a new word"), OfferState.UNKNOWN),
        (Refused(document_id=DOCUMENT, reason="gate closed"), OfferState.REJECTED),
        (Refused(offer_id=ID, reason="gate closed"), OfferState.REJECTED),
        (NotAwarded(offer_id=ID), OfferState.NOT_AWARDED),
    ],
)
def test_every_answer_has_its_state(document: Document, state: OfferState) -> None:
    """A word of the venue's that we do not know leaves the outcome open, it does not crash."""
    assert after(intent(), document).offers[ID].state is state


@pytest.mark.parametrize("known", ["pending", "accepted", "withdrawn"])
def test_a_word_that_we_do_not_know_leaves_a_known_outcome_as_it_was(known: str) -> None:
    """In a journal of old: nothing would ask about it again."""
    assert (
        after(intent(), receipt(known), receipt("a new word")).offers[ID] == after(intent(), receipt(known)).offers[ID]
    )


def test_a_document_of_two_is_open_until_both_are_answered() -> None:
    """One accepted, one not answered: the answer is partial, the document stays open."""
    both = intent(OFFER, later := offer(interval=INTERVAL.next(), offer_id="later"))
    sent = Sent(document_id=both.document_id, attempt=1)

    half = after(both, sent, receipt())
    whole = after(both, sent, receipt(), receipt("rejected", later.offer_id))

    assert [document.document_id for document in half.open_documents] == [both.document_id]
    assert [record.offer for record in half.unresolved] == [later]
    assert whole.open_documents == []


def test_what_an_offer_went_through_counts_in_its_next_document() -> None:
    """Two went out together, only one was seen: the other goes out by itself, and the first document is closed."""
    both = intent(OFFER, later := offer(interval=INTERVAL.next(), offer_id="later"))
    alone = intent(later)
    book = after(
        both, Sent(document_id=both.document_id, attempt=1), receipt(), Absent(document_id=both.document_id), alone
    )

    assert [document.document_id for document in book.open_documents] == [alone.document_id]
    assert book.offers["later"].attempts == 1


def test_a_later_revision_that_is_accepted_stands_in_the_earlier_ones_place() -> None:
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)))
    assert book.offers["rev-1"].state is OfferState.ACCEPTED

    moved = book.apply(receipt(offer_id="rev-2"))

    assert {record.offer.offer_id: record.state for record in moved} == {
        "rev-1": OfferState.SUPERSEDED,
        "rev-2": OfferState.ACCEPTED,
    }
    assert book.apply(receipt(offer_id="rev-1")) == []
    assert [o.offer_id for o in book.taken] == ["rev-2"]


def test_a_rejected_revision_supersedes_nothing() -> None:
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt("rejected", "rev-2"))

    assert [o.offer_id for o in book.taken] == ["rev-1"]


@pytest.mark.parametrize("no", [receipt("rejected", "rev-2"), Refused(offer_id="rev-2", reason="halted")])
@pytest.mark.parametrize("before", ["pending", "accepted"])
def test_a_revision_that_is_refused_after_all_gives_its_place_back(before: str, no: Document) -> None:
    """Revision 2 was pending, or had been accepted and was to be sent again; 1 binds us again, as it did before."""
    book = after(intent(revised(1)), receipt("partly_accepted", "rev-1"), intent(revised(2)), receipt(before, "rev-2"))
    assert [o.offer_id for o in book.taken] == ["rev-2"]

    moved = book.apply(no)

    assert [record.offer.revision for record in moved] == [2, 1]
    assert book.offers["rev-1"].state is OfferState.PARTLY_ACCEPTED
    assert [o.offer_id for o in book.taken] == ["rev-1"]


def test_of_many_refused_revisions_only_the_one_before_them_comes_back() -> None:
    """1 gave way to 2, 2 to 3, and 3 is refused: 2 stands; once 2 is refused as well, 1 does."""
    book = after(*(made for n in (1, 2, 3) for made in (intent(revised(n)), receipt("pending", f"rev-{n}"))))

    book.apply(receipt("rejected", "rev-3"))
    assert [o.offer_id for o in book.taken] == ["rev-2"]

    book.apply(receipt("rejected", "rev-2"))
    assert [o.offer_id for o in book.taken] == ["rev-1"]


@pytest.mark.parametrize("end", ["withdrawn", "cancelled"])
def test_what_was_taken_back_gives_no_place_back(end: str) -> None:
    """We, or the venue, took revision 2 back, and 3 is refused: nothing stands, 1 went with the place it had."""
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))
    for document in (receipt(end, "rev-2"), intent(revised(3)), receipt("rejected", "rev-3")):
        book.apply(document)

    assert book.taken == []


def test_a_late_pending_answer_about_a_replaced_revision_changes_nothing() -> None:
    book = after(intent(revised(1)), receipt("pending", "rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))

    assert book.apply(receipt("pending", "rev-1")) == []


def found_older() -> Found:
    told = receipt(offer_id="rev-1")
    return Found(offer_id="rev-2", verdict="older", ours="revision 2", theirs="revision 1", holds=told)


def test_a_revision_that_the_venue_still_holds_binds_us_beside_the_newer_one() -> None:
    """Both count until one of them is known to stand; an award without an id is the one that the venue holds."""
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))
    again = Refused(offer_id="rev-2", reason="too late")

    book.apply(found_older())
    assert [o.offer_id for o in book.taken] == ["rev-1", "rev-2"]
    assert book.bought(award().model_copy(update={"offer_id": ""})) == book.offers["rev-1"]

    book.apply(again)
    assert [o.offer_id for o in book.taken] == ["rev-1"]


def test_what_was_bought_leaves_no_other_revision_standing() -> None:
    """The venue held 1 in 2's place to the end, and bought it: only that is promised."""
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))

    for document in (found_older(), award().model_copy(update={"offer_id": ""})):
        book.apply(document)

    assert [(o.offer_id, book.offers[o.offer_id].state) for o in book.taken] == [("rev-1", OfferState.AWARDED)]


def test_the_newer_revision_accepted_again_takes_the_place_again() -> None:
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))

    for document in (found_older(), intent(revised(2)), receipt(offer_id="rev-2")):
        book.apply(document)

    assert [o.offer_id for o in book.taken] == ["rev-2"]
    assert book.bought(award().model_copy(update={"offer_id": ""})) == book.offers["rev-2"]


def test_an_award_without_an_offers_id_is_at_last_the_one_that_had_to_give_way() -> None:
    """Nothing stands by our account, and the venue bought: who was awarded has to deliver."""
    bought = award().model_copy(update={"offer_id": ""})
    book = after(intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"))
    book.apply(receipt("withdrawn", "rev-2"))

    book.apply(bought)

    assert book.awards[bought.award_id].offer_id == "rev-1"
    assert book.offers["rev-1"].state is OfferState.AWARDED


def test_an_award_without_an_offers_id_is_that_of_the_newest_accepted_revision() -> None:
    """Revision 3 was rejected, 2 stands."""
    bought = award().model_copy(update={"offer_id": ""})
    book = after(
        intent(revised(1)),
        receipt(offer_id="rev-1"),
        intent(revised(2)),
        receipt("partly_accepted", "rev-2"),
        intent(revised(3)),
        receipt("rejected", "rev-3"),
        bought,
    )

    assert book.awards[bought.award_id].offer_id == "rev-2"
    assert book.offers["rev-2"].state is OfferState.AWARDED


@pytest.mark.parametrize(
    ("reached", "state"),
    [
        ([], OfferState.AWARDED),
        ([dispatched()], OfferState.DISPATCHED),
        ([dispatched(), settled("sandbox")], OfferState.AWARDED),
    ],
    ids=["awarded", "dispatched", "settled"],
)
def test_a_corrected_award_replaces_the_first(reached: list[Document], state: OfferState) -> None:
    """What is under way stays so; what was settled is to be settled anew. The offer is the one it meant before."""
    bought = award("0.25").model_copy(update={"offer_id": ""})
    book = after(intent(), receipt(), bought, *reached)

    book.apply(corrected := bought.model_copy(update={"quantity_mw": Decimal("0.1")}))

    assert book.awards == {bought.award_id: corrected.model_copy(update={"offer_id": ID})}
    assert book.offers[ID].state is state
    assert book.apply(corrected) == []


def test_an_award_for_an_interval_that_was_not_offered_is_kept_and_moves_nothing() -> None:
    book = after(bought := award().model_copy(update={"offer_id": ""}))

    assert book.awards[bought.award_id].offer_id == ""
    assert book.offers == {}


def notice() -> Notice:
    return Notice(
        notice_id="n-1", resource="r1", product="energy-dr", interval=INTERVAL, reason="outage", issued_at=NOON
    )


def test_a_notice_cancels_the_offer_that_it_was_found_to_mean() -> None:
    cancelled = Cancelled(notice=notice(), offer_id="rev-2")
    book = after(
        intent(revised(1)), receipt(offer_id="rev-1"), intent(revised(2)), receipt(offer_id="rev-2"), cancelled
    )

    assert (book.offers["rev-2"].state, book.offers["rev-2"].detail) == (OfferState.CANCELLED, "outage")
    assert book.offers["rev-1"].state is OfferState.SUPERSEDED
    assert book.notices == {"n-1": notice()}


def test_a_withdrawal_has_the_life_of_a_document_and_leaves_the_offer_until_it_is_answered() -> None:
    meant = Withdrawal(document_id=document_id_of("withdraw", [ID]), offer_ids=(ID,), reason="less")
    book = after(intent(), receipt(), meant, Sent(document_id=meant.document_id, attempt=1))
    assert book.offers[ID].state is OfferState.ACCEPTED
    assert [document.attempts for document in book.open_documents] == [1]

    book.apply(Unknown(document_id=meant.document_id, detail="no answer"))
    assert len(book.open_documents) == 1

    book.apply(receipt("withdrawn"))
    assert book.offers[ID].state is OfferState.WITHDRAWN
    assert book.open_documents == []
    assert book.taken == []


def test_a_refused_withdrawal_is_over_and_the_offer_stands() -> None:
    meant = Withdrawal(document_id="w", offer_ids=(ID,), reason="less")
    book = after(intent(), receipt(), meant, Refused(document_id="w", reason="too late"))

    assert book.open_documents == []
    assert book.offers[ID].state is OfferState.ACCEPTED


def test_a_rejected_offer_leaves_its_interval_free_and_any_other_takes_it() -> None:
    book = after(intent())

    assert [o.offer_id for o in book.taken] == [ID]
    assert book.revision_of("r1", "energy-dr", INTERVAL) == 1

    book.apply(Refused(offer_id=ID, reason="no"))
    assert book.taken == []


def test_an_offer_that_waits_for_approval_promises_nothing_yet() -> None:
    book = after(Held(document="0" * 64, offers=(OFFER,), why=("above 1 MW",), needs=2))

    assert book.taken == []
    assert [held.why for held in book.held.values()] == [("above 1 MW",)]
    assert book.unresolved == []


def test_hearing_something_twice_changes_nothing() -> None:
    book = after(intent())

    assert len(book.apply(award())) == 1
    assert book.apply(award()) == []


def test_explanations_and_shortfalls_are_kept_by_their_keys() -> None:
    short = Shortfall(
        shortfall_id="s-1",
        resource="r1",
        product="energy-dr",
        interval=INTERVAL,
        available_mw=Decimal("0.1"),
        reason="two racks down",
    )
    why = Explained(offer_id=ID, lines=("sold at cost",), figures={"cost": 10.0})
    book = after(why, short)
    assert (book.explained[ID], book.shortfalls["s-1"], book.told) == (why, short, {})

    book.apply(Told(shortfall_id="s-1"))
    assert list(book.told) == ["s-1"]


@pytest.mark.parametrize("kind", KIND_OF, ids=lambda kind: kind.__name__)
def test_every_kind_has_a_name_of_its_own(kind: type[Document]) -> None:
    assert len(set(KIND_OF.values())) == len(KIND_OF)
    assert KIND_OF[kind]


def test_a_kind_of_a_newer_release_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'quantum'"):
        document_of(chained(None, NOON, "quantum", b"{}", 1))


def test_a_fold_is_what_was_applied() -> None:
    entry = intent()
    record = chained(None, NOON, KIND_OF[Intent], entry.model_dump_json().encode(), 1)

    assert fold([record]).offers == after(entry).offers
    assert ledger.OURS == "firmwatt"
