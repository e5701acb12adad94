"""
Hot standby: wait until the primary is gone or silent, then take its journal over; as primary, beat, or stop.

    standby   watch the lease ─▶ given back, or its holder dead: at once
                             ─▶ unchanged for takeover_s of our own clock: raise the epoch, if it still is unchanged
    primary   beat every takeover_s / 6 ─▶ nothing written for takeover_s / 2: send nothing, end

Half of the takeover time lies between the last send of the old primary and the first of the new one. A primary that is
stopped while it holds SQLite's lock would keep everybody out for as long; one of this machine that is silent and in the
way is killed.
"""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from bidding import fence
from bidding.fence import Lease, Watch, up_s
from bidding.journal import HeldError, Journal, read_lease
from pipeline.errors import EnvironmentProblem, FencedError

log = logging.getLogger("bidding.standby")

LOOKS = 10
"""How often the lease is looked at within the takeover time."""
BEATS = 6
"""How often the primary beats within the takeover time."""


@asynccontextmanager
async def take_over(path: Path, takeover_s: float) -> AsyncIterator[Journal]:
    """Yield the journal at *path*, open, once nobody else is its primary; *takeover_s* is the machine's time."""
    watch, said = Watch(takeover_s), False
    while (opened := await _taken(path, watch)) is None:
        if not said:
            log.info("standby: another process is the primary of %s", path)
            said = True
        await asyncio.sleep(takeover_s / LOOKS)
    with opened as journal:
        yield journal


async def _taken(path: Path, watch: Watch) -> Journal | None:
    """Return the journal, the lease taken, None while another process is or may be the primary."""
    lease = await asyncio.to_thread(read_lease, path)
    silent = lease if watch.is_silent(lease, up_s()) else None
    if lease.holder and silent is None and not fence.is_dead(lease.holder):
        return None
    try:
        return Journal(path, silent).open()
    except HeldError:
        return None  # it gave a sign of life, or another standby was quicker
    except EnvironmentProblem:
        if silent is None or not _out_of_the_way(silent):
            raise
        return None


def _out_of_the_way(lease: Lease) -> bool:
    """Kill a silent *lease*'s holder that keeps the journal locked; return whether there was one of this machine."""
    pid = fence.pid_of(lease.holder)
    if pid is None or pid == os.getpid():
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if not fence.is_dead(lease.holder):  # looked at again: the handle may be another process's of the same number
            log.warning("process %d is silent and keeps the journal locked: killed", pid)
            signal.pidfd_send_signal(handle, signal.SIGKILL)
    except PermissionError:
        return False
    finally:
        os.close(handle)
    return True


class Primary:
    """What the primary does to be seen, and knows about whether it still is one."""

    def __init__(self, journal: Journal, takeover_s: float, running_s: Callable[[], float] = up_s) -> None:
        self._journal = journal
        self._takeover_s = takeover_s
        self._running_s = running_s
        self._began_s = running_s()

    def check(self) -> None:
        """Raise `FencedError` when nothing could be written for half of the takeover time."""
        if self._running_s() - self._journal.beaten_s > self._takeover_s / 2:
            raise FencedError(
                f"no beat for {self._takeover_s / 2:g} s: another process may have taken over, this one ends"
            )

    def earlier_requests_end_in(self, request_s: float, in_flight_s: float) -> float:
        """
        Return for how many seconds a request of the process before this one may still be under way.

        A dead process sends no more: what was on the line then arrives within *in_flight_s*. One that was only silent
        may have a request open for *request_s*.
        """
        longest_s = max(request_s, in_flight_s) if self._journal.after_silence else in_flight_s
        return max(0.0, self._began_s + longest_s - self._running_s())

    async def run(self) -> None:
        """Beat until cancelled; raise `FencedError` when another process has taken over."""
        while True:
            self._journal.beat()
            await asyncio.sleep(self._takeover_s / BEATS)
