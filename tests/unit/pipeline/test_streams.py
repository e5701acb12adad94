"""When events of a stream are acknowledged: together, once all is settled, and only by who still has them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline import streams
from pipeline.fence import Fence


@dataclass(eq=False)
class Event:
    """An event of generation 1 of the group."""

    number: int
    acked: list[int]
    message: Any = field(default_factory=lambda: SimpleNamespace(generation_id=1))

    def ack(self) -> None:
        """Take note."""
        self.acked.append(self.number)


@dataclass(eq=False)
class Stream:
    """What Faust hands to an agent: events in a queue, all of them there from the beginning."""

    count: int
    acked: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.channel = SimpleNamespace(queue=asyncio.Queue())
        self.app = SimpleNamespace(consumer_generation_id=1)
        for number in range(self.count):
            self.channel.queue.put_nowait(Event(number, self.acked))

    def noack(self) -> "Stream":
        """Leave acknowledging to us."""
        return self

    async def events(self) -> AsyncIterator[Event]:
        """Yield what is in the queue."""
        while not self.channel.queue.empty():
            yield self.channel.queue.get_nowait()


def fence(halt: Callable[[float], None] = lambda _: None, limit_s: float = 3600.0) -> Fence:
    """Return a fence that never finds anything."""
    return Fence(limit_s, halt)


async def drained(stream: Stream, settled: streams.Settled, guard: Fence) -> list[int]:
    """Handle everything; return the numbers."""
    return [event.number async for event in streams.events(stream, guard, settled)]


async def test_what_waits_together_is_acknowledged_together_after_it_is_settled() -> None:
    stream, at_settling = Stream(3), []

    async def settled() -> None:
        at_settling.append(list(stream.acked))

    assert await drained(stream, settled, fence()) == [0, 1, 2]
    assert (at_settling, stream.acked) == ([[]], [0, 1, 2])


async def test_at_most_so_many_are_acknowledged_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "TOGETHER", 2)
    stream, at_settling = Stream(5), []

    async def settled() -> None:
        at_settling.append(len(stream.acked))

    await drained(stream, settled, fence())
    assert at_settling == [0, 2, 4]


async def test_what_was_in_hand_at_a_rebalance_is_not_acknowledged() -> None:
    """The group is rebalanced while acknowledgements are waited for: the events are read again by who has them now."""
    stream = Stream(3)

    async def settled() -> None:
        stream.app.consumer_generation_id = 2

    await drained(stream, settled, fence())
    assert stream.acked == []


async def test_a_worker_that_stood_still_settles_nothing() -> None:
    """It is stopped while it handles its last event: what it has in hand is neither sent for good nor acknowledged."""
    stream, settlings = Stream(2), 0

    class HaltedError(Exception):
        """Stands for the end of the process."""

    class Late(Fence):
        """Finds out at the third look, after two events."""

        looks = 0

        def check(self) -> None:
            self.looks += 1
            if self.looks == 3:
                raise HaltedError

    async def settled() -> None:
        nonlocal settlings
        settlings += 1

    with pytest.raises(HaltedError):
        await drained(stream, settled, Late(3600.0))
    assert (settlings, stream.acked) == (0, [])
