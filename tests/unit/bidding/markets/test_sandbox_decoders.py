"""The sandbox's decoders survive a short fuzz; the long one is `make fuzz`."""

import pytest
from doubles.fuzz import sandbox as fuzz
from doubles.fuzz.judge import judge
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_the_seeds_of_the_fuzzer_are_read(name: str) -> None:
    """A corpus that is refused at once would find nothing."""
    for seed in fuzz.SEEDS[name]:
        fuzz.TARGETS[name](seed)


@settings(max_examples=500, deadline=None)
@given(st.sampled_from(sorted(fuzz.TARGETS)), st.data())
def test_damaged_answers_are_refused_in_one_line_and_quickly(name: str, data: st.DataObject) -> None:
    """Some bytes of a good one are replaced, cut out or repeated."""
    seed = fuzz.SEEDS[name][0]
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(start + 40, len(seed))))
    filler = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"null", b"[]", b"{}", b"1e999999", b'"1e999999"', b'""']))
    )

    judge(fuzz.TARGETS[name], seed[:start] + filler + seed[end:])
