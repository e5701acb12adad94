"""Set limits on all GPUs of a host at one time, each read back; a refused one is not asked again at once."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from collectors.levers import GpuReading, Lever, LeverError, apply

T = TypeVar("T")

RETRY_S = 5.0
"""A refused limit is tried again after this long, seconds of the machine, while it is still wanted."""
THREADS = 16
"""GPUs limited at one time: a set call takes the driver about 10 ms (zeus#29), and hosts hold no more GPUs."""


@dataclass(frozen=True)
class Refused:
    """A limit that a GPU did not take."""

    limit_w: float
    error: str
    retry_at_s: float


class Hands:
    """A lever in threads, so that the event loop lives while drivers think."""

    def __init__(self, lever: Lever) -> None:
        self._lever = lever
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="lever")
        self._refused: dict[str, Refused] = {}

    @property
    def errors(self) -> dict[str, str]:
        """What was refused last, by GPU UUID, until it is taken."""
        return {uuid: refused.error for uuid, refused in self._refused.items()}

    async def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
        """Read all GPUs; raise `SourceError` when none can be asked."""
        return await self._in_thread(lambda: self._lever.gpus(now))

    async def set(self, limits_w: Mapping[str, float]) -> bool:
        """Set *limits_w* by UUID, leaving out what was refused a moment ago; tell whether anything was tried."""
        now_s = asyncio.get_running_loop().time()
        due_w = {uuid: limit_w for uuid, limit_w in limits_w.items() if self._is_due(uuid, limit_w, now_s)}
        errors = await asyncio.gather(*(self._try(uuid, limit_w) for uuid, limit_w in due_w.items()))
        for (uuid, limit_w), error in zip(due_w.items(), errors, strict=True):
            self._refused.pop(uuid, None)
            if error is not None:
                self._refused[uuid] = Refused(limit_w, error, now_s + RETRY_S)
        return bool(due_w)

    def _is_due(self, uuid: str, limit_w: float, now_s: float) -> bool:
        refused = self._refused.get(uuid)
        return refused is None or refused.limit_w != limit_w or now_s >= refused.retry_at_s

    async def _try(self, uuid: str, limit_w: float) -> str | None:
        try:
            await self._in_thread(lambda: apply(self._lever, uuid, limit_w))
        except LeverError as error:
            return str(error)
        return None

    async def _in_thread(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)
