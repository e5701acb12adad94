"""
What a message looks like as a row: one explicit Parquet schema per archived topic. Pure data.

An `Interval` becomes `interval_start` and `interval_end` (UTC, microseconds); contractual figures stay decimals; where
a row came from on Kafka is kept beside it.
"""

from typing import Any

import polars as pl

from pipeline.market_topics import AWARDS, DISPATCHES, MARKET_TOPICS, OFFER_EVENTS, OFFERS, PERFORMANCE, STATEMENTS
from pipeline.topics import ACKS, COMMANDS, SITE_CAPACITY, SITE_INTERVALS, Topic

INSTANT = pl.Datetime("us", "UTC")
#: 28 digits before the point, 10 after it: finer than any venue's tick. DuckDB's widest decimal.
DECIMAL = pl.Decimal(38, 10)
INTERVAL: dict[str, Any] = {"interval_start": INSTANT, "interval_end": INSTANT}
#: Where a row was read; null for what did not come through Kafka.
KAFKA: dict[str, Any] = {"kafka_partition": pl.Int32(), "kafka_offset": pl.Int64()}

STRING, FLOAT, WHOLE, FLAG = pl.String(), pl.Float64(), pl.Int64(), pl.Boolean()

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
OFFER_STEP = pl.Struct(
    {
        "quantity_mw": DECIMAL,
        "price_per_mwh": DECIMAL,
        "tier": STRING,
        "tokens_forgone_per_mwh": DECIMAL,
        "token_cost_per_mwh": DECIMAL,
        "service_credit_per_mwh": DECIMAL,
        "restart_cost_per_mwh": DECIMAL,
    }
)
STATEMENT_LINE = pl.Struct(
    {
        "award_id": STRING,
        **INTERVAL,
        "baseline_kwh": DECIMAL,
        "metered_kwh": DECIMAL,
        "awarded_kwh": DECIMAL,
        "delivered_kwh": DECIMAL,
        "shortfall_kwh": DECIMAL,
        "price_per_mwh": DECIMAL,
        "energy_amount": DECIMAL,
        "shortfall_amount": DECIMAL,
        "total": DECIMAL,
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
    OFFERS.name: pl.Schema(
        {
            "offer_id": STRING,
            "resource": STRING,
            "site": STRING,
            "venue": STRING,
            "product": STRING,
            **INTERVAL,
            "revision": WHOLE,
            "steps": pl.List(OFFER_STEP),
            "currency": STRING,
            "as_of": INSTANT,
            "baseline_method": STRING,
            "baseline_kw": FLOAT,
            "firm_kw": FLOAT,
            "confidence": FLOAT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    OFFER_EVENTS.name: pl.Schema(
        {
            "offer_id": STRING,
            "state": STRING,
            "at": INSTANT,
            "receipt": STRING,
            "accepted_mw": DECIMAL,
            "detail": STRING,
            **KAFKA,
        }
    ),
    AWARDS.name: pl.Schema(
        {
            "award_id": STRING,
            "offer_id": STRING,
            "resource": STRING,
            "product": STRING,
            **INTERVAL,
            "quantity_mw": DECIMAL,
            "price_per_mwh": DECIMAL,
            "currency": STRING,
            "awarded_at": INSTANT,
            **KAFKA,
        }
    ),
    DISPATCHES.name: pl.Schema(
        {
            "dispatch_id": STRING,
            "award_id": STRING,
            "resource": STRING,
            **INTERVAL,
            "reduction_mw": DECIMAL,
            "issued_at": INSTANT,
            **KAFKA,
        }
    ),
    PERFORMANCE.name: pl.Schema(
        {
            "award_id": STRING,
            "resource": STRING,
            "site": STRING,
            **INTERVAL,
            "baseline_method": STRING,
            "unadjusted_baseline_kw": FLOAT,
            "adjustment_ratio": FLOAT,
            "baseline_kw": FLOAT,
            "baseline_days": pl.List(STRING),
            "load_kw": FLOAT,
            "reduction_kw": FLOAT,
            "awarded_kw": FLOAT,
            "delivered_kw": FLOAT,
            "shortfall_kw": FLOAT,
            "covered_share": FLOAT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
    STATEMENTS.name: pl.Schema(
        {
            "statement_id": STRING,
            "issuer": STRING,
            "resource": STRING,
            "currency": STRING,
            "lines": pl.List(STATEMENT_LINE),
            "total": DECIMAL,
            "issued_at": INSTANT,
            "simulated": FLAG,
            **KAFKA,
        }
    ),
}

#: What the archive keeps.
ARCHIVED: tuple[Topic[Any], ...] = (SITE_CAPACITY, SITE_INTERVALS, COMMANDS, ACKS, *MARKET_TOPICS)
