"""
What the collector costs a GPU host: the real process, eight GPUs of the stand-in, one engine's page, a real Kafka.

    PYTHONPATH=tests python tests/bench/bench_collect_process.py [SECONDS]       60 by default; 600: is it flat?

One JSON line a pace: share of one core and resident memory, beside a plain scrape loop over the same devices and the
same page (`doubles.plain_exporter`), both running at the same time for the same span. The stand-in's driver calls cost
next to nothing; a real driver's come on top of both.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
from doubles.gpu_host import GpuHost
from doubles.nvml import nvml_double

from deploy.broker import node
from pipeline.clock import Clock
from pipeline.kafka import ensure_topics
from pipeline.settings import Kafka
from pipeline.topics import TOPICS

TESTS = Path(__file__).parent.parent
GPUS, PAGE_BYTES = 8, 328_000
"""The page of a vLLM with eight engines."""
WARM_UP_S = 10.0


def main(seconds: float = 60.0) -> None:
    """Print a line for one tick a second and one for ten."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        kafka = stack.enter_context(broker(folder / "broker"))
        url = stack.enter_context(engine())
        measured(folder / "host-1", kafka, url, 1.0, seconds)
        measured(folder / "host-10", kafka, url, 0.1, min(seconds, 60.0))


def measured(folder: Path, kafka: Kafka, url: str, period_s: float, seconds: float) -> None:
    """Print what collector and plain loop cost at one pace."""
    host = GpuHost.make("bench", folder, gpus=GPUS)
    host.configure(kafka, Clock())
    with host.config.open("a") as file:
        file.write(f'[[engine]]\nkind = "vllm"\nurl = "{url}"\njob = "train"\n')
    host.amend("[collector]", f"[collector]\nperiod_s = {period_s}")
    plain = [sys.executable, "-m", "doubles.plain_exporter", str(seconds + 2 * WARM_UP_S), str(period_s), url]
    environment = os.environ | nvml_double.environment(folder, host.state) | {"PYTHONPATH": str(TESTS)}
    collector = psutil.Process(host.start("collect").pid)
    with subprocess.Popen(plain, env=environment) as reference:
        time.sleep(WARM_UP_S)
        other = psutil.Process(reference.pid)
        before, other_before, began = cpu_s(collector), cpu_s(other), time.monotonic()
        sizes = []
        while time.monotonic() - began < seconds:
            time.sleep(1.0)
            sizes.append(collector.memory_info().rss / 1e6)
        span_s = time.monotonic() - began
        share, plain_share = (cpu_s(collector) - before) / span_s, (cpu_s(other) - other_before) / span_s
        reference.terminate()
    host.stop()
    line = {
        "bench": "collector_process",
        "ticks_per_s": round(1 / period_s),
        "seconds": round(span_s),
        "cpu_percent_of_a_core": round(100 * share, 2),
        "plain_loop_cpu_percent": round(100 * plain_share, 2),
        "ratio": round(share / plain_share, 3),
        "against": "plain pynvml and prometheus_client scrape loop",
        "rss_mb": round(max(sizes), 1),
        "rss_growth_mb": round(sizes[-1] - sizes[0], 2),
    }
    print(json.dumps(line), flush=True)  # noqa: T201 - a benchmark talks


def cpu_s(process: psutil.Process) -> float:
    """Return the CPU time that *process* has used, all threads, seconds."""
    times = process.cpu_times()
    return float(times.user + times.system)


@contextmanager
def broker(data: Path) -> Iterator[Kafka]:
    """Yield the settings of a Kafka of its own."""
    started = asyncio.run(node.start(data, heap_mb=256, detach=False))
    try:
        asyncio.run(ensure_topics(started.kafka, TOPICS))
        yield started.kafka
    finally:
        node.stop(data)


@contextmanager
def engine() -> Iterator[str]:
    """Yield the URL of an engine's page, served by a process of its own."""
    words = [sys.executable, "-m", "doubles.engine_server", "vllm", "100", str(PAGE_BYTES)]
    with subprocess.Popen(
        words, env=os.environ | {"PYTHONPATH": str(TESTS)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip() + "/metrics"
        finally:
            process.terminate()


if __name__ == "__main__":
    main(*map(float, sys.argv[1:2]))
