"""Questions asked no more often than once a period: whoever cannot answer is not asked again at once either."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from collectors import SourceError
from collectors.feeds import HELD_PERIODS

T = TypeVar("T")


class Paced(Generic[T]):
    """
    One question and what was answered last, a failure remembered like an answer.

    An uncached query to a device that could not answer cost a peer ten cores (dcgm-exporter#599).
    """

    def __init__(self, question: Callable[[], T], period_s: float) -> None:
        """Take a *question* that answers or raises `SourceError`, and the shortest time between two, seconds."""
        self._question = question
        self._period = timedelta(seconds=period_s)
        self._asked_at: datetime | None = None
        self._failure: SourceError | None = None
        self._good: tuple[datetime, T] | None = None

    def answer(self, now: datetime) -> T:
        """Return this period's answer, or raise this period's `SourceError`; *now* is the shared clock's."""
        if self._asked_at is None or not timedelta(0) <= now - self._asked_at < self._period:
            self._asked_at, self._failure = now, None
            try:
                self._good = now, self._question()
            except SourceError as error:
                self._failure = error
        if self._failure is not None:
            raise self._failure
        assert self._good is not None  # noqa: S101 - neither failed nor answered cannot be
        return self._good[1]

    def known(self, now: datetime) -> T | None:
        """Return the last good answer, None if there is none that is younger than `HELD_PERIODS` periods."""
        if self._good is None or now - self._good[0] >= HELD_PERIODS * self._period:
            return None
        return self._good[1]
