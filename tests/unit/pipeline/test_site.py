"""Partials to site figures: newest value of each partition, whatever order and however often they come."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from unit.pipeline.ticks import H100, at

from pipeline.agents import site
from pipeline.messages.telemetry import CAP_SHARES, PoolLoad, SiteCapacity, SitePartial, Tier, Workload
from pipeline.site import capacity, due_second, merged_loads, relief_at


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


def test_a_site_is_the_sum_of_its_partitions_as_old_as_the_oldest() -> None:
    """Made 0.5 s after the newer partial and 1 s after the older: the worst tick is 900 + 1 000 ms old."""
    figure = capacity([partial(0, 10), partial(1, 10.5, load_kw=2.0)], 8, at(11))

    assert figure is not None
    assert (figure.load_kw, figure.hosts, figure.partitions, figure.partitions_expected) == (3.0, 4, 2, 8)
    assert (figure.as_of, figure.known_at) == (at(10), at(11))
    assert figure.age_p99_ms == 1900.0
    assert figure.pools[0].relief_kw[0] == 0.2
    assert figure.pools[0].tokens_per_s == 10.0


def test_hosts_whose_clocks_are_wrong_are_counted_over_all_partitions() -> None:
    """Two flagged and one quarantined, and one flagged elsewhere."""
    here = msgspec.structs.replace(partial(0, 10), hosts_skewed=2, hosts_quarantined=1)
    figure = capacity([here, msgspec.structs.replace(partial(1, 10), hosts_skewed=1)], 2, at(10))

    assert figure is not None
    assert (figure.hosts_skewed, figure.hosts_quarantined) == (3, 1)


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


async def stream(*partials: SitePartial) -> AsyncIterator[SitePartial]:
    for message in partials:
        yield message


async def published_capacities(*partials: SitePartial) -> list[SiteCapacity]:
    sent: list[SiteCapacity] = []

    async def emit(figure: SiteCapacity) -> None:
        sent.append(figure)

    await site.run(stream(*partials), emit, 2, lambda: at(12))
    return sent


async def test_the_site_agent_publishes_each_second_once_and_ignores_what_is_old() -> None:
    """Both partitions at 10; a redelivery; one at 11; the other at 11."""
    figures = await published_capacities(partial(0, 10), partial(1, 10), partial(1, 10), partial(0, 11), partial(1, 11))

    assert [figure.as_of for figure in figures] == [at(10), at(11)]


async def test_the_site_agent_keeps_sites_apart() -> None:
    """Two sites, 1 kW and 2 kW in each of two partitions: neither waits for the other, nor counts what it sent."""
    other = msgspec.structs.replace(partial(1, 10, load_kw=2.0), site="site-2")
    figures = await published_capacities(
        partial(0, 10), other, partial(1, 10), msgspec.structs.replace(partial(0, 10, load_kw=2.0), site="site-2")
    )

    assert [(figure.site, figure.load_kw) for figure in figures] == [("site-1", 2.0), ("site-2", 4.0)]


def test_a_partition_that_is_left_alone_goes_on_by_itself_after_three_seconds() -> None:
    """Of two partitions one died at 10: nobody will ever report a second that the other waits for."""
    left = [partial(0, 12), partial(1, 10)]

    assert due_second(left, 2, at(10), at(12)) is None
    assert due_second([partial(0, 13), partial(1, 10)], 2, at(10), at(13)) == at(13)
