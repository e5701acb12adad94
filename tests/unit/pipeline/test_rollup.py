"""Ticks to closed intervals: every figure depends on which ticks there are, not on how or how often they came."""

import random
from typing import Any

import msgspec
import numpy as np
import pytest
from doubles.rolled import MINUTE, close, feed, figures, fresh, rolled
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.ticks import NOON, at, gpu, job, steady, tick

from pipeline import frames
from pipeline.interval import Interval
from pipeline.messages.telemetry import HostTick, IntervalPartial, Quality, Tier
from pipeline.rollup import Partition
from pipeline.site_figures import merged_interval
from pipeline.snapshot import restore, save


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


def test_a_chassis_meter_that_does_not_answer_is_a_hole_and_no_load_that_went_away() -> None:
    """1 000 W at the chassis of which 600 W are the GPU; the meter is silent for 20 s, in which the host goes on."""

    def reading(second: int) -> dict[str, Any]:
        answers = not 20 <= second < 40
        return {"chassis_epoch": "bmc@1", "chassis_energy_j": 1000.0 * second if answers else None}

    figure = figures([tick(n + 1, n, **reading(n)) for n in range(62)])[0]

    assert figure.energy_kwh == pytest.approx((39_000 + 21 * 600) / 3.6e6), "21 pairs of which only the GPU is known"
    assert figure.covered_share == pytest.approx(39 / 60)
    assert figure.hosts_partial == 1


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


def test_a_rack_without_network_is_missing_for_three_days_and_no_load_that_went_away() -> None:
    """Two hosts, one is not heard of any more: half of what is there is covered, also after an hour and after 71."""
    partition = feed(fresh(0, MINUTE), [*steady(70), *steady(70, host="h2")])
    closed = [figure for hour in (2, 71, 74) for figure in _hour_later(partition, hour)]

    assert [figure.covered_share for figure in closed] == pytest.approx([0.5, 0.5, 1.0])
    assert [figure.hosts for figure in closed] == [2, 2, 1]


def _hour_later(partition: Partition, hour: int) -> list[IntervalPartial]:
    """Let h1 go on for a minute *hour* hours after noon; return that minute's figure."""
    close(partition, 3600 * hour)
    seq = partition.hosts.index("h1") + 100 * hour
    feed(partition, [tick(seq + n, 3600 * hour + n, boot=f"boot-{hour}") for n in range(70)])
    start = at(3600 * hour)
    return [figure for figure in close(partition, 3600 * hour + 66)[0] if figure.interval.start == start]


def test_every_partition_speaks_of_a_site_whose_ticks_are_mirrored_here() -> None:
    """Its hosts may all be in other partitions; without a word from this one its figure would never be whole."""
    partition = Partition(3, (MINUTE,), "portfolio", ("far",))
    partition.due(NOON, quiet_until=NOON)

    gauges = partition.due(at(70), quiet_until=at(70)).gauges
    closed = restore(save(partition), 3, (MINUTE,), "portfolio", ("far",)).due(at(130), quiet_until=at(130)).partials

    assert [gauge.site for gauge in gauges] == ["far", "portfolio"]
    assert sorted({figure.site for figure in closed}) == ["far", "portfolio"]


def test_a_partition_without_hosts_says_so_for_every_interval() -> None:
    partition = fresh(3)
    partition.due(NOON, quiet_until=NOON)  # nothing has ever been read: intervals begin now

    ((figure,), _) = close(partition, 70)

    assert figure.interval == Interval(NOON, at(60))
    assert (figure.partition, figure.hosts, figure.energy_kwh, figure.covered_share) == (3, 0, 0.0, 0.0)


def test_an_interval_is_closed_by_the_first_record_that_kafka_received_five_seconds_after_its_end() -> None:
    partition = rolled(steady(64))

    assert close(partition, 64.9) == ([], [])
    assert len(close(partition, 65)[0]) == 1
    assert close(partition, 66) == ([], [])


