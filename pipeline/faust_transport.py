"""
Faust's Kafka transport, with a short long poll and nothing lost at the end of a recovery.

When a worker has taken partitions over, Faust 0.15.3 lets their records in, seeks to the committed offsets and only
then resumes the flow, which empties the queues of all agents:

    resume partitions ── seek to committed ──────────────── resume flow, queues emptied ──▶
                              records: 60 61 62 63 … into the queues ✗        64 65 …  handled

What arrived between the two is gone: no agent sees it. Faust commits no offset beyond a gap, so the partition stands
still for ever (faust-streaming #629 and #175 tell of such); where the gap is a single record, it goes on as if nothing
were missing. With records waiting, as there are after a worker has died, that is likely. So here partitions are resumed
with the flow and not before, and no request for records is under way during the seek.
"""

import asyncio
from asyncio import AbstractEventLoop
from collections.abc import Iterable, Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver

#: Faust asks Kafka to hold an empty fetch for 1.5 s, hard-coded; a partition that was not part of the pending fetch
#: waits that long for the next.
FETCH_MAX_WAIT_MS = 50
#: Faust waits 1 s for records, hard-coded; partitions that are resumed meanwhile, and a seek, wait for the end of that.
FETCH_TIMEOUT_S = 0.2


class _Thread(driver.AIOKafkaConsumerThread):  # type: ignore[misc] # Faust ships no types mypy can follow
    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = FETCH_MAX_WAIT_MS  # noqa: SLF001 - read at start, no public way (aiokafka 0.14)
        return consumer

    async def seek_to_committed(self) -> Mapping[Any, int]:
        """Seek to the committed offsets, to the beginning where there is none; return the committed ones."""
        committed: Mapping[Any, int] = await super().seek_to_committed()
        new = [place for place, offset in committed.items() if not offset and not self._is_changelog(place)]
        if new:
            await self.call_thread(self._ensure_consumer().seek_to_beginning, *new)
        return committed

    def _is_changelog(self, place: Any) -> bool:
        return place.topic in self.app.tables.changelog_topics


class Consumer(driver.Consumer):  # type: ignore[misc] # as above
    """Faust's consumer, which lets records in when they are not lost any more."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._resumed_with_flow: set[Any] = set()
        self._fetching = asyncio.Lock()
        super().__init__(*args, **options)

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    def resume_partitions(self, tps: Iterable[Any]) -> None:
        """Let records of *tps* in, once the flow is resumed."""
        self._resumed_with_flow.update(tps)

    def pause_partitions(self, tps: Iterable[Any]) -> None:
        """Let no records of *tps* in."""
        paused = set(tps)
        self._resumed_with_flow -= paused
        super().pause_partitions(paused)

    def resume_flow(self) -> None:
        """Let records in again: Faust has just emptied the queues."""
        super().resume_partitions(self._resumed_with_flow)
        self._resumed_with_flow = set()
        super().resume_flow()

    async def perform_seek(self) -> None:
        """Seek to the committed offsets while no records are on their way."""
        async with self._fetching:
            await super().perform_seek()

    async def _getmany(self, active_partitions: set[Any] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        """Fetch records of the partitions that are active now: the set is Faust's own and changes under way."""
        async with self._fetching:
            asked = None if active_partitions is None else set(active_partitions)
            if asked is not None and not asked:
                return {}  # to aiokafka no partitions are all partitions
            return await super()._getmany(asked, min(timeout, FETCH_TIMEOUT_S))


class QuickTransport(driver.Transport):  # type: ignore[misc] # as above
    """Faust's Kafka transport with the two changes."""

    Consumer = Consumer


def use_quick_transport(app: Any, loop: AbstractEventLoop) -> None:
    """Give *app* the transport; before it starts, inside the loop it will run on."""
    app.finalize()
    app.transport = QuickTransport(app.conf.broker_consumer, app, loop=loop)
