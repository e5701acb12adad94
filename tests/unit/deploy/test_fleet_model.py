"""The physics: caps, lag, counters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.fleet import curves
from deploy.fleet.curves import IDLE_W, MAX_LIMIT_W
from deploy.fleet.jobs import POOLS
from deploy.fleet.model import FleetModel, settle
from deploy.fleet.plan import plan
from deploy.fleet.settings import FleetSettings

START = 1_784_854_800.0  # 2026-07-24 01:00 UTC
watts = st.floats(IDLE_W, MAX_LIMIT_W)


def model(hosts: int = 20, seed: int = 7, pace: float = 1.0) -> FleetModel:
    return FleetModel(plan(FleetSettings(hosts=hosts, seed=seed), "America/Los_Angeles"), START, pace)


def pool(fleet: FleetModel, name: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Return the GPUs of the pool *name*."""
    number = next(number for number, pool in enumerate(POOLS) if pool.name == name)
    return np.flatnonzero(fleet.plan.layout.pool_of_gpu() == number)


def run(fleet: FleetModel, seconds: float, step_s: float = 0.1) -> None:
    begin = fleet.at
    for number in range(1, round(seconds / step_s) + 1):
        fleet.step(begin + number * step_s)


def test_a_lowered_cap_is_felt_as_the_v100_of_gridpilot_felt_it() -> None:
    """280 → 200 W: 200 + 80·e^(−48/40) = 224 W after 48 ms, 201 W after 0.18 s, settled at 0.25 s."""
    after = [
        float(settle(np.array([280.0]), np.array([280.0]), np.array([200.0]), span_s, 1.0).power_w[0])
        for span_s in (0.048, 0.18, 0.25)
    ]

    assert after == pytest.approx([224.1, 200.9, 200.2], abs=0.1)


def test_a_raised_cap_takes_longer() -> None:
    """200 → 280 W: 280 − 80·e^(−65/120) = 233 W after 65 ms, nine tenths of the way after 0.28 s."""
    after = [
        float(settle(np.array([500.0]), np.array([200.0]), np.array([280.0]), span_s, 1.0).power_w[0])
        for span_s in (0.065, 0.2763)
    ]

    assert after == pytest.approx([233.5, 272.0], abs=0.1)


@given(watts, watts, watts, st.floats(0.001, 2.0))
def test_the_mean_over_a_step_is_the_integral_of_the_draw(
    target_w: float, ceiling_w: float, limit_w: float, span_s: float
) -> None:
    """Against 20 000 trapezoids over min(target, ceiling), to one in a million."""
    settled = settle(np.array([target_w]), np.array([ceiling_w]), np.array([limit_w]), span_s, 1.0)

    tau_s = curves.LOWER_TAU_S if ceiling_w > limit_w else curves.RAISE_TAU_S
    times = np.linspace(0.0, span_s, 20_001)
    drawn = np.minimum(target_w, limit_w + (ceiling_w - limit_w) * np.exp(-times / tau_s))
    assert settled.mean_w[0] == pytest.approx(np.trapezoid(drawn, times) / span_s, rel=1e-6)
    assert settled.power_w[0] == pytest.approx(drawn[-1], rel=1e-9)


@given(watts, watts, watts, st.floats(0.001, 1.0), st.floats(0.001, 1.0))
def test_splitting_a_step_loses_no_energy(
    target_w: float, ceiling_w: float, limit_w: float, first_s: float, second_s: float
) -> None:
    """One step of a + b is a step of a and one of b."""
    target, limit = np.array([target_w]), np.array([limit_w])
    whole = settle(target, np.array([ceiling_w]), limit, first_s + second_s, 1.0)
    first = settle(target, np.array([ceiling_w]), limit, first_s, 1.0)
    second = settle(target, first.ceiling_w, limit, second_s, 1.0)

    parts_j = first.mean_w[0] * first_s + second.mean_w[0] * second_s
    assert parts_j == pytest.approx(whole.mean_w[0] * (first_s + second_s), rel=1e-9)


def test_counters_are_the_integral_of_what_was_drawn_and_made() -> None:
    """Uncapped, power and tokens per second are constant within a step: the sums agree to one in a million."""
    fleet = model()
    energy_j, tokens = np.zeros(fleet.gpus), np.zeros(fleet.gpus)

    for number in range(1, 301):
        fleet.step(START + 0.1 * number)
        energy_j += fleet.power_w * 0.1
        tokens += fleet.tokens_per_s * 0.1

    assert fleet.energy_j == pytest.approx(energy_j, rel=1e-6)
    assert fleet.tokens == pytest.approx(tokens, rel=1e-6)


def test_capped_power_is_under_the_cap_within_half_a_second() -> None:
    """Every GPU of the fleet to 300 W: none above 301 W half a second later, none ever below idle."""
    fleet = model()
    run(fleet, 1.0)

    fleet.set_limit(np.arange(fleet.gpus), np.full(fleet.gpus, 300.0))
    run(fleet, 0.5)

    assert fleet.power_w.max() <= 301.0
    assert fleet.power_w.min() >= IDLE_W - 0.01
    assert fleet.average_w.max() > 400.0  # the 1 s average has not noticed yet


