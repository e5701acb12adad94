"""
What is asked every so often, each in a lane of its own: a device, an engine, a cluster manager.

    due      x         x         x         x         x
    asked    x ──ok    x ──────────────────hangs…         its lane is busy: nobody asks a second time
    holds    [───────────────────────────)                for three periods the last answer holds, then there is none

What ticks wait for is asked at every one, and its answer holds for that one alone.

One that hangs holds up nobody else, and what it said last is not said for ever.
"""

import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from collectors import RestartNeededError, SourceError
from collectors.lanes import Lane, settled

log = logging.getLogger(__name__)

T = TypeVar("T")

HELD_PERIODS = 3


class Feed(Generic[T]):
    """One of them, and its last answer."""

    def __init__(self, name: str, ask: Callable[[datetime], T], period: timedelta) -> None:
        """Ask by *ask* every *period* of the shared clock; zero is at every tick, which then waits for the answer."""
        self.name = name
        self.period = period
        self.errors = 0
        self.trouble: str | None = None
        self.answered_at: datetime | None = None
        self._ask = ask
        self._lane: Lane[Any] = Lane(name)
        self._answer: Future[T] | None = None
        self._asked_at: datetime | None = None
        self._last: T | None = None

    @property
    def in_step(self) -> bool:
        """Whether ticks wait for it."""
        return not self.period

    def ask(self, now: datetime, slack: timedelta = timedelta()) -> None:
        """Ask, if that is due, give or take *slack*, and the question before has been answered."""
        self._collect()
        asked_at = self._asked_at
        if self._lane.busy and asked_at is not None and timedelta() <= now - asked_at < self.period - slack:
            return  # it takes longer than a tick, as some devices do, and is not overdue
        if self._lane.busy:
            self.trouble = "no answer yet" if asked_at is None else f"no answer since {asked_at:%H:%M:%S}"
            self._forget_step()
        elif asked_at is None or now - asked_at >= self.period - slack or now < asked_at:
            self._forget_step()
            self._asked_at = now
            self._answer = self._lane.call(lambda: self._ask(now))

    def pending(self, now: datetime) -> "Future[T] | None":
        """Return the answer that is out to what was asked at *now*."""
        return self._answer if self._asked_at == now else None

    def take(self, now: datetime) -> T | None:
        """Return the last answer while it holds; raise `RestartNeededError` if there will never be another."""
        self._collect()
        if self.answered_at is None:
            return None
        return self._last if now - self.answered_at <= HELD_PERIODS * self.period else None

    def leave(self, close: Callable[[], None]) -> "Future[Any]":
        """Call *close* in the lane once the question that is out has been answered, which nobody waits for any more."""
        self._last = self.answered_at = self._asked_at = self._answer = None
        return self._lane.after(close)

    def _forget_step(self) -> None:
        if self.in_step:
            self.answered_at = None

    def _collect(self) -> None:
        if self._answer is None or not self._answer.done():
            return
        answer, self._answer = self._answer, None
        try:
            self._last = answer.result()
        except RestartNeededError:
            raise
        except SourceError as error:
            self.errors += 1
            self.trouble = str(error)
        except Exception as error:  # the one place in this process: a bug in one plug-in is that plug-in's trouble
            log.exception("%s failed in a way it should not", self.name)
            self.errors += 1
            self.trouble = f"{type(error).__name__}: {error}"
        else:
            self.answered_at = self._asked_at
            self.trouble = None


async def answers(feeds: Iterable[Feed[Any]], within_s: float, now: datetime, *, every: bool = False) -> None:
    """
    Return once those of the asked that ticks wait for, or *every* one, have answered, or after *within_s*.

    Only what was asked at *now* is waited for, seconds of the machine: one that hangs costs the tick that asked it.
    """
    out = [future for feed in feeds if (feed.in_step or every) and (future := feed.pending(now)) is not None]
    await settled(out, within_s)
