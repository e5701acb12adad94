"""`doubles.stream`: what the failure harness sends, and that it sees each way in which figures can be wrong."""

from collections.abc import Iterable, Sequence
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import pytest
from doubles.stream.endings import unexpected
from doubles.stream.faults import OF_WORKERS, Kind, order
from doubles.stream.fleet import Plan, deliveries, ticks
from doubles.stream.oracle import Seen, Truth, Verdict
from doubles.stream.recovery import fresh, quantile, recoveries
from unit.pipeline.ticks import NOON, at, steady

from pipeline.clock import Clock
from pipeline.interval import Interval
from pipeline.messages.telemetry import (
    HostTick,
    PoolInterval,
    SiteCapacity,
    SiteInterval,
    Tier,
    Workload,
)

PLAN = Plan(seed=3, sites=("s", "s-b"), hosts=12, start=NOON, seconds=600)
SHORT, LONG = timedelta(seconds=20), timedelta(seconds=60)
#: One GPU at 600 W for 40 s: 12 kJ each 20 s, of it 10 tokens a second.
TICKS = list(steady(40))


def test_the_same_plan_gives_the_same_load() -> None:
    assert list(deliveries(PLAN)) == list(deliveries(PLAN))
    assert list(deliveries(PLAN)) != list(deliveries(msgspec.structs.replace(PLAN, seed=4)))


def test_a_shorter_plan_is_the_beginning_of_a_longer_one() -> None:
    """So that a load which was ended early is known to the last tick."""
    shorter = list(ticks(msgspec.structs.replace(PLAN, seconds=200)))

    assert shorter == [tick for tick in ticks(PLAN) if tick.measured_at < at(200)]


def test_nothing_is_sent_before_it_is_measured_and_a_boot_before_the_next() -> None:
    boots: dict[str, list[str]] = {}
    before = NOON
    for due, tick in deliveries(PLAN):
        assert max(before, tick.measured_at) <= due
        before = due
        seen = boots.setdefault(tick.host, [])
        if not seen or seen[-1] != tick.boot:
            assert tick.boot not in seen
            seen.append(tick.boot)
    assert sum(len(seen) for seen in boots.values()) > PLAN.hosts, "nobody was started again"


def test_everything_happens() -> None:
    sent = list(deliveries(PLAN))
    late = [due - tick.measured_at for due, tick in sent]
    distinct = {(tick.host, tick.boot, tick.seq): tick for _, tick in sent}
    epochs = {gpu.energy_epoch for tick in distinct.values() for gpu in tick.gpus}
    unread = [tick for tick in distinct.values() if any(gpu.energy_j is None for gpu in tick.gpus)]
    jobs = {job.job for tick in distinct.values() for job in tick.jobs}

    assert len(sent) > len(distinct), "no tick came twice"
    assert max(late) > timedelta(seconds=65), "nobody was later than the longest interval"
    assert sum(timedelta(seconds=6) < span < timedelta(seconds=40) for span in late) > 20, "no stragglers"
    assert [tick for _, tick in sent] != sorted((tick for _, tick in sent), key=lambda one: one.measured_at)
    assert len(epochs) > 1
    assert unread
    assert len(jobs) > 4
    assert {tick.site for tick in distinct.values()} == {"s", "s-b"}


def figure(start: float, length: timedelta, **fields: Any) -> SiteInterval:
    """Return the right figure of `TICKS`: 20 s of 600 W and 10 tokens/s; the 60 s interval holds both halves."""
    seconds = min(length.total_seconds(), 40.0)
    pool = PoolInterval(
        tier=Tier.T3,
        workload=Workload.TRAINING,
        gpu_model="NVIDIA H100 80GB HBM3",
        served_model="llama-70b",
        gpu_energy_kwh=0.6 * seconds / 3600,
        tokens=10.0 * seconds,
    )
    settings: dict[str, Any] = {
        "site": "site-1",
        "interval": Interval(at(start), at(start) + length),
        "revision": 1,
        "energy_kwh": 0.6 * seconds / 3600,
        "hosts": 1,
        "hosts_partial": 0,
        "covered_share": 1.0,
        "partitions": 8,
        "partitions_expected": 8,
        "ticks": 20,
        "ticks_missing": 0,
        "pools": (pool,),
        "simulated": True,
        "covered_host_s": seconds,
    }
    return SiteInterval(**(settings | fields))


#: The tick at 40 s opens a third short interval and nothing more.
RIGHT = (
    figure(0, SHORT),
    figure(20, SHORT),
    figure(40, SHORT, energy_kwh=0.0, covered_host_s=0.0, ticks=1, pools=()),
    figure(0, LONG, ticks=41),
)


def judged(figures: Iterable[SiteInterval], measured: Sequence[HostTick] = TICKS) -> Verdict:
    seen = Seen()
    for one in figures:
        seen.take(one)
    return Truth(measured, (SHORT, LONG)).verdict(seen)


