"""
Which levels hold when. Jitter is left out of the drawing; the tests' host has its own, computed where it matters.

    previous 700 ─────┐                       ┌──── 700
                      │                 ┌─────┘     625
                      │           ┌─────┘           550
                      │     ┌─────┘                 475
    cap 400           └─────┘
                    12:00  12:00:40          12:01   the lease is over
"""

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Literal

import pytest
from doubles.commands import H100, HOST, NOON, cap, clock, lease
from hypothesis import given
from hypothesis import strategies as st

from collectors.bounds import Bounds
from collectors.controls import Control, power
from collectors.lease import HostState, Lease, accept, jitter, let_go, response_time, resumed, step
from collectors.levers import FREE, Key
from pipeline.messages.control import Kind, LeaseCommand, PoolCap
from pipeline.messages.telemetry import Tier

BOUNDS = Bounds(release=timedelta(seconds=20), release_stages=4)
JITTER_S = 5 * jitter(HOST)
"""Of this host with stages of five seconds."""

TRAINING = power("a", H100, Tier.T3, 200, 700, 700)
BATCH = power("b", H100, Tier.T2, 200, 700, 700)
PROTECTED = power("c", H100, Tier.T0, 200, 700, 700)
GPUS = (TRAINING, BATCH, PROTECTED)


def at(seconds: float) -> datetime:
    """Return the instant *seconds* after noon."""
    return NOON + timedelta(seconds=seconds)


def obeying(*commands: LeaseCommand) -> HostState:
    """Return a host that has accepted *commands* in this order."""
    state = HostState.initial()
    for each in commands:
        state = accept(state, Lease.of(each))
    return state


def take(
    state: HostState, second: float, gpus: tuple[Control, ...] = GPUS, bounds: Bounds = BOUNDS
) -> tuple[HostState, dict[str, float]]:
    """Take a step at that second after noon; levels by subject."""
    state, levels = step(state, gpus, at(second), bounds, HOST)
    return state, {key.subject: level for key, level in levels.items()}


def over_time(state: HostState, *seconds: float) -> list[dict[str, float]]:
    """Return what holds at each of these seconds after noon, one step each."""
    found = []
    for second in seconds:
        state, levels = take(state, second)
        found.append(levels)
    return found


def test_nothing_holds_before_the_lease_begins_and_nothing_is_left_when_it_ends() -> None:
    """Begun at 12:00:10 and over at 12:01:10, the last 20 s of it on the way back."""
    state = obeying(lease(1, cap(400), begins=at(10), lasts_s=60))

    assert over_time(state, 0, 9.9, 10, 49.9, 70) == [{}, {}, {"a": 400}, {"a": 400}, {}]


def test_limits_rise_in_four_stages_to_exactly_what_was() -> None:
    """From 400 to 700 in steps of 75 W, five seconds apart; then the lease is over and says so once."""
    command = lease(1, cap(400), lasts_s=60)
    first = 40 + JITTER_S

    state, before = take(obeying(command), 0)
    stages = []
    for second in (first - 0.01, first, first + 5, first + 10, first + 14.9, first + 15):
        state, levels = take(state, second)
        stages.append(levels)

    assert before == {"a": 400}
    assert stages == [{"a": 400}, {"a": 475}, {"a": 550}, {"a": 625}, {"a": 625}, {}]
    assert state.released == command
    assert state.is_idle
    assert take(state, 61)[0].released is None


def test_a_short_lease_spends_at_most_half_on_its_way_back() -> None:
    """Ten seconds long, 20 s of way back: five hold, five rise in stages of 1.25 s."""
    state = obeying(lease(1, cap(400), lasts_s=10))

    assert over_time(state, 0, 4.9, 10) == [{"a": 400}, {"a": 400}, {}]
    assert over_time(state, 0, 5 + 1.25 * jitter(HOST) + 0.01) == [{"a": 400}, {"a": 475}]


def test_a_command_that_asks_for_nothing_starts_the_way_back_at_once() -> None:
    """Released at 12:00:20 instead of holding until 12:00:40."""
    state, _ = take(obeying(lease(1, cap(400))), 0)
    release = lease(2, begins=at(20))
    state = accept(state, Lease.of(release))
    first = 20 + JITTER_S

    held, rising, gone = over_time(state, 20, first + 0.001, first + 15)

    assert (held, rising, gone) == ({"a": 400}, {"a": 475}, {})


