"""Partials to site figures: newest value of each partition, whatever order and however often they come."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta

import msgspec
import pytest
from unit.pipeline.ticks import H100, NOON, at

from pipeline.agents import interval, site
from pipeline.interval import Interval
from pipeline.messages.telemetry import (
    CAP_SHARES,
    IntervalPartial,
    PoolLoad,
    SiteCapacity,
    SiteInterval,
    SitePartial,
    Tier,
    Workload,
)
from pipeline.site import (
    OpenInterval,
    capacity,
    due_second,
    heard,
    is_over,
    merged_loads,
    relief_at,
    step,
)

MINUTE = Interval(NOON, at(60))


def pool(max_w: float = 700.0, relief_kw: tuple[float, ...] = (0.1,) * len(CAP_SHARES)) -> PoolLoad:
    return PoolLoad(
        tier=Tier.T3,
        workload=Workload.TRAINING,
        gpu_model=H100,
        gpus=1,
        power_kw=0.6,
        relief_kw=relief_kw,
        max_w=max_w,
        tokens_per_s=5.0,
    )


def partial(partition: int, seconds: float, load_kw: float = 1.0) -> SitePartial:
    return SitePartial(
        site="site-1",
        partition=partition,
        as_of=at(seconds),
        hosts=2,
        hosts_stale=0,
        gpus=2,
        load_kw=load_kw,
        pools=(pool(),),
        ticks_open=10,
        age_p50_ms=100.0,
        age_p99_ms=900.0,
        simulated=True,
    )


def part(partition: int, energy_kwh: float = 1.0, hosts: int = 1, covered_share: float = 1.0) -> IntervalPartial:
    return IntervalPartial(
        site="site-1",
        partition=partition,
        interval=MINUTE,
        energy_kwh=energy_kwh,
        hosts=hosts,
        hosts_partial=0,
        covered_share=covered_share,
        ticks=60,
        ticks_missing=0,
        pools=(),
        simulated=True,
    )


def test_a_site_is_the_sum_of_its_partitions_as_old_as_the_oldest() -> None:
    """Made 0.5 s after the newer partial and 1 s after the older: the worst tick is 900 + 1 000 ms old."""
    figure = capacity([partial(0, 10), partial(1, 10.5, load_kw=2.0)], 8, at(11))

    assert figure is not None
    assert (figure.load_kw, figure.hosts, figure.partitions, figure.partitions_expected) == (3.0, 4, 2, 8)
    assert (figure.as_of, figure.known_at) == (at(10), at(11))
    assert figure.age_p99_ms == 1900.0
    assert figure.pools[0].relief_kw[0] == 0.2
    assert figure.pools[0].tokens_per_s == 10.0


def test_a_partition_silent_for_more_than_five_seconds_takes_its_relief_with_it() -> None:
    figure = capacity([partial(0, 10), partial(1, 4.9)], 2, at(10))

    assert figure is not None
    assert (figure.partitions, figure.load_kw, figure.pools[0].relief_kw[0]) == (1, 1.0, 0.1)
    assert capacity([partial(0, 4.9)], 2, at(10)) is None


@pytest.mark.parametrize(
    ("seconds", "published", "arrived", "due"),
    [
        pytest.param((10, 10), None, 10, 10, id="everyone is in"),
        pytest.param((10, 9), 9, 10, None, id="one is still out"),
        pytest.param((11, 10), 9, 11, 10, id="everyone has at least reached 10"),
        pytest.param((11, 3), 9, 11, None, id="nobody else, and the second before is nobody's"),
        pytest.param((10, 10), 10, 10, None, id="never twice"),
    ],
)
def test_a_second_is_due_when_all_are_in(
    seconds: tuple[int, int], published: int | None, arrived: int, due: int | None
) -> None:
    found = due_second(
        [partial(number, second) for number, second in enumerate(seconds)],
        2,
        None if published is None else at(published),
        at(arrived),
    )

    assert found == (None if due is None else at(due))


def test_a_dead_partition_delays_a_second_to_the_next_and_not_longer() -> None:
    """Of three partitions one is dead: second 10 is published when the first partial of second 11 is in."""
    assert due_second([partial(0, 11), partial(1, 10), partial(2, 2)], 3, at(9), at(11)) == at(10)


def test_a_higher_maximum_makes_relief_smaller_never_larger() -> None:
    """At 1.0 × 800 W a 700 W GPU is not capped at all; at 0.875 × 800 it would be at its own 1.0."""
    falling = tuple(float(index) for index in range(len(CAP_SHARES)))

    shifted = relief_at(pool(700.0, falling), 800.0)

    assert shifted[0] == 0.0
    assert all(less <= own for less, own in zip(shifted, falling, strict=True))
    assert shifted[-1] == 13.0  # 0.3 × 800 = 240 W; the next higher level of its own is 0.35 × 700 = 245 W
    assert merged_loads([pool(700.0, falling), pool(800.0)])[0].max_w == 800.0


def spoken(*parts: IntervalPartial, now: datetime) -> OpenInterval:
    state = None
    for one in parts:
        state = heard(state, one, now)
    assert state is not None
    return state


def test_an_interval_is_published_when_all_partitions_are_in() -> None:
    waiting = spoken(part(0), now=at(66))
    assert step(waiting, 2, at(66)) == (waiting, None)

    state, figure = step(heard(waiting, part(1, 2.0), at(67)), 2, at(67))

    assert figure is not None
    assert (figure.energy_kwh, figure.revision, figure.partitions, figure.ticks) == (3.0, 1, 2, 120)
    assert step(state, 2, at(68)) == (state, None)


def test_an_interval_is_published_twenty_seconds_after_its_end_with_what_there_is_and_revised_later() -> None:
    waiting = spoken(part(0), now=at(61))
    assert step(waiting, 2, at(80.9))[1] is None

    state, first = step(waiting, 2, at(81))
    _, second = step(heard(state, part(1, 2.0), at(90)), 2, at(90))

    assert first is not None
    assert second is not None
    assert (first.revision, first.partitions, first.energy_kwh) == (1, 1, 1.0)
    assert (second.revision, second.partitions, second.energy_kwh) == (2, 2, 3.0)


def test_the_same_partial_again_makes_no_revision() -> None:
    state, _ = step(spoken(part(0), part(1), now=at(66)), 2, at(66))

    assert step(heard(state, part(1), at(70)), 2, at(70))[1] is None


def test_after_an_outage_the_partitions_get_their_time_to_catch_up() -> None:
    """The first partial comes an hour late; the wait runs from then."""
    state = spoken(part(0), now=at(3660))

    assert step(state, 2, at(3679))[1] is None
    assert step(state, 2, at(3680))[1] is not None
    assert not is_over(state, at(3660 + 3600))
    assert is_over(state, at(3660 + 3601))


def test_coverage_is_weighted_by_hosts_and_zero_of_nothing() -> None:
    """Three hosts fully and one half covered is 3.5 of 4."""
    _, figure = step(spoken(part(0, hosts=3), part(1, covered_share=0.5), now=at(66)), 2, at(66))
    _, nothing = step(spoken(part(0, 0.0, hosts=0, covered_share=0.0), now=at(66)), 1, at(66))

    assert figure is not None
    assert nothing is not None
    assert (figure.covered_share, nothing.covered_share) == (0.875, 0.0)


async def stream(*messages: SitePartial | IntervalPartial) -> AsyncIterator[SitePartial | IntervalPartial]:
    for message in messages:
        yield message


async def published_capacities(*partials: SitePartial) -> list[SiteCapacity]:
    sent: list[SiteCapacity] = []

    async def emit(figure: SiteCapacity) -> None:
        sent.append(figure)

    await site.run(stream(*partials), {}, emit, 2, lambda: at(12))  # type: ignore[arg-type] # only these come
    return sent


async def test_the_site_agent_publishes_each_second_once_and_ignores_what_is_old() -> None:
    """Both partitions at 10; a redelivery; one at 11; the other at 11."""
    figures = await published_capacities(partial(0, 10), partial(1, 10), partial(1, 10), partial(0, 11), partial(1, 11))

    assert [figure.as_of for figure in figures] == [at(10), at(11)]


async def published_intervals(*messages: SitePartial | IntervalPartial, clock: list[datetime]) -> list[SiteInterval]:
    sent: list[SiteInterval] = []
    table: dict[str, OpenInterval] = {}
    instants = iter(clock)

    async def emit(figure: SiteInterval) -> None:
        sent.append(figure)

    await interval.run(stream(*messages), table, emit, 2, lambda: next(instants))
    return sent


async def test_the_pulse_of_site_partials_ends_the_wait_for_a_dead_partition() -> None:
    figures = await published_intervals(part(0), partial(0, 70), partial(0, 81), clock=[at(61), at(70), at(81)])

    assert [(figure.revision, figure.partitions) for figure in figures] == [(1, 1)]


async def test_an_old_interval_is_forgotten_and_does_not_speak_again() -> None:
    late = at(60) + timedelta(hours=2)
    figures = await published_intervals(part(0), part(1), partial(0, 7200), clock=[at(66), at(67), late])

    assert len(figures) == 1


def test_states_survive_the_table_s_encoding() -> None:
    state, _ = step(spoken(part(0), part(1), now=at(66)), 2, at(66))

    assert msgspec.msgpack.decode(msgspec.msgpack.encode(state), type=OpenInterval) == state
