"""
Watches a worker for its pages: asks Kafka every few seconds how far behind it is. `pipeline.metrics` says it.

Everything else shown is what the parts know of themselves, so a scrape asks nobody and holds up nothing.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from shutil import disk_usage
from typing import Any

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from prometheus_client import ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pipeline import ends, metrics
from pipeline.agents.archive import Archive
from pipeline.agents.rollup import Rollup
from pipeline.clock import Clock, wall
from pipeline.messages.telemetry import PortfolioCapacity, SiteCapacity
from pipeline.metrics import Disk, Held, Lag
from pipeline.offsets import Offsets
from pipeline.outbox import Enqueue
from pipeline.topics import HOST_TICKS, Topic
from pipeline.watchdog import Progress

#: Machine time, seconds.
ASK_EVERY_S = 5.0
PATIENCE_S = 10.0
#: An event loop that has not come round for so long is stuck: the process is to be killed.
HEALTHY_FOR_S = 60.0


@dataclass(kw_only=True, eq=False)
class Monitor(Collector):
    """What one worker's pages show; they may ask from any thread."""

    worker: str
    group: str
    clock: Clock
    partitions_expected: int
    sources: frozenset[str]
    """What Faust's agents read; its changelogs, which it holds too, are none of it."""
    rollup: Rollup
    keeper: Archive
    folder: Path | None
    """The archive's; None in an object store."""
    ends_file: Path
    recovered: bool = False
    """Whether Faust's tables are restored; the worker sets it."""
    passed_over: Counter[str] = field(default_factory=Counter)
    """What the agents heard and that changed no figure (`pipeline.agents.interval`)."""
    _figures: dict[str, SiteCapacity] = field(default_factory=dict)
    _portfolios: dict[str, PortfolioCapacity] = field(default_factory=dict)
    _lags: tuple[Lag, ...] = ()
    _progress: Progress[tuple[str, TopicPartition]] = field(default_factory=Progress)
    _came_round_at: float = field(default_factory=time.monotonic)
    _process: ProcessCollector = field(default_factory=lambda: ProcessCollector(registry=None))

    async def run(self, faust: Any, offsets: Offsets) -> None:
        """Ask until cancelled; what Kafka does not tell is not shown, and the worker's watch tells if it is gone."""
        while True:
            self._came_round_at = time.monotonic()
            try:
                self._lags = await asyncio.wait_for(self._ask(faust, offsets), PATIENCE_S)
            except (KafkaError, OSError, TimeoutError):
                self._lags = ()
            await asyncio.sleep(ASK_EVERY_S)

    async def _ask(self, faust: Any, offsets: Offsets) -> tuple[Lag, ...]:
        ours = [TopicPartition(*partition) for partition in faust.consumer.assignment() if partition[0] in self.sources]
        committed = await offsets.committed(self.group, ours) if ours else {}
        places = {
            **{
                (self.rollup.group, TopicPartition(HOST_TICKS.name, number)): offset
                for number, offset in self.rollup.positions().items()
            },
            **{(self.group, partition): max(0, committed.get(partition, 0)) for partition in ours},
            **{(self.keeper.group, partition): place for partition, place in self.keeper.places.items()},
        }
        until = await offsets.ends({partition for _, partition in places}) if places else {}
        return self._lagging(places, {key: until[key[1]] for key in places})

    def _lagging(
        self, places: Mapping[tuple[str, TopicPartition], int], until: Mapping[tuple[str, TopicPartition], int]
    ) -> tuple[Lag, ...]:
        now = wall()
        self._progress = self._progress.seen(places, until, now)
        return tuple(
            Lag(group, partition.topic, partition.partition, max(0, until[group, partition] - place), now - since)
            for (group, partition), place in sorted(places.items())
            for _, since in [self._progress.standing[group, partition]]
        )

    def passing(self, enqueue: Enqueue) -> Enqueue:
        """Return *enqueue*, which also lets the pages know each figure of a site or portfolio that Kafka has."""

        async def passed(topic: Topic[Any], message: Any) -> "asyncio.Future[Any]":
            queued = await enqueue(topic, message)
            if isinstance(message, SiteCapacity | PortfolioCapacity):
                queued.add_done_callback(partial(self._acknowledged, message))
            return queued

        return passed

    def _acknowledged(self, figure: SiteCapacity | PortfolioCapacity, outcome: "asyncio.Future[Any]") -> None:
        if outcome.cancelled() or outcome.exception() is not None:
            return
        if isinstance(figure, SiteCapacity):
            self._figures[figure.site] = figure
        else:
            self._portfolios[figure.portfolio] = figure

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics (the protocol of prometheus_client's registry)."""
        yield from metrics.families(self.status())
        yield from self._process.collect()

    def status(self) -> metrics.Status:
        """Return what /metrics shows."""
        owned = self.rollup.owned()
        rebalances = {
            (self.rollup.group, change): count for change, count in dict(self.rollup.tally.rebalances).items()
        }
        return metrics.Status(
            worker=self.worker,
            group=self.group,
            now=self.clock.now(),
            ready=not self.readiness(),
            held=tuple(Held(number, each.state.offset, not each.ready) for number, each in sorted(owned.items())),
            partitions_expected=self.partitions_expected,
            lags=self._lags,
            counts=dict(self.rollup.counts),
            tally=self.rollup.tally,
            passed_over=dict(self.passed_over),
            rebalances=rebalances | {(self.keeper.group, "revoked"): self.keeper.rebalances},
            figures=tuple(dict(self._figures).values()),
            portfolios=tuple(dict(self._portfolios).values()),
            written=dict(self.keeper.written),
            written_at=self.keeper.written_at,
            disk=self._disk(),
            ends=ends.read(self.ends_file),
        )

    def _disk(self) -> Disk | None:
        if self.folder is None:
            return None
        usage = disk_usage(self.folder)
        return Disk(usage.free, usage.total)

    def health(self) -> list[str]:
        """Return why this process should be killed; nothing: it should not."""
        silent_s = time.monotonic() - self._came_round_at
        return [f"the event loop has not come round for {silent_s:.0f} s"] if silent_s > HEALTHY_FOR_S else []

    def readiness(self) -> list[str]:
        """Return what keeps this worker from publishing figures of all that it holds."""
        reasons = []
        if not self.rollup.assigned.is_set():
            reasons.append("no telemetry partitions are assigned")
        if not self.keeper.assigned.is_set():
            reasons.append("no partitions are assigned to the archive")
        if not self.recovered:
            reasons.append("Faust's tables are being restored")
        if replaying := [number for number, each in sorted(self.rollup.owned().items()) if not each.ready]:
            reasons.append(f"telemetry partitions are replayed: {', '.join(map(str, replaying))}")
        return reasons
