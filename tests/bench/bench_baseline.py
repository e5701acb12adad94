"""The Polars baseline against the independent SQL one, sixty days of one-minute history. One JSON line."""

import json
import time
from datetime import date, timedelta
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import polars as pl
from unit.pipeline.baseline_sql import baseline_sql

from pipeline.calendar import Calendar
from pipeline.cbl.single import Event, method
from pipeline.interval import Interval

baseline = method("caiso-10-in-10")
ZONE, ROUNDS = "America/Los_Angeles", 10
MINUTE = timedelta(minutes=1)


def main() -> None:
    """Print milliseconds of both for an event of two hours, and their ratio."""
    day = Calendar(ZONE).bounds(date(2026, 7, 23))
    event = Event(Interval(day.start + timedelta(hours=17), day.start + timedelta(hours=19)))
    chance = Random(7)
    starts = [event.interval.end - MINUTE * (index + 1) for index in range(60 * 1440)]
    history = pl.DataFrame({"start": starts, "load_kw": [chance.uniform(900, 1100) for _ in starts]})
    with TemporaryDirectory() as folder:
        file = Path(folder) / "history.parquet"
        history.write_parquet(file)
        started = time.perf_counter()
        for _ in range(ROUNDS):
            baseline(history, event, Calendar(ZONE))
        polars_s = (time.perf_counter() - started) / ROUNDS
        started = time.perf_counter()
        for _ in range(ROUNDS):
            baseline_sql(file, event.interval.start, event.interval.end, ZONE, MINUTE)
        sql_s = (time.perf_counter() - started) / ROUNDS
    line = {"bench": "baseline", "rows": len(starts), "polars_ms": round(polars_s * 1000, 1)}
    print(json.dumps(line | {"sql_ms": round(sql_s * 1000, 1), "ratio_to_sql": round(polars_s / sql_s, 2)}))  # noqa: T201


if __name__ == "__main__":
    main()
