"""Hosts that are gone for good are let go of, and no figure tells whether they were."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from typing import Any

import msgspec
import numpy as np
from doubles.rolled import close, feed, fresh
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.pipeline.ticks import at, gpu, job, tick

from pipeline import frames
from pipeline.messages.telemetry import HostTick
from pipeline.rollup import Partition
from pipeline.snapshot import restore, save

HOUR = timedelta(hours=1)
LENGTHS = (HOUR, 2 * HOUR)
H = 3600.0


def hourly(seq: int, hours: float, host: str, **fields: Any) -> HostTick:
    """Return a tick measured *hours* after noon, of one GPU at 600 W."""
    return tick(seq, hours * H, host=host, **fields)


def beat(partition: Partition, begin: int, end: int, host: str = "always") -> None:
    """Let *host* tick once an hour from *begin* to before *end*, tidying up after each tick."""
    for hour in range(begin, end):
        feed(partition, [hourly(hour + 1, hour, host)])
        partition.tidy()


def test_hosts_that_are_renamed_every_four_hours_leave_nothing_behind() -> None:
    """
    A hundred names in 400 hours, each heard for one tick and each serving a model of its own.

    A name is expected for 72 h, and what expected it is corrected for 72 h more: 36 names, and a few of the hour.
    """
    partition, sizes = fresh(0, HOUR), []
    for number in range(100):
        model = gpu(job=f"job-{number}")
        serving = job(0.0, f"job-{number}", served_model=f"model-{number}")
        feed(partition, [hourly(1, 4 * number, f"node-{number}", gpus=(model,), jobs=(serving,))])
        beat(partition, 4 * number, 4 * number + 4)
        partition.published()
        sizes.append(len(save(partition)))

    rows = sum(len(cohort) for cohort in partition.cohorts.values())
    assert len(partition.hosts) <= 1 + 38
    assert rows <= 1 + 20
    assert len(partition.current) <= 1 + 19
    assert len(partition.row_of) == rows
    assert len(partition.pools) <= 2 + rows
    assert max(sizes[70:]) < 1.1 * max(sizes[40:70])


def test_a_host_that_is_silent_lowers_the_coverage_for_three_days_and_then_is_no_part_of_the_site() -> None:
    partition = fresh(0, HOUR)
    feed(partition, [hourly(1, 0, "h1")])
    beat(partition, 0, 100)

    closed, _ = close(partition, 100 * H)
    hosts = {(one.interval.start - at(0)) // HOUR: one.hosts for one in closed}

    assert hosts[0] == hosts[72] == 2
    assert hosts[73] == hosts[98] == 1


def test_what_a_host_sends_of_hours_that_expected_it_does_not_count_it_twice() -> None:
    """
    h1 is silent for 100 h and then sends what it measured 60 and 90 h after its last tick.

    At 60 h it was expected, and is one of two hosts; at 90 h nobody expected it any more, so it is one more.
    """
    partition = fresh(0, HOUR)
    feed(partition, [hourly(1, 0, "h1")])
    beat(partition, 0, 100)
    closed = partition.published()[0]

    feed(partition, [hourly(61, 60, "h1")], delay_s=40 * H)
    feed(partition, [hourly(91, 90, "h1")], delay_s=10 * H)
    _, corrections = partition.published()

    assert {(one.interval.start - at(0)) // HOUR: one.hosts for one in closed}[60] == 2
    assert {(one.interval.start - at(0)) // HOUR: (one.hosts, one.ticks) for one in corrections} == {
        60: (0, 1),
        90: (1, 1),
    }


def test_a_backlog_of_the_last_minute_that_is_accepted_is_joined_to_the_tick_before_it() -> None:
    """h1 is heard at noon and 72.2 h later, with what it measured 18 minutes after noon: 1,080 s are covered."""
    partition = fresh(0, HOUR)
    feed(partition, [hourly(1, 0, "h1")])
    beat(partition, 0, 73)
    feed(partition, [hourly(74, 72.1, "always")])
    partition.tidy()
    partition.published()

    feed(partition, [hourly(19, 0.3, "h1")], delay_s=71.9 * H)
    _, corrections = partition.published()

    assert [(one.interval.start, one.covered_host_s) for one in corrections] == [(at(0), 1080.0)]


def test_a_host_that_returns_after_a_week_is_a_new_one_whether_it_was_let_go_or_not() -> None:
    """It goes on with the number it had: the ticks of the week are not missing, and nothing is joined over it."""

    def returning(*, tidied: bool) -> Any:
        partition = fresh(0, HOUR)
        feed(partition, [hourly(1, 0, "h1"), hourly(1, 0, "always")])
        feed(partition, [hourly(169, 168, "always")])
        if tidied:
            partition.tidy()
            assert list(map(partition.hosts.__getitem__, partition.current)) == ["always"]
        feed(partition, [hourly(601, 168.2, "h1"), hourly(602, 168.3, "h1")])
        return close(partition, 170 * H)

    closed, _ = returning(tidied=True)
    last = {(one.interval.start - at(0)) // HOUR: one for one in closed}[168]

    assert (last.hosts, last.ticks) == (2, 3)
    assert last.ticks_missing == 0
    assert returning(tidied=False) == returning(tidied=True)


def test_a_state_of_a_worker_that_never_let_go_is_read_and_its_hosts_go_three_days_later() -> None:
    partition = fresh(0, HOUR)
    feed(partition, [hourly(1, 0, "h1"), hourly(1, 0, "h2")])
    *before, _ = msgspec.msgpack.decode(save(partition))

    old = restore(msgspec.msgpack.encode(before), 0, (HOUR,), "site-1")
    beat(old, 1, 70)
    then = sorted(map(old.hosts.__getitem__, old.current))
    beat(old, 70, 150)

    assert then == ["always", "h1", "h2"]
    assert old.hosts == ["always"]


def life(chance: Random, name: str) -> Iterator[tuple[float, HostTick]]:
    """Yield a host's ticks, each with when Kafka receives it: it comes, is away for up to a week, returns."""
    boot, seq, second = 0, 0, chance.uniform(0, 20 * H)
    for _ in range(chance.randrange(1, 5)):
        late_s = chance.choice([0.0, 0.0, 50 * H, 71 * H])
        if chance.random() < 0.4:
            boot, seq = boot + 1, 0
        model = chance.choice(["llama", "qwen", "phi"])
        for _ in range(chance.randrange(1, 5)):
            seq += chance.choice([1, 1, 3])
            second += chance.choice([600.0, 1800.0])
            sample = gpu(energy_j=200.0 * second, job="job-a")
            serving = job(second, served_model=f"{model}-{name}")
            made = tick(seq, second, name, boot=f"boot-{boot}", gpus=(sample,), jobs=(serving,))
            yield from [(second + late_s, made)] * chance.choice([1, 1, 2])
            if chance.random() < 0.1:
                yield second + chance.uniform(0, 100 * H), made
        second += chance.choice([H, 40 * H, 71 * H, 74 * H, 100 * H, 160 * H])


