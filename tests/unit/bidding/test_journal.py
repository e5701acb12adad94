"""The journal: on disk before it counts, chained, append-only, one primary at a time."""

import hashlib
import itertools
import json
import multiprocessing
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from doubles.builders import NOON, SECOND, intent, offer
from doubles.disk.small import small_disk

from bidding import journal
from bidding.chain import Record, parse_lines
from bidding.entries import KIND_OF, Absent, Intent, Sent, document_of
from bidding.journal import Journal, append_action, read_actions, read_lease
from bidding.ledger import fold
from bidding.markets import Receipt
from pipeline.errors import ConfigError, EnvironmentProblem, FencedError
from pipeline.messages.market import Document, OfferState

OFFER = offer()
ID = OFFER.offer_id
DOCUMENT = intent().document_id
THREE: tuple[Document, ...] = (
    intent(),
    Sent(document_id=DOCUMENT, attempt=1),
    Receipt(offer_id=ID, receipt="R-1", status="accepted", accepted_mw=OFFER.quantity_mw),
)


def write(path: Path, *documents: Document) -> None:
    with Journal(path) as book:
        for document in documents:
            book.append(NOON, KIND_OF[type(document)], document)


def meddle(path: Path, *statements: str) -> None:
    """Change the file as a stranger would: the triggers that refuse it are taken away first."""
    with closing(sqlite3.connect(path)) as database, database:
        for table in ("records", "actions"):
            database.execute(f"DROP TRIGGER IF EXISTS {table}_update")
            database.execute(f"DROP TRIGGER IF EXISTS {table}_delete")
        for statement in statements:
            database.execute(statement)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    write(tmp_path / "j", *THREE)

    assert [document_of(record) for record in journal.read(tmp_path / "j")] == list(THREE)


def test_a_document_of_any_bytes_is_read_back(tmp_path: Path) -> None:
    """A signed or compressed document is no text; it comes back to the byte, with its digest."""
    written = Intent.of((OFFER,), b"\x00\xff<xml/>")
    write(tmp_path / "j", written)

    (record,) = journal.read(tmp_path / "j")
    found = document_of(record)

    assert isinstance(found, Intent)
    assert found.content == b"\x00\xff<xml/>"
    assert found.sha256 == hashlib.sha256(b"\x00\xff<xml/>").hexdigest()


def test_a_later_process_continues_the_chain_in_a_higher_epoch(tmp_path: Path) -> None:
    write(tmp_path / "j", *THREE[:1])
    write(tmp_path / "j", *THREE[1:])

    records = journal.read(tmp_path / "j")

    assert [(record.number, record.epoch, record.kind) for record in records] == [
        (1, 1, "intent"),
        (2, 2, "sent"),
        (3, 2, "receipt"),
    ]


def test_another_process_reads_while_one_writes(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as book, multiprocessing.get_context("spawn").Pool(1) as other:
        for count, document in enumerate(THREE, start=1):
            book.append(NOON, KIND_OF[type(document)], document)
            assert len(other.apply(journal.read, (tmp_path / "j",))) == count


def test_it_is_for_its_owner_only(tmp_path: Path) -> None:
    """The file and what SQLite keeps beside it."""
    with Journal(tmp_path / "j") as book:
        book.append(NOON, "absent", Absent(document_id="d"))
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert modes == {"j": 0o600, "j-wal": 0o600, "j-shm": 0o600}


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """synchronous=FULL is 2; in WAL mode each commit then ends with an fsync (sqlite.org/pragma.html)."""
    with Journal(tmp_path / "j") as book:
        assert book.durability == ("wal", 2)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET kind = 'absent'",
        "DELETE FROM records",
        "UPDATE actions SET who = 'x'",
        "DELETE FROM actions",
        "DELETE FROM lease",
        "UPDATE lease SET epoch = 0",
    ],
)
def test_nothing_is_changed_or_deleted(tmp_path: Path, statement: str) -> None:
    path = tmp_path / "j"
    write(path, *THREE)
    append_action(path, NOON, "ann", "halt", {})

    with closing(sqlite3.connect(path)) as database, pytest.raises(sqlite3.IntegrityError):
        database.execute(statement)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE records SET at = '2026-07-23T12:00:01+00:00' WHERE number = 2",
        "UPDATE records SET kind = 'unknown' WHERE number = 2",
        "UPDATE records SET payload = '{}' WHERE number = 2",
        "UPDATE records SET epoch = 7 WHERE number = 2",
        "UPDATE records SET hash = '0' WHERE number = 2",
        "DELETE FROM records WHERE number = 2",
    ],
)
def test_a_changed_or_missing_record_is_refused_with_its_number(tmp_path: Path, change: str) -> None:
    path = tmp_path / "j"
    write(path, *THREE)
    meddle(path, change)

    with pytest.raises(ConfigError, match="record 2 does not follow"):
        journal.read(path)
    with pytest.raises(ConfigError, match="record 2 does not follow"), Journal(path):
        pass


