"""
Keeps a worker that stood still from going on with partitions that are no longer its own.

A process that was stopped (SIGSTOP, a suspended machine, a starved one) for longer than its session wakes with messages
in its queues. Another worker has had its partitions since; what it publishes now, an interval it has waited too long
for, say, would contradict the other's figures. Kafka's group only tells with the next heartbeat. So time is asked
before each step, and a worker that finds itself late ends at once, as if killed: nothing of it is to be trusted, and
whoever supervises it starts another.
"""

import os
import sys
import threading
import time
from collections.abc import Callable

#: Between two beats, machine time, seconds.
BEAT_S = 0.1
#: A worker may stand still for this share of its session: its last heartbeat may be a quarter of the session old.
SHARE = 0.6


def halt(stood_still_s: float) -> None:
    """End this process without another step."""
    text = f"stood still for {stood_still_s:.1f} s, others may hold its partitions; start the worker again\n"
    os.write(sys.stderr.fileno(), text.encode())
    os._exit(1)


class Fence:
    """Remembers, once this process has stood still for longer than *limit_s*, that it has; *halt* then ends it."""

    def __init__(self, limit_s: float, halt: Callable[[float], None] = halt) -> None:
        """Begin to watch; also the clock of a suspended machine goes on."""
        self._limit_s = limit_s
        self._halt = halt
        self._beat_at = _now()
        self._stood_still_s = 0.0
        threading.Thread(target=self._beat, name="fence", daemon=True).start()

    @classmethod
    def of_session(cls, session_timeout_s: float, halt: Callable[[float], None] = halt) -> "Fence":
        """Return the fence of a member of a consumer group that is taken to be dead after *session_timeout_s*."""
        return cls(SHARE * session_timeout_s, halt)

    def check(self) -> None:
        """Call *halt* if this process has ever stood still for too long."""
        stood_still_s = max(self._stood_still_s, _now() - self._beat_at)
        if stood_still_s > self._limit_s:
            self._halt(stood_still_s)

    def _beat(self) -> None:
        while True:
            time.sleep(BEAT_S)
            now = _now()
            self._stood_still_s = max(self._stood_still_s, now - self._beat_at)
            self._beat_at = now


def _now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)