def test_a_release_when_nothing_holds_is_over_at_once() -> None:
    state, levels = take(obeying(lease(1)), 0)

    assert levels == {}
    assert state.released == lease(1)


def test_a_release_command_on_the_way_back_does_not_start_it_again() -> None:
    """The second stage, 550 W, stays the second stage."""
    state, _ = take(obeying(lease(1, cap(400))), 0)
    state, _ = take(state, 40)
    second_stage = 45 + JITTER_S + 0.001
    state, levels = take(state, second_stage)
    state, again = take(accept(state, Lease.of(lease(2, begins=at(second_stage)))), second_stage)

    assert levels == again == {"a": 550}


def test_a_way_back_that_begins_late_still_ends_with_the_lease() -> None:
    """SIGTERM at 12:00:50, five seconds before the hold's end: a way back of 20 s would outlast the lease."""
    state, _ = take(obeying(lease(1, cap(400), lasts_s=60, release_s=5)), 0)

    state = let_go(state, at(50))

    assert over_time(state, 50, 59.9)[0] == {"a": 400}
    assert over_time(state, 50, 60)[1] == {}


def test_a_safety_cap_has_no_end_of_its_own_and_survives_letting_go() -> None:
    state = obeying(lease(1, cap(400), kind="safety", lasts_s=60))

    assert over_time(state, 0, 61, 86_400) == [{"a": 400}] * 3
    assert over_time(let_go(state, at(61)), 61) == [{"a": 400}]


def test_a_safety_release_ends_a_safety_cap() -> None:
    state, _ = take(obeying(lease(1, cap(400), kind="safety")), 0)
    state = accept(state, Lease.of(lease(2, kind="safety", begins=at(100))))

    assert over_time(state, 100, 120) == [{"a": 400}, {}]


def test_a_renewal_sent_ahead_takes_over_without_a_gap() -> None:
    """One lease until 12:01, the next from 12:00:40 at a lower cap, both sent at noon."""
    state = obeying(lease(1, cap(500), lasts_s=60), lease(2, cap(400), begins=at(40), lasts_s=60))

    assert over_time(state, 0, 39, 40, 79) == [{"a": 500}, {"a": 500}, {"a": 400}, {"a": 400}]


def test_a_pool_that_the_newest_lease_does_not_name_goes_back_in_stages() -> None:
    """The others' cap holds at once; this one's way back takes 20 s from then."""
    state = obeying(lease(1, cap(500, Tier.T2), lasts_s=120), lease(2, cap(400), begins=at(10), lasts_s=120))
    first = 10 + JITTER_S + 0.001

    found = over_time(state, 5, 10, first, 30)

    assert found == [{"b": 500}, {"a": 400, "b": 500}, {"a": 400, "b": 550}, {"a": 400}]


def test_a_lease_that_begins_no_later_erases_the_older_one() -> None:
    state = obeying(lease(1, cap(500), begins=at(60)), lease(2, cap(400), begins=at(30), lasts_s=10))

    assert over_time(state, 30, 34, 70) == [{"a": 400}, {"a": 400}, {}]


def test_a_new_lease_on_the_way_back_holds_again() -> None:
    state, _ = take(obeying(lease(1, cap(400))), 0)
    middle = 45 + JITTER_S + 0.001
    state, _ = take(state, 40)
    state, rising = take(state, middle)
    state = accept(state, Lease.of(lease(2, cap(300), begins=at(middle))))

    assert rising == {"a": 550}
    assert over_time(state, middle) == [{"a": 300}]


def test_a_host_that_slept_through_everything_lets_go_at_once() -> None:
    state, _ = take(obeying(lease(1, cap(400))), 0)

    assert over_time(state, 3600) == [{}]


def test_a_gpu_that_turns_protected_is_let_go_in_the_same_step() -> None:
    state, _ = take(obeying(lease(1, cap(400))), 0)

    assert take(state, 1, (replace(TRAINING, tier=Tier.T0),))[1] == {}
    assert take(state, 45, (replace(TRAINING, tier=Tier.T0),))[1] == {}


