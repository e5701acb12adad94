"""A broker of the bench's own, and what processes cost."""

import asyncio
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from deploy.broker import node
from deploy.broker.node import Node
from pipeline.kafka import ensure_topics
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import TOPICS

HEAP_MB = 512


@contextmanager
def broker() -> Iterator[Node]:
    """Yield a broker with all topics; it and its data are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="bench-stream-") as folder:
        data = Path(folder) / "broker"
        started = asyncio.run(node.start(data, heap_mb=HEAP_MB, detach=False))
        try:
            asyncio.run(ensure_topics(started.kafka, [*TOPICS, *MARKET_TOPICS]))
            yield started
        finally:
            node.stop(data)


def cpu_s(pid: int) -> float:
    """Return the CPU time that process *pid* has used, all its threads, seconds."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def peak_mb() -> float:
    """Return the most memory this process ever had resident, MB (getrusage(2) counts in kB on Linux)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000.0


def on_disk_b(data: Path, topic: str) -> int:
    """Return what the log of *topic* takes on the broker's disk, its indexes left out, bytes."""
    return sum(file.stat().st_size for file in data.glob(f"kafka/{topic}-*/*.log"))
