"""
What baselines cost: a year of 5-minute data, every business-day event hour, by method.

`PYTHONPATH=tests python tests/bench/bench_cbl.py` prints one JSON line a figure. Each measurement is a process of its
own, so that its peak memory is its own; it makes and answers some resources at a time (`--chunk`).

    engine      rows/s (readings of history), events/s (one event, one resource), peak memory with the readings it holds
    pandas      the same rule event by event (`cbl_pandas.py`) on some events of one resource, spread over the year; the
                greatest difference to the engine is told; one event beforehand is not counted
    opendsm     its hourly model, fitted to the hourly means of one resource's same year and asked for that year: the
                median of some runs, of which the first compiles

pandas and opendsm come with `uv sync --group bench` or `pip install --group bench`; where they are not installed their
lines say so.
"""

import argparse
import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl

from pipeline.cbl import accuracy, holidays, methods
from pipeline.cbl.request import EVENTS, LOADS, TEMPERATURES, Request
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Rule

ZONE, GRID, HOUR = "America/Los_Angeles", timedelta(minutes=5), timedelta(hours=1)
CALENDAR = holidays.find("us-nerc").calendar(ZONE)
FIRST, LAST = date(2025, 1, 1), date(2025, 12, 31)
BEGIN = datetime(2025, 1, 1, tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
INTERVALS = 365 * 288
MISSING = 0.001
"""Share of readings that are gaps."""
ENGINES = {"polars": "pipeline.cbl.polars_engine", "duckdb": "pipeline.cbl.duckdb_engine"}
Line = dict[str, Any]


def starts() -> pl.Series:
    """Return the metering intervals of the year."""
    return pl.datetime_range(BEGIN, BEGIN + GRID * (INTERVALS - 1), GRID, time_unit="us", eager=True).alias("start")


def loads(numbers: range) -> pl.DataFrame:
    """Return the year of so many resources: a daily shape, a slow drift, noise, gaps; the same each time."""
    hours = np.arange(INTERVALS) / 12
    shape = 1 + 0.2 * np.sin(2 * np.pi * (hours - 9) / 24) + 0.1 * np.sin(2 * np.pi * hours / 2000)
    parts = []
    for number in numbers:
        chance = np.random.default_rng(number)
        noisy = (500 + number) * shape * (1 + 0.05 * chance.standard_normal(INTERVALS))
        noisy[chance.random(INTERVALS) < MISSING] = np.nan
        one = pl.DataFrame({"start": starts(), "load_kw": noisy})
        parts.append(one.select(pl.lit(f"r{number:05}").alias("resource"), "start", pl.col("load_kw").fill_nan(None)))
    return pl.concat([pl.DataFrame(schema=LOADS), *parts])


def events(hours: tuple[int, ...], most: int | None) -> pl.DataFrame:
    """Return an event of one hour on every business day at every one of *hours*; at most so many, spread evenly."""
    days = [FIRST + timedelta(days=number) for number in range((LAST - FIRST).days + 1)]
    spans = [
        (moment.astimezone(UTC), (moment.astimezone(UTC) + HOUR))
        for day in days
        if CALENDAR.is_business_day(day)
        for hour in hours
        for moment in [datetime(day.year, day.month, day.day, hour, tzinfo=ZoneInfo(ZONE))]
    ]
    kept = spans if most is None else [spans[(2 * at + 1) * len(spans) // (2 * most)] for at in range(most)]
    return pl.DataFrame([(number, *span) for number, span in enumerate(kept)], schema=EVENTS, orient="row")


def temperatures() -> pl.DataFrame:
    """Return an hourly temperature with a season and a day."""
    hours = np.arange(INTERVALS // 12)
    celsius = 15 - 8 * np.cos(2 * np.pi * hours / 8760) + 6 * np.sin(2 * np.pi * (hours - 9) / 24)
    return pl.DataFrame({"start": starts().gather_every(12), "celsius": celsius}, schema=TEMPERATURES)


def request(numbers: range, asked: pl.DataFrame) -> Request:
    """Return what an engine is asked."""
    return Request(loads=loads(numbers), grid=GRID, events=asked, calendar=CALENDAR, temperatures=temperatures())


def memory_mb() -> float:
    """Return the peak of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def of_engine(options: argparse.Namespace, name: str, rule: Rule) -> Line:
    """Measure one engine and method over all resources; making the readings is not counted."""
    answer = importlib.import_module(ENGINES[name]).answer
    asked, seconds, rows, intervals = events(options.hours, options.events), 0.0, 0, 0
    for first in range(0, options.resources, options.chunk):
        numbers = range(first, min(first + options.chunk, options.resources))
        one = request(numbers, asked)
        began = time.perf_counter()
        found = answer(rule, one)
        seconds += time.perf_counter() - began
        rows, intervals = rows + len(one.loads), intervals + len(found.intervals)
    count = len(asked) * options.resources
    return {
        "bench": "cbl.engine",
        "engine": name,
        "method": rule.method,
        "resources": options.resources,
        "events": count,
        "rows": rows,
        "seconds": round(seconds, 3),
        "rows_per_s": round(rows / seconds),
        "events_per_s": round(count / seconds, 1),
        "baselines": intervals,
        "seconds_per_event": seconds / count,
        "peak_memory_mb": round(memory_mb()),
    }


def of_pandas(options: argparse.Namespace, rule: Rule) -> Line:
    """Measure the plain implementation on some events of one resource, and hold it against the engine."""
    if find_spec("pandas") is None:
        return {
            "bench": "cbl.pandas",
            "method": rule.method,
            "not_run": "pandas is not installed: dependency group bench",
        }
    from bench import cbl_pandas

    if not cbl_pandas.supports(rule.parameters):
        return {"bench": "cbl.pandas", "method": rule.method, "not_run": "no plain implementation of such a rule"}
    import pandas as pd

    one = request(range(1), events(options.hours, options.pandas_events))
    index = pd.DatetimeIndex(one.loads["start"].to_numpy()).tz_localize("UTC")
    known = cbl_pandas.history(index, pd.Series(one.loads["load_kw"].to_numpy()), CALENDAR, GRID)
    spans = [(pd.Timestamp(start), pd.Timestamp(end)) for _, start, end in one.events.iter_rows()]
    assert isinstance(rule.parameters, DayMatching | AroundEvent)
    cbl_pandas.baseline(rule.parameters, known, *spans[-1])
    began = time.perf_counter()
    found = [cbl_pandas.baseline(rule.parameters, known, *span) for span in spans]
    seconds = time.perf_counter() - began
    return {
        "bench": "cbl.pandas",
        "method": rule.method,
        "events": len(spans),
        "seconds": round(seconds, 3),
        "events_per_s": round(len(spans) / seconds, 1),
        "seconds_per_event": seconds / len(spans),
        "peak_memory_mb": round(memory_mb()),
        **_difference(found, one, rule),
    }


def _difference(found: list[Any], one: Request, rule: Rule) -> Line:
    """Return how many baselines both have, how many only one has, and by how much they differ at most."""
    rows = [
        (number, start.to_pydatetime(), float(load))
        for number, series in enumerate(found)
        if series is not None
        for start, load in series.items()
    ]
    plain = pl.DataFrame(
        rows, schema={"event": pl.Int64, "start": LOADS["start"], "plain_kw": pl.Float64}, orient="row"
    )
    answered = importlib.import_module(ENGINES["polars"]).answer(rule, one).intervals
    both = answered.join(plain, on=["event", "start"], how="full", coalesce=True)
    apart = both.select((pl.col("baseline_kw") - pl.col("plain_kw")).abs().max()).item()
    lonely = both.filter(pl.col("baseline_kw").is_null() != pl.col("plain_kw").is_null())
    return {"baselines": len(rows), "only_one_has": len(lonely), "greatest_difference_kw": apart}


def of_opendsm(options: argparse.Namespace) -> Line:
    """Measure opendsm's hourly model on the hourly means of one resource: fit, and predict the year."""
    if find_spec("opendsm") is None:
        return {"bench": "cbl.opendsm", "not_run": "opendsm is not installed: dependency group bench"}
    import pandas as pd
    from opendsm import eemeter

    hourly = loads(range(1)).group_by_dynamic("start", every="1h").agg(pl.col("load_kw").mean())
    index = pd.DatetimeIndex(hourly["start"].to_numpy()).tz_localize("UTC").tz_convert(ZONE)
    fahrenheit = temperatures()["celsius"].to_numpy() * 1.8 + 32
    frame = pd.DataFrame({"observed": hourly["load_kw"].to_numpy(), "temperature": fahrenheit}, index=index)
    timings = []
    for _ in range(options.opendsm_runs):
        began = time.perf_counter()
        data = eemeter.HourlyBaselineData(frame.copy(), is_electricity_data=True)
        model = eemeter.HourlyModel().fit(data, ignore_disqualification=True)
        model.predict(data, ignore_disqualification=True)
        timings.append(time.perf_counter() - began)
    return {
        "bench": "cbl.opendsm",
        "rows": len(frame),
        "runs": len(timings),
        "seconds_per_resource_year": sorted(timings)[len(timings) // 2],
        "peak_memory_mb": round(memory_mb()),
    }


def measured(options: argparse.Namespace, what: str, method: str | None = None) -> Line:
    """Measure in a process of its own."""
    given = [*options.given, "--measure", what, *(["--methods", method] if method else [])]
    done = subprocess.run([sys.executable, __file__, *given], stdout=subprocess.PIPE, check=True, text=True)
    found: Line = json.loads(done.stdout.splitlines()[-1])
    return found


def figures(options: argparse.Namespace) -> Iterator[Line]:
    """Yield every figure, and what one is to the other."""
    model = measured(options, "opendsm")
    yield model
    for rule in rules(options):
        plain = measured(options, "pandas", rule.method)
        yield plain
        engines = {name: measured(options, name, rule.method) for name in options.engines}
        for name, line in engines.items():
            yield line
            yield {"bench": "cbl.ratio", "engine": name, "method": rule.method, **_ratios(line, plain, model)}
        if len(engines) == len(ENGINES):
            times = engines["duckdb"]["seconds"] / engines["polars"]["seconds"]
            yield {"bench": "cbl.ratio", "method": rule.method, "polars_times_faster_than_duckdb": round(times, 2)}


def _ratios(line: Line, plain: Line, model: Line) -> Line:
    year = line["seconds"] / line["resources"]
    found: Line = {"seconds_per_resource_year": round(year, 5)}
    if "seconds_per_event" in plain:
        found["times_faster_than_pandas"] = round(plain["seconds_per_event"] / line["seconds_per_event"], 1)
    if "seconds_per_resource_year" in model:
        found["times_faster_than_opendsm"] = round(model["seconds_per_resource_year"] / year, 1)
    return found


def rules(options: argparse.Namespace) -> list[Rule]:
    """Return those asked for, or all that a load alone is enough for but the trees, which are grown for each event."""
    found = [methods.load(name)[-1] for name in options.methods or methods.names()]
    asked = request(range(0), events((0,), 1))
    return [
        rule
        for rule in found
        if accuracy.unfit(rule, asked) is None and (options.methods or not isinstance(rule.parameters, Learned))
    ]


def parsed(argv: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--resources", type=int, default=1000)
    parser.add_argument("--chunk", type=int, default=20, help="resources held at a time")
    parser.add_argument("--hours", type=lambda text: tuple(map(int, text.split(","))), default=tuple(range(24)))
    parser.add_argument("--events", type=int, help="at most so many a resource, spread over the year; all if left out")
    parser.add_argument("--pandas-events", type=int, default=50)
    parser.add_argument("--opendsm-runs", type=int, default=3)
    parser.add_argument("--engines", type=lambda text: tuple(text.split(",")), default=tuple(ENGINES))
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    options.given = argv
    return options


def main() -> None:
    """Print the figures, or the one measurement this process is for."""
    options = parsed(sys.argv[1:])
    match options.measure:
        case None:
            lines: Iterator[Line] = figures(options)
        case "opendsm":
            lines = iter([of_opendsm(options)])
        case "pandas":
            lines = iter([of_pandas(options, rules(options)[0])])
        case name:
            lines = iter([of_engine(options, name, rules(options)[0])])
    for line in lines:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    main()
