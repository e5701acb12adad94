"""
How much of everything a number of hosts needs: partitions, workers, disk, network, memory, archive. Pure.

Arithmetic on measured costs; deploy/capacity-planning.md explains it. Every cost carries its date and how it was
measured; what could only be estimated says so.
"""

from math import ceil

import msgspec

#: Measured 2026-11-29 on 2 shared cores under heavy other load, CPython 3.11, numpy 2.4.6: CPU time of the process,
#: one run of 60 s for each of 100 to 12,500 hosts of 8 GPUs in one partition, frames as full as `doubles.full_tick`.
#: `Partition.add` took 13.7 to 15.8 µs a tick from 1,563 hosts on (19.8 at 500, 42.7 at 100); the highest of these.
ADD_US_PER_TICK = 15.8
#: The same runs: `Partition.due` took 78 ms for 12,500 hosts, 47.9 ms for 6,250, 3.7 ms for 100. Per host and second…
DUE_US_PER_HOST = 7.7
#: …and for each partition, whatever it holds, microseconds a second.
DUE_US_PER_PARTITION = 3_700.0
#: The same runs: `snapshot.save` made 1,121 bytes a host.
STATE_B_PER_HOST = 1_121
#: The same runs: 209 MB at 12,500 hosts, 37 MB at 100; what a host adds.
MEMORY_B_PER_HOST = 14_000
#: Measured 2026-11-29: resident memory of a `firmwatt pipeline run` that held 8 partitions and few hosts.
MEMORY_B_PER_WORKER = 265_000_000
#: Measured 2026-11-29, the same worker at rest (Faust, archive, pages): 1.8 CPU seconds in 16.
IDLE_CORES = 0.12
#: Measured 2026-11-29: frames of 1, 4, 8 and 16 GPUs had 795, 988, 1,247 and 1,684 bytes; a line through the first and
#: the third, which is above the others.
FRAME_B, FRAME_B_PER_GPU = 731, 64.5
#: What librdkafka takes to fetch, check and unpack a tick of 8 GPUs: measured 2026-11-29, median of three runs of
#: 250,000 ticks, CPU of a consumer that decodes nothing (`make bench-stream`, pipeline/MEASURED.md).
FETCH_US_PER_TICK = 6.0

#: pipeline/ARCHIVE.md, measured 2026-11-29: bytes of Parquet in merged files, a row. All digits at random and seven
#: pools, which is the upper bound: `test_plan.py` makes them again. In the demo they were 225 to 284 and 13.
CAPACITY_B, INTERVAL_B, CORRECTION_B = 940, 255, 265
#: The same page: archived ticks, a GPU-hour, of simulated hosts and of the fullest ticks with all readings at random.
TICKS_B_PER_GPU_HOUR = 32_896, 188_307
#: Intervals of 60 s and 300 s, `pipeline.pipeline_settings`.
INTERVALS_PER_DAY = 86_400 // 60 + 86_400 // 300

#: Of a core that the rollup's one thread may use, so that a worker catches up at twice the rate and more.
BUSY = 0.4
#: Hosts in one partition: two seconds of ticks are then far less than one fetch, and a take-over reads 2 MB of state.
HOSTS_PER_PARTITION = 1_500
#: `pipeline.topics.HOST_TICKS`: two days; copies as `pipeline.doctor` wants them.
KEPT_S, REPLICAS = 2 * 86_400, 3
#: Each copy's disk has room for as much again: segments are deleted whole, and a broker may be rebuilt.
ROOM = 1.5
#: Partitions there are at least, as in `pipeline.settings.Kafka`.
FEWEST_PARTITIONS = 8
US_PER_S = 1e6


class Plan(msgspec.Struct, frozen=True):
    """What a site of a number of hosts needs at one tick a second each."""

    hosts: int
    gpus: int
    """Of each host."""
    samples_per_s: int
    partitions: int
    workers: int
    """One more than the load needs, so that any of them may be missing."""
    cores_per_worker: float
    """Mean use while all of them work."""
    memory_b_per_worker: int
    """While one of them is missing."""
    wire_b_per_s: int
    """From the hosts to Kafka, without protocol and encryption."""
    broker_network_b_per_s: int
    """Of all brokers: from hosts, to two followers, to the workers."""
    broker_disk_b: int
    """Of each of three brokers, for the ticks."""
    state_b: int
    """Of all partitions, once: written every ten seconds, read at a take-over."""
    wire_b_per_gpu_hour: int
    archive_b_per_day: int
    """Of the site's and the portfolio's figures; commands, acknowledgements and market documents come on top."""
    archive_ticks_b_per_day: tuple[int, int]
    """What ``archive_telemetry`` adds: as measured with simulated hosts, and at most."""


def plan(hosts: int, gpus: int) -> Plan:
    """Return what *hosts* of *gpus* GPUs each need; raise `ValueError` for fewer than one of either."""
    if hosts < 1 or gpus < 1:
        raise ValueError("a plan needs at least one host with at least one GPU")
    partitions = max(FEWEST_PARTITIONS, ceil(hosts / HOSTS_PER_PARTITION))
    cores = _rollup_cores(hosts, gpus, partitions)
    needed = max(1, ceil(cores / BUSY))
    workers = needed + 1
    frame = FRAME_B + FRAME_B_PER_GPU * gpus
    wire = ceil(hosts * frame)
    fewest_b, most_b = TICKS_B_PER_GPU_HOUR
    return Plan(
        hosts=hosts,
        gpus=gpus,
        samples_per_s=hosts * gpus,
        partitions=max(partitions, workers),
        workers=workers,
        cores_per_worker=round(IDLE_CORES + cores / workers, 2),
        memory_b_per_worker=MEMORY_B_PER_WORKER + ceil(hosts / needed) * MEMORY_B_PER_HOST * max(1, ceil(gpus / 8)),
        wire_b_per_s=wire,
        broker_network_b_per_s=wire * (1 + (REPLICAS - 1) + 1),
        broker_disk_b=ceil(wire * KEPT_S * ROOM),
        state_b=hosts * STATE_B_PER_HOST,
        wire_b_per_gpu_hour=ceil(frame * 3600 / gpus),
        archive_b_per_day=_figures_b_per_day(max(partitions, workers)),
        archive_ticks_b_per_day=(hosts * gpus * 24 * fewest_b, hosts * gpus * 24 * most_b),
    )


def _figures_b_per_day(partitions: int) -> int:
    """Return the archive's bytes without ticks: every second, every interval, and late ticks in all of them."""
    seconds = 2 * 86_400 * CAPACITY_B
    return seconds + INTERVALS_PER_DAY * (INTERVAL_B + partitions * CORRECTION_B)


def _rollup_cores(hosts: int, gpus: int, partitions: int) -> float:
    """Return the cores that rolling up takes in all; above 8 GPUs the costs of a tick are taken to grow with them."""
    per_host_us = (FETCH_US_PER_TICK + ADD_US_PER_TICK + DUE_US_PER_HOST) * max(1.0, gpus / 8)
    return (hosts * per_host_us + partitions * DUE_US_PER_PARTITION) / US_PER_S
