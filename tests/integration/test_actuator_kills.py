"""Actuators killed with -9 in mid-curtailment, and the oracle that judges what became of their GPUs."""

from pathlib import Path

import pytest
from doubles.commands import KEY_ID
from doubles.kill_actuator import NEVER_NS, Asked, Life, Sight, Story, judge, kill_again_and_again
from doubles.nvml.nvml_double import Set, What

from pipeline.messages.control import SignedCommand

SIGNED = SignedCommand(host="host-1", key_id=KEY_ID, payload=b"", signature=b"")
HELD, BEFORE = (400.0, 450.0, 400.0, 700.0), (700.0, 650.0, 600.0, 700.0)


def s(seconds: float) -> int:
    """Return nanoseconds."""
    return round(seconds * 1e9)


def asked(signed_s: float, ends_s: float | None, levels_w: tuple[float, ...] = HELD) -> Asked:
    """Return a lease with a way back of a second; None: it latches."""
    ends_ns = NEVER_NS if ends_s is None else s(ends_s)
    return Asked(SIGNED, 1, levels_w, s(signed_s), ends_ns if ends_s is None else ends_ns - s(1), ends_ns)


def sets(*made: tuple[float, int, float]) -> list[Set]:
    """Return the log of sets: second, GPU, watts."""
    return [
        Set(number, at_s, s(at_s), gpu, What.LIMIT, watts, 0, 0, pid=1)
        for number, (at_s, gpu, watts) in enumerate(made, 1)
    ]


def all_at(at_s: float, levels_w: tuple[float, ...]) -> list[tuple[float, int, float]]:
    """Return what sets the three GPUs that may be set."""
    return [(at_s, gpu, levels_w[gpu]) for gpu in range(3)]


LEASE = [asked(1, 10)]


def test_a_lease_that_holds_and_ends_is_right() -> None:
    verdict = judge(Story(LEASE, sets=sets(*all_at(1.1, HELD), *all_at(9.9, BEFORE))))

    assert (verdict.failures, verdict.held) == ([], 3)
    assert verdict.late_s == pytest.approx([-0.1] * 3)


@pytest.mark.parametrize(
    ("made", "wrong"),
    [
        ([*all_at(1.1, HELD), *all_at(12.1, BEFORE)], "held 2.100 s beyond its lease"),
        ([*all_at(1.1, HELD), (5, 0, 700.0), *all_at(9.9, BEFORE)], "went from 400.0 to 700.0 W"),
        ([*all_at(1.1, HELD), *all_at(9.9, BEFORE), (11, 0, 400.0), (11.1, 0, 700.0)], "went from 700.0 to 400.0 W"),
        ([*all_at(1.1, HELD), (9.2, 0, 500.0), (9.4, 0, 450.0), *all_at(9.9, BEFORE)], "went from 500.0 to 450.0 W"),
        ([*all_at(0.5, HELD), *all_at(9.9, BEFORE)], "went from 700 to 400.0 W"),
        ([*all_at(1.1, HELD), (9.9, 2, 601.0), *all_at(9.9, BEFORE)], "set to 601.0 W"),
        ([(1.1, 1, 340.0), *all_at(9.9, BEFORE)], "set to 340.0 W"),
        ([(1.1, 3, 700.0)], "GPU 3 is T0"),
    ],
    ids=["late", "early", "again", "dips", "before it was signed", "above previous", "below the floor", "T0"],
)
def test_what_is_wrong_is_said(made: list[tuple[float, int, float]], wrong: str) -> None:
    failures = judge(Story(LEASE, sets=sets(*made))).failures

    assert any(wrong in failure for failure in failures), failures


def test_a_renewal_takes_over_and_is_not_taken_back() -> None:
    """The first lease's caps must not come again once the second's hold, though it has not ended."""
    renewed = (500.0, 550.0, 500.0, 700.0)
    both = [asked(1, 10), asked(5, 14, renewed)]
    good = [*all_at(1.1, HELD), *all_at(5.1, renewed), *all_at(13.9, BEFORE)]
    replayed = [*all_at(1.1, HELD), *all_at(5.1, renewed), *all_at(7, HELD), *all_at(13.9, BEFORE)]

    assert judge(Story(both, sets=sets(*good))).failures == []
    assert "went from 500.0 to 400.0 W" in judge(Story(both, sets=sets(*replayed))).failures[0]


def test_a_gpu_that_is_only_seen_below_counts_as_held_back() -> None:
    """Its set was cut short by the kill, and the log does not say whether it took."""
    sights = [Sight(s(1), s(1), s(12.5), (400.0, 650.0, 600.0, 700.0)), Sight(s(12.6), s(12.6), s(13), BEFORE)]

    late_s = judge(Story(LEASE, sets=sets(*all_at(1.1, HELD), *all_at(9.9, BEFORE)), sights=sights)).late_s

    assert late_s == pytest.approx([2.5, -0.1, -0.1])


def test_a_safety_cap_is_to_be_seen_until_its_release() -> None:
    made = sets(*all_at(1.1, HELD), *all_at(20, BEFORE))
    lost = [Sight(s(1), s(1), s(4), HELD), Sight(s(4.1), s(4.1), s(5), BEFORE), Sight(s(5.1), s(5.1), s(20), HELD)]

    assert judge(Story([asked(1, None)], let_go_ns=s(19), sets=made)).failures == []
    assert "went from 400.0 to 700.0" in judge(Story([asked(1, None)], let_go_ns=s(21), sets=made)).failures[0]
    assert "were seen" in judge(Story([asked(1, None)], let_go_ns=s(19), sets=made, sights=lost)).failures[0]


def test_how_long_a_start_takes_is_told_of_those_after_the_end() -> None:
    verdict = judge(Story(LEASE, lives=[Life(1, s(10.2))], sets=sets(*all_at(11, BEFORE))))

    assert verdict.first_set_s == pytest.approx([0.8])


@pytest.mark.broker
def test_killed_actuators_leave_no_gpu_held_back_and_keep_safety_caps(tmp_path: Path) -> None:
    """One round of each host, and an outage of Kafka; the long form, with a bound, is tests/long/kill_actuator.py."""
    toll = kill_again_and_again(tmp_path, kills=8, seed=3, rounds=1)

    assert toll.failures == []
    assert toll.kills >= 8
    assert toll.rounds_held >= 4, toll
    assert toll.circumstances["safety"] >= 2, toll
    assert toll.circumstances["Kafka away"] >= 2, toll
    assert toll.clock_steps >= 1, toll
    assert toll.latest_s <= 2