def test_a_paused_job_runs_again_from_the_first_stage_on() -> None:
    """Its power comes back while caps still hold, not in one leap at the end."""
    job = Control(Key(Kind.RUN, "late"), Tier.T3, 0, 1, 1)
    state, paused = take(obeying(lease(1, pauses=(Tier.T3,))), 0, (job,))
    state, waiting = take(state, 40 + JITTER_S - 0.01, (job,))
    _, running = take(state, 40 + JITTER_S + 0.01, (job,))

    assert (paused, waiting, running) == ({"late": 0}, {"late": 0}, {})


def test_a_clock_that_was_free_rises_to_its_highest_and_is_freed() -> None:
    """980 MHz of 1980: a quarter of the way is 1230."""
    ceiling = Control(Key(Kind.CLOCK, "a"), Tier.T3, 0, 1980, FREE, model=H100)
    state, held = take(obeying(lease(1, clocks=(clock(980),))), 0, (ceiling,))
    state, rising = take(state, 40 + JITTER_S + 0.01, (ceiling,))

    assert (held, rising, take(state, 60, (ceiling,))[1]) == ({"a": 980}, {"a": 1230}, {})


def test_a_deep_cap_is_reached_in_strokes() -> None:
    """700 to 300 W at 150 W a stroke and 100 W/s: the next stroke may come 1.5 s later."""
    bounds = replace(BOUNDS, max_step_w=150, max_rate_w_per_s=100)
    state = obeying(lease(1, cap(300)))
    found = []
    for second in (0, 1.4, 1.5, 2.9, 3, 4.5):
        state, levels = take(state, second, (TRAINING,), bounds)
        found.append(levels["a"])

    assert found == [550, 550, 400, 400, 300, 300]


def test_a_lease_of_an_earlier_run_goes_on() -> None:
    """Killed at 12:00:10, started again at 12:00:12: the cap holds until 12:00:40, as it would have."""
    command = lease(1, cap(400))
    state = resumed([Lease.of(command)], {TRAINING.key: 400}, at(60), 1, at(12))

    assert over_time(state, 12, 39.9, 60) == [{"a": 400}, {"a": 400}, {}]


def test_a_lease_that_ended_a_moment_ago_is_completed_at_once() -> None:
    """Started again a second after the end."""
    capped = (replace(TRAINING, requested=400),)
    state = resumed([Lease.of(lease(1, cap(400)))], {TRAINING.key: 400}, at(60), 1, at(61))

    assert take(state, 61, capped)[1] == {}


def test_a_lease_that_ended_long_ago_leaves_a_way_back_in_stages() -> None:
    """A rollout starts a thousand actuators an hour late, all at one time."""
    capped = (replace(TRAINING, requested=400),)
    state = resumed([Lease.of(lease(1, cap(400)))], {TRAINING.key: 400}, at(60), 1, at(3660))
    first = 3660 + JITTER_S + 0.001

    state, held = take(state, 3660, capped)
    state, rising = take(state, first, capped)
    _, gone = take(state, 3680, capped)

    assert (held, rising, gone) == ({"a": 400}, {"a": 475}, {})


def test_a_level_that_was_written_down_and_never_set_is_not_set_now() -> None:
    """Killed between journal and driver: the limit still is 700 W, so there is no way to go back."""
    untouched = (replace(TRAINING, requested=700),)
    state = resumed([], {TRAINING.key: 400}, None, 1, at(3660))

    assert take(state, 3660, untouched)[1] == {}


def test_hosts_do_not_come_back_at_one_instant() -> None:
    """A host's jitter is its own, always the same, and less than a stage."""
    jitters = [jitter(f"host-{number}") for number in range(200)]

    assert jitters == [jitter(f"host-{number}") for number in range(200)]
    assert len(set(jitters)) == 200
    assert 0 <= min(jitters) < 0.1
    assert 0.9 < max(jitters) < 1


@pytest.mark.parametrize(("begins_s", "response_s"), [(0, 3), (2, 1)])
def test_the_response_counts_from_when_a_lease_could_first_be_obeyed(begins_s: float, response_s: float) -> None:
    """Issued at noon, acknowledged three seconds later; one of them begins at 12:00:02."""
    command = lease(1, cap(400), begins=at(begins_s))

    assert response_time(command, at(3)) == timedelta(seconds=response_s)


