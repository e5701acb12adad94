"""The regulation signal and how it is scored, with the worked example of the historical score."""

import math
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from doubles.sandbox_book import MINUTE, award, body, submit, venue
from hypothesis import given
from hypothesis import strategies as st

from bidding.sandbox.answers import Problem
from bidding.sandbox.following import scored, setpoints
from bidding.sandbox.regulation import hour_signal, mileage, share_at
from bidding.sandbox.reserves import asked_mw
from bidding.sandbox.rules import Rules
from bidding.sandbox.scoring import BLOCK, RESPONSES, SHIFTS, SIGNALS, block, score
from bidding.sandbox.settings import SandboxSettings
from bidding.sandbox.wire import ResponseBody

HOUR = datetime(2026, 7, 24, 1, 0, tzinfo=UTC)
AN_HOUR = timedelta(hours=1)
SECONDS = [10 * number for number in range(RESPONSES)]
SINE = [math.sin(2 * math.pi * second / 600) for second in SECONDS]
MARKET = SandboxSettings(products="all").market()


def product(name: str) -> Rules:
    rules = MARKET.rules(name)
    assert rules is not None
    return rules


# ----------------------------------------------------------------------------------------------------- the score


def test_the_worked_example_of_the_historical_score() -> None:
    """
    A sine of ten minutes, answered 30 s later with nine tenths: knowledge/markets.md 2.1.

    30 s late is a delay of 0.9; accuracy is perfect; precision 0.686371. Their mean is 0.862124.
    """
    late = [0.9 * math.sin(2 * math.pi * (second - 30) / 600) for second in SECONDS]

    found = score(SINE, late)

    assert (round(found.accuracy, 6), round(found.delay, 6)) == (1.0, 0.9)
    assert round(found.precision, 6) == 0.686371
    assert round(found.score, 6) == 0.862124


def test_doing_what_is_asked_scores_one() -> None:
    assert round(score(SINE, SINE).score, 9) == 1.0


def test_a_constant_request_answered_with_nine_tenths() -> None:
    """A signal that stands still: accuracy and delay 1, precision 0.9."""
    assert round(score([0.5] * SIGNALS, [0.45] * RESPONSES).score, 6) == 0.966667


def test_doing_nothing_scores_nothing() -> None:
    assert score(SINE, [0.0] * RESPONSES).score == 0.0


def test_doing_the_opposite_scores_nothing_for_accuracy_at_once() -> None:
    """Half a period late it fits again: 300 s of delay are what is looked at, and score 0 for delay."""
    opposite = [-x for x in SINE]

    found = score(SINE, opposite)

    assert (round(found.accuracy, 6), round(found.delay, 6), found.precision) == (1.0, 0.0, 0.0)


def test_five_minutes_in_which_nothing_was_asked_do_not_count() -> None:
    """The first half hour silent, then followed: as good as followed throughout."""
    signal = [0.0] * 180 + SINE[180:SIGNALS]

    assert round(score(signal, [0.0] * 180 + SINE[180:]).score, 9) == 1.0


def test_an_hour_in_which_nothing_was_asked_is_followed_by_doing_nothing() -> None:
    assert score([0.0] * SIGNALS, [0.0] * RESPONSES).score == 1.0
    assert score([0.0] * SIGNALS, [0.1] * RESPONSES).score == 0.0


@given(
    st.lists(st.floats(-1, 1), min_size=BLOCK, max_size=BLOCK),
    st.lists(st.floats(-2, 2), min_size=BLOCK + SHIFTS, max_size=BLOCK + SHIFTS),
)
def test_every_part_of_a_score_lies_between_nothing_and_one(signal: list[float], response: list[float]) -> None:
    found = block(signal, response)

    for part in (found.accuracy, found.delay, found.precision, found.score):
        assert 0 <= part <= 1 + 1e-9


# ---------------------------------------------------------------------------------------------------- the signal


@given(st.integers(0, 10**6), st.sampled_from([2, 4]))
def test_the_signal_is_bounded_repeatable_and_nearly_free_of_energy(seed: int, signal_s: int) -> None:
    """Over the hour the mean is below a tenth of the award, in either direction."""
    signal = hour_signal(seed, HOUR, signal_s)

    assert len(signal) == 3600 // signal_s
    assert all(-1 <= share <= 1 for share in signal)
    assert signal == hour_signal.__wrapped__(seed, HOUR, signal_s)
    assert abs(sum(signal)) / len(signal) < 0.1


