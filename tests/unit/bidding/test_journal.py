"""The journal: whole lines are believed, a torn last one is cut off, a broken chain is refused."""

import json
import multiprocessing
from pathlib import Path

import pytest
from doubles.builders import INTERVAL, NOON, award, offer
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding import journal, ledger
from bidding.journal import Journal
from bidding.ledger import Absent, Intent, NotAwarded, Refused, Sent, Unknown, document_of, fold
from bidding.markets import Receipt
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.messages.market import Dispatch, Document, OfferState, Statement, StatementLine

OFFER = offer()
ID = OFFER.offer_id


def receipt(status: str = "accepted") -> Receipt:
    return Receipt(offer_id=ID, receipt="R-1", status=status, accepted_mw=OFFER.quantity_mw)


def written(path: Path, *documents: Document) -> bytes:
    with Journal(path) as book:
        for document in documents:
            book.append(NOON, ledger.KIND_OF[type(document)], document)
    return path.read_bytes()


THREE = (Intent(offer=OFFER, document="{}"), Sent(offer_id=ID, attempt=1), receipt())


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    written(tmp_path / "j", *THREE)

    assert [document_of(record) for record in journal.read(tmp_path / "j")] == list(THREE)


def test_a_later_process_continues_the_chain(tmp_path: Path) -> None:
    written(tmp_path / "j", *THREE[:1])
    written(tmp_path / "j", *THREE[1:])

    assert [record.kind for record in journal.read(tmp_path / "j")] == ["intent", "sent", "receipt"]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, 2000))
def test_a_torn_last_line_is_cut_off_and_the_rest_is_whole(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    """Whatever number of bytes of the end is missing: whole lines stay, and the next record chains to them."""
    path = tmp_path_factory.mktemp("journal") / "j"
    content = written(path, *THREE)
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)

    written(path, Absent(offer_id=ID))

    lines = path.read_bytes().splitlines(keepends=True)
    assert b"".join(lines[:-1]) == kept[: kept.rfind(b"\n") + 1]
    assert journal.read(path)[-1].kind == "absent"


def test_cutting_off_a_torn_line_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "j"
    path.write_bytes(written(path, *THREE)[:-5])

    with Journal(path) as book:
        assert len(book.records) == 2

    assert "cut off a torn last line" in caplog.text


@pytest.mark.parametrize("field", ["at", "kind", "payload", "hash"])
def test_a_changed_line_is_refused_with_its_number(tmp_path: Path, field: str) -> None:
    """The second of three lines is altered in one field."""
    path = tmp_path / "j"
    lines = written(path, *THREE).splitlines()
    altered = json.loads(lines[1])
    altered[field] = {
        "at": "2026-07-23T12:00:01Z",
        "kind": "unknown",
        "payload": {"offer_id": ID, "attempt": 2},
        "hash": "0" * 64,
    }[field]
    lines[1] = json.dumps(altered).encode()
    path.write_bytes(b"\n".join(lines) + b"\n")

    with pytest.raises(ConfigError, match="line 2"), Journal(path):
        pass


@pytest.mark.parametrize("lost", [0, 1])
def test_a_missing_line_is_refused(tmp_path: Path, lost: int) -> None:
    path = tmp_path / "j"
    lines = written(path, *THREE).splitlines(keepends=True)
    path.write_bytes(b"".join(line for number, line in enumerate(lines) if number != lost))

    with pytest.raises(ConfigError, match="does not follow"):
        journal.read(path)


def test_a_line_that_is_no_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(b"not json\n" + written(path, *THREE))

    with pytest.raises(ConfigError, match="line 1 is damaged"):
        journal.read(path)


def _held(path: Path) -> bool:
    try:
        with Journal(path):
            return False
    except ConfigError:
        return True


def test_one_process_at_a_time_holds_it(tmp_path: Path) -> None:
    """A second process is refused while the first has it open, and not after."""
    path = tmp_path / "j"
    with multiprocessing.get_context("spawn").Pool(1) as other:
        with Journal(path):
            assert other.apply(_held, (path,))
        assert not other.apply(_held, (path,))


def test_a_full_disk_is_an_error_and_leaves_no_part_of_a_line() -> None:
    """/dev/full takes nothing; opening it as a journal already fails with one line."""
    with pytest.raises(EnvironmentProblem, match="cannot"), Journal(Path("/dev/full/journal")):
        pass


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
    (THREE[0], OfferState.INTENT),
    (Sent(offer_id=ID, attempt=1), OfferState.SENT),
    (Unknown(offer_id=ID, detail="no answer"), OfferState.UNKNOWN),
    (Absent(offer_id=ID), OfferState.INTENT),
    (Sent(offer_id=ID, attempt=2), OfferState.SENT),
    (receipt(), OfferState.ACCEPTED),
    (award(), OfferState.AWARDED),
    (dispatched(), OfferState.DISPATCHED),
    (settled("firmwatt"), OfferState.DISPATCHED),
    (settled("sandbox"), OfferState.SETTLED),
]


def test_the_ledger_is_the_life_of_an_offer_after_each_record(tmp_path: Path) -> None:
    """Every prefix of the journal gives the state that the last record left."""
    path = tmp_path / "j"
    written(path, *(document for document, _ in LIFE))
    records = journal.read(path)

    states = [fold(records[: count + 1]).offers[ID].state for count in range(len(records))]

    assert states == [state for _, state in LIFE]
    assert fold(records).offers[ID].attempts == 2
    assert fold(records).offers[ID].unknowns == 1


@pytest.mark.parametrize(
    ("document", "state"),
    [
        (receipt("partly_accepted"), OfferState.PARTLY_ACCEPTED),
        (receipt("rejected"), OfferState.REJECTED),
        (receipt("a new word"), OfferState.UNKNOWN),
        (Refused(offer_id=ID, reason="gate closed"), OfferState.REJECTED),
        (NotAwarded(offer_id=ID), OfferState.NOT_AWARDED),
    ],
)
def test_every_answer_has_its_state(document: Document, state: OfferState) -> None:
    """A word of the venue's that we do not know leaves the outcome open, it does not crash."""
    book = ledger.Ledger()
    book.apply(THREE[0])
    book.apply(document)

    assert book.offers[ID].state is state


def test_a_rejected_offer_leaves_its_interval_free_and_any_other_takes_it() -> None:
    book = ledger.Ledger()
    book.apply(THREE[0])

    assert [o.offer_id for o in book.taken] == [ID]
    assert book.revision_of("r1", "energy-dr", INTERVAL) == 1

    book.apply(Refused(offer_id=ID, reason="no"))
    assert book.taken == []


def test_hearing_something_twice_changes_nothing() -> None:
    book = ledger.Ledger()
    book.apply(THREE[0])

    assert len(book.apply(award())) == 1
    assert book.apply(award()) == []