gpus = st.lists(
    st.builds(
        power,
        uuid=st.sampled_from("abcdef"),
        model=st.sampled_from([H100, "A100"]),
        tier=st.sampled_from(Tier),
        min_w=st.floats(50, 200),
        max_w=st.floats(300, 1000),
        previous_w=st.floats(200, 1000),
        job=st.sampled_from([None, "job-1", "job-2"]),
    ),
    unique_by=lambda gpu: gpu.key,
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
        st.floats(0, 300),
    ),
    max_size=4,
)
Story = list[tuple[list[PoolCap], float, float, float, Literal["economic", "safety"], float]]


@given(
    gpus=gpus,
    commands=commands,
    seconds=st.lists(st.floats(0, 600), max_size=30),
    step_w=st.floats(10, 2000),
    rate=st.floats(1, 5000),
)
def test_no_level_ever_leaves_its_bounds_and_all_ends_as_it_was(
    gpus: list[Control], commands: Story, seconds: list[float], step_w: float, rate: float
) -> None:
    """
    Never above the previous limit, never below the floor unless it was, never on T0, never further than a stroke.

    Commands arrive at any share of the time before they begin. When all leases are over, nothing is held.
    """
    by_key = {gpu.key: gpu for gpu in gpus}
    bounds = replace(BOUNDS, max_step_w=step_w, max_rate_w_per_s=rate)
    arrivals = [
        (begins_s * share, lease(seq, *each, begins=at(begins_s), lasts_s=lasts_s, kind=kind, release_s=release_s))
        for seq, (each, begins_s, share, lasts_s, kind, release_s) in enumerate(commands, start=1)
    ]
    moments = sorted([*seconds, *(arrives_s for arrives_s, _ in arrivals)])

    state, before = HostState.initial(), {gpu.key: gpu.previous for gpu in gpus}
    for moment in moments:
        for arrives_s, command in arrivals:
            if arrives_s == moment and command.seq > state.highest_seq:
                state = accept(state, Lease.of(command))
        state, levels = step(state, gpus, at(moment), bounds, HOST)
        for key, level in levels.items():
            gpu = by_key[key]
            assert gpu.tier is not Tier.T0
            assert level <= gpu.previous
            assert level >= min(gpu.previous, gpu.floor) - 1e-9
            assert level >= before[key] - step_w - 1e-9
        before = {gpu.key: levels.get(gpu.key, gpu.previous) for gpu in gpus}

    state = accept(state, Lease.of(lease(99, begins=at(700), kind="safety")))
    state, _ = step(state, gpus, at(700), bounds, HOST)
    state, levels = step(state, gpus, at(720), bounds, HOST)
    assert levels == {}
    assert state.is_idle


@given(gpus=gpus, commands=commands, seconds=st.lists(st.floats(0, 1000), min_size=1, max_size=30))
def test_two_seconds_after_its_end_nothing_of_an_economic_lease_is_left(
    gpus: list[Control], commands: Story, seconds: list[float]
) -> None:
    """Whatever came before it, and whenever the host last looked."""
    leases = [
        lease(seq, *each, begins=at(begins_s), lasts_s=lasts_s, release_s=release_s)
        for seq, (each, begins_s, _, lasts_s, _, release_s) in enumerate(commands, start=1)
    ]
    state = obeying(*leases)
    for second in sorted(seconds):
        state, levels = step(state, gpus, at(second), BOUNDS, HOST)
        if all(at(second) >= command.expires_at + timedelta(seconds=2) for command in leases):
            assert levels == {}


@given(gpus=gpus, caps=caps, seconds=st.lists(st.floats(40, 70), min_size=2, max_size=20))
def test_a_way_back_only_ever_rises(gpus: list[Control], caps: list[PoolCap], seconds: list[float]) -> None:
    """Whatever the cap and however unevenly it is stepped."""
    state, held = step(obeying(lease(1, *caps)), gpus, at(0), BOUNDS, HOST)
    previous = {gpu.key: gpu.previous for gpu in gpus}

    seen = [held]
    for second in sorted(seconds):
        state, levels = step(state, gpus, at(second), BOUNDS, HOST)
        seen.append(levels)

    for earlier, later in pairwise(seen):
        assert all(later.get(key, previous[key]) >= level for key, level in earlier.items())
