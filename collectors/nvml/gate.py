"""
NVML opened, looked through again and closed in a lane of its own.

Each of these may hang in the driver. No caller waits for one beyond its deadline, and what hangs goes on by itself.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import datetime
from functools import partial
from typing import TypeAlias

from collectors import SourceError
from collectors.lanes import Lane
from collectors.nvml import Found, Session
from collectors.nvml.xids import Xids

HANGS = "NVML does not answer: the driver hangs or takes long to start; see the kernel log"

Devices: TypeAlias = dict[str, Found]
"""By UUID."""


class Gate:
    """One session and those who listen to its events."""

    def __init__(self, session: Session, xids: Xids | None) -> None:
        self._session = session
        self._xids = xids
        self._lane = Lane[Devices | None]("nvml")
        self._devices: Devices | None = None
        self._work: Future[Devices | None] | None = None
        self._overdue: Future[Devices | None] | None = None
        """Work that a reading has waited for already; no other does."""
        self._refusal: str | None = None
        """Why the last work failed."""

    def devices(self, now: datetime, deadline: float) -> Devices:
        """
        Return the GPUs that answered last, opening NVML if it is not open.

        *deadline* is a `time.monotonic`. Raise `SourceError` as `Session.devices`, or where NVML opens too slowly.
        """
        if self._work is not None:
            self._devices = self._result(self._work, deadline)
        if self._devices is None:
            self._devices = self._result(self._start(partial(self._open, now)), deadline)
        return self._devices or {}

    def rescan(self, now: datetime) -> None:
        """Look for other GPUs, to be found by the next `devices`; the present ones stay until then."""
        if self._work is None:
            self._start(partial(self._rescan, now))

    def reopen(self, now: datetime) -> None:
        """Begin to open NVML anew, for the next `devices` to wait for; not sooner than the session's back-off."""
        if self._work is None and self._session.may_reopen(now):
            self._devices = None
            self._start(partial(self._reopen, now))

    def healthy(self) -> None:
        """Note that all is well: the next trouble is met at once."""
        if self._work is None:
            self._session.healthy()

    def close(self, deadline: float) -> None:
        """Let go of NVML; raise `SourceError` where it does not let itself be closed in time."""
        self._devices = self._overdue = None
        try:
            if self._work is not None:
                self._result(self._work, deadline)
        except SourceError:
            if self._work is not None:
                raise  # it still hangs: what it opens stays open
        self._result(self._start(self._close), deadline)

    def _start(self, work: Callable[[], Devices | None]) -> "Future[Devices | None]":
        self._work = self._lane.call(work)
        return self._work

    def _result(self, work: "Future[Devices | None]", deadline: float) -> Devices | None:
        """
        Return what *work* gives. While it hangs it stays the gate's work, and what was known before stands.

        Raise `SourceError` where nothing was, or where the work failed; a try that takes long after one that failed is
        not yet another trouble.
        """
        is_overdue = work is self._overdue
        wait((work,), 0 if is_overdue else max(0.0, deadline - time.monotonic()))
        if work.done():
            self._work = self._devices = None
            return self._done(work)
        self._overdue = work
        if self._devices is None:
            raise SourceError(HANGS if is_overdue or self._refusal is None else self._refusal)
        return self._devices

    def _done(self, work: "Future[Devices | None]") -> Devices | None:
        try:
            devices = work.result()
        except SourceError as refused:
            self._refusal = str(refused)
            raise
        self._refusal = None
        return devices

    def _open(self, now: datetime) -> Devices:
        devices = self._session.devices(now)
        self._listen(devices)
        return devices

    def _rescan(self, now: datetime) -> Devices:
        if self._session.has_moved_on:
            return self._reopen(now)
        before = self._session.devices(now)
        devices = self._session.rescan()
        if devices.keys() != before.keys():
            self._listen(devices)
        return devices

    def _reopen(self, now: datetime) -> Devices:
        self._close()
        return self._open(now)

    def _close(self) -> None:
        if self._xids is not None:
            self._xids.stop()
        self._session.close()

    def _listen(self, devices: Devices) -> None:
        if self._xids is not None:
            self._xids.listen({uuid: device.handle for uuid, device in devices.items()})
