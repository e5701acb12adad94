"""JSON that two machines cannot read differently, or that costs more than it says, is refused with the reason."""

import time
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bidding.markets.miso.strict import DEEPEST, LONGEST_NUMBER, line, read, write
from pipeline.errors import VenueError

LARGEST = 1_000_000


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "the name 'c' stands twice"),
        (b"[NaN]", "NaN is no number"),
        (b"[-Infinity]", "-Infinity is no number"),
        (b"[" + b"1" * (LONGEST_NUMBER + 1) + b"]", "a number of 41 characters"),
        (b"[0." + b"1" * LONGEST_NUMBER + b"]", "a number of 42 characters"),
        (b"[1e401]", "beyond all measure"),
        (b"[1e-401]", "beyond all measure"),
        (b"[1E99999999999999999999]", "beyond all measure"),
        (b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), "nested deeper than 64"),
        (b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), "nested deeper than 64"),
        (b"[" * 500_000, "recursion"),
        ('["é"]'.encode("latin-1"), "can't decode"),
        ("[1]".encode("utf-16"), "can't decode"),
        (b"[1] 2", "Extra data"),
        (b"[" + b" " * LARGEST + b"]", "1000002 bytes of JSON are too many"),
    ],
)
def test_the_reason_is_one_line_and_comes_quickly(content: bytes, told: str) -> None:
    begun = time.thread_time()
    with pytest.raises(VenueError, match=r"^[^\n]+$") as caught:
        read(content, LARGEST)

    assert told in str(caught.value)
    assert time.thread_time() - begun < 0.1


def test_as_deep_as_is_allowed_is_read() -> None:
    assert read(b"[" * DEEPEST + b"]" * DEEPEST, LARGEST) is not None


def test_numbers_are_kept_digit_for_digit() -> None:
    content = b'{"mw":12.30,"price":0.1,"hour":18,"wide":1E+2}'

    assert read(content, LARGEST) == {"mw": Decimal("12.30"), "price": Decimal("0.1"), "hour": 18, "wide": Decimal(100)}
    assert write(read(content, LARGEST)) == content


@given(st.recursive(st.none() | st.booleans() | st.integers(-(10**9), 10**9) | st.text(), st.lists, max_leaves=20))
def test_what_is_written_is_read(value: object) -> None:
    assert read(write(value), LARGEST) == value


@given(st.text())
def test_a_line_is_one_printable_line_of_bounded_length(text: str) -> None:
    found = line(text)

    assert len(found.splitlines()) <= 1
    assert found == "" or found.isprintable()
    assert len(found) <= 161
