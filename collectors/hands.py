"""
Turn controls and read them back, each in a thread of its own: one that is slow or hangs holds up no other.

    key       ┌ set ─ read back ┐
    GPU 0     ├─────ok          │
    GPU 1     ├─────────hangs…  │   nothing more is asked of it until that call returns; said, and left out meanwhile
    job 17    └──────────┼──ok      slower than anybody waits: its answer is taken by the next look

Nothing here is decided: what to set comes in, what reads back and what went wrong is there to look at.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from collectors import Place, SourceError
from collectors.lanes import Lane, settled
from collectors.levers import Found, Key, Lever, LeverError, Reading, apply
from pipeline.messages.control import Kind, Trouble

log = logging.getLogger(__name__)

RETRY_S = 5.0
"""A refused set-point is tried again after this long, seconds of the machine, while it is still wanted."""
JOBS = frozenset({Kind.RUN, Kind.ADMISSION})
"""Kinds whose subjects come and go."""
WAIT_S = 0.5
"""No caller is held up longer than this, seconds of the machine: what takes longer is taken up when it is there."""


@dataclass(frozen=True)
class Failure:
    """What went wrong with a control."""

    trouble: Trouble
    text: str


NOT_BACK = Failure(Trouble.HANGS, "a call to it has not come back")


@dataclass(frozen=True)
class _Refused:
    """A set-point that a control did not take."""

    level: float
    retry_at_s: float


@dataclass(frozen=True)
class _Call:
    """A call that is out."""

    answer: "Future[Reading]"
    since_s: float
    level: float | None
    """What it sets; None: it only reads."""


class Hands:
    """All levers of a host; at most one for each kind of control."""

    def __init__(self, levers: Sequence[Lever]) -> None:
        self._levers = {lever.kind: lever for lever in levers}
        self._finders: dict[Kind, Lane[Any]] = {kind: Lane(f"find {kind}") for kind in self._levers}
        self._finding: dict[Kind, Future[tuple[Found, ...]]] = {}
        self._lanes: dict[Key, Lane[Reading]] = {}
        self._out: dict[Key, _Call] = {}
        self._found: dict[Kind, tuple[Found, ...]] = {}
        self._refused: dict[Key, _Refused] = {}
        self._not_read: dict[Key, Failure] = {}
        self._not_set: dict[Key, Failure] = {}
        self._taken: dict[Key, float] = {}
        self._places: dict[str, Place] = {}
        self.readings: dict[Key, Reading] = {}
        """Of every control that answered when it was asked last."""
        self.known: dict[Key, Reading] = {}
        """The last reading of every control that ever answered."""
        self.silent: dict[Kind, str] = {}
        """Levers that cannot be asked, and why."""

    @property
    def kinds(self) -> Collection[Kind]:
        """What can be turned here."""
        return self._levers.keys()

    @property
    def failures(self) -> dict[Key, Failure]:
        """What is wrong with single controls now."""
        return {**self._not_set, **self._not_read}

    @property
    def pending(self) -> set[Key]:
        """Controls with a call that is out and may yet come back in time."""
        return {key for key in self._out if self._not_read.get(key) is not NOT_BACK}

    @property
    def is_finding(self) -> bool:
        """Whether a lever is still looking for what it can turn."""
        return bool(self._finding)

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the GPUs sit, by any lever that can tell; known over `close`, since mappings ask meanwhile."""
        return tuple(self._places.values())

    @property
    def refused(self) -> set[Key]:
        """Controls that did not take what was set last."""
        return set(self._not_set)

    async def look(self, now: datetime, jobs: Collection[str], kinds: Collection[Kind] = tuple(Kind)) -> None:
        """Find what there is to turn of *kinds*, and read all of it."""
        for kind, lane in self._finders.items():
            if kind in kinds and not lane.busy:
                self._finding[kind] = lane.call(partial(self._levers[kind].find, now, jobs))
        await settled([self._finding[kind] for kind in self._finding if kind in kinds], WAIT_S)
        for kind, found in list(self._finding.items()):
            if found.done():
                self._take(kind, self._finding.pop(kind))
            elif kind not in self._found:
                self.silent[kind] = "no answer yet"
        keys = {Key(kind, one.subject) for kind, found in self._found.items() for one in found if kind in kinds}
        for key in [key for key in self.known if key.kind in kinds and key not in keys]:
            self.readings.pop(key, None)
            self._not_read.setdefault(key, Failure(Trouble.LOST, "does not answer"))
            if key.kind in JOBS and key.subject not in jobs and key not in self._out:
                self._drop(key)
        await self.read(keys)

    async def read(self, keys: Iterable[Key]) -> None:
        """Read *keys* anew."""
        await self._ask({key: (partial(self._levers[key.kind].read, key.subject), None) for key in keys})

    async def set(self, levels: Mapping[Key, float]) -> None:
        """Set *levels* and read each back, leaving out what was refused a moment ago."""
        now_s = asyncio.get_running_loop().time()
        await self._ask(
            {
                key: (partial(apply, self._levers[key.kind], key.subject, level), level)
                for key, level in levels.items()
                if self._is_due(key, level, now_s)
            }
        )

    def taken(self) -> dict[Key, float]:
        """Return what was set and read back since this was asked last."""
        taken, self._taken = self._taken, {}
        return taken

    def retry(self) -> None:
        """Forget what was refused: a new command asks anew."""
        self._refused, self._not_set = {}, {}

    def forget(self, key: Key) -> None:
        """Forget that a control refused something: it has taken it after all."""
        self._refused.pop(key, None)
        self._not_set.pop(key, None)

    async def close(self) -> None:
        """Let go of all devices; one that hangs lets go when its call returns."""
        closing = [lane.after(self._levers[kind].close) for kind, lane in self._finders.items() if not lane.busy]
        await settled(closing, WAIT_S)
        self._found, self.readings = {}, {}

    def _drop(self, key: Key) -> None:
        """Forget a job that is over."""
        self.forget(key)
        for known in (self.known, self._not_read, self._lanes):
            known.pop(key, None)

    def _take(self, kind: Kind, found: "Future[tuple[Found, ...]]") -> None:
        try:
            self._found[kind] = found.result()
            self._places |= {one.subject: one.place for one in self._found[kind] if one.place is not None}
            self.silent.pop(kind, None)
        except Exception as error:  # as below
            if not isinstance(error, SourceError):
                log.exception("the lever for %s failed in a way it should not", kind)
            self._found[kind] = ()
            self.silent[kind] = str(error) or type(error).__name__

    def _is_due(self, key: Key, level: float, now_s: float) -> bool:
        refused = self._refused.get(key)
        return key.kind in self._levers and (refused is None or refused.level != level or now_s >= refused.retry_at_s)

    async def _ask(self, calls: Mapping[Key, tuple[Callable[[], Reading], float | None]]) -> None:
        """Make *calls*, all at one time, of controls that have none out; take what comes back soon."""
        now_s = asyncio.get_running_loop().time()
        for key, (call, level) in calls.items():
            if key not in self._out:
                self._out[key] = _Call(self._lanes.setdefault(key, Lane(str(key))).call(call), now_s, level)
        await settled([self._out[key].answer for key in calls if self._not_read.get(key) is not NOT_BACK], WAIT_S)
        self.collect()

    def collect(self) -> None:
        """Take what has come back, and say of what is out for too long that it hangs."""
        now_s = asyncio.get_running_loop().time()
        for key, call in list(self._out.items()):
            if call.answer.done():
                del self._out[key]
                self._settle(key, call, now_s)
            elif now_s - call.since_s >= self._levers[key.kind].patience_s:
                self.readings.pop(key, None)
                self._not_read[key] = NOT_BACK

    def _settle(self, key: Key, call: _Call, now_s: float) -> None:
        """Take the answer to *call*."""
        if call.level is not None:
            self.forget(key)
        try:
            self.readings[key] = self.known[key] = call.answer.result()
        except Exception as error:  # noqa: BLE001 - a bug in one lever is that control's trouble, and no other's
            failure = _failure(key, error)
            if call.level is None:
                self._not_read[key] = failure
                self.readings.pop(key, None)
                return
            self._not_set[key] = failure
            self._refused[key] = _Refused(call.level, now_s + RETRY_S)
        else:
            if call.level is not None:
                self._taken[key] = call.level
        self._not_read.pop(key, None)


def _failure(key: Key, error: Exception) -> Failure:
    if isinstance(error, LeverError):
        return Failure(error.trouble, str(error))
    log.error("the lever for %s failed in a way it should not", key, exc_info=error)
    return Failure(Trouble.FAILED, f"{type(error).__name__}: {error}")