def test_the_round_that_publishes_a_figure_counts_its_ticks_as_open_no_more() -> None:
    """Ticks of 12:00 are 60; none is in both figure and gauge, before, in and after the round that closes it."""
    partition, rounds = rolled(steady(64)), []
    for second in (64, 65, 66):
        feed(partition, list(steady(70))[second : second + 1])
        news = partition.due(at(second))
        rounds.append(([figure.ticks for figure in news.partials], news.gauges[0].ticks_open))

    assert rounds == [([], 65), ([60], 6), ([], 7)]


def test_while_records_are_left_to_read_the_clock_closes_nothing() -> None:
    """A worker that was away an hour reads on first: what it has not read yet is not missing."""
    partition = rolled(steady(50))

    assert partition.due(at(3600)).partials == []
    assert partition.due(at(66), quiet_until=at(65)).partials[0].ticks == 51


def test_ticks_that_come_after_the_figure_are_a_correction_and_the_figure_stays() -> None:
    """
    The host's way to Kafka was blocked from 12:00:50 on, for 20 s; other hosts' records close the minute meanwhile.

    49 of 60 s are in the figure, 10 ticks and the rest of the 36 kJ in the correction; together nothing is missing.
    """
    ticks = list(steady(70))
    partition = rolled(ticks[:50])
    ((first,), _) = close(partition, 65)

    feed(partition, ticks[50:], delay_s=20)
    again, (correction,) = close(partition, 72)

    assert (first.ticks, first.covered_host_s, again) == (50, 49.0, [])
    assert (correction.ticks, correction.covered_host_s, correction.hosts) == (10, 11.0, 0)
    assert (correction.first_late, correction.last_late) == (at(50), at(59))
    assert first.energy_kwh + correction.energy_kwh == pytest.approx(0.01, abs=1e-12)
    assert close(partition, 73) == ([], []), "and is published once"


def test_a_correction_holds_all_that_ever_came_late() -> None:
    """Late ticks in two parts: the second correction replaces the first and holds both."""
    ticks = list(steady(70))
    partition = rolled(ticks[:40])
    close(partition, 65)

    feed(partition, ticks[40:50], delay_s=30)
    _, (first,) = close(partition, 80)
    feed(partition, ticks[50:60], delay_s=30)
    _, (second,) = close(partition, 90)

    assert (first.ticks, second.ticks) == (10, 20)
    assert second.offset > first.offset


def test_a_site_that_is_first_heard_of_late_has_a_figure_to_correct() -> None:
    """Another site's host closes 12:00; site-2's only host had its link down until then."""
    partition = rolled(steady(66))
    closed, _ = close(partition, 66)

    feed(partition, list(steady(64, site="site-2", host="h2"))[:60], delay_s=60)
    (base,), (correction,) = close(partition, 124)
    feed(partition, list(steady(64, site="site-2", host="h2"))[60:], delay_s=60)
    again, _ = close(partition, 124)

    assert [figure.site for figure in closed] == ["site-1"]
    assert (base.site, base.hosts, base.energy_kwh) == ("site-2", 0, 0.0)
    assert (correction.site, correction.hosts, correction.ticks) == ("site-2", 1, 60)
    assert again == [], "there is one by now"


def test_an_overtaken_tick_fills_its_hole() -> None:
    """Tick 50 comes after tick 65: one tick is missing until it is there, and no energy ever was."""
    ticks = list(steady(64))
    overtaken = ticks.pop(49)
    partition = rolled(ticks)
    ((first,), _) = close(partition, 65)

    feed(partition, [overtaken], delay_s=30)
    _, (correction,) = close(partition, 90)

    assert (first.ticks, first.ticks_missing) == (59, 1)
    assert first.energy_kwh == pytest.approx(0.01, abs=1e-12)
    assert (correction.ticks, correction.ticks_missing, correction.energy_kwh) == (1, -1, 0.0)


