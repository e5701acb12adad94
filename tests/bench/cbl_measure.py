"""The measurements of `bench_cbl.py`: one line of figures each, each made in a process of its own."""

import argparse
import importlib
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import cycle
from statistics import median
from typing import Any

import polars as pl
from bench import cbl_year
from bench.cbl_year import EVENTS_A_YEAR, INTERVALS

from pipeline.cbl.request import LOADS
from pipeline.cbl.rule import Rule

ENGINES = {"polars": "pipeline.cbl.polars_engine", "duckdb": "pipeline.cbl.duckdb_engine"}
FEW, LEAST_S, LONG_S = 3, 0.5, 10.0
"""Runs are repeated until there are a few and half a second of them, or ten seconds; by the processor's clock."""
CLOSE_KW = 1e-6
PLAIN = pl.Schema({"event": pl.Int64(), "start": LOADS["start"], "resource": pl.String(), "plain_kw": pl.Float64()})
Line = dict[str, Any]
Work = Callable[[], object]
Task = Callable[[], tuple[Work, int]]
"""Prepares, which is not timed; returns what is, and how many baselines or years it makes."""


@dataclass(frozen=True)
class Run:
    """One timed piece of work: so many baselines (one event, one resource), or resource-years."""

    seconds: float
    cpu_s: float
    """Of all threads."""
    count: int


def repeated(tasks: list[Task]) -> list[Run]:
    """Do each of *tasks*, and again as often as it takes for a median of something long enough."""
    runs: list[Run] = []
    for task in cycle(tasks):
        whole = sum(run.cpu_s for run in runs)
        if len(runs) >= len(tasks) and ((len(runs) >= FEW and whole >= LEAST_S) or whole >= LONG_S):
            break
        work, count = task()
        began, busy = time.perf_counter(), time.process_time()
        work()
        runs.append(Run(time.perf_counter() - began, time.process_time() - busy, count))
    return runs


def told(runs: list[Run], unit: str) -> Line:
    """Return what *runs* say: the median seconds of one *unit*, and how much it rests on."""
    return {
        "runs": len(runs),
        "measured_s": round(sum(run.seconds for run in runs), 3),
        "measured_cpu_s": round(sum(run.cpu_s for run in runs), 3),
        f"seconds_per_{unit}": median(run.seconds / run.count for run in runs),
        f"cpu_s_per_{unit}": median(run.cpu_s / run.count for run in runs),
    }


