"""How far telemetry is trusted: worse at once, better in steps, and never better for what is missing."""

import math
from datetime import timedelta

import pytest
from doubles.builders import NOON, SECOND, capacity, pool, window
from hypothesis import given
from hypothesis import strategies as st

from bidding.capacity import firm_kw
from bidding.gate.quality import Observation, State, Trust, observe, sellable_mw
from bidding.gate.settings import Quality
from pipeline.messages.telemetry import SiteCapacity, Tier

POLICY = Quality()
ACTIVE, REDUCING, HALTED = State.ACTIVE, State.REDUCING, State.HALTED
Look = tuple[float, float]
"""(lost share, age in seconds), one a second."""


def fold(looks: list[Look], start: Trust | None = None, policy: Quality = POLICY) -> list[State]:
    """Return the state after each of *looks*."""
    trust, states = start or Trust(ACTIVE), []
    for number, (lost, age) in enumerate(looks):
        trust = trust.after(Observation(NOON + number * SECOND, lost, age), policy)
        states.append(trust.state)
    return states


@pytest.mark.parametrize(
    ("lost", "age_s", "state"),
    [
        (0.0, 1.0, ACTIVE),
        (0.2, 5.0, ACTIVE),
        (0.201, 1.0, REDUCING),
        (0.0, 5.1, REDUCING),
        (0.5, 1.0, REDUCING),
        (0.501, 1.0, HALTED),
        (0.0, 10.1, HALTED),
        (math.nan, 1.0, HALTED),
        (0.0, math.nan, HALTED),
        (0.0, math.inf, HALTED),
        (-0.1, 1.0, HALTED),
    ],
)
def test_a_fifth_of_telemetry_lost_reduces_and_half_of_it_halts(lost: float, age_s: float, state: State) -> None:
    """Knowledge/reliability.md A4: more than 20 % and more than 50 %; what is no number counts as all."""
    assert fold([(lost, age_s)]) == [state]


def test_better_takes_fifteen_seconds_a_step() -> None:
    """From HALTED, 31 good seconds in a row: 15 to REDUCING, then 15 more from the next look on."""
    states = fold([(0.0, 1.0)] * 32, Trust(HALTED))

    assert states == [HALTED] * 15 + [REDUCING] * 16 + [ACTIVE]


def test_a_figure_that_hovers_at_its_threshold_does_not_flap() -> None:
    """After 21 % lost, 16 % is not below 15 %, a quarter under the threshold, and 15 % is."""
    assert set(fold([(0.21, 1.0)] + [(0.16, 1.0)] * 100)) == {REDUCING}
    assert fold([(0.21, 1.0)] + [(0.15, 1.0)] * 16)[-1] is ACTIVE
    assert fold([(0.21, 1.0)] + [(0.15, 1.0)] * 15)[-1] is REDUCING


def test_one_bad_look_starts_the_wait_again() -> None:
    assert fold([(0.3, 1.0)] + [(0.0, 1.0)] * 14 + [(0.19, 1.0)] + [(0.0, 1.0)] * 15)[-1] is REDUCING


def test_before_the_first_message_nothing_is_trusted() -> None:
    assert Trust().state is HALTED
    assert Trust().why == "nothing has been known of telemetry yet"


@pytest.mark.parametrize(
    ("lost", "age_s", "said"),
    [
        (0.6, 2.5, "60% of telemetry was missing at 12:00:00Z"),
        (0.0, 5.5, "the newest message was 5.5 s old at 12:00:00Z"),
        (1.0, math.inf, "there was no whole message of telemetry at 12:00:00Z"),
        (math.nan, 1.0, "100% of telemetry was missing at 12:00:00Z"),
    ],
)
def test_the_reason_is_in_words(lost: float, age_s: float, said: str) -> None:
    assert Trust(ACTIVE).after(Observation(NOON, lost, age_s), POLICY).why == said


def test_the_reason_is_what_made_it_worse_for_as_long_as_it_lasts() -> None:
    """A log that tells changes says it once, and once more that telemetry is well and has to last."""
    trust, said = Trust(ACTIVE), []
    for number, lost in enumerate([0.6, 0.55, 0.58, 0.0, 0.0, 0.0]):
        trust = trust.after(Observation(NOON + number * SECOND, lost, 1.0 + number), POLICY)
        said.append(trust.why)

    ill = "60% of telemetry was missing at 12:00:00Z"
    assert said == [ill] * 3 + [f"{ill}, well since 12:00:03Z, which has to last"] * 3


