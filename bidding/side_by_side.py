"""What runs side by side, and what must not: locks by key, and work whose first failure ends the rest."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Hashable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from weakref import WeakValueDictionary


class Locks:
    """A lock for each key, for as long as anybody wants it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def hold(self, keys: Iterable[Hashable]) -> AsyncIterator[None]:
        """Hold the locks of *keys*, taken in the order given: the same everywhere, or two wait for each other."""
        async with AsyncExitStack() as stack:
            for key in keys:
                await stack.enter_async_context(self._locks.setdefault(key, asyncio.Lock()))
            yield


async def all_of(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Run *work* side by side; the first failure ends the rest, and is raised."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in work]
    try:
        if tasks:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