def memory_mb() -> int:
    """Return the peak of this process."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def of_engine(options: argparse.Namespace, name: str, rule: Rule) -> Line:
    """Measure one engine and method over all resources, some at a time; making the readings is not counted."""
    answer = importlib.import_module(ENGINES[name]).answer
    asked, count = cbl_year.events(options.events), options.resources if name == "polars" else options.duckdb_resources
    chunks = [range(first, min(first + options.chunk, count)) for first in range(0, count, options.chunk)]
    answer(rule, cbl_year.request(range(1), cbl_year.events(1)))

    def task(numbers: range) -> tuple[Work, int]:
        return partial(answer, rule, cbl_year.request(numbers, asked)), len(asked) * len(numbers)

    found = told(repeated([partial(task, numbers) for numbers in chunks]), "baseline")
    year = found["seconds_per_baseline"] * EVENTS_A_YEAR
    return {
        "bench": "cbl.engine",
        "engine": name,
        "method": rule.method,
        "resources": count,
        "events": len(asked),
        **found,
        "seconds_per_resource_year": year,
        "cpu_s_per_resource_year": found["cpu_s_per_baseline"] * EVENTS_A_YEAR,
        "extrapolated": len(asked) < EVENTS_A_YEAR,
        "rows_per_s": round(INTERVALS / year),
        "peak_memory_mb": memory_mb(),
    }


def of_pandas(options: argparse.Namespace, rule: Rule) -> Line:
    """Measure the plain implementation on some events of some resources, and hold it against the engines."""
    if find_spec("pandas") is None:
        return {"bench": "cbl.pandas", "method": rule.method, "not_run": "pandas is not installed: group bench"}
    from bench import cbl_pandas

    if not cbl_pandas.supports(rule.parameters):
        return {"bench": "cbl.pandas", "method": rule.method, "not_run": "no plain implementation of such a rule"}
    asked, numbers = cbl_year.events(options.pandas_events), range(options.pandas_resources)
    plain: dict[int, list[Any]] = {}

    def work(number: int, known: cbl_pandas.History) -> None:
        plain[number] = cbl_pandas.baselines(rule.parameters, known, asked)

    def task(number: int) -> tuple[Work, int]:
        known = cbl_pandas.history(cbl_year.request(range(number, number + 1), asked))
        cbl_pandas.baselines(rule.parameters, known, asked.tail(1))
        return partial(work, number, known), len(asked)

    found = told(repeated([partial(task, number) for number in numbers]), "baseline")
    return {
        "bench": "cbl.pandas",
        "method": rule.method,
        "resources": len(numbers),
        "events": len(asked),
        **found,
        "seconds_per_resource_year": found["seconds_per_baseline"] * EVENTS_A_YEAR,
        "peak_memory_mb": memory_mb(),
        **agreement(rule, numbers, asked, pl.concat(_frame(number, found) for number, found in plain.items()), options),
    }


def _frame(number: int, found: list[Any]) -> pl.DataFrame:
    rows = [
        (event, start.to_pydatetime(), f"r{number:05}", float(load))
        for event, series in enumerate(found)
        if series is not None
        for start, load in series.items()
    ]
    return pl.DataFrame(rows, schema=PLAIN, orient="row")


def agreement(
    rule: Rule, numbers: range, asked: pl.DataFrame, plain: pl.DataFrame, options: argparse.Namespace
) -> Line:
    """Return how many baselines were compared with those of each engine, and why they are not the same, if so."""
    one, apart, lonely = cbl_year.request(numbers, asked), {}, {}
    for name in options.engines:
        answered = importlib.import_module(ENGINES[name]).answer(rule, one).intervals
        both = answered.join(plain, on=["event", "start", "resource"], how="full", coalesce=True)
        known = [pl.col(column).is_finite().fill_null(value=False) for column in ("baseline_kw", "plain_kw")]
        apart[name] = both.filter(*known).select((pl.col("baseline_kw") - pl.col("plain_kw")).abs().max()).item()
        lonely[name] = len(both.filter(~(known[0] & known[1])))
    same = all(most is not None and most < CLOSE_KW for most in apart.values()) and not any(lonely.values())
    return {
        "baselines_compared": len(plain),
        "greatest_difference_kw": apart,
        "only_one_has": lonely,
        "agrees": same,
    }


def of_opendsm(options: argparse.Namespace) -> Line:
    """Measure opendsm's hourly model: fitted to the hourly means of a resource's year, and asked for that year."""
    if find_spec("opendsm") is None:
        return {"bench": "cbl.opendsm", "not_run": "opendsm is not installed: group bench"}
    import pandas as pd
    from opendsm import eemeter

    def frame(number: int) -> Any:
        readings = cbl_year.loads(range(number, number + 1))
        hourly = readings.group_by_dynamic("start", every="1h").agg(pl.col("load_kw").mean())
        index = pd.DatetimeIndex(hourly["start"].to_numpy()).tz_localize("UTC").tz_convert(cbl_year.ZONE)
        fahrenheit = cbl_year.temperatures()["celsius"].to_numpy() * 1.8 + 32
        return pd.DataFrame({"observed": hourly["load_kw"].to_numpy(), "temperature": fahrenheit}, index=index)

    def work(readings: Any) -> None:
        data = eemeter.HourlyBaselineData(readings, is_electricity_data=True)
        model = eemeter.HourlyModel().fit(data, ignore_disqualification=True)
        model.predict(data, ignore_disqualification=True)

    # The first one compiles.
    work(frame(0))
    found = told(
        repeated([partial(lambda number: (partial(work, frame(number)), 1), n) for n in range(options.opendsm_runs)]),
        "resource_year",
    )
    return {"bench": "cbl.opendsm", "rows": INTERVALS // 12, **found, "peak_memory_mb": memory_mb()}