def test_spans_are_those_of_a_clock_that_runs_faster() -> None:
    """At ten times the speed a message a second comes every ten seconds of the clock."""
    fast = POLICY.at_speed(10)

    assert (fast.reducing_age_s, fast.halted_age_s, fast.recover_s) == (50, 100, 150)
    assert fast.halted_lost == POLICY.halted_lost
    assert POLICY.at_speed(0.5) == POLICY


def message(age_s: float, load_kw: float | None = None, **changes: object) -> SiteCapacity:
    return capacity(NOON - age_s * SECOND, pool(Tier.T3, 1000, 500), load_kw=load_kw, **changes)


def test_what_is_seen_is_the_best_message_of_the_last_ten_seconds() -> None:
    """10 silent hosts and 5 quarantined of 100 are 15 %; a partition missing shows nothing, and so does the future."""
    bad = message(1, hosts_stale=60)
    worse = message(2, hosts_stale=10, hosts_quarantined=5)

    assert observe([bad, worse], NOON, POLICY) == Observation(NOON, 0.15, 1.0)
    assert observe([message(1, partitions=7), worse], NOON, POLICY) == Observation(NOON, 0.15, 2.0)
    assert observe([message(11)], NOON, POLICY) == Observation(NOON, 1.0, math.inf)
    assert observe([message(-1)], NOON, POLICY) == Observation(NOON, 1.0, math.inf)
    assert observe([message(1, hosts=0)], NOON, POLICY) == Observation(NOON, 1.0, math.inf)
    assert observe([message(1, load_kw=math.nan)], NOON, POLICY) == Observation(NOON, 1.0, math.inf)


@pytest.mark.parametrize(
    ("state", "firm", "standing", "sellable"),
    [
        (ACTIVE, 3.0, 1.0, 3.0),
        (REDUCING, 3.0, 1.0, 1.0),
        (REDUCING, 1.0, 3.0, 1.0),
        (HALTED, 3.0, 1.0, 0.0),
        (ACTIVE, math.nan, 1.0, 0.0),
    ],
)
def test_what_may_be_on_offer(state: State, firm: float, standing: float, sellable: float) -> None:
    assert sellable_mw(state, firm, standing) == sellable


SHARES = st.floats(0, 1)
AGES = st.floats(0, 30)


@given(st.lists(st.tuples(SHARES, AGES, SHARES, AGES), max_size=120), st.sampled_from(State))
def test_worse_looks_never_lead_to_a_better_state(pairs: list[tuple[float, float, float, float]], start: State) -> None:
    """Look by look as bad or worse, from any state on: the state is as bad or worse at every instant."""
    policy = Quality(recover_s=3)
    better = fold([(min(a, c), min(b, d)) for a, b, c, d in pairs], Trust(start), policy)
    worse = fold([(max(a, c), max(b, d)) for a, b, c, d in pairs], Trust(start), policy)

    assert all(now >= then for now, then in zip(worse, better, strict=True))


MESSAGES = st.tuples(
    st.floats(0, 60), st.integers(0, 100), st.integers(6, 8), st.floats(0, 1000), st.booleans()
)  # age, silent hosts, partitions, relief, whether it gets lost


@given(st.lists(MESSAGES, max_size=40), st.floats(0, 2), st.integers(1, 40))
def test_telemetry_that_is_lost_never_raises_what_may_be_sold(
    drawn: list[tuple[float, int, int, float, bool]], standing_mw: float, ticks: int
) -> None:
    """Firm power and trust together, over a minute of ticks, with and without the messages that get lost."""
    made = [
        (capacity(NOON - age * SECOND, pool(Tier.T3, 1000, relief), hosts_stale=stale, partitions=partitions), lost)
        for age, stale, partitions, relief, lost in drawn
    ]
    every = [each for each, _ in made]
    some = [each for each, lost in made if not lost]

    assert _sellable(some, standing_mw, ticks) <= _sellable(every, standing_mw, ticks)


def _sellable(messages: list[SiteCapacity], standing_mw: float, ticks: int) -> float:
    trust, policy = Trust(ACTIVE), Quality(recover_s=3)
    for tick in range(ticks, -1, -1):
        now = NOON - timedelta(seconds=tick)
        trust = trust.after(observe(messages, now, policy), policy)
    return sellable_mw(trust.state, firm_kw(messages, window(), 1000.0, NOON).total_kw / 1000, standing_mw)
