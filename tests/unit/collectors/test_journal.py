"""What is still known after kill -9."""

from pathlib import Path

import pytest

from collectors.journal import Journal, Record
from pipeline.errors import ConfigError

RECORD = Record(highest_seq=7, previous_w={"GPU-1": 700.0})


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    Journal(tmp_path / "deep" / "journal.json").write(RECORD)

    assert Journal(tmp_path / "deep" / "journal.json").record == RECORD
    assert [file.name for file in (tmp_path / "deep").iterdir()] == ["journal.json"]


def test_no_journal_means_nothing_was_touched(tmp_path: Path) -> None:
    assert Journal(tmp_path / "journal.json").record == Record(highest_seq=0, previous_w={})


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