def test_a_record_that_has_no_time_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE)
    meddle(path, "UPDATE records SET at = 'noon' WHERE number = 3")

    with pytest.raises(ConfigError, match="record 3 is damaged"):
        journal.read(path)


def test_a_file_with_a_hole_in_it_is_damaged_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "j"
    write(path, *THREE)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b"\xaa" * (len(content) - 4096))

    with pytest.raises(ConfigError, match="is damaged") as caught, Journal(path):
        pass

    assert "\n" not in str(caught.value)


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


def test_a_primary_whose_epoch_is_no_longer_the_highest_writes_nothing(tmp_path: Path) -> None:
    """The second one has watched the lease stand still; the first then goes on and is refused."""
    path = tmp_path / "j"
    with Journal(path) as first:
        first.append(NOON, "absent", Absent(document_id="d"))
        with Journal(path, silent=read_lease(path)) as second:
            second.append(NOON, "absent", Absent(document_id="e"))
            with pytest.raises(FencedError):
                first.append(NOON, "absent", Absent(document_id="f"))
            with pytest.raises(FencedError):
                first.beat()

    assert [record.epoch for record in journal.read(path)] == [1, 2]


def test_a_primary_that_has_given_a_sign_of_life_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as first:
        seen = read_lease(path)
        first.beat()
        with pytest.raises(ConfigError, match="another bidding process"), Journal(path, silent=seen):
            pass
        first.beat()


def test_a_fenced_primary_does_not_give_the_new_ones_lease_back(tmp_path: Path) -> None:
    path = tmp_path / "j"
    first = Journal(path).__enter__()
    with Journal(path, silent=read_lease(path)):
        first.__exit__()
        assert read_lease(path).holder

    assert not read_lease(path).holder


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    """Return a journal as it was written before: JSON lines, one offer to a document."""
    path, previous = tmp_path / "old", ""
    content = b""
    for kind, payload in (
        ("intent", {"offer": OFFER.model_dump(mode="json"), "document": "{}"}),
        ("sent", {"offer_id": ID, "attempt": 1}),
        ("unknown", {"offer_id": ID, "detail": "no answer"}),
        ("absent", {"offer_id": ID}),
        ("sent", {"offer_id": ID, "attempt": 2}),
        ("receipt", THREE[2].model_dump(mode="json")),
    ):
        body = json.dumps(payload).encode()
        record = Record(at=NOON, kind=kind, payload=msgspec.Raw(body), hash="")
        previous = record.expected_hash(previous)
        line = f'{{"at":"{NOON.isoformat()}","kind":"{kind}","payload":{body.decode()},"hash":"{previous}"}}\n'
        content += line.encode()
    path.write_bytes(content)
    return path


def test_a_journal_in_json_lines_is_read_and_converted(lines: Path) -> None:
    """Its records and their chain stay; the old file is kept; new records follow."""
    before, content = journal.read(lines), lines.read_bytes()

    write(lines, Absent(document_id="d"))
    after = journal.read(lines)

    assert after[:-1] == before
    assert (after[-1].number, after[-1].epoch) == (7, 1)
    assert lines.with_name("old.jsonl").read_bytes() == content
    record = fold(after).offers[ID]
    assert (record.state, record.attempts, record.unknowns) == (OfferState.ACCEPTED, 2, 1)


@pytest.mark.parametrize("cut", [1, 5, 90])
def test_a_torn_last_line_is_left_out_and_said(lines: Path, cut: int, caplog: pytest.LogCaptureFixture) -> None:
    """A process killed while writing it never acted on it."""
    lines.write_bytes(lines.read_bytes()[:-cut])

    with Journal(lines) as book:
        assert len(book.records) == 5

    assert "left out a torn last line" in caplog.text


