"""What is asked every so often: when, how long its answer holds, and what one that hangs does to the others."""

import asyncio
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from doubles.commands import NOON

from collectors import RestartNeededError, SourceError
from collectors.feeds import Feed, answers

SECOND = timedelta(seconds=1)


def at(second: float) -> datetime:
    """Return an instant after noon."""
    return NOON + timedelta(seconds=second)


async def asked(feed: Feed[int], second: float) -> int | None:
    """Ask at *second* past noon, wait for the answer and take it."""
    feed.ask(at(second))
    await answers([feed], 5.0, at(second), every=True)
    return feed.take(at(second))


def counting(fails_at: int = -1, error: type[Exception] = SourceError) -> Callable[[datetime], int]:
    """Return a question whose answers are 1, 2, 3 …; the one numbered *fails_at* raises."""
    calls = iter(range(1, 1000))

    def ask(_: datetime) -> int:
        number = next(calls)
        if number == fails_at:
            raise error("unplugged")
        return number

    return ask


async def test_it_is_asked_when_due_and_its_answer_holds_in_between() -> None:
    feed = Feed("bmc", counting(), 5 * SECOND)

    assert [await asked(feed, second) for second in (0, 1, 4, 5, 9, 10)] == [1, 1, 1, 2, 2, 3]


async def test_an_answer_holds_for_three_periods_and_not_longer() -> None:
    feed = Feed("bmc", counting(fails_at=2), 5 * SECOND)
    await asked(feed, 0)

    assert await asked(feed, 5) == 1
    assert feed.trouble == "unplugged"
    assert feed.errors == 1
    assert feed.take(at(15)) == 1
    assert feed.take(at(15.1)) is None


async def test_what_ticks_wait_for_is_not_held_at_all() -> None:
    """A second in which the GPUs do not answer has no GPUs."""
    feed = Feed("nvml", counting(fails_at=2), timedelta())

    assert [await asked(feed, second) for second in (0, 1, 2)] == [1, None, 3]


async def test_what_is_well_again_has_no_trouble() -> None:
    feed = Feed("nvml", counting(fails_at=1), timedelta())
    await asked(feed, 0)

    await asked(feed, 1)

    assert feed.trouble is None
    assert feed.errors == 1


async def test_a_bug_in_one_plugin_is_that_plugins_trouble() -> None:
    feed = Feed("amd", counting(1, KeyError), timedelta())

    assert await asked(feed, 0) is None
    assert feed.trouble == "KeyError: 'unplugged'"
    assert await asked(feed, 1) == 2


async def test_one_that_takes_longer_than_a_tick_is_no_trouble_until_it_is_overdue() -> None:
    gate = threading.Event()
    feed = Feed("bmc", lambda _: int(gate.wait()), 5 * SECOND)
    feed.ask(NOON)

    troubles = []
    for second in (1, 4, 5):
        feed.ask(at(second))
        troubles.append(feed.trouble)
    gate.set()

    assert troubles == [None, None, "no answer since 12:00:00"]


async def test_one_that_hangs_costs_one_ticks_patience_and_not_every_ones() -> None:
    gate = threading.Event()
    feed = Feed("amd", lambda _: int(gate.wait()), timedelta())
    feed.ask(NOON)

    feed.ask(at(1))

    assert feed.pending(NOON) is not None
    assert feed.pending(at(1)) is None
    gate.set()


async def test_what_needs_a_new_process_is_raised() -> None:
    feed = Feed("nvml", counting(1, RestartNeededError), timedelta())

    with pytest.raises(RestartNeededError):
        await asked(feed, 0)


async def test_one_that_hangs_is_asked_once_and_holds_up_nobody() -> None:
    """The other answers within the patience; the hanging one says since when, and answers when it is let go."""
    gate, calls = threading.Event(), []

    def hang(now: datetime) -> int:
        calls.append(now)
        gate.wait()
        return 7

    stuck, well = Feed("stuck", hang, timedelta()), Feed("well", counting(), timedelta())
    for second in range(3):
        for feed in (stuck, well):
            feed.ask(at(second))
        await answers([stuck, well], 0.05, at(second))

        assert stuck.take(at(second)) is None
        assert well.take(at(second)) == second + 1

    assert len(calls) == 1
    assert stuck.trouble == "no answer since 12:00:00"
    gate.set()
    late = stuck.pending(NOON)
    assert late is not None
    await asyncio.to_thread(late.result, 5)
    assert stuck.take(at(3)) is None
    assert await asked(stuck, 4) == 7


async def test_patience_ends_when_all_have_answered() -> None:
    feed = Feed("nvml", counting(), timedelta())
    feed.ask(NOON)

    started = time.monotonic()
    await answers([feed], 60.0, NOON)

    assert time.monotonic() - started < 30


async def test_nothing_asked_is_nothing_to_wait_for() -> None:
    await answers([Feed("nvml", counting(), timedelta())], 60.0, NOON)


async def test_a_tick_a_little_early_still_asks_what_is_due() -> None:
    """Ticks fall 0 to 2 ms after the second; what is asked every second must not miss every other one."""
    feed = Feed("vllm", counting(), SECOND)
    slack = timedelta(seconds=0.5)

    answered = []
    for second in (0.002, 1.001, 2.000, 3.002):
        feed.ask(at(second), slack)
        await answers([feed], 5.0, at(second), every=True)
        answered.append(feed.take(at(second)))

    assert answered == [1, 2, 3, 4]


async def test_letting_go_waits_for_the_question_that_is_out_and_forgets_its_answer() -> None:
    """A release in the middle of a reading: NVML is closed as soon as that is over, not never."""
    gate, closed = threading.Event(), threading.Event()

    def slow(_: datetime) -> int:
        gate.wait()
        return 7

    feed = Feed("nvml", slow, 5 * SECOND)
    feed.ask(NOON)

    done = feed.leave(closed.set)

    assert not done.done()
    gate.set()
    assert closed.wait(5)
    assert feed.take(at(1)) is None


async def test_one_that_hangs_over_a_release_says_so_when_it_is_asked_again() -> None:
    gate = threading.Event()
    feed = Feed("nvml", lambda _: int(gate.wait()), timedelta())
    feed.ask(NOON)
    feed.leave(lambda: None)

    feed.ask(at(1))

    assert feed.trouble == "no answer yet"
    gate.set()


async def test_letting_go_forgets_the_answer_and_closes_in_the_lane() -> None:
    feed = Feed("nvml", counting(), 5 * SECOND)
    await asked(feed, 0)
    closed_in: list[str] = []
    done = threading.Event()

    def close() -> None:
        closed_in.append(threading.current_thread().name)
        done.set()

    feed.leave(close)

    assert feed.take(at(1)) is None
    assert done.wait(5)
    assert closed_in == ["nvml"]
