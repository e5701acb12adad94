"""
How old the ticks are behind a site's figure when it reaches its reader, and what workers cost under a live load.

Hosts tick once a second each at moments of their own; workers are ``firmwatt pipeline run``. Age is told by figures
that hold every host: the 99th percentile of the hosts' ages when it was made, and the time it took to arrive.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
from bench.stream import live
from bench.stream.lines import digits, medians, say
from bench.stream.node import broker, cpu_s
from doubles.stream.recovery import quantile
from doubles.stream.tail import Tail
from doubles.stream.workers import Place, Workforce

from deploy.broker.node import Node
from pipeline.clock import Clock
from pipeline.messages.telemetry import SiteCapacity
from pipeline.topics import SITE_CAPACITY


class Load(NamedTuple):
    """Hosts that tick once a second, and who reads them."""

    hosts: int
    workers: int
    written: str
    """How, see `bench.stream.live`."""


#: 12,500 hosts are 100,000 GPUs. Two cores do not hold load, broker and worker where each of more than some thousand
#: hosts sends a request of its own.
LOADS = (
    Load(1_000, 1, "alone"),
    Load(1_000, 1, "together"),
    Load(5_000, 1, "together"),
    Load(12_500, 1, "together"),
    Load(12_500, 2, "together"),
    Load(12_500, 4, "together"),
)
SECONDS, RUNS = 60, 3
#: A new broker is slow until its code is compiled: for 40 s figures of 1,000 hosts were 10 s old, then 0.7.
WARM_UP_S = 60
SITE = "site-1"
READY_S, LOOK_S = 120.0, 0.02
MB = 1e6
TESTS = Path(live.__file__).parents[2]


@dataclass
class Seen:
    """What came while it was watched."""

    hosts: int
    clock: Clock = field(default_factory=Clock)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    peak_b: int = 0
    """Resident, of the largest worker."""

    def figure(self, figure: SiteCapacity) -> None:
        """Take note of a figure that has just arrived, if it holds all hosts."""
        if figure.hosts == self.hosts and figure.age_p50_ms is not None and figure.age_p99_ms is not None:
            way_ms = (self.clock.now() - figure.known_at).total_seconds() * 1000
            self.p50_ms.append(figure.age_p50_ms + way_ms)
            self.p99_ms.append(figure.age_p99_ms + way_ms)


def main(seconds: int = SECONDS, runs: int = RUNS, loads: Sequence[Load] = LOADS) -> None:
    """Print a line for each load."""
    for load in loads:
        found = [one(load, seconds) for _ in range(runs)]
        say("freshness", **load._asdict(), seconds=seconds, runs=runs, **medians(found))


def one(load: Load, seconds: int) -> dict[str, float]:
    """Return the figures of one run on a broker of its own."""
    with broker() as node, tempfile.TemporaryDirectory(prefix="bench-workers-") as folder:
        place = Place(folder=Path(folder), kafka=node.kafka, clock=Clock(), sites=(SITE,))
        with Workforce(place) as force, Tail(node.kafka, SITE_CAPACITY) as figures:
            for _ in range(load.workers):
                force.hire()
            ready_by = time.monotonic() + READY_S
            while not all(member.ready for member in force.members):
                if time.monotonic() > ready_by:
                    raise TimeoutError(f"workers not ready after {READY_S:g} s: {force.complaints}")
                force.look()
                time.sleep(LOOK_S)
            return watched(node, force, figures, load, seconds)


def watched(node: Node, force: Workforce, figures: "Tail[SiteCapacity]", load: Load, seconds: int) -> dict[str, float]:
    """Let the hosts of *load* tick; return what was seen of it after the warm-up."""
    words = [node.kafka.bootstrap, str(load.hosts), str(WARM_UP_S + seconds), load.written]
    sender = [sys.executable, "-m", "bench.stream.live", *words]
    environment = os.environ | {"PYTHONPATH": str(TESTS)}
    with subprocess.Popen(sender, env=environment, stdout=subprocess.PIPE) as sending:
        pids, seen = [member.process.pid for member in force.members], Seen(load.hosts)
        look(force, figures, seen, WARM_UP_S)
        seen.p50_ms.clear()
        seen.p99_ms.clear()
        before = [cpu_s(pid) for pid in [*pids, node.pid]]
        look(force, figures, seen, seconds - 1)
        after = [cpu_s(pid) for pid in [*pids, node.pid]]
        told, _ = sending.communicate(timeout=READY_S)
    kept = msgspec.json.decode(told)
    if force.complaints or not seen.p99_ms:
        raise RuntimeError(f"no figure of all {load.hosts} hosts: {force.complaints}")
    *own, brokers = [(end - begin) / (seconds - 1) for begin, end in zip(before, after, strict=True)]
    return {
        "figures": len(seen.p99_ms),
        "age_p50_ms": digits(quantile(seen.p50_ms, 0.5) or 0.0),
        "age_p99_ms": digits(quantile(seen.p99_ms, 0.99) or 0.0),
        "cores_of_all_workers": digits(sum(own)),
        "cores_of_busiest": digits(max(own)),
        "us_per_tick_of_all": digits(sum(own) / load.hosts * 1e6),
        "broker_cores": digits(brokers),
        "peak_mb_of_largest": digits(seen.peak_b / MB),
        "load_late_ms": kept["late_ms"],
        "load_behind": kept["behind"],
    }


def look(force: Workforce, figures: "Tail[SiteCapacity]", seen: Seen, seconds: float) -> None:
    """Watch for so many *seconds*."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for read in figures.read():
            seen.figure(read.message)
        force.look()
        for member in force.members:
            if member.process.poll() is None:
                seen.peak_b = max(seen.peak_b, psutil.Process(member.process.pid).memory_info().rss)
