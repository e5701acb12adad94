"""
`firmwatt collect check`: everything that the settings name is tried once, before a fleet depends on it.

One line for each part, `ok` or `FAIL` and what to do; the exit code is that of the worst failure, 0 if there is none.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from collectors import build, settings
from collectors.runner import Collector, let_go
from collectors.spool import Spool
from pipeline.errors import FirmwattError
from pipeline.kafka import Sender, ensure_topics
from pipeline.messages.telemetry import HostTick, Quality
from pipeline.settings import Kafka, load
from pipeline.topics import HOST_TICKS

WATCH_S = 12
"""Long enough for two windows in which energy counters are compared with the draw (`collectors.counters`)."""


@dataclass(frozen=True)
class Finding:
    """One part and how it does."""

    part: str
    text: str
    exit_code: int = 0

    def __str__(self) -> str:
        return f"{'FAIL' if self.exit_code else 'ok':<5}{self.part}: {self.text}"


def main(config: Path, host: str) -> int:
    """Print the findings as they come."""
    section = load(config, "collector", settings.Collector)
    collector = build.collector(config, host)
    return asyncio.run(_report(collector, section, load(config, "kafka", Kafka)))


async def _report(collector: Collector, section: settings.Collector, kafka: Kafka) -> int:
    worst = 0
    async for finding in findings(collector, section, kafka):
        sys.stdout.write(f"{finding}\n")
        sys.stdout.flush()
        worst = max(worst, finding.exit_code)
    return worst


async def findings(collector: Collector, section: settings.Collector, kafka: Kafka) -> AsyncIterator[Finding]:
    """Yield a finding for every part; nothing is published and nothing is left behind."""
    sys.stderr.write(f"watching the devices for {WATCH_S} s\n")
    tick = await _watched(collector)
    held = await let_go(collector.close())
    yield Finding("devices", f"not let go of: {held}" if held else "let go of", 4 if held else 0)
    for feed in collector.everything:
        yield Finding(feed.name, feed.trouble or "answers", 4 if feed.trouble else 0)
    if tick is None:
        yield Finding("tick", "nothing could be measured", 4)
    else:
        for finding in of_tick(tick):
            yield finding
    folder = settings.state_folder(section, collector.identity.host)
    yield await tried(f"spool in {folder}", lambda: _spool(folder, section))
    yield await tried(f"Kafka at {kafka.bootstrap}", lambda: _kafka(kafka))


def of_tick(tick: HostTick) -> list[Finding]:
    """Return what is to be said of a tick measured after a while of watching. Pure."""
    found = [
        Finding(gpu.uuid, f"marked {', '.join(gpu.quality)}", 4)
        for gpu in tick.gpus
        if set(gpu.quality) - {Quality.SCOPE_MODULE}
    ]
    unclaimed = sum(gpu.job is None for gpu in tick.gpus)
    found.append(Finding("GPUs", f"{len(tick.gpus)} seen, {unclaimed} claimed by nobody and therefore T0"))
    silent = [job.job for job in tick.jobs if job.tokens_total is None]
    if silent:
        found.append(Finding("tokens", f"nobody counts those of {', '.join(silent)}"))
    return found


async def _watched(collector: Collector) -> HostTick | None:
    """Measure for a while; return the last tick."""
    tick = None
    for second in range(WATCH_S):
        tick = await collector.tick("check", second + 1)
        if tick is None:
            return None
        await collector.next_period()
    return tick


async def tried(part: str, work: Callable[[], Awaitable[str]]) -> Finding:
    """Return what *work* says of *part*, or the error it meets."""
    try:
        return Finding(part, await work())
    except FirmwattError as error:
        return Finding(part, str(error), error.exit_code)


async def _spool(folder: Path, section: settings.Collector) -> str:
    with Spool.open(folder, round(section.spool_mb * 1e6)) as spool:
        return f"{spool.depth} ticks waiting, at most {section.spool_mb:g} MB"


async def _kafka(kafka: Kafka) -> str:
    await ensure_topics(kafka, [HOST_TICKS])
    async with Sender(kafka):
        return f"answers, and has {HOST_TICKS.name}"
