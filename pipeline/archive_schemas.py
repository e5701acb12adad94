"""
What a message looks like as a row: one explicit Parquet schema per archived topic. Pure data.

An `Interval` becomes `interval_start` and `interval_end` (UTC, microseconds); contractual figures stay decimals; where
a row came from on Kafka is kept beside it. A column is only ever added: `generation` names the files that have it.
"""

from hashlib import sha256
from typing import Any

import polars as pl

from pipeline.archive_market_schemas import MARKET_SCHEMAS
from pipeline.archive_types import FLAG, FLOAT, INSTANT, INTERVAL, KAFKA, STRING, WHOLE
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import (
    ACKS,
    COMMANDS,
    CORRECTIONS,
    HOST_TICKS,
    PORTFOLIO_CAPACITY,
    SITE_CAPACITY,
    SITE_INTERVALS,
    Topic,
)

POOL_LOAD = pl.Struct(
    {
        "tier": STRING,
        "workload": STRING,
        "gpu_model": STRING,
        "gpus": WHOLE,
        "power_kw": FLOAT,
        "relief_kw": pl.List(FLOAT),
        "max_w": FLOAT,
        "tokens_per_s": FLOAT,
    }
)
POOL_INTERVAL = pl.Struct(
    {
        "tier": STRING,
        "workload": STRING,
        "gpu_model": STRING,
        "served_model": STRING,
        "gpu_energy_kwh": FLOAT,
        "tokens": FLOAT,
        "engine": STRING,
        "gpu_s": FLOAT,
        "covered_gpu_s": FLOAT,
    }
)
POOL_CAP = pl.Struct({"tier": STRING, "gpu_model": STRING, "cap_w": FLOAT})
POOL_CLOCK = pl.Struct({"tier": STRING, "gpu_model": STRING, "max_mhz": FLOAT})
POOL_ADMISSION = pl.Struct({"tier": STRING, "share": FLOAT})
GPU_ACK = pl.Struct(
    {
        "uuid": STRING,
        "asked_w": FLOAT,
        "requested_w": FLOAT,
        "enforced_w": FLOAT,
        "before_w": FLOAT,
        "after_w": FLOAT,
        "binding": FLAG,
        "error": STRING,
        "trouble": STRING,
    }
)
CONTROL_ACK = pl.Struct(
    {"kind": STRING, "subject": STRING, "asked": FLOAT, "found": FLOAT, "error": STRING, "trouble": STRING}
)

#: A host tick as a frame's parts (`pipeline.frames`, `pipeline.archive_ticks`): its numbers as columns, energies in
#: millijoules, draws in milliwatts, tokens in thousandths, GPUs and jobs in the order of the layout.
TICKS = pl.Schema(
    {
        "host": STRING,
        "site": STRING,
        "boot": STRING,
        "seq": WHOLE,
        "measured_at": INSTANT,
        "simulated": FLAG,
        "chassis_mw": WHOLE,
        "chassis_mj": WHOLE,
        "energy_mj": pl.List(WHOLE),
        "power_mw": pl.List(pl.Int32()),
        "quality": pl.List(pl.UInt8()),
        "tokens_milli": pl.List(WHOLE),
        "layout": STRING,
        "details": pl.Binary(),
        "appended_at": INSTANT,
        **KAFKA,
    }
)