def test_half_a_second_is_the_machines_whatever_the_pace() -> None:
    """At twice real time half a machine second is one of the clock."""
    fleet = model(pace=2.0)
    fleet.set_limit(np.arange(fleet.gpus), np.full(fleet.gpus, 300.0))

    fleet.step(START + 0.1)
    after_50_ms = fleet.power_w.max()
    run(fleet, 1.0, step_s=0.2)

    assert after_50_ms == pytest.approx(300 + 400 * np.exp(-0.05 / 0.04), abs=5.0)
    assert fleet.power_w.max() <= 301.0


def test_a_restored_limit_gives_the_old_draw_back() -> None:
    """Within a second, and the throughput with it."""
    capped, free = model(), model()
    everything = np.arange(capped.gpus)
    capped.set_limit(everything, np.full(capped.gpus, 250.0))
    for fleet in (capped, free):
        run(fleet, 2.0)
    capped.set_limit(everything, np.full(capped.gpus, MAX_LIMIT_W))
    for fleet in (capped, free):
        run(fleet, 2.0)

    assert capped.power_w == pytest.approx(free.power_w, abs=0.1)
    assert capped.tokens_per_s == pytest.approx(free.tokens_per_s)
    assert capped.energy_j.sum() < free.energy_j.sum()


def test_a_cap_that_does_not_bind_frees_nothing() -> None:
    """Qwen3-30B-A3B draws at most 477 W a GPU, with noise below 600 W: a 600 W cap changes not one joule or token."""
    capped, free = model(), model()
    gpus = pool(capped, "agents")

    capped.set_limit(gpus, np.full(len(gpus), 600.0))
    for fleet in (capped, free):
        run(fleet, 10.0)

    assert not capped.capped()[gpus].any()
    assert np.array_equal(capped.energy_j, free.energy_j)
    assert np.array_equal(capped.tokens, free.tokens)


def test_limits_are_clamped_to_what_the_device_takes() -> None:
    """200 to 700 W."""
    fleet = model()

    fleet.set_limit(np.array([0, 1]), np.array([50.0, 900.0]))

    assert fleet.limit_w[:2].tolist() == [200.0, 700.0]


def test_a_capped_training_job_loses_tokens_by_the_curve() -> None:
    """
    440 W of the 623 W it draws in the mean is a share of 0.707, for which Zeus measured 0.908 of the throughput.

    A job loses somewhat more, because its slowest GPU holds it up and its draw swings around the mean: 0.80 to 0.91.
    """
    capped, free = model(), model()
    gpus = pool(capped, "train")
    capped.set_limit(gpus, np.full(len(gpus), 440.0))

    for fleet in (capped, free):
        run(fleet, 60.0, step_s=0.2)

    assert 0.80 < capped.tokens[gpus].sum() / free.tokens[gpus].sum() < 0.91


def test_one_capped_gpu_slows_its_whole_training_job_and_nobody_else() -> None:
    """Synchronous training waits for the slowest."""
    capped, free = model(), model()
    first = pool(capped, "train")[0]
    job = np.flatnonzero(capped.plan.layout.engine_of_gpu() == capped.plan.layout.engine_of_gpu()[first])
    others = np.setdiff1d(np.arange(capped.gpus), job)

    capped.set_limit(np.array([first]), np.array([250.0]))
    for fleet in (capped, free):
        run(fleet, 10.0)

    assert np.all(capped.tokens[job] < 0.8 * free.tokens[job])
    assert np.array_equal(capped.tokens[others], free.tokens[others])


def test_same_seed_same_series() -> None:
    """To the bit; another seed is another fleet."""
    one, again, other = model(seed=7), model(seed=7), model(seed=8)
    for fleet in (one, again, other):
        run(fleet, 5.0)

    assert np.array_equal(one.power_w, again.power_w)
    assert np.array_equal(one.energy_j, again.energy_j)
    assert not np.array_equal(one.power_w, other.power_w)


def test_training_dips_with_its_iterations_and_together() -> None:
    """A job's GPUs spread over more than 200 W in time, and move together: the mean of the job does so too."""
    fleet = model()
    engine = fleet.plan.layout.engine_of_gpu()
    job = np.flatnonzero(engine == engine[pool(fleet, "train")[0]])
    means = []
    for number in range(1, 201):
        fleet.step(START + 0.1 * number)
        means.append(float(fleet.power_w[job].mean()))

    assert max(means) - min(means) > 200.0


def test_time_does_not_run_backwards() -> None:
    """A step to an earlier instant changes nothing."""
    fleet = model()
    run(fleet, 1.0)
    before = fleet.energy_j.copy()

    fleet.step(START)

    assert np.array_equal(fleet.energy_j, before)
