"""
Which limits hold when. The host of these tests delays its release by 0 s of jitter unless told otherwise.

    previous 700 ─────┐                       ┌──── 700
                      │                 ┌─────┘     625
                      │           ┌─────┘           550
                      │     ┌─────┘                 475
    cap 400           └─────┘
                    12:00  12:01 (jitter left out)
"""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import pytest
from doubles.commands import H100, HOST, NOON, cap, lease
from hypothesis import given
from hypothesis import strategies as st

from collectors.lease import Bounds, GpuLimits, HostState, accept, caps_for, release_jitter, response_time, step
from pipeline.messages.control import LeaseCommand, PoolCap
from pipeline.messages.telemetry import Tier
from pipeline.tiers import floor_w

BOUNDS = Bounds(release_stages=4, release_stage=timedelta(seconds=5))
JITTER = release_jitter(HOST, BOUNDS)

TRAINING = GpuLimits(uuid="a", model=H100, tier=Tier.T3, min_w=200, max_w=700, previous_w=700)
BATCH = replace(TRAINING, uuid="b", tier=Tier.T2)
PROTECTED = replace(TRAINING, uuid="c", tier=Tier.T0)
GPUS = (TRAINING, BATCH, PROTECTED)


def at(seconds: float) -> datetime:
    """Return the instant *seconds* after noon."""
    return NOON + timedelta(seconds=seconds)


def obeying(*leases: LeaseCommand) -> HostState:
    """Return a host that has accepted *leases* in this order."""
    state = HostState.initial()
    for each in leases:
        state = accept(state, each)
    return state


def limits_over_time(state: HostState, *seconds: float) -> list[dict[str, float]]:
    """Return what holds at each of these seconds after noon, one step each."""
    found = []
    for second in seconds:
        state, limits_w = step(state, GPUS, at(second), BOUNDS)
        found.append(limits_w)
    return found


def test_a_cap_is_clamped_to_tier_device_and_previous_limit() -> None:
    """T3 may go to 30 % of 700 = 210 W, T2 to half = 350 W, T0 nowhere; one at 300 W stays there under a cap of 500."""
    deep, high = lease(1, cap(1), cap(1, Tier.T2), cap(1, Tier.T0)), lease(2, cap(500))
    lowered = replace(TRAINING, previous_w=300)

    assert caps_for(GPUS, deep) == {"a": 210, "b": 350}
    assert caps_for([lowered], high) == {"a": 300}


def test_only_the_named_model_is_capped() -> None:
    assert caps_for(GPUS, lease(1, cap(400, model="NVIDIA A100-SXM4-40GB"))) == {}


def test_nothing_holds_before_the_lease_begins_and_the_cap_holds_until_it_ends() -> None:
    state = obeying(lease(1, cap(400), begins=at(10), lasts_s=60))

    assert limits_over_time(state, 0, 9.9, 10, 69.9) == [{}, {}, {"a": 400}, {"a": 400}]


def test_after_the_end_limits_rise_in_four_stages_to_exactly_what_was() -> None:
    """From 400 to 700 in steps of 75 W, five seconds apart; then the lease is over and says so once."""
    state = obeying(lease(1, cap(400), lasts_s=60))
    end = 60 + JITTER.total_seconds()

    state, before = step(state, GPUS, at(0), BOUNDS)
    stages = []
    for second in (end - 0.01, end, end + 5, end + 10, end + 14.9, end + 15):
        state, limits_w = step(state, GPUS, at(second), BOUNDS)
        stages.append(limits_w)

    assert before == {"a": 400}
    assert stages == [{"a": 400}, {"a": 475}, {"a": 550}, {"a": 625}, {"a": 625}, {}]
    assert state.released == lease(1, cap(400), lasts_s=60)
    assert state.lease is None
    assert step(state, GPUS, at(end + 16), BOUNDS)[0].released is None


def test_a_command_without_caps_starts_the_staged_release_at_once() -> None:
    """Released at 12:00:20 instead of expiring at 12:01:00."""
    state, _ = step(obeying(lease(1, cap(400))), GPUS, at(0), BOUNDS)
    state = accept(state, lease(2, begins=at(20)))
    first = 20 + JITTER.total_seconds()

    assert limits_over_time(state, 20, first + 0.001, first + 15) == [{"a": 400}, {"a": 475}, {}]


