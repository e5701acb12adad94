"""
What the archive costs: host ticks by layout, bytes on disk and time by tick; intervals from message to file and hash.

One JSON line a figure. Ticks are the fleet's (`deploy.fleet`, simulated) and the fullest there are
(`doubles.full_tick`); a file is a minute of 100 hosts, as one of eight partitions of 800 hosts would be.
"""

import json
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import polars as pl
from doubles.archived import NOON, interval, put
from doubles.full_tick import full_tick

from deploy.fleet.host import next_tick, nodes
from deploy.fleet.model import FleetModel
from deploy.fleet.plan import plan
from deploy.fleet.settings import FleetSettings
from pipeline import archive, frames
from pipeline.archive_hash import by_hour, contents
from pipeline.archive_places import Place
from pipeline.archive_rows import merged, parquet
from pipeline.archive_ticks import Reader, Record, payloads
from pipeline.messages.telemetry import HostTick
from pipeline.storage import Folder
from pipeline.topics import SITE_INTERVALS

HOSTS, SECONDS, SEED = 100, 60, 22
OF_SITE = 800
FLOATS = ("average_w", "enforced_w", "requested_w", "capped_s", "thermal_s", "braked_s", "utilization", "temperature_c")
WHOLES = ("sm_mhz", "memory_mhz", "event_reasons", "memory_used_b")


def fleet() -> Iterator[HostTick]:
    """Yield a minute of simulated hosts of all pools, one of eight partitions."""
    site = plan(FleetSettings(hosts=OF_SITE, seed=SEED), "America/Los_Angeles")
    begin = datetime(2026, 7, 23, 18, tzinfo=UTC)
    model = FleetModel(site, begin.timestamp())
    hosts = nodes(site.layout, "site-1", "9f2c6d81a4b7", begin.timestamp())[:: OF_SITE // HOSTS]
    for second in range(1, SECONDS + 1):
        model.step(begin.timestamp() + second)
        for number, host in enumerate(hosts):
            yield next_tick(host, model, begin + timedelta(seconds=second, microseconds=37 * number))


def full() -> Iterator[HostTick]:
    """Yield a minute of hosts whose every reading moves at random: the upper bound."""
    for host in range(HOSTS):
        for second in range(1, SECONDS + 1):
            tick = full_tick(host * 10_000 + second)
            yield msgspec.structs.replace(tick, host=f"gpu-node-{host:04d}.dc2.example.net", seq=second)


def each_gpu(rows: pl.DataFrame) -> pl.DataFrame:
    """Return the same ticks as one row a GPU, all readings as columns, and the ticks' own columns once."""
    ticks = [frames.decode(payload) for payload in payloads(rows)]
    columns = {
        "host": [tick.host for tick in ticks for _ in tick.gpus],
        "seq": [tick.seq for tick in ticks for _ in tick.gpus],
        "uuid": [gpu.uuid for tick in ticks for gpu in tick.gpus],
        "read_us": [gpu.read_at and frames.micros(gpu.read_at) for tick in ticks for gpu in tick.gpus],
        **{name: [getattr(gpu, name) for tick in ticks for gpu in tick.gpus] for name in (*FLOATS, *WHOLES)},
    }
    numbers = rows.select("energy_mj", "power_mw", "quality").explode("energy_mj", "power_mw", "quality")
    kinds = dict.fromkeys(FLOATS, pl.Float64) | dict.fromkeys((*WHOLES, "read_us"), pl.Int64)
    return pl.concat([pl.DataFrame(columns, schema_overrides=kinds), numbers], how="horizontal").sort("uuid", "seq")


def telemetry(name: str, ticks: list[HostTick]) -> None:
    """Print bytes by GPU-hour and microseconds by tick."""
    records = [Record(frames.encode(tick), number, 0) for number, tick in enumerate(ticks)]
    gpu_hours = sum(len(tick.gpus) for tick in ticks) / 3600
    started = time.process_time()
    rows, refused = Reader().rows(0, records)
    read_s = time.process_time() - started
    content = parquet(rows)
    written_s = time.process_time() - started - read_s
    others = [msgspec.msgpack.encode((tick.jobs, tick.meters)) for tick in map(frames.decode, payloads(rows))]
    rest = rows.drop("energy_mj", "power_mw", "quality", "details").with_columns(others=pl.Series(others))
    line = {
        "bench": "archive_ticks",
        "ticks": name,
        "n": len(ticks),
        "refused": len(refused),
        "wire_b_per_gpu_h": round(sum(len(record.payload or b"") for record in records) / gpu_hours),
        "row_per_tick_b_per_gpu_h": round(len(content) / gpu_hours),
        "row_per_gpu_b_per_gpu_h": round((len(parquet(each_gpu(rows))) + len(parquet(rest))) / gpu_hours),
        "cpu_us_per_tick": round((read_s + written_s) / len(ticks) * 1e6, 1),
    }
    print(json.dumps(line))  # noqa: T201 - a benchmark talks


def intervals() -> None:
    """Print what publishing costs, and what merging and hashing a day of minutes does."""
    with tempfile.TemporaryDirectory() as folder:
        storage = Folder(Path(folder))
        started = time.perf_counter()
        for number in range(200):
            put(storage, SITE_INTERVALS, interval(number), first=number)
        publish_s = (time.perf_counter() - started) / 200
        known = archive.manifest(storage, Place(SITE_INTERVALS.name, NOON.date(), "site-1"))
        started = time.process_time()
        rows = archive.verified(storage, Place(SITE_INTERVALS.name, NOON.date(), "site-1"), list(known.files.values()))
        merged(SITE_INTERVALS.name, rows)
        merge_s = time.process_time() - started
        started = time.process_time()
        contents(SITE_INTERVALS.name, by_hour(SITE_INTERVALS.name, rows))
        hash_s = time.process_time() - started
    line = {"bench": "archive_files", "n": 200, "publish_ms": round(publish_s * 1000, 2)}
    line |= {
        "merge_cpu_ms_per_file": round(merge_s / 200 * 1000, 3),
        "hash_cpu_ms": round(hash_s * 1000, 1),
    }
    print(json.dumps(line))  # noqa: T201 - as above


def main() -> None:
    """Print all figures."""
    telemetry("fleet", list(fleet()))
    telemetry("full", list(full()))
    intervals()


if __name__ == "__main__":
    main()
