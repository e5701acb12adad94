"""Threads for calls that may never return: a caller waits as long as it likes, and the process can still end."""

import asyncio
import queue
import threading
from collections.abc import Callable, Collection
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class Lane(Generic[T]):
    """
    One daemon thread that makes one call at a time.

    A call into a wedged driver cannot be killed, only left alone: while it hangs the lane is `busy` and takes no other,
    so that at most one thread is ever lost to a device.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: queue.SimpleQueue[tuple[Callable[[], T], Future[T]]] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._last: Future[T] | None = None

    @property
    def busy(self) -> bool:
        """Whether the call before is still out."""
        return self._last is not None and not self._last.done()

    def call(self, work: Callable[[], T]) -> "Future[T]":
        """Start *work* in the lane's thread; only while the lane is not `busy`."""
        if self.busy:
            raise RuntimeError(f"lane {self._name} is busy")
        return self.after(work)

    def after(self, work: Callable[[], T]) -> "Future[T]":
        """Start *work* once the call before has ended, if it ever does."""
        self._last = Future()
        self._start()
        self._calls.put((work, self._last))
        return self._last

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            work, answer = self._calls.get()
            try:
                answer.set_result(work())
            except BaseException as error:  # noqa: BLE001 - whatever it is belongs to whoever asked
                answer.set_exception(error)
            del work, answer


async def settled(calls: "Collection[Future[Any]]", within_s: float) -> None:
    """Return once all of *calls* are done, however they ended, or after *within_s* seconds of the machine."""
    loop, all_done = asyncio.get_running_loop(), asyncio.Event()

    def look(_: object) -> None:
        if all(call.done() for call in calls) and not loop.is_closed():
            loop.call_soon_threadsafe(all_done.set)

    for call in calls:
        call.add_done_callback(look)
    if calls:
        with suppress(TimeoutError):
            await asyncio.wait_for(all_done.wait(), within_s)
