"""Refusals as a log shows them."""

from collections import Counter

import pytest
from doubles.command_attack import LONGEST_LINE, Lines, listened
from doubles.commands import cap, lease
from hypothesis import given
from hypothesis import strategies as st

from collectors.admit import Refusal, RefusalCode
from collectors.refusals import Refusals

STRANGE = Refusal("the signature is not dispatch's over this payload", RefusalCode.BAD_SIGNATURE)
LATE = Refusal("expired at noon", RefusalCode.EXPIRED, lease(7, cap(400)))
STRANGE_LINE = "refused: bad_signature: the signature is not dispatch's over this payload"


def texts(lines: Lines) -> list[str]:
    """Return what was logged since it was looked at last, without its JSON."""
    return lines.take()[::2]


def test_the_first_of_each_reason_is_told_at_once() -> None:
    refusals = Refusals()

    with listened() as lines:
        refusals.note(STRANGE, 100.0)
        refusals.note(LATE, 100.0)

    assert texts(lines) == [STRANGE_LINE, "refused: expired: expired at noon"]


def test_further_ones_are_told_as_a_number_a_second_later() -> None:
    """Three within the second after 100.0: nothing is said of them before 101.0, and then once."""
    refusals = Refusals()

    with listened() as lines:
        for at_s in (100.0, 100.1, 100.5, 100.9):
            refusals.note(STRANGE, at_s)
        refusals.flush(100.95)
        first = texts(lines)
        refusals.flush(101.0)
        second = texts(lines)
        refusals.flush(105.0)

    assert first == [STRANGE_LINE]
    assert second == ["refused: bad_signature: 3 more"]
    assert texts(lines) == []


def test_a_number_that_was_told_begins_a_second_of_its_own() -> None:
    """Told at 101.0; what comes at 101.5 waits until 102.0."""
    refusals = Refusals()

    with listened() as lines:
        refusals.note(STRANGE, 100.0)
        refusals.note(STRANGE, 100.5)
        refusals.flush(101.0)
        refusals.note(STRANGE, 101.5)
        refusals.flush(101.9)
        refusals.flush(102.0)

    assert texts(lines) == [STRANGE_LINE, "refused: bad_signature: 1 more", "refused: bad_signature: 1 more"]


def test_one_that_comes_before_the_flush_tells_the_number_first() -> None:
    """Nobody flushed at 101.0; the next at 103.0 is told in words, after those that were not."""
    refusals = Refusals()

    with listened() as lines:
        for at_s in (100.0, 100.2, 103.0):
            refusals.note(STRANGE, at_s)

    assert texts(lines) == [STRANGE_LINE, "refused: bad_signature: 1 more", STRANGE_LINE]


def test_reasons_do_not_silence_each_other() -> None:
    refusals = Refusals()

    with listened() as lines:
        for at_s in (100.0, 100.3, 100.6):
            refusals.note(STRANGE, at_s)
        refusals.note(LATE, 100.6)
        refusals.note(LATE, 100.7)
        refusals.flush(101.2)

    assert texts(lines) == [
        STRANGE_LINE,
        "refused: expired: expired at noon",
        "refused: bad_signature: 2 more",
    ]


def test_closing_tells_what_was_not_told_yet() -> None:
    refusals = Refusals()

    with listened() as lines:
        refusals.note(STRANGE, 100.0)
        refusals.note(STRANGE, 100.1)
        refusals.close()
        refusals.close()

    assert texts(lines) == [STRANGE_LINE, "refused: bad_signature: 1 more"]


def test_a_line_names_its_code_its_command_and_its_number(caplog: pytest.LogCaptureFixture) -> None:
    """Fields for a log that is searched; a command that nobody signed has no id."""
    refusals = Refusals()

    refusals.note(LATE, 100.0)
    refusals.note(STRANGE, 100.0)
    refusals.note(STRANGE, 100.1)
    refusals.close()

    said = [(vars(one)["code"], vars(one).get("command_id"), vars(one)["count"]) for one in caplog.records]
    assert said == [("expired", "host-1-7", 1), ("bad_signature", None, 1), ("bad_signature", None, 1)]


def test_an_id_of_a_megabyte_does_not_fill_the_log() -> None:
    """Signed by a dispatcher that has gone mad."""
    refusals = Refusals()

    with listened() as lines:
        refusals.note(Refusal("no", RefusalCode.EXPIRED, lease(7, host="h" * 1_000_000)), 100.0)

    assert lines.longest <= LONGEST_LINE


CODES = st.sampled_from([RefusalCode.BAD_SIGNATURE, RefusalCode.EXPIRED, RefusalCode.MALFORMED])


@given(steps=st.lists(st.tuples(CODES | st.none(), st.floats(0, 1.5)), max_size=60))
def test_the_sums_are_right_and_the_lines_few_whatever_comes_when(
    steps: list[tuple[RefusalCode | None, float]],
) -> None:
    """None is a flush. Of one reason there are at most two lines a second begun, and one at the end."""
    refusals, noted, at_s = Refusals(), Counter[str](), 0.0

    with listened() as lines:
        for code, wait_s in steps:
            at_s += wait_s
            if code is None:
                refusals.flush(at_s)
            else:
                refusals.note(Refusal("as it is", code), at_s)
                noted[code] += 1
        refusals.close()

    assert lines.refused == noted
    assert lines.count <= len(noted) * (2 * (at_s + 1) + 1)
