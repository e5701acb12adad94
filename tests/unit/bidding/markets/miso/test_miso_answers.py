"""What MISO answers, read: numbers checkable by hand, and decoders that survive a short fuzz."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doubles.fuzz import miso as fuzz
from doubles.fuzz.judge import DecoderError, judge
from doubles.miso.offers import NOW, TOMORROW, codec, offer
from hypothesis import given, settings
from hypothesis import strategies as st

from bidding.markets.miso.answers import Message, api_response
from bidding.markets.miso.day import interval_of
from bidding.markets.miso.results import notices, sold
from bidding.markets.miso.schedule import flat
from bidding.markets.miso.strict import read
from pipeline.errors import VenueError

ROOT = Path(__file__).parents[5]
SIX_PM = interval_of(TOMORROW, 18)


def test_errors_and_remarks_are_told_apart_and_what_is_new_is_ignored() -> None:
    said = api_response(
        read(
            b'{"action": "SUBMITTED", "brandNew": 1, "transactionTime": "2026-11-30T09:00:00-05:00", "responses": ['
            b'{"messages": [{"level": "ERROR", "msgId": "E1", "userMsg": "no", "params": null}, {"level": "INFO"}]},'
            b'{"messages": null}]}',
            1000,
        )
    )

    assert [error.text for error in said.errors] == ["E1: no"]
    assert said.remarks == ("INFO:",)
    assert said.transaction_time == NOW


@pytest.mark.parametrize(
    ("params", "named"),
    [(("A", "18"), True), (("A",), True), (("A", "17"), False), (("B", "18"), False), ((), False)],
)
def test_an_error_names_a_resource_and_perhaps_an_hour(params: tuple[str, ...], named: bool) -> None:  # noqa: FBT001
    assert Message(params=params).names("A", 18) is named


@pytest.mark.parametrize(
    "changed",
    [
        lambda text: text.replace('"dispatchStatus":"Economic"', '"dispatchStatus":"NotParticipating"'),
        lambda text: text.replace('"hour":18,"status":"Economic"', '"hour":18,"status":"Outage"'),
    ],
)
def test_a_curve_that_stands_but_is_not_for_sale_is_a_notice(changed: Callable[[str], str]) -> None:
    text = codec().encode([offer("spin", SIX_PM)]).decode()
    products = sold(codec().products)

    def found(book: str) -> list[str]:
        return [one.product for one in notices(flat(read(book.encode(), 10_000)), (), "AIFAC.DRR2", products, NOW)]

    assert found(text) == []
    assert found(changed(text)) == ["spin"]


def test_an_hour_that_is_over_is_no_notice() -> None:
    text = codec().encode([offer("spin", SIX_PM)]).decode().replace('"status":"Economic"', '"status":"Outage"')

    assert notices(flat(read(text.encode(), 10_000)), (), "AIFAC.DRR2", sold(codec().products), SIX_PM.end) == ()


# ------------------------------------------------------------------------------------------------ any bytes


@pytest.mark.parametrize("name", fuzz.TARGETS)
def test_the_seeds_of_the_fuzzer_are_read(name: str) -> None:
    """A corpus that is refused at once would find nothing."""
    for seed in fuzz.SEEDS[name]:
        fuzz.TARGETS[name](seed)


@settings(max_examples=300)
@given(st.sampled_from(sorted(fuzz.TARGETS)), st.data())
def test_damaged_answers_are_refused_in_one_line_and_quickly(name: str, data: st.DataObject) -> None:
    """Some bytes of a good one are replaced, cut out or repeated."""
    seed = fuzz.SEEDS[name][0]
    start = data.draw(st.integers(0, len(seed)))
    end = data.draw(st.integers(start, min(start + 40, len(seed))))
    filler = data.draw(
        st.one_of(st.binary(max_size=8), st.sampled_from([b"null", b"[]", b"{}", b"1e99", b"-1", b'""']))
    )

    judge(fuzz.TARGETS[name], seed[:start] + filler + seed[end:])


def test_the_fuzzer_runs_every_target_for_a_moment() -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed: it needs Linux and Python below 3.12")
    command = [sys.executable, "tests/long/fuzz_decoders.py", "miso", "--runs", "500", "--seconds", "100"]

    run = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, text=True)

    found = [json.loads(line) for line in run.stdout.splitlines()]
    assert [one["target"] for one in found] == list(fuzz.TARGETS), run.stderr
    assert [one["crash"] for one in found] == [""] * len(found)
    assert all(one["runs"] >= 500 for one in found)


def _spins(_: bytes) -> None:
    sum(range(10_000_000))


def _raises(error: Exception) -> Callable[[bytes], None]:
    def target(_: bytes) -> None:
        raise error

    return target


@pytest.mark.parametrize(
    ("target", "told"),
    [
        (_raises(KeyError("x")), "raised KeyError"),
        (_raises(RecursionError()), "raised RecursionError"),
        (_raises(VenueError("one\ntwo")), "not one line"),
        (_raises(VenueError(" ")), "not one line"),
        (_raises(VenueError("bell \a")), "not printable"),
        (_spins, "may take 0.1 s"),
    ],
)
def test_the_judge_sees_what_a_decoder_may_not_do(target: Callable[[bytes], None], told: str) -> None:
    with pytest.raises(DecoderError, match=told):
        judge(target, b"")


def test_the_judge_lets_a_venue_error_of_one_line_pass() -> None:
    judge(_raises(VenueError("no")), b"")