@pytest.mark.parametrize("field", ["at", "kind", "payload", "hash"])
def test_a_changed_line_is_refused_with_its_number_and_not_converted(lines: Path, field: str) -> None:
    rows = lines.read_bytes().splitlines()
    altered = json.loads(rows[1])
    other = {"at": "2026-07-23T12:00:01Z", "kind": "unknown", "payload": {"offer_id": ID}, "hash": "0" * 64}
    rows[1] = json.dumps({**altered, field: other[field]}).encode()
    lines.write_bytes(b"\n".join(rows) + b"\n")

    with pytest.raises(ConfigError, match="line 2"), Journal(lines):
        pass

    assert lines.read_bytes().startswith(b'{"at"')


def test_a_line_that_is_no_record_is_refused() -> None:
    with pytest.raises(ConfigError, match="line 1 is damaged"):
        parse_lines(b"not json\n", "j")


def test_no_journal_at_all_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the journal"):
        journal.read(tmp_path / "none")


def test_a_folder_that_cannot_be_made_is_an_error() -> None:
    with pytest.raises(EnvironmentProblem, match="cannot open"), Journal(Path("/dev/full/journal")):
        pass


def _until_full(path: Path) -> Iterator[int]:
    with Journal(path) as book:
        for count in itertools.count(1):
            book.append(NOON, "intent", intent(content=b"x" * 4000))
            yield count


def test_a_full_disk_is_an_error_and_leaves_whole_records_only(tmp_path: Path) -> None:
    """The disk takes some records, then none; what was acknowledged is there when it is opened again."""
    with small_disk(tmp_path / "disk", 256) as disk:
        path, written = disk / "j", list[int]()
        with pytest.raises(EnvironmentProblem, match="disk full; make room"):
            written.extend(_until_full(path))
        assert written
        assert len(journal.read(path)) == len(written)


# ------------------------------------------------------------------------------------------------ actions


def test_any_process_records_what_a_person_did_while_the_primary_writes(tmp_path: Path) -> None:
    path = tmp_path / "j"
    with Journal(path) as book, multiprocessing.get_context("spawn").Pool(1) as other:
        other.apply(append_action, (path, NOON, "ann", "halt", {"why": "storm"}))
        book.append(NOON, "absent", Absent(document_id="d"))
        other.apply(append_action, (path, NOON + SECOND, "bob", "resume", {}))

        assert [(a.number, a.who, a.kind, bytes(a.payload)) for a in book.actions()] == [
            (1, "ann", "halt", b'{"why":"storm"}'),
            (2, "bob", "resume", b"{}"),
        ]
        assert [action.who for action in book.actions(after=1)] == ["bob"]
    assert read_actions(path, after=2) == []


def test_processes_that_find_no_journal_at_the_same_time_make_one(tmp_path: Path) -> None:
    """Each makes it and writes; none may put its own in the place of one that is in use already."""
    paths = [tmp_path / f"j{number}" for number in range(8)]
    with multiprocessing.get_context("spawn").Pool(4) as others:
        for path in paths:
            others.starmap(append_action, [(path, NOON, f"p{number}", "halt", {}) for number in range(4)], chunksize=1)

    assert [len(read_actions(path)) for path in paths] == [4] * 8


def test_an_action_may_come_before_the_first_run(tmp_path: Path) -> None:
    append_action(tmp_path / "j", NOON, "ann", "halt", {})

    with Journal(tmp_path / "j") as book:
        assert [action.kind for action in book.actions()] == ["halt"]
        assert book.records == []


@pytest.mark.parametrize("after", [0, 1])
def test_a_changed_action_is_refused(tmp_path: Path, after: int) -> None:
    """Also when only the later ones are asked for."""
    path = tmp_path / "j"
    for who in ("ann", "bob", "cy"):
        append_action(path, NOON + timedelta(0), who, "approve", {"offer_id": ID})
    meddle(path, "UPDATE actions SET who = 'dee' WHERE number = 2")

    with pytest.raises(ConfigError, match="record 2 does not follow"):
        read_actions(path, after)
