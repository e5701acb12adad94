"""Halt, resume, approve: what the action log adds up to."""

import os
from pathlib import Path

import pytest
from doubles.builders import MINUTE, NOON
from doubles.gate import KEYS, halt, resume
from pydantic import ValidationError

from bidding.gate.approval import approve
from bidding.gate.control import Control, Source, action
from bidding.gate.halt_file import file_halt

DOCUMENT = "0" * 64


def control(*records: object) -> Control:
    state = Control()
    for record in records:
        state = state.apply(record)  # type: ignore[arg-type] # what the builders make
    return state


@pytest.mark.parametrize("source", Source)
def test_every_switch_halts_and_a_named_person_with_a_reason_resumes(source: Source) -> None:
    halted = control(halt(source=source))

    assert halted.halt == halt(source=source)
    assert halted.apply(resume(NOON + MINUTE)).halt is None


def test_a_halt_by_the_data_ends_only_once_they_are_well() -> None:
    ill = resume(NOON + MINUTE, data_well=False)

    assert control(halt(source=Source.DATA), ill).halt is not None
    assert control(halt(source=Source.DATA)).objection(ill) == (
        "telemetry is still HALTED; wait until it is well again, then resume"
    )
    assert control(halt(source=Source.RECORD), ill).halt is None


def test_a_second_switch_does_not_lift_the_condition_of_the_data() -> None:
    both = control(halt(source=Source.DATA), halt(NOON + MINUTE, Source.RECORD))

    assert both.apply(resume(NOON + 2 * MINUTE, data_well=False)).halt is not None
    assert both.apply(resume(NOON + 2 * MINUTE)).halt is None


def test_a_word_from_before_the_halt_does_not_lift_it() -> None:
    assert control(halt(NOON), resume(NOON - MINUTE)).halt is not None
    assert "before the halt" in control(halt(NOON)).objection(resume(NOON - MINUTE))
    assert control().objection(resume()) == "nothing is halted"


def test_a_halt_voids_what_was_approved_before_it() -> None:
    agreed = approve(DOCUMENT, "a", NOON, KEYS["a"])

    assert control(agreed).approvals == {DOCUMENT: (agreed,)}
    assert control(agreed, halt(), resume()).approvals == {}
    assert control(halt(), agreed, resume()).approvals == {DOCUMENT: (agreed,)}


@pytest.mark.parametrize("record", [halt(), resume(), approve(DOCUMENT, "a", NOON, KEYS["a"])])
def test_a_record_comes_back_from_the_log_as_it_was(record: object) -> None:
    assert action(record.model_dump_json()) == record  # type: ignore[attr-defined] # a document


@pytest.mark.parametrize(
    "payload",
    [
        "{}",
        '{"kind": "resumed.v1", "by": " ", "at": "2026-07-23T12:00:00Z", "why": "x", "data_well": true}',
        '{"kind": "resumed.v1", "by": "Grace", "at": "2026-07-23T12:00:00Z", "why": "", "data_well": true}',
        '{"kind": "resumed.v1", "by": "Grace", "at": "2026-07-23T12:00:00", "why": "x", "data_well": true}',
        '{"kind": "approval.v1", "document": "00", "by": "a", "at": "2026-07-23T12:00:00Z", "signature": ""}',
    ],
)
def test_a_record_without_a_name_a_reason_or_an_instant_is_none(payload: str) -> None:
    with pytest.raises(ValidationError):
        action(payload)


def test_the_halt_file_halts_by_being_there_and_may_say_who_and_why(tmp_path: Path) -> None:
    path = tmp_path / "halt"

    assert file_halt(path) is None
    path.touch()
    assert file_halt(path) == ("file", f"{path} is there")
    path.write_text("Ada: wrong prices\nmore\n")
    assert file_halt(path) == ("Ada", "wrong prices")
    path.write_text("stop it")
    assert file_halt(path) == ("file", "stop it")
    path.write_bytes(b"\xff\xfe" * 5000)
    assert file_halt(path) is not None


def test_a_halt_file_that_cannot_be_read_halts(tmp_path: Path) -> None:
    (tmp_path / "halt").mkdir()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")

    for name, reason in (("halt", os.strerror(21)), ("loop", os.strerror(40))):
        by, why = file_halt(tmp_path / name) or ("", "")
        assert by == "file"
        assert reason in why