def test_right_figures_have_no_failures() -> None:
    verdict = judged((*RIGHT, *RIGHT))

    assert verdict.failures == []
    assert (verdict.acknowledged, verdict.counted, verdict.intervals, verdict.corrected) == (41, 41, 4, 0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"energy_kwh": (12_000_001) / 3.6e9}, "mJ 12000000, published 12000001"),
        ({"covered_host_s": 19.999999}, "covered µs 20000000, published 19999999"),
        ({"ticks_missing": 1}, "missing 0, published 1"),
        ({"pools": ()}, "mJ by pool"),
        ({"pools": (msgspec.structs.replace(RIGHT[1].pools[0], tokens=200.001),)}, "tokens/1000"),
    ],
)
def test_the_smallest_difference_is_wrong(fields: dict[str, Any], told: str) -> None:
    verdict = judged((RIGHT[0], figure(20, SHORT, **fields), *RIGHT[2:]))

    assert len(verdict.wrong) == 1
    assert told in verdict.wrong[0]


def test_a_tick_too_many_is_told() -> None:
    assert "41 ticks are acknowledged, 42 are counted" in judged((figure(0, SHORT, ticks=21), *RIGHT[1:])).failures


def test_the_highest_revision_counts_and_the_others_do_not() -> None:
    wrong_at_first = figure(20, SHORT, energy_kwh=1.0)

    verdict = judged((wrong_at_first, figure(20, SHORT, revision=2), RIGHT[0], *RIGHT[2:]))

    assert (verdict.failures, verdict.corrected) == ([], 1)


def test_an_interval_that_never_came_is_a_hole_even_where_nothing_was_measured() -> None:
    """Between two ticks 100 s apart lie intervals without any: they are owed all the same."""
    pause = [msgspec.structs.replace(TICKS[0], seq=99, measured_at=at(140)), *TICKS]

    holes = judged(RIGHT, pause).holes

    assert "site-1 12:01:20 +20 s" in holes
    assert "site-1 12:01:00 +60 s" in holes
    assert judged((RIGHT[0], *RIGHT[2:])).holes == ["site-1 12:00:20 +20 s"]


def test_a_revision_that_means_two_things_is_a_double() -> None:
    verdict = judged((figure(0, SHORT, energy_kwh=1.0), *RIGHT))

    assert verdict.wrong == []
    assert verdict.doubles == ["site-1 12:00:00 +20 s revision 1: 2 figures"]


def capacity(second: float, as_of: float, partitions: int = 8) -> SiteCapacity:
    return SiteCapacity(
        site="site-1",
        as_of=at(as_of),
        known_at=at(second),
        partitions=partitions,
        partitions_expected=8,
        hosts=1,
        hosts_stale=0,
        gpus=1,
        load_kw=0.6,
        pools=(),
        ticks_open=0,
        age_p50_ms=None,
        age_p99_ms=None,
        simulated=True,
    )


def test_fresh_is_whole_and_newer() -> None:
    """At 2 s the figure rests on what that of 1 s did, at 3 s a partition is missing. The clock runs twice as fast."""
    figures = [capacity(1, 1), capacity(2, 1), capacity(3, 3, 7), capacity(4, 4)]

    assert fresh(figures, Clock(NOON, started=1000.0, speed=2.0)) == [1000.5, 1002.0]


def test_recovery_is_the_longest_gap_from_a_fault_on() -> None:
    """Figures every second, none between 10 and 16 s; faults at 4, 11.5 and 14 s."""
    instants = [float(second) for second in range(25) if not 10 < second < 16]

    assert recoveries([4.0, 11.5, 14.0], 24.0, instants) == [6.0, 4.5, 2.0]


def test_a_site_that_never_recovers_is_without_a_figure_to_the_end() -> None:
    assert recoveries([5.0], 60.0, [1.0, 2.0, 3.0]) == [55.0]


def test_quantiles_are_by_nearest_rank() -> None:
    values = [float(value) for value in range(1, 101)]

    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([], 0.5) is None


def test_somebody_is_always_there() -> None:
    kinds = order(Random(1), 30, OF_WORKERS)
    count = 1
    for kind in kinds:
        count += (kind is Kind.JOIN) - (kind is Kind.LEAVE)
        assert count >= 1
    assert [kinds.count(kind) for kind in OF_WORKERS] == [30, 30, 30, 30]


@pytest.mark.parametrize(
    ("faults", "codes", "complaints", "found"),
    [
        ((Kind.KILL,), {-9: 1, 0: 2}, [], 0),
        ((), {-9: 1}, [], 1),
        ((Kind.STOP,), {1: 1}, ["worker-1 ended with 1: stood still for 9.1 s, others …"], 0),
        ((Kind.STOP,), {1: 2}, ["worker-1 ended with 1: stood still for 9.1 s, others …"] * 2, 1),
        ((Kind.JOIN,), {1: 1}, ["worker-2 ended with 1: KeyError: 'x'"], 1),
        ((Kind.JOIN,), {-15: 1}, ["worker-2 ended with -15: it says nothing"], 0),
        ((Kind.RESET,), {5: 1}, ["worker-1 ended with 5: Kafka at …"], 0),
        ((Kind.LEAVE,), {5: 1}, ["worker-1 ended with 5: Kafka at …"], 1),
    ],
)
def test_a_worker_that_ended_for_another_reason_than_the_faults_is_a_failure(
    faults: tuple[Kind, ...], codes: dict[int, int], complaints: list[str], found: int
) -> None:
    assert len(unexpected(faults, codes, complaints)) == found


def test_a_full_disk_ends_workers_where_one_was_filled() -> None:
    complaints = ["worker-1 ended with 4: disk full"]

    assert len(unexpected((), {4: 1}, complaints)) == 1
    assert unexpected((), {4: 1}, complaints, allowed={4}) == []