def test_a_late_tick_beside_a_boundary_moves_energy_over_it() -> None:
    """
    600 W until 12:01:00, 1 200 W after; nothing comes between the ticks at 54 s and 66 s, which closes the minute.

    The 6 × 600 J + 6 × 1 200 J between them are shared out evenly, 5 400 J to each side, the first as a correction;
    once the ticks between are there, it is 3 600 J before the boundary and 7 200 J after it.
    """
    ticks = [tick(n + 1, n, gpus=(gpu(energy_j=600.0 * n + 600.0 * max(0, n - 60)),)) for n in range(130)]
    partition = rolled([*ticks[:55], *ticks[66:]])
    (first, second), (guessed,) = close(partition, 130)
    feed(partition, ticks[55:66], delay_s=100)

    _, corrections = close(partition, 200)

    assert [figure.energy_kwh * 3.6e6 for figure in (first, second)] == pytest.approx([54 * 600, 54 * 1200 + 5400])
    assert guessed.energy_kwh * 3.6e6 == pytest.approx(5400)
    assert [one.energy_kwh * 3.6e6 for one in corrections] == pytest.approx([3600, 1800])


def test_a_tick_from_another_year_does_not_publish_every_minute_since() -> None:
    """Its clock is a year slow: history, whatever it says; the minute after noon is the only one closed."""
    partition = feed(fresh(), [tick(1, 0.0)])
    partition.add([frames.encode(tick(1, -365 * 24 * 3600.0, host="wrong-clock"))], np.array([frames.micros(NOON)]), 2)
    feed(partition, list(steady(70))[1:])

    closed, corrections = close(partition, 65)

    assert [(figure.interval.start, figure.ticks) for figure in closed] == [(NOON, 60)]
    assert (corrections, partition.counts["too_late"]) == ([], 1)


def test_a_first_tick_from_the_year_2100_does_not_end_the_figures() -> None:
    """It is all that a new group has read, and it is passed over; intervals begin when it was received."""
    partition = fresh()
    partition.add([frames.encode(tick(1, 74 * 365 * 86_400.0, host="wrong"))], np.array([frames.micros(NOON)]), 1)
    feed(partition, steady(70))

    closed, corrections = close(partition, 66)

    assert [(figure.interval.start, figure.ticks) for figure in closed] == [(NOON, 60)]
    assert corrections == []


def test_what_a_predecessor_without_a_state_has_published_is_not_corrected_by_less() -> None:
    """The new state begins at 12:05 and knows nothing of 12:00: its correction would replace one that held more."""
    partition = Partition(0, (MINUTE,), "site-1", unknown_before_us=frames.micros(at(300)))
    feed(partition, [tick(n, n) for n in range(300, 370)])
    feed(partition, [tick(1, 10, host="h2"), tick(1, 310, host="h3")], delay_s=400)

    copy = restore(save(partition), 0, (MINUTE,), "site-1")
    _, corrections = close(partition, 800)

    assert partition.counts["too_late"] == 1
    assert [correction.interval.start for correction in corrections] == [at(300)]
    assert copy.unknown_before_us == frames.micros(at(300))


@pytest.mark.parametrize("limit", [float("nan"), float("inf"), 1e300, -1.0])
def test_a_limit_that_no_gpu_has_is_none_and_stops_nobody(limit: float) -> None:
    """Its energy counts; nothing of it is sold."""
    strange = gpu(energy_j=600.0, max_w=limit)
    partition = feed(fresh(), [tick(1, 0), tick(1, 1, host="h2", gpus=(strange,))])

    (gauge,) = partition.due(at(1)).gauges

    assert (gauge.hosts, gauge.gpus) == (2, 2)
    assert sum(pool.relief_kw[-1] for pool in gauge.pools) == pytest.approx(0.39), "600 W less 0.3 of 700 W, once"


def test_holes_are_forgotten_once_what_would_fill_them_is_history() -> None:
    """A tick every other second for a minute; three days later 30 holes cost nothing any more."""
    partition = feed(fresh(), [tick(2 * n + 1, 2 * n) for n in range(30)])
    partition.tidy()
    before = sum(map(len, partition.gaps.values()))

    feed(partition, [tick(61, 73 * 3600)])
    partition.tidy()

    assert before == 30, "one is the beginning, which nobody knows"
    assert [gap.after.seq for gaps in partition.gaps.values() for gap in gaps] == [61]


def test_a_host_that_is_started_every_minute_leaves_no_trail() -> None:
    partition = fresh()
    for number in range(100):
        feed(partition, [tick(1, 60 * number, boot=f"boot-{number}")])
    feed(partition, [tick(1, 60 * 98, boot="boot-98"), tick(1, 0, boot="boot-0")])
    partition.tidy()

    assert [len(boots) for boots in partition.retired.values()] == [8]
    assert partition.counts["redelivered"] == 2
    assert len(partition.late_us) <= len({index for cohort in partition.cohorts.values() for index in cohort.parts})