def test_a_release_when_nothing_holds_is_over_at_once() -> None:
    state, limits_w = step(obeying(lease(1)), GPUS, at(0), BOUNDS)

    assert limits_w == {}
    assert state.released == lease(1)


def test_a_release_command_during_a_release_does_not_start_it_again() -> None:
    """The second stage, 550 W, stays the second stage."""
    state, _ = step(obeying(lease(1, cap(400))), GPUS, at(0), BOUNDS)
    second_stage = at(65) + JITTER
    state, limits_w = step(state, GPUS, second_stage, BOUNDS)
    state, again_w = step(accept(state, lease(2, begins=at(60))), GPUS, second_stage, BOUNDS)

    assert limits_w == again_w == {"a": 550}


def test_a_safety_cap_has_no_end_of_its_own() -> None:
    state = obeying(lease(1, cap(400), kind="safety", lasts_s=60))

    assert limits_over_time(state, 0, 61, 86_400) == [{"a": 400}] * 3


def test_a_safety_release_ends_a_safety_cap() -> None:
    state, _ = step(obeying(lease(1, cap(400), kind="safety")), GPUS, at(0), BOUNDS)
    state = accept(state, lease(2, kind="safety", begins=at(100)))

    assert limits_over_time(state, 100, 120 + JITTER.total_seconds()) == [{"a": 400}, {}]


def test_a_renewal_sent_ahead_takes_over_without_a_gap() -> None:
    """One lease until 12:01, the next from 12:01 at a lower cap, both sent at noon."""
    state = obeying(lease(1, cap(500), lasts_s=60), lease(2, cap(400), begins=at(60), lasts_s=60))

    assert limits_over_time(state, 0, 59, 60, 119) == [{"a": 500}, {"a": 500}, {"a": 400}, {"a": 400}]


def test_the_newest_lease_replaces_one_that_began_earlier() -> None:
    """A pool that the new lease does not name goes back to its previous limit."""
    state = obeying(lease(1, cap(500, Tier.T2)), lease(2, cap(400), begins=at(10)))

    assert limits_over_time(state, 5, 10) == [{"b": 500}, {"a": 400}]


def test_a_lease_that_begins_no_later_erases_the_older_one() -> None:
    state = obeying(lease(1, cap(500), begins=at(60)), lease(2, cap(400), begins=at(30), lasts_s=10))

    assert limits_over_time(state, 30, 39, 70) == [{"a": 400}, {"a": 400}, {}]


def test_a_new_lease_in_the_middle_of_a_release_caps_again() -> None:
    state, _ = step(obeying(lease(1, cap(400))), GPUS, at(0), BOUNDS)
    middle = 65 + JITTER.total_seconds()
    state, rising_w = step(state, GPUS, at(middle), BOUNDS)
    state = accept(state, lease(2, cap(300), begins=at(middle)))

    assert rising_w == {"a": 550}
    assert limits_over_time(state, middle) == [{"a": 300}]


def test_a_host_that_slept_through_everything_lets_go_at_once() -> None:
    state, _ = step(obeying(lease(1, cap(400))), GPUS, at(0), BOUNDS)

    assert limits_over_time(state, 3600) == [{}]


def test_a_gpu_that_turns_protected_is_let_go() -> None:
    state, _ = step(obeying(lease(1, cap(400))), GPUS, at(0), BOUNDS)

    assert step(state, [replace(TRAINING, tier=Tier.T0)], at(1), BOUNDS)[1] == {}
    assert step(state, [replace(TRAINING, tier=Tier.T0)], at(62), BOUNDS)[1] == {}


def test_hosts_do_not_come_back_at_one_instant() -> None:
    """A host's jitter is its own, always the same, and less than a stage."""
    jitters = [release_jitter(f"host-{number}", BOUNDS) for number in range(200)]

    assert jitters == [release_jitter(f"host-{number}", BOUNDS) for number in range(200)]
    assert len(set(jitters)) == 200
    assert timedelta(0) <= min(jitters) < timedelta(seconds=0.5)
    assert timedelta(seconds=4.5) < max(jitters) < BOUNDS.release_stage


