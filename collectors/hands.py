"""
Turn controls and read them back, each in a thread of its own: one that hangs holds up no other.

    key       ┌ set ─ read back ┐
    GPU 0     ├─────ok          │
    GPU 1     ├─────────hangs…  │   nothing more is asked of it until that call returns; said, and left out meanwhile
    job 17    └──────────ok     ┘

Nothing here is decided: what to set comes in, what reads back and what went wrong is there to look at.
"""

import asyncio
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

RETRY_S = 5.0
"""A refused set-point is tried again after this long, seconds of the machine, while it is still wanted."""


@dataclass(frozen=True)
class Failure:
    """What went wrong with a control."""

    trouble: Trouble
    text: str


@dataclass(frozen=True)
class _Refused:
    """A set-point that a control did not take."""

    level: float
    retry_at_s: float


class Hands:
    """All levers of a host; at most one for each kind of control."""

    def __init__(self, levers: Sequence[Lever], patience_s: float = 1.0) -> None:
        """Wait for no call longer than *patience_s*, seconds of the machine."""
        self._levers = {lever.kind: lever for lever in levers}
        self._patience_s = patience_s
        self._finders: dict[Kind, Lane[Any]] = {kind: Lane(f"find {kind}") for kind in self._levers}
        self._lanes: dict[Key, Lane[Reading]] = {}
        self._found: dict[Kind, tuple[Found, ...]] = {}
        self._refused: dict[Key, _Refused] = {}
        self._not_read: dict[Key, Failure] = {}
        self._not_set: dict[Key, Failure] = {}
        self.readings: dict[Key, Reading] = {}
        """Of every control that answered when it was asked last."""
        self.known: dict[Key, Reading] = {}
        """The last reading of every control that ever answered."""
        self.silent: dict[Kind, str] = {}
        """Levers that cannot be asked, and why."""

    @property
    def failures(self) -> dict[Key, Failure]:
        """What is wrong with single controls now."""
        return {**self._not_set, **self._not_read}

    @property
    def places(self) -> tuple[Place, ...]:
        """Where the GPUs sit, by any lever that can tell."""
        places = (one.place for found in self._found.values() for one in found)
        return tuple({place.uuid: place for place in places if place is not None}.values())

    async def look(self, now: datetime, jobs: Collection[str]) -> None:
        """Find what there is to turn, and read all of it."""
        finding = {
            kind: lane.call(partial(self._levers[kind].find, now, jobs))
            for kind, lane in self._finders.items()
            if not lane.busy
        }
        await settled(finding.values(), self._patience_s)
        for kind, lane in self._finders.items():
            if lane.busy:
                self.silent[kind] = f"no answer within {self._patience_s:g} s"
        for kind, found in finding.items():
            if found.done():
                self._take(kind, found)
        keys = {Key(kind, one.subject) for kind, found in self._found.items() for one in found}
        for key in self.known.keys() - keys:
            self.readings.pop(key, None)
            self._not_read.setdefault(key, Failure(Trouble.LOST, "does not answer"))
        await self.read(keys)

    async def read(self, keys: Iterable[Key]) -> None:
        """Read *keys* anew."""
        await self._ask({key: partial(self._levers[key.kind].read, key.subject) for key in keys}, self._not_read)

    async def set(self, levels: Mapping[Key, float]) -> set[Key]:
        """Set *levels* and read each back, leaving out what was refused a moment ago; return what was tried."""
        now_s = asyncio.get_running_loop().time()
        due = {key: level for key, level in levels.items() if self._is_due(key, level, now_s)}
        for key in due:
            self._not_set.pop(key, None)
        await self._ask(
            {key: partial(apply, self._levers[key.kind], key.subject, level) for key, level in due.items()},
            self._not_set,
        )
        for key, level in due.items():
            self._refused.pop(key, None)
            if key in self._not_set:
                self._refused[key] = _Refused(level, now_s + RETRY_S)
        return set(due)

    def forget(self, key: Key) -> None:
        """Forget what was refused of a control that is wanted no more."""
        self._refused.pop(key, None)
        self._not_set.pop(key, None)

    async def close(self) -> None:
        """Let go of all devices; one that hangs lets go when its call returns."""
        closing = [lane.after(self._levers[kind].close) for kind, lane in self._finders.items() if not lane.busy]
        await settled(closing, self._patience_s)
        self._found, self.readings = {}, {}

    def _take(self, kind: Kind, found: "Future[Any]") -> None:
        try:
            self._found[kind] = found.result()
            self.silent.pop(kind, None)
        except SourceError as error:
            self._found[kind] = ()
            self.silent[kind] = str(error)

    def _is_due(self, key: Key, level: float, now_s: float) -> bool:
        refused = self._refused.get(key)
        return key.kind in self._levers and (refused is None or refused.level != level or now_s >= refused.retry_at_s)

    async def _ask(self, calls: Mapping[Key, Callable[[], Reading]], failed: dict[Key, Failure]) -> None:
        """Make *calls*, all at one time; note readings, and into *failed* what went wrong."""
        out: dict[Key, Future[Reading]] = {}
        for key, call in calls.items():
            lane = self._lanes.setdefault(key, Lane(str(key)))
            if not lane.busy:
                out[key] = lane.call(call)
        await settled(out.values(), self._patience_s)
        for key in calls:
            answer = out.get(key)
            if answer is None or not answer.done():
                self.readings.pop(key, None)
                failed[key] = Failure(Trouble.HANGS, "a call to it does not come back")
                continue
            try:
                self.readings[key] = self.known[key] = answer.result()
            except LeverError as error:
                failed[key] = Failure(error.trouble, str(error))
                if failed is self._not_read:
                    self.readings.pop(key, None)
            else:
                self._not_read.pop(key, None)
                failed.pop(key, None)