def test_up_and_down_are_the_two_halves_of_one_signal() -> None:
    signal = hour_signal(1, HOUR, 4)

    for number in range(900):
        at = HOUR + timedelta(seconds=4 * number)
        up, down = share_at(1, at, 4, 1), share_at(1, at, 4, -1)
        assert up - down == signal[number]
        assert min(up, down) == 0


def test_mileage_is_the_sum_of_moves() -> None:
    """Minute by minute it adds up to the hour's."""
    minutes = sum(mileage(1, HOUR + MINUTE * each, HOUR + MINUTE * (each + 1), 4, 1) for each in range(60))
    moves = sum(
        abs(
            share_at(1, HOUR + timedelta(seconds=4 * each), 4, 1)
            - share_at(1, HOUR + timedelta(seconds=4 * each - 4), 4, 1)
        )
        for each in range(900)
    )

    assert round(minutes, 6) == round(moves, 6) == round(mileage(1, HOUR, HOUR + AN_HOUR, 4, 1), 6)


def test_set_points_are_told_up_to_now_and_within_what_was_awarded() -> None:
    """0.2 MW for one minute, one set-point every 4 s: fifteen of them, five by 01:00:16."""
    awards = [award("reg-up", "0.20", "5")]

    so_far = list(setpoints(awards, product("reg-up"), 1, HOUR - AN_HOUR, HOUR + timedelta(seconds=16)))
    later = list(setpoints(awards, product("reg-up"), 1, HOUR + timedelta(seconds=16), HOUR + AN_HOUR))

    assert [point.at for point in so_far] == [HOUR + timedelta(seconds=4 * each) for each in range(5)]
    assert len(later) == 10
    for point in (*so_far, *later):
        assert point.mw == (Decimal("0.20") * Decimal(str(point.share))).quantize(Decimal("0.000001"))
        assert 0 <= point.mw <= Decimal("0.20")


# ------------------------------------------------------------------------------------------- reports and their score


def report(mw: list[float]) -> ResponseBody:
    return ResponseBody(mw=tuple(Decimal(repr(each)) for each in mw))


def test_an_hour_followed_to_the_watt_scores_one() -> None:
    awards = [award("reg-up", "0.20", "5", HOUR, AN_HOUR), award("reg-up", "0.20", "5", HOUR + AN_HOUR, AN_HOUR)]
    done = asked_mw(awards, product("reg-up"), 1, HOUR, RESPONSES)

    found = scored(awards, product("reg-up"), HOUR, report(done), "", seed=1, now=HOUR + AN_HOUR * 2)

    assert not isinstance(found, Problem)
    assert round(found.score, 6) == 1.0


@pytest.mark.parametrize(
    ("hour", "count", "now", "error"),
    [
        (HOUR + MINUTE, RESPONSES, HOUR + AN_HOUR * 3, "malformed"),
        (HOUR, RESPONSES - 1, HOUR + AN_HOUR * 3, "malformed"),
        (HOUR, RESPONSES, HOUR + MINUTE * 65 - timedelta(seconds=1), "too_early"),
        (HOUR + AN_HOUR, RESPONSES, HOUR + AN_HOUR * 3, "no_award"),
    ],
)
def test_what_cannot_be_scored_is_refused(hour: datetime, count: int, now: datetime, error: str) -> None:
    awards = [award("reg-up", "0.20", "5", HOUR, AN_HOUR)]

    found = scored(awards, product("reg-up"), hour, report([0.0] * count), "", seed=1, now=now)

    assert isinstance(found, Problem)
    assert found.error == error


def test_what_is_awarded_follows_the_signal_and_is_no_dispatch() -> None:
    market = venue()
    submit(market, "o-1", body("reg-up"))

    points = market.setpoints("R", product("reg-up"), HOUR - AN_HOUR, HOUR + MINUTE)

    assert len(points) == 15
    assert market.dispatches("R", HOUR + AN_HOUR) == ()