def test_records_that_are_no_ticks_open_no_interval() -> None:
    partition = fresh()
    partition.add([None, b"garbage"], np.array([frames.micros(NOON)] * 2), 2)

    assert partition.due(at(1)).partials == []
    assert (partition.offset, partition.counts["refused"]) == (2, 2)


def test_a_group_that_never_read_begins_an_hour_back_at_most() -> None:
    """Its first record is an hour and a half late: 60 minutes are owed before the one it was received in, not 90."""
    partition = feed(fresh(), [tick(1, 0.0)], delay_s=5400)

    closed, _ = close(partition, 5400 + 65)

    assert closed[0].interval.start == at(1800)


def test_a_tick_that_is_further_ahead_than_five_seconds_is_passed_over() -> None:
    """The host's clock runs 6 s ahead for 20 s: those ticks are missing, the energy is not; 4 s are only flagged."""
    partition = rolled(list(steady(30)))
    partition.add([frames.encode(tick(32, 37.0))], np.array([frames.micros(at(31))]), 32)
    gauges = partition.due(at(31.2)).gauges

    feed(partition, [tick(n + 1, n) for n in range(51, 66)])
    ((figure,), _) = close(partition, 65)

    assert (gauges[0].hosts_skewed, gauges[0].hosts_quarantined) == (1, 1)
    assert gauges[0].pools[0].relief_kw[-1] == 0.0, "and nothing of its host is sold"
    assert (figure.ticks, figure.ticks_missing) == (40, 20)
    assert figure.energy_kwh == pytest.approx(0.01, abs=1e-12)
    flagged = feed(fresh(), list(steady(5)), delay_s=-4).due(at(5)).gauges[0]
    assert (flagged.hosts_skewed, flagged.hosts_quarantined) == (1, 0)


def test_a_clock_that_is_steadily_behind_is_quarantined_and_a_backlog_is_not() -> None:
    """8 s behind for 20 s is a wrong clock; a spool that is drained at double speed, from 30 s late on, is not."""
    behind = feed(fresh(), steady(20), delay_s=8).due(at(28)).gauges[0]
    drained = fresh()
    for number, one in enumerate(steady(40)):
        drained.add([frames.encode(one)], np.array([frames.micros(at(30 + number / 2))]), number + 1)

    assert (behind.hosts_skewed, behind.hosts_quarantined) == (1, 1)
    backlog = drained.due(at(50)).gauges[0]
    assert (backlog.hosts_skewed, backlog.hosts_quarantined, backlog.hosts_stale) == (0, 0, 1)


def test_longer_intervals_hold_what_the_shorter_ones_do() -> None:
    """Five minutes at 600 W are 0.05 kWh and five times 0.01."""
    partition = feed(fresh(0, MINUTE, 5 * MINUTE), steady(306))

    closed, _ = close(partition, 306)

    by_length = {
        length: [figure.energy_kwh for figure in closed if figure.interval.length == length]
        for length in (MINUTE, 5 * MINUTE)
    }
    assert by_length[MINUTE] == pytest.approx([0.01] * 5, abs=1e-12)
    assert by_length[5 * MINUTE] == pytest.approx([0.05], abs=1e-12)


def test_a_pool_knows_how_much_of_its_time_was_measured() -> None:
    """Two GPUs for a minute, one without a counter: 120 GPU-seconds, 60 of them measured."""
    gpus = [(gpu("gpu-0", energy_j=600.0 * n), gpu("gpu-1", energy_j=None)) for n in range(66)]
    (pool,) = figures(tick(n + 1, n, gpus=both) for n, both in enumerate(gpus))[0].pools

    assert (pool.gpu_s, pool.covered_gpu_s) == (120.0, 60.0)


def test_pools_are_told_apart_by_engine() -> None:
    ticks = [tick(n + 1, n, jobs=(job(10.0 * n, engine="vllm" if n < 31 else "sglang"),)) for n in range(66)]

    pools = figures(ticks)[0].pools

    assert [(pool.engine, pool.tokens) for pool in pools] == [("sglang", 290.0), ("vllm", 310.0)]


