"""Ticks to closed intervals: every figure depends on which ticks there are, not on how or how often they came."""

import random
from collections.abc import Iterable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.pipeline.ticks import NOON, at, gpu, job, steady, tick

from pipeline.interval import Interval
from pipeline.messages.telemetry import HostTick, IntervalPartial, Quality, Tier
from pipeline.rollup import Partition
from pipeline.site import merged_interval

MINUTE = timedelta(minutes=1)
LATER = at(600)


def rolled(ticks: Iterable[HostTick], number: int = 0) -> Partition:
    partition = Partition(number, MINUTE, NOON)
    for offset, one in enumerate(ticks):
        partition.add(one, offset)
    return partition


def figures(ticks: Iterable[HostTick]) -> dict[int, IntervalPartial]:
    """Return the closed figures by minute after noon."""
    closed = rolled(ticks).closed(["site-1"], LATER)
    return {(figure.interval.start - NOON) // MINUTE: figure for figure in closed}


def test_energy_is_the_difference_of_the_counters_at_the_interval_s_ends() -> None:
    """600 W for a minute is 36 000 J or 0.01 kWh; 61 ticks of which the last belongs to the next minute."""
    figure = figures(steady(61))[0]

    assert figure.energy_kwh == pytest.approx(0.01, abs=1e-12)
    assert (figure.ticks, figure.ticks_missing, figure.hosts, figure.hosts_partial) == (60, 0, 1, 0)
    assert figure.covered_share == 1.0
    (pool,) = figure.pools
    assert (pool.tier, pool.served_model) == (Tier.T3, "llama-70b")
    assert pool.tokens == pytest.approx(600)
    assert pool.gpu_energy_kwh == pytest.approx(0.01, abs=1e-12)


def test_a_boundary_between_two_ticks_splits_their_joules_in_proportion_to_time() -> None:
    """Ticks at 58 s and 62 s, 2 400 J apart: 1 200 J on each side of 12:01:00."""
    found = figures([tick(1, 58), tick(2, 62)])

    assert found[0].energy_kwh == pytest.approx(1200 / 3.6e6)
    assert found[1].energy_kwh == pytest.approx(1200 / 3.6e6)
    assert found[0].covered_share == pytest.approx(2 / 60)


def test_a_chassis_meter_counts_instead_of_the_gpus_in_it() -> None:
    """1 000 W at the chassis, 600 W of it the GPU: the host's figure is the chassis', the pool's is the GPU's."""
    figure = figures([tick(n + 1, n, chassis_energy_j=1000.0 * n) for n in range(62)])[0]

    assert figure.energy_kwh == pytest.approx(60_000 / 3.6e6)
    assert figure.pools[0].gpu_energy_kwh == pytest.approx(36_000 / 3.6e6)


@pytest.mark.parametrize(
    "after_restart",
    [
        pytest.param({"energy_epoch": 1}, id="new epoch"),
        pytest.param({"energy_epoch": 1, "energy_j": 9e9}, id="new epoch that begins higher"),
        pytest.param({"energy_epoch": 0}, id="smaller value"),
        pytest.param({"energy_j": None}, id="absent"),
        pytest.param({"quality": (Quality.ENERGY_SUSPECT,), "energy_j": 9e9}, id="suspect"),
    ],
)
def test_a_counter_that_restarts_leaves_a_hole_and_never_a_negative_figure(after_restart: dict[str, object]) -> None:
    """The pair of ticks at 29 s and 30 s covers nothing: 59 s are measured, 59 × 600 J at most."""
    before = [tick(n + 1, n) for n in range(30)]
    restarted = [tick(31, 30, gpus=(gpu(**({"energy_j": 0.0} | after_restart)),))]  # type: ignore[arg-type] # test data
    epoch = after_restart.get("energy_epoch", 0)
    after = [tick(n + 1, n, gpus=(gpu(energy_j=600.0 * (n - 30), energy_epoch=epoch),)) for n in range(31, 62)]

    figure = figures([*before, *restarted, *after])[0]

    assert 0 < figure.energy_kwh <= 59 * 600 / 3.6e6 + 1e-12
    assert figure.hosts_partial == 1
    assert figure.covered_share <= 59 / 60


def test_a_new_boot_of_the_collector_is_a_hole_of_one_pair_and_counts_the_ticks_it_lost() -> None:
    """boot-2 begins with its third tick: two are missing, and so is the second between the boots."""
    old = [tick(n + 1, n) for n in range(30)]
    new = [tick(n - 27, n, boot="boot-2") for n in range(30, 62)]

    figure = figures([*old, *new])[0]

    assert (figure.ticks, figure.ticks_missing) == (60, 2)
    assert figure.covered_share == pytest.approx(59 / 60)


def test_a_lost_tick_is_counted_and_its_energy_is_not_lost() -> None:
    figure = figures(one for one in steady(70) if one.seq not in {20, 21})[0]

    assert (figure.ticks, figure.ticks_missing) == (58, 2)
    assert figure.energy_kwh == pytest.approx(0.01)
    assert figure.covered_share == 1.0


def test_a_host_that_falls_silent_is_missing_from_the_next_interval_and_known_to_be() -> None:
    """Two hosts, one dies after 30 s: half its first minute and all of its second is a hole, not zero load."""
    found = figures([*steady(130), *steady(30, host="h2")])

    assert (found[0].hosts, found[0].hosts_partial) == (2, 1)
    assert found[0].covered_share == pytest.approx(0.75)
    assert (found[1].hosts, found[1].hosts_partial) == (2, 1)
    assert found[1].covered_share == pytest.approx(0.5)


def test_a_partition_without_hosts_says_so_for_every_interval() -> None:
    (figure,) = Partition(3, MINUTE, NOON).closed(["site-1"], at(70))

    assert figure.interval == Interval(NOON, at(60))
    assert (figure.partition, figure.hosts, figure.energy_kwh, figure.covered_share) == (3, 0, 0.0, 0.0)


def test_an_interval_is_published_five_seconds_after_its_end_and_only_once() -> None:
    partition = rolled(steady(66))

    assert partition.closed(["site-1"], at(64.9)) == []
    assert len(partition.closed(["site-1"], at(65))) == 1
    assert partition.closed(["site-1"], at(66)) == []


def test_the_round_that_publishes_a_figure_counts_its_ticks_as_open_no_more() -> None:
    """66 seconds of ticks, the first 60 in the figure of 12:00; none is in both, before, in and after that round."""
    partition = rolled(steady(65))
    rounds = [partition.due(["site-1"], at(seconds)) for seconds in (64, 65, 66)]

    assert [([figure.ticks for figure in closed], gauge.ticks_open) for closed, (gauge,) in rounds] == [
        ([], 66),
        ([60], 6),
        ([], 6),
    ]


def test_ticks_that_come_after_the_figure_correct_it() -> None:
    """The host's way to Kafka was blocked for 20 s; nothing of the minute is lost."""
    ticks = list(steady(70))
    partition = rolled(ticks[:50])
    (first,) = partition.closed(["site-1"], at(65))

    for offset, late in enumerate(ticks[50:], start=50):
        partition.add(late, offset)
    (second,) = partition.closed(["site-1"], at(72))

    assert first.covered_share == pytest.approx(49 / 60)
    assert second == figures(ticks)[0]


def test_a_tick_from_another_year_does_not_publish_every_minute_since() -> None:
    """A first start looks back an hour: 60 minutes before noon and the one after it, not half a million."""
    partition = Partition(0, MINUTE)
    partition.add(tick(1, -365 * 24 * 3600.0, host="wrong-clock"), 0)
    for offset, one in enumerate(steady(70), start=1):
        partition.add(one, offset)

    closed = partition.closed(["site-1"], at(65))

    assert len(closed) == 60
    assert closed[-1].ticks == 60


def test_a_worker_that_was_away_does_not_give_up_on_an_overtaken_tick() -> None:
    """
    Tick 50 was overtaken by tick 51, then the worker stood still for 40 s in a rebalance.

    When it looks at its clock before it reads on, the tick it waits for is still welcome: 60 ticks, none missing.
    """
    ticks = list(steady(70))
    overtaken = ticks.pop(49)
    partition = rolled(ticks[:50])

    partition.closed(["site-1"], at(90))
    for offset, one in enumerate([overtaken, *ticks[50:]], start=50):
        partition.add(one, offset)
    partition.closed(["site-1"], at(91))

    (figure,) = (partial for (start, _), partial in partition.published.items() if start == NOON)
    assert (figure.ticks, figure.ticks_missing) == (60, 0)


def test_a_settled_interval_is_history_and_is_not_touched_again() -> None:
    partition = rolled(steady(70))
    partition.closed(["site-1"], at(65))

    assert partition.settle(at(65)) == at(60)
    partition.add(tick(1, 10, host="h9"), 99)
    assert [figure.interval.start for figure in partition.closed(["site-1"], at(130))] == [at(60)]


def test_an_interval_waits_for_a_silent_host_two_minutes_and_no_longer() -> None:
    partition = rolled([*steady(200), *steady(30, host="h2")])
    partition.closed(["site-1"], at(179))

    assert partition.settle(at(179)) == NOON
    partition.closed(["site-1"], at(180))
    assert partition.settle(at(180)) == at(60)


def test_replay_begins_ten_seconds_before_the_oldest_open_interval() -> None:
    """Offsets count seconds here: 12:01 is open, so the record of second 50 is the first that is needed."""
    partition = rolled(steady(70))
    partition.closed(["site-1"], at(65))
    partition.settle(at(65))

    assert partition.low_water(71) == 50


def test_replaying_from_the_low_water_mark_gives_the_same_figures() -> None:
    ticks = [one for pair in zip(steady(130, 613.7), steady(130, 397.1, host="h2"), strict=True) for one in pair]
    whole = rolled(ticks)
    whole.closed(["site-1"], at(65))
    open_from = whole.settle(at(65))

    replayed = Partition(0, MINUTE, open_from)
    for offset in range(whole.low_water(len(ticks)), len(ticks)):
        replayed.add(ticks[offset], offset)

    assert replayed.closed(["site-1"], at(130)) == whole.closed(["site-1"], at(130))


def shuffled(ticks: list[HostTick], seed: int) -> list[HostTick]:
    """Return *ticks* with repeats, each up to 4 s out of place."""
    chance = random.Random(seed)
    twice = ticks + chance.choices(ticks, k=len(ticks) // 3)
    return sorted(twice, key=lambda one: (one.measured_at - NOON).total_seconds() + chance.uniform(0, 4))


@given(seed=st.integers(0, 10_000))
def test_duplicates_and_reordering_change_nothing(seed: int) -> None:
    ticks = [one for number in range(3) for one in steady(70, 600.0 + number / 7, host=f"h{number}")]

    assert figures(shuffled(ticks, seed))[0] == figures(ticks)[0]


@given(st.lists(st.floats(0, 2000), min_size=62, max_size=200))
def test_intervals_add_up_to_the_counter(joules: list[float]) -> None:
    """Whatever the draw, the closed minutes hold what the counter moved between their ends, to rounding."""
    counter = [0.0]
    for moved in joules:
        counter.append(counter[-1] + moved)
    ticks = [tick(n + 1, n, gpus=(gpu(energy_j=reading),)) for n, reading in enumerate(counter)]
    minutes = len(joules) // 60

    found = figures(ticks)

    total_j = sum(found[minute].energy_kwh for minute in range(minutes)) * 3.6e6
    assert total_j == pytest.approx(counter[60 * minutes] - counter[0], rel=1e-9, abs=1e-6)


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
def test_spreading_hosts_over_partitions_changes_nothing(homes: list[int]) -> None:
    hosts = [list(steady(70, 500.0 + 37.3 * number, host=f"h{number}")) for number in range(6)]
    together = figures(one for ticks in hosts for one in ticks)[0]

    parts = []
    for number in range(4):
        own = [one for home, ticks in zip(homes, hosts, strict=True) if home == number for one in ticks]
        parts.append(rolled(own, number).closed(["site-1"], at(65))[0])
    merged = merged_interval(tuple(parts), 4, 1)

    assert merged.energy_kwh == pytest.approx(together.energy_kwh, rel=1e-12)
    assert (merged.hosts, merged.ticks, merged.covered_share) == (together.hosts, together.ticks, 1.0)
    assert merged.pools[0].tokens == pytest.approx(together.pools[0].tokens)


def test_a_host_is_announced_once_and_again_when_its_pools_change() -> None:
    partition = rolled([tick(1)])

    (record,) = partition.host_records()
    assert (record.host, record.pools[0].gpus, record.pools[0].tier) == ("h1", 1, Tier.T3)
    partition.add(tick(2), 1)
    assert partition.host_records() == []
    partition.add(tick(3, gpus=(gpu(tier=Tier.T1),)), 2)
    assert partition.host_records()[0].pools[0].tier == Tier.T1


def test_tokens_lie_in_the_pools_of_the_job_s_gpus() -> None:
    """A job over a T3 and a T2 GPU, 100 tokens: 50 in each pool."""
    gpus = (gpu("gpu-0", energy_j=0.0), gpu("gpu-1", energy_j=0.0, tier=Tier.T2))
    counted = [tick(n + 1, n, gpus=gpus, jobs=(job(100.0 * n, gpus=("gpu-0", "gpu-1")),)) for n in (0, 1)]

    assert [(pool.tier, pool.tokens) for pool in figures(counted)[0].pools] == [(Tier.T2, 50.0), (Tier.T3, 50.0)]


def test_tokens_nobody_counted_are_absent_and_not_zero() -> None:
    assert figures(tick(n + 1, n) for n in range(62))[0].pools[0].tokens is None
