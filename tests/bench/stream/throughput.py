"""GPU samples a second from Kafka to site capacity, beside what only reads the same topic."""

from bench.stream.lines import digits, medians, ratio, say
from bench.stream.node import broker
from bench.stream.order import Figures
from bench.stream.preload import Preloaded, preload
from bench.stream.readers import read

HOSTS, SECONDS, GPUS, RUNS = 12_500, 20, 8, 3
#: Subjects and references, in the order in which they take turns.
KINDS = ("consumer", "confluent", "rollup", "publishing", "worker", "aiokafka")
#: A plain agent reads this many ticks, after so many of each partition.
FAUST_TICKS, FAUST_SKIP = 6000, 20
CORES = 2


def main(hosts: int = HOSTS, seconds: int = SECONDS, runs: int = RUNS) -> None:
    """Print a line for each reader, then the ratios of what the pipeline costs to what they do."""
    with broker() as node:
        loaded = preload(node.kafka, hosts, seconds)
        found: dict[str, list[dict[str, float]]] = {}
        for _ in range(runs):
            for kind in KINDS:
                found.setdefault(kind, []).append(costs(read(loaded, node.pid, kind)))
            found.setdefault("faust", []).append(costs(read_by_faust(loaded, node.pid)))
    for kind, figures in found.items():
        say("throughput", reader=kind, hosts=hosts, ticks=loaded.messages, runs=runs, **medians(figures))
    for subject in ("rollup", "publishing", "worker"):
        for reference in ("confluent", "aiokafka", "faust"):
            say(
                "throughput_ratio",
                of=subject,
                to=reference,
                wall=ratio(found[subject], found[reference], "samples_per_s"),
                cpu=ratio(found[subject], found[reference], "samples_per_cpu_s"),
            )


def read_by_faust(loaded: Preloaded, broker_pid: int) -> Figures:
    """Return what a plain Faust agent takes for a part of what is loaded."""
    return read(loaded, broker_pid, "faust", until=min(FAUST_TICKS, loaded.messages), skip=FAUST_SKIP)


def costs(figures: Figures) -> dict[str, float]:
    """Return rates by the wall clock and by CPU time of reader and broker together; memory in MB."""
    cpu_us = figures.own_cpu_us + figures.broker_cpu_us
    return {
        "samples_per_s": digits(figures.messages * GPUS / figures.wall_s),
        "samples_per_cpu_s": digits(GPUS / cpu_us * 1e6),
        "own_cpu_us_per_tick": digits(figures.own_cpu_us),
        "broker_cpu_us_per_tick": digits(figures.broker_cpu_us),
        "peak_mb": digits(figures.peak_mb),
    }
