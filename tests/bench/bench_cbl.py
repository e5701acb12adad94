"""
What baselines cost: a year of 5-minute data, an event in every hour of every business day, by method.

`PYTHONPATH=tests python tests/bench/bench_cbl.py` prints one JSON line a figure, in a small form of two minutes on a
method of each kind and some of the events; `--full` (`make bench-cbl`) takes all methods, events, and 1,000 resources.
Each measurement is a process of its own, so that its peak memory is its own, and its figure a median over runs: an
engine's over pieces of `--chunk` resources, the others' over resources; what is short is repeated. No ratio rests on
less than half a second, and none by the clock on a machine that was busy with something else: processor time, of all
threads together, is told beside it.

    cbl.engine    seconds a baseline (one event, one resource), and a resource-year: all business-day event hours of it,
                  extrapolated from the events there are where not all are asked for; rows/s: readings of history by
                  that; peak memory with the readings the process holds
    cbl.pandas    the same rule event by event (`cbl_pandas.py`), without the preparation of a resource's readings; on
                  some events spread over the year. Where one baseline differs from an engine's by 1e-6 kW or more, or
                  only one of them has it, the benchmark ends with exit code 1
    cbl.opendsm   its hourly model, fitted to the hourly means of a resource's same year and asked for that year; the
                  first one compiles and does not count
    cbl.ratio     to pandas: a baseline against a baseline; to opendsm: an engine's resource-year against one fit and
                  prediction of a year, which are different work; DuckDB to Polars: a baseline against a baseline

pandas and opendsm come with `uv sync --group bench` or `pip install --group bench`; where they are not installed their
lines say so.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator

from bench import cbl_measure
from bench.cbl_measure import ENGINES, LEAST_S, Line
from bench.cbl_year import EVENTS_A_YEAR

from pipeline.cbl import methods
from pipeline.cbl.rule import AroundEvent, DayMatching, Learned, Level, Reference, Regression, Rule

SMALL = {
    "resources": 4,
    "duckdb_resources": 4,
    "chunk": 2,
    "events": 120,
    "pandas_resources": 3,
    "pandas_events": 24,
    "opendsm_runs": 3,
    "methods": (
        "caiso-10-in-10",
        "caiso-weather-matching",
        "ercot-regression",
        "house-regression",
        "pjm-match-day",
        "pjm-same-day-3-2",
    ),
}
FULL = {
    "resources": 1000,
    "duckdb_resources": 20,
    "chunk": 20,
    "events": None,
    "pandas_resources": 5,
    "pandas_events": 120,
    "opendsm_runs": 10,
    "methods": None,
}

UNDISTURBED = 0.9
"""Processor time ÷ time by the clock: less, and something else ran beside."""


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
        if (why := unfit(rule, options)) is not None:
            yield {"bench": "cbl.engine", "method": rule.method, "not_run": why}
            continue
        plain = measured(options, "pandas", rule.method)
        yield plain
        engines = {name: measured(options, name, rule.method) for name in options.engines}
        for name, line in engines.items():
            yield line
            named = {"bench": "cbl.ratio", "method": rule.method, "engine": name}
            yield {**named, "to": "pandas", **ratio(plain, line, "baseline")}
            yield {**named, "to": "opendsm", **ratio(model, line, "resource_year")}
        if len(engines) == len(ENGINES):
            times = ratio(engines["duckdb"], engines["polars"], "baseline")
            yield {"bench": "cbl.ratio", "method": rule.method, "engine": "polars", "to": "duckdb", **times}


def ratio(slow: Line, fast: Line, unit: str) -> Line:
    """
    Return how many times faster *fast* is by the *unit*, how many times less processor time it takes, on how many runs.

    Time by the clock is not told where either had to share its processor with something else.
    """
    if "not_run" in slow:
        return {"not_told": slow["not_run"]}
    lines = (fast, slow)
    if (short := min(line["measured_cpu_s"] for line in lines)) < LEAST_S:
        return {"not_told": f"{short} s were measured, and {LEAST_S} are needed"}
    found: Line = {"by": unit, "runs": [line["runs"] for line in lines]}
    for name, figure in (("times_faster", "seconds"), ("times_less_cpu", "cpu_s")):
        found[name] = float(f"{slow[f'{figure}_per_{unit}'] / fast[f'{figure}_per_{unit}']:.3g}")
    if (share := min(line["measured_cpu_s"] / line["measured_s"] for line in lines)) < UNDISTURBED:
        found["times_faster"] = None
        found["not_told"] = f"the machine was busy: one of the two had {share:.0%} of a processor"
    return found


def rules(options: argparse.Namespace) -> list[Rule]:
    """Return the newest version of each method asked for, of all where none is named."""
    return [methods.load(name)[-1] for name in options.methods or methods.names()]


def unfit(rule: Rule, options: argparse.Namespace) -> str | None:
    """Return why there is nothing to measure of a method, or None."""
    match rule.parameters:
        case DayMatching() | AroundEvent() | Regression():
            return None
        case Level() | Reference():
            return "a figure or a series that somebody supplies: nothing is computed from history"
        case Learned():
            return None if options.methods else "trees are grown for each event; --methods to measure it all the same"


def parsed(argv: list[str]) -> argparse.Namespace:
    """Return the options; those not given are of the small form, or of the full one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--full", action="store_true", help=f"{FULL}; otherwise {SMALL}")
    parser.add_argument("--resources", type=int)
    parser.add_argument("--duckdb-resources", type=int, help="DuckDB's, where it would take too long with all")
    parser.add_argument("--chunk", type=int, help="resources held at a time, a run each")
    parser.add_argument("--events", type=int, help=f"a resource, spread over the {EVENTS_A_YEAR:,} of the year")
    parser.add_argument("--pandas-resources", type=int)
    parser.add_argument("--pandas-events", type=int)
    parser.add_argument("--opendsm-runs", type=int)
    parser.add_argument("--engines", type=lambda text: tuple(text.split(",")), default=tuple(ENGINES))
    parser.add_argument("--methods", type=lambda text: tuple(text.split(",")))
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    full = parser.parse_args(argv).full
    parser.set_defaults(**(FULL if full else SMALL))
    options = parser.parse_args(argv)
    options.given = argv
    return options


def measurement(options: argparse.Namespace) -> Line:
    """Make the one measurement that this process is for."""
    match options.measure:
        case "opendsm":
            return cbl_measure.of_opendsm(options)
        case "pandas":
            return cbl_measure.of_pandas(options, rules(options)[0])
        case engine:
            return cbl_measure.of_engine(options, engine, rules(options)[0])


def main() -> int:
    """Print the figures; 1 where the plain implementation and an engine differ."""
    options = parsed(sys.argv[1:])
    differ = []
    for line in figures(options) if options.measure is None else [measurement(options)]:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
        if line.get("agrees") is False:
            differ.append(line["method"])
    if differ and options.measure is None:
        sys.stderr.write(f"pandas and an engine differ: {', '.join(differ)}\n")
    return 1 if differ and options.measure is None else 0


if __name__ == "__main__":
    sys.exit(main())
