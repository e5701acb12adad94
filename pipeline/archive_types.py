"""The column types that the archive's schemas are made of. Pure data."""

from typing import Any

import polars as pl

INSTANT = pl.Datetime("us", "UTC")
#: 28 digits before the point, 10 after it: finer than any venue's tick. DuckDB's widest decimal.
DECIMAL = pl.Decimal(38, 10)
INTERVAL: dict[str, Any] = {"interval_start": INSTANT, "interval_end": INSTANT}
#: Where a row was read; null for what did not come through Kafka.
KAFKA: dict[str, Any] = {"kafka_partition": pl.Int32(), "kafka_offset": pl.Int64()}

STRING, FLOAT, WHOLE, FLAG = pl.String(), pl.Float64(), pl.Int64(), pl.Boolean()
