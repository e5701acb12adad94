"""
What store and forward cost a GPU host, and how fast a backlog goes. One JSON line a figure.

Ticks are as large as they come (`doubles.full_tick`). The spool is compared with a plain file to which the same text is
appended and fsynced, in turns within one run, because disks differ more than programs do. Rates of draining are
multiples of real time: how many seconds of backlog go in one.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from doubles.full_tick import full_tick

from collectors.forward import Forwarder
from collectors.spool import Spool
from deploy.broker import node
from pipeline.codec import Codec
from pipeline.topics import HOST_TICKS

RUNS, TICKS, BACKLOG = 7, 300, 6000
BOUND_BYTES = 512_000_000
HOURS_72 = 72 * 3600
HEAP_MB = 256
UNBOUND_PER_S = 1e6

CODEC = Codec(HOST_TICKS)
PAYLOADS = [CODEC.encode(full_tick(seq)) for seq in range(1, 1001)]


def report(bench: str, **figures: object) -> None:
    """Print one line."""
    print(json.dumps({"bench": bench, **figures}))  # noqa: T201 - a benchmark talks


def append(spool: Spool, ticks: int) -> None:
    """Append so many ticks."""
    for seq in range(spool.next_seq, spool.next_seq + ticks):
        spool.append(seq, PAYLOADS[seq % len(PAYLOADS)])


def one_ms(work: Callable[[], None], times: int) -> tuple[float, float]:
    """Return processor and elapsed time of one of so many in *work*, milliseconds."""
    cpu, elapsed = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - cpu) / times * 1e3, (time.perf_counter() - elapsed) / times * 1e3


def bench_append(folder: Path) -> None:
    """Time a tick's way onto the disk, as every second does it: append, hand out, retire."""

    def second_by_second() -> None:
        for _ in range(TICKS):
            append(spool, 1)
            spool.retire(spool.pending(100))

    def plainly() -> None:
        for payload in PAYLOADS[:TICKS]:
            os.write(plain, payload)
            os.fsync(plain)

    plain = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with Spool.open(folder / "second", BOUND_BYTES) as spool:
        runs = [(one_ms(second_by_second, TICKS), one_ms(plainly, TICKS)) for _ in range(RUNS)]
    os.close(plain)
    report(
        "spool_append",
        cpu_ms=round(statistics.median(ours[0] for ours, _ in runs), 3),
        ticks_per_s=round(1000 / statistics.median(ours[1] for ours, _ in runs)),
        ratio=round(statistics.median(ours[1] / theirs[1] for ours, theirs in runs), 2),
        cpu_ratio=round(statistics.median(ours[0] / theirs[0] for ours, theirs in runs), 2),
        against="plain file, append and fsync",
    )


def bench_size(folder: Path) -> None:
    """Fill a spool and read it; say what 72 hours take."""
    with Spool.open(folder / "backlog", BOUND_BYTES) as spool:
        append(spool, BACKLOG)
    bytes_per_tick = (folder / "backlog" / "spool.db").stat().st_size / BACKLOG
    report(
        "spool_size",
        json_bytes=round(statistics.mean(map(len, PAYLOADS))),
        bytes_per_tick=round(bytes_per_tick),
        mb_72_h=round(bytes_per_tick * HOURS_72 / 1e6 + 8),  # the log has 4 MB, 8 at most
        bound_mb=BOUND_BYTES / 1e6,
    )


def bench_read(folder: Path) -> None:
    """Time how fast a backlog leaves the disk, Kafka left out."""

    def drain() -> None:
        while batch := spool.pending(250):
            spool.retire(batch)

    with Spool.open(folder / "backlog", BOUND_BYTES) as spool:
        cpu_ms, elapsed_ms = one_ms(drain, BACKLOG)
    report("spool_read", cpu_ms=round(cpu_ms, 4), times_real_time=round(1000 / elapsed_ms))


async def bench_drain(folder: Path, drain_per_s: float, name: str) -> None:
    """Time how fast a backlog arrives in a real Kafka on the same machine, a new tick coming every second."""
    broker = await node.start(folder / "broker", heap_mb=HEAP_MB, detach=False)
    with Spool.open(folder / name, BOUND_BYTES) as spool:
        append(spool, BACKLOG)
        forwarder, stop = Forwarder(broker.kafka, spool, drain_per_s), asyncio.Event()
        running = asyncio.create_task(forwarder.run(stop))
        while not forwarder.acknowledged_total:  # noqa: ASYNC110 - connecting is not draining
            await asyncio.sleep(0.01)
        began, cpu, before = time.perf_counter(), time.process_time(), forwarder.acknowledged_total
        new_tick_at = began + 1
        while spool.depth > 1:
            if time.perf_counter() >= new_tick_at:
                append(spool, 1)
                forwarder.wake()
                new_tick_at += 1
            await asyncio.sleep(0.01)
        elapsed, cpu, sent = (
            time.perf_counter() - began,
            time.process_time() - cpu,
            forwarder.acknowledged_total - before,
        )
        stop.set()
        await running
    report(
        name,
        times_real_time=round(sent / elapsed),
        cpu_ms_per_tick=round(cpu / sent * 1e3, 3),
        minutes_for_72_h=round(HOURS_72 / (sent / elapsed) / 60, 1),
    )


def main() -> None:
    """Print all figures."""
    with tempfile.TemporaryDirectory(prefix="firmwatt-spool-") as name:
        folder = Path(name)
        bench_append(folder)
        bench_size(folder)
        bench_read(folder)
        try:
            asyncio.run(bench_drain(folder, 500, "spool_drain_500_per_s"))
            asyncio.run(bench_drain(folder, UNBOUND_PER_S, "spool_drain_unbound"))
        finally:
            node.stop(folder / "broker")


if __name__ == "__main__":
    main()