def told(arriving: list[tuple[float, HostTick]], chance: Random, *, tidied: bool) -> dict[Any, Any]:
    """Return the last of each figure; where the state is *tidied*, it is at times written down and read back, too."""
    found: dict[Any, Any] = {}
    state, rest = Partition(0, LENGTHS, "site-1"), list(arriving)
    while rest:
        size, killed = chance.choice([1, 2, 5]), chance.random() < 0.2
        batch, rest = rest[:size], rest[size:]
        received_us = np.array([frames.micros(at(second)) for second, _ in batch], dtype=np.int64)
        state.add([frames.encode(made) for _, made in batch], received_us, state.offset + len(batch))
        partials, corrections = state.published()
        found |= {("closed", one.interval): one for one in partials}
        found |= {  # when a tick was late that changed nothing is noted, and not for long
            ("late", one.interval): msgspec.structs.replace(one, first_late=at(0), last_late=at(0))
            for one in corrections
        }
        if tidied:
            state.tidy()
            state = restore(save(state), 0, LENGTHS, "site-1") if killed else state
    return found


@given(st.integers(0, 2**32))
@settings(max_examples=10, deadline=None)
def test_hosts_that_come_go_and_return_give_the_figures_of_a_state_that_never_lets_go(seed: int) -> None:
    chance = Random(seed)
    names = [f"h{number}" for number in range(chance.randrange(1, 5))]
    arriving = sorted((pair for name in names for pair in life(chance, name)), key=lambda pair: pair[0])

    kept = told(arriving, Random(seed), tidied=False)

    assert told(arriving, Random(seed), tidied=True) == kept