def shuffled(ticks: list[HostTick], seed: int) -> list[HostTick]:
    """Return *ticks* with repeats, each up to 4 s out of place."""
    chance = random.Random(seed)
    twice = ticks + chance.choices(ticks, k=len(ticks) // 3)
    return sorted(twice, key=lambda one: (one.measured_at - NOON).total_seconds() + chance.uniform(0, 4))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25)
def test_duplicates_and_reordering_change_nothing(seed: int) -> None:
    ticks = [one for number in range(3) for one in steady(70, 600.0 + number / 7, host=f"h{number}")]

    (mixed, *_), _ = close(feed(fresh(), shuffled(ticks, seed)), 600)
    plain = figures(ticks)[0]

    assert msgspec.structs.replace(mixed, offset=0) == msgspec.structs.replace(plain, offset=0)


@given(st.lists(st.integers(0, 2000), min_size=62, max_size=200))
@settings(max_examples=25)
def test_intervals_add_up_to_the_counter(joules: list[int]) -> None:
    """Whatever the draw, the closed minutes hold what the counter moved between their ends, to rounding."""
    counter = [0.0]
    for moved in joules:
        counter.append(counter[-1] + moved)
    ticks = [tick(n + 1, n, gpus=(gpu(energy_j=reading),)) for n, reading in enumerate(counter)]
    minutes = len(joules) // 60

    found = figures(ticks)

    total_j = sum(found[minute].energy_kwh for minute in range(minutes)) * 3.6e6
    assert total_j == pytest.approx(counter[60 * minutes] - counter[0], rel=1e-9, abs=1e-6)


def _begun(partition: Partition) -> Partition:
    for closing in partition.closings.values():
        closing.begin(frames.micros(NOON))
    return partition


@given(st.lists(st.integers(0, 3), min_size=6, max_size=6))
@settings(max_examples=25)
def test_spreading_hosts_over_partitions_changes_nothing(homes: list[int]) -> None:
    hosts = [list(steady(70, 500.0 + 37.3 * number, host=f"h{number}")) for number in range(6)]
    together = figures(one for ticks in hosts for one in ticks)[0]

    parts = []
    for number in range(4):
        own = [one for home, ticks in zip(homes, hosts, strict=True) if home == number for one in ticks]
        parts.append(close(_begun(rolled(own, number)), 65)[0][0])
    merged = merged_interval(tuple(parts), 4, 1)

    assert merged.energy_kwh == pytest.approx(together.energy_kwh, rel=1e-12)
    assert (merged.hosts, merged.ticks, merged.covered_share) == (together.hosts, together.ticks, 1.0)
    assert merged.pools[0].tokens == pytest.approx(together.pools[0].tokens)


def test_a_host_is_announced_once_and_again_when_its_pools_change() -> None:
    partition = rolled([tick(1)])

    (record,) = partition.due(at(1)).records
    assert (record.host, record.pools[0].gpus, record.pools[0].tier) == ("h1", 1, Tier.T3)
    feed(partition, [tick(2)])
    assert partition.due(at(2)).records == []
    feed(partition, [tick(3, gpus=(gpu(tier=Tier.T1),))])
    assert partition.due(at(3)).records[0].pools[0].tier == Tier.T1


def test_tokens_lie_in_the_pools_of_the_job_s_gpus() -> None:
    """A job over a T3 and a T2 GPU, 100 tokens: 50 in each pool."""
    gpus = (gpu("gpu-0", energy_j=0.0), gpu("gpu-1", energy_j=0.0, tier=Tier.T2))
    counted = [tick(n + 1, n, gpus=gpus, jobs=(job(100.0 * n, gpus=("gpu-0", "gpu-1")),)) for n in (0, 1)]

    assert [(pool.tier, pool.tokens) for pool in figures(counted)[0].pools] == [(Tier.T2, 50.0), (Tier.T3, 50.0)]


def test_tokens_nobody_counted_are_absent_and_not_zero() -> None:
    assert figures(tick(n + 1, n) for n in range(62))[0].pools[0].tokens is None