@pytest.mark.parametrize(("begins_s", "response_s"), [(0, 3), (2, 1)])
def test_the_response_counts_from_when_a_lease_could_first_be_obeyed(begins_s: float, response_s: float) -> None:
    """Issued at noon, acknowledged three seconds later; one of them begins at 12:00:02."""
    command = lease(1, cap(400), begins=at(begins_s))

    assert response_time(command, at(3)) == timedelta(seconds=response_s)


gpus = st.lists(
    st.builds(
        GpuLimits,
        uuid=st.sampled_from("abcdef"),
        model=st.sampled_from([H100, "A100"]),
        tier=st.sampled_from(Tier),
        min_w=st.floats(50, 200),
        max_w=st.floats(300, 1000),
        previous_w=st.floats(200, 1000),
    ),
    unique_by=lambda gpu: gpu.uuid,
)
caps = st.lists(
    st.builds(cap, st.floats(0.1, 2000), st.sampled_from([Tier.T1, Tier.T2, Tier.T3]), st.sampled_from([H100, "A100"])),
    unique_by=lambda each: (each.tier, each.gpu_model),
    max_size=4,
)
commands = st.lists(
    st.tuples(
        caps,
        st.floats(0, 200),
        st.floats(0, 1),
        st.floats(1, 200),
        st.sampled_from(["economic", "safety"]),
    ),
    max_size=4,
)


@given(gpus=gpus, commands=commands, seconds=st.lists(st.floats(0, 600), max_size=30))
def test_no_limit_ever_leaves_its_bounds_and_all_ends_as_it_was(
    gpus: list[GpuLimits],
    commands: list[tuple[list[PoolCap], float, float, float, Literal["economic", "safety"]]],
    seconds: list[float],
) -> None:
    """
    Never above the previous limit, never below the floor unless it was, never on T0; in the end nothing is held.

    Commands arrive at any share of the time before they begin.
    """
    by_uuid = {gpu.uuid: gpu for gpu in gpus}
    arrivals = [
        (begins_s * share, lease(seq, *each_caps, begins=at(begins_s), lasts_s=lasts_s, kind=kind))
        for seq, (each_caps, begins_s, share, lasts_s, kind) in enumerate(commands, start=1)
    ]
    end_all = lease(99, begins=at(700), kind="safety")
    moments = sorted([*seconds, *(arrives_s for arrives_s, _ in arrivals)])

    state = HostState.initial()
    for moment in moments:
        for arrives_s, command in arrivals:
            if arrives_s == moment and command.seq > state.highest_seq:
                state = accept(state, command)
        state, limits_w = step(state, gpus, at(moment), BOUNDS)
        for uuid, limit_w in limits_w.items():
            gpu = by_uuid[uuid]
            assert gpu.tier is not Tier.T0
            assert limit_w <= gpu.previous_w
            assert limit_w >= min(gpu.previous_w, floor_w(gpu.tier, gpu.min_w, gpu.max_w))

    state, _ = step(accept(state, end_all), gpus, at(700), BOUNDS)
    state, limits_w = step(state, gpus, at(700) + 5 * BOUNDS.release_stage, BOUNDS)
    assert limits_w == {}
    assert state.lease is None


@given(gpus=gpus, caps=caps, seconds=st.lists(st.floats(60, 90), min_size=2, max_size=20))
def test_a_release_only_ever_rises(gpus: list[GpuLimits], caps: list[PoolCap], seconds: list[float]) -> None:
    """Whatever the cap and however unevenly it is stepped."""
    state, held_w = step(obeying(lease(1, *caps)), gpus, at(0), BOUNDS)
    previous_w = {gpu.uuid: gpu.previous_w for gpu in gpus}

    seen = [held_w]
    for second in sorted(seconds):
        state, limits_w = step(state, gpus, at(second), BOUNDS)
        seen.append(limits_w)

    for earlier, later in pairwise(seen):
        assert all(later.get(uuid, previous_w[uuid]) >= limit_w for uuid, limit_w in earlier.items())
