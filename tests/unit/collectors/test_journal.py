"""What is still known after kill -9."""

from pathlib import Path

import pytest
from doubles.commands import cap, lease, signed

from collectors.journal import Journal, KeptLease, Original, Record, touched
from collectors.levers import FREE, Key
from pipeline.errors import ConfigError
from pipeline.messages.control import Kind
from pipeline.messages.telemetry import Tier

POWER, CLOCK = Key(Kind.POWER, "GPU-1"), Key(Kind.CLOCK, "GPU-1")
FOUND = {POWER: Original(700.0, 700.0, Tier.T3, "train"), CLOCK: Original(FREE, 1980.0, Tier.T3, "train")}
RECORD = Record(
    boot="boot-1",
    highest_seq=7,
    touched=touched(FOUND, {POWER: 400.0}, {POWER: (500.0, 400.0), CLOCK: (FREE,)}),
    leases=(KeptLease(signed=signed(lease(7, cap(400))), begins_up_s=12.5, ends_up_s=72.5),),
    deadline_up_s=72.5,
)


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    Journal(tmp_path / "deep" / "journal.json").write(RECORD)

    assert Journal(tmp_path / "deep" / "journal.json").record == RECORD
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["journal.json"]


def test_it_tells_what_was_found_and_what_was_set() -> None:
    """The clock was free and is again: it has been let go of, and only its reading back is missing."""
    assert RECORD.found() == FOUND
    assert RECORD.asked() == {POWER: (500, 400), CLOCK: (FREE,)}
    assert RECORD.levels() == {POWER: 400}


def test_no_journal_means_nothing_was_touched(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal.json").record == Record()


def test_a_half_written_successor_is_ignored(tmp_path: Path) -> None:
    """Killed between writing and renaming: the old journal holds."""
    Journal(tmp_path / "journal.json").write(RECORD)
    (tmp_path / ".journal.json.4711.tmp").write_bytes(b'{"highest_seq": 8, "prev')

    assert Journal(tmp_path / "journal.json").record == RECORD


def test_a_journal_that_cannot_be_read_stops_the_actuator(tmp_path: Path) -> None:
    """Guessing would mean raising a limit that somebody else set."""
    (tmp_path / "journal.json").write_bytes(b"{}garbage")

    with pytest.raises(ConfigError, match="is no journal"):
        Journal(tmp_path / "journal.json")


def test_a_dry_run_leaves_no_file(tmp_path: Path) -> None:
    journal = Journal(None)
    journal.write(RECORD)

    assert journal.record == RECORD
    assert list(tmp_path.iterdir()) == []