SCHEMAS: dict[str, pl.Schema] = {
    SITE_CAPACITY.name: pl.Schema(
        {
            "site": STRING,
            "as_of": INSTANT,
            "known_at": INSTANT,
            "partitions": WHOLE,
            "partitions_expected": WHOLE,
            "hosts": WHOLE,
            "hosts_stale": WHOLE,
            "gpus": WHOLE,
            "load_kw": FLOAT,
            "pools": pl.List(POOL_LOAD),
            "ticks_open": WHOLE,
            "age_p50_ms": FLOAT,
            "age_p99_ms": FLOAT,
            "simulated": FLAG,
            "hosts_skewed": WHOLE,
            "hosts_quarantined": WHOLE,
            **KAFKA,
        }
    ),
    SITE_INTERVALS.name: pl.Schema(
        {
            "site": STRING,
            **INTERVAL,
            "revision": WHOLE,
            "energy_kwh": FLOAT,
            "hosts": WHOLE,
            "hosts_partial": WHOLE,
            "covered_share": FLOAT,
            "partitions": WHOLE,
            "partitions_expected": WHOLE,
            "ticks": WHOLE,
            "ticks_missing": WHOLE,
            "pools": pl.List(POOL_INTERVAL),
            "simulated": FLAG,
            "source": STRING,
            "covered_host_s": FLOAT,
            "corrected": FLAG,
            **KAFKA,
        }
    ),
    CORRECTIONS.name: pl.Schema(
        {
            "site": STRING,
            "partition": WHOLE,
            **INTERVAL,
            "energy_kwh": FLOAT,
            "covered_host_s": FLOAT,
            "hosts": WHOLE,
            "ticks": WHOLE,
            "ticks_missing": WHOLE,
            "pools": pl.List(POOL_INTERVAL),
            "first_late": INSTANT,
            "last_late": INSTANT,
            "simulated": FLAG,
            "offset": WHOLE,
            **KAFKA,
        }
    ),
    PORTFOLIO_CAPACITY.name: pl.Schema(
        {
            "portfolio": STRING,
            "as_of": INSTANT,
            "known_at": INSTANT,
            "sites": pl.List(STRING),
            "sites_missing": pl.List(STRING),
            "hosts": WHOLE,
            "hosts_stale": WHOLE,
            "gpus": WHOLE,
            "load_kw": FLOAT,
            "pools": pl.List(POOL_LOAD),
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    COMMANDS.name: pl.Schema(
        {
            "host": STRING,
            "key_id": STRING,
            "command_id": STRING,
            "seq": WHOLE,
            "kind": STRING,
            "award_id": STRING,
            "dispatch_id": STRING,
            "issued_at": INSTANT,
            "not_before": INSTANT,
            "expires_at": INSTANT,
            "caps": pl.List(POOL_CAP),
            "clocks": pl.List(POOL_CLOCK),
            "pauses": pl.List(STRING),
            "admissions": pl.List(POOL_ADMISSION),
            "release_s": FLOAT,
            **KAFKA,
        }
    ),
    ACKS.name: pl.Schema(
        {
            "host": STRING,
            "command_id": STRING,
            "seq": WHOLE,
            "status": STRING,
            "reason": STRING,
            "issued_at": INSTANT,
            "acknowledged_at": INSTANT,
            "latency_ms": FLOAT,
            "before_w": FLOAT,
            "after_w": FLOAT,
            "gpus": pl.List(GPU_ACK),
            "controls": pl.List(CONTROL_ACK),
            "set_ms": FLOAT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    **MARKET_SCHEMAS,
    HOST_TICKS.name: TICKS,
}

#: What the archive always keeps…
ARCHIVED: tuple[Topic[Any], ...] = (
    SITE_CAPACITY,
    SITE_INTERVALS,
    CORRECTIONS,
    PORTFOLIO_CAPACITY,
    COMMANDS,
    ACKS,
    *MARKET_TOPICS,
)
#: …and what it keeps if asked to (``[pipeline] archive_telemetry``).
TELEMETRY: tuple[Topic[Any], ...] = (HOST_TICKS,)

#: What says where a row was read and when it got there, and nothing of what was said.
PROVENANCE = ("kafka_partition", "kafka_offset", "appended_at")


def generation(schema: pl.Schema) -> str:
    """Return eight hex digits that change with the schema: files of one generation have equal columns."""
    columns = "\n".join(f"{name} {kind!r}" for name, kind in schema.items())
    return sha256(columns.encode()).hexdigest()[:8]
