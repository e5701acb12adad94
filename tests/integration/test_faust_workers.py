"""Two workers' Faust halves on a real Kafka, of which one dies or stands still: no figure shows it."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import msgspec
import pytest
from aiokafka.partitioner import murmur2
from integration.workers import wait_for
from unit.pipeline.test_site import partial
from unit.pipeline.test_site_intervals import late, part

from pipeline import kafka as bus
from pipeline.clock import Clock
from pipeline.codec import Codec
from pipeline.interval import Interval, floor
from pipeline.messages.telemetry import IntervalCorrection, IntervalPartial, SiteInterval
from pipeline.settings import Kafka
from pipeline.site_figures import merged_interval
from pipeline.topics import CORRECTIONS, INTERVAL_PARTIALS, PORTFOLIO_CAPACITY, SITE_INTERVALS, SITE_PARTIALS, Topic

pytestmark = pytest.mark.broker

WORKER = Path(__file__).parent.parent / "doubles" / "faust_worker.py"
SECOND = timedelta(seconds=1)
PARTITIONS = 2
SECONDS = 24
FAULT_AT = 6
STOPPED_S = 9
"""Longer than the session of 6 s."""
M = TypeVar("M")
Figure = IntervalPartial | IntervalCorrection


def sites() -> list[str]:
    """Return four new sites, one in each partition of the topics that are keyed by site."""
    homes: dict[int, str] = {}
    while len(homes) < SITE_PARTIALS.partitions:
        name = f"site-{uuid4().hex[:8]}"
        homes.setdefault((murmur2(name.encode()) & 0x7FFFFFFF) % SITE_PARTIALS.partitions, name)
    return [homes[number] for number in sorted(homes)]


@contextmanager
def worker(kafka: Kafka, group: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a worker and yield it once it is ready; whatever happens, it is gone afterwards."""
    folder.mkdir()
    words = [sys.executable, str(WORKER), kafka.bootstrap, str(PARTITIONS), group, str(folder / "faust")]
    log = folder / "log"
    with log.open("wb") as output, subprocess.Popen(words, stderr=output) as process:
        try:
            wait_for(lambda: "ready" in log.read_text() or process.poll() is not None, 60, f"{folder} to be ready")
            assert process.poll() is None, log.read_text()
            yield process
        finally:
            process.kill()


async def published(kafka: Kafka, topic: Topic[M]) -> list[M]:
    """Return all messages of *topic* so far."""
    codec, found = Codec(topic), []
    async with bus.consumer(kafka, topic) as reader:
        for partition, end in (await reader.end_offsets(reader.assignment())).items():
            while await reader.position(partition) < end:
                records = (await reader.getmany(partition, timeout_ms=200)).get(partition, [])
                found += [codec.decode(record.value) for record in records]
    return found


def final(kafka: Kafka) -> dict[tuple[str, datetime], SiteInterval]:
    """Return the highest revision of each interval, its number left out."""
    best: dict[tuple[str, datetime], SiteInterval] = {}
    for figure in asyncio.run(published(kafka, SITE_INTERVALS)):
        known = best.get(key := (figure.site, figure.interval.start))
        if known is None or figure.revision >= known.revision:
            best[key] = figure
    return {key: msgspec.structs.replace(figure, revision=0) for key, figure in best.items()}


async def load(kafka: Kafka, names: list[str], meanwhile: Callable[[int], None]) -> list[Figure]:
    """
    Send what two telemetry partitions say of each site for `SECONDS` seconds; return the figures of intervals.

    Intervals last a second; the second partition's figure of each comes a second after the first's, and every third
    is corrected two seconds later.
    """
    sent: list[Figure] = []
    begun = floor(Clock().now(), SECOND) + SECOND
    async with bus.Sender(kafka) as sender:
        for second in range(SECONDS):
            await asyncio.sleep((begun + second * SECOND - Clock().now()) / SECOND)
            meanwhile(second)
            for site in names:
                for number in range(PARTITIONS):
                    pulse = msgspec.structs.replace(partial(number, 0), site=site, as_of=begun + second * SECOND)
                    await sender.enqueue(SITE_PARTIALS, pulse)
                for figure in figures(site, begun, second):
                    sent.append(figure)
                    if isinstance(figure, IntervalPartial):
                        await sender.enqueue(INTERVAL_PARTIALS, figure)
                    else:
                        await sender.enqueue(CORRECTIONS, figure)
        await sender.flush()
    return sent


def figures(site: str, begun: datetime, second: int) -> list[Figure]:
    """Return what is said of the intervals at *second*."""

    def of(figure: Figure, age: int) -> Figure:
        end = begun + (second - age) * SECOND
        return msgspec.structs.replace(figure, site=site, interval=Interval(end - SECOND, end), offset=second)

    said = [of(part(0, 0.1 + second / 1000), 0)]
    said += [of(part(1, 0.2 + second / 1000), 1)] if second >= 1 else []
    said += [of(late(0, 0.3), 2)] if second >= 2 and second % 3 == 0 else []
    return said


def golden(sent: list[Figure]) -> dict[tuple[str, datetime], SiteInterval]:
    """Return what one computation without any fault makes of *sent*; the last interval lacks its second partition."""
    found = {}
    for key in {(figure.site, figure.interval.start) for figure in sent}:
        mine = [figure for figure in sent if (figure.site, figure.interval.start) == key]
        parts = [figure for figure in mine if isinstance(figure, IntervalPartial)]
        adds = [figure for figure in mine if isinstance(figure, IntervalCorrection)]
        if len(parts) == PARTITIONS:
            found[key] = merged_interval(parts, PARTITIONS, 0, adds)
    return found


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_that_dies_or_stands_still_changes_no_figure(
    kafka: Kafka, tmp_path: Path, fault: signal.Signals
) -> None:
    """
    Four sites on two workers, of which the first is killed, or stopped for longer than its session, after 6 s.

    Every interval comes out as if nothing had happened, corrections included, and the portfolio is whole again. The
    worker that wakes ends at once.
    """
    names, group = sites(), f"workers-{uuid4().hex[:8]}"
    with worker(kafka, group, tmp_path / "1") as first, worker(kafka, group, tmp_path / "2") as second:

        def meanwhile(moment: int) -> None:
            if moment == FAULT_AT:
                first.send_signal(fault)
            if moment == FAULT_AT + STOPPED_S:
                first.send_signal(signal.SIGCONT)

        expected = golden(asyncio.run(load(kafka, names, meanwhile)))
        over = Clock().now()

        with suppress(AssertionError):  # what differs tells more than that it took too long
            wait_for(lambda: expected.items() <= final(kafka).items(), 120, "every interval to be as expected")
        found = final(kafka)
        assert {key: found.get(key) for key in expected} == expected
        assert len(expected) == len(names) * (SECONDS - 1)
        assert second.poll() is None
        if fault is signal.SIGSTOP:
            assert first.wait(30) == 1
            assert "stood still for" in (tmp_path / "1" / "log").read_text()

    portfolios = [one for one in asyncio.run(published(kafka, PORTFOLIO_CAPACITY)) if over - one.known_at < 3 * SECOND]
    assert any(set(one.sites) >= set(names) for one in portfolios)
