"""The lines of `bench_cbl.py` as a Markdown table, a row a method: `python tests/bench/cbl_table.py < lines.jsonl`."""

import json
import sys
from collections.abc import Iterable, Iterator
from typing import Any

Line = dict[str, Any]
HEAD = (
    "method",
    "resources × events",
    "Polars, ms a baseline",
    "rows/s",
    "peak MB",
    "to pandas",
    "to opendsm",
    "DuckDB, ms",
    "peak MB",
    "Polars to DuckDB",
    "pandas, ms",
    "differs by at most, kW",
)


def table(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the rows, with a dash for what was not measured or not told."""
    found = list(lines)
    yield f"| {' | '.join(HEAD)} |"
    yield f"| --- {'| ---: ' * (len(HEAD) - 1)}|"
    for method in dict.fromkeys(line["method"] for line in found if line["bench"] == "cbl.engine"):
        mine = [line for line in found if line.get("method") == method]
        polars, duckdb = (_one(mine, bench="cbl.engine", engine=name) for name in ("polars", "duckdb"))
        plain = _one(mine, bench="cbl.pandas")
        to = {name: _one(mine, bench="cbl.ratio", engine="polars", to=name) for name in ("pandas", "opendsm", "duckdb")}
        apart = plain.get("greatest_difference_kw")
        if polars:
            cells = [
                f"`{method}`",
                f"{polars['resources']:,} × {polars['events']:,}",
                _ms(polars),
                f"{polars['rows_per_s']:,}",
                f"{polars['peak_memory_mb']:,}",
                _times(to["pandas"]),
                _times(to["opendsm"]),
                _ms(duckdb),
                f"{duckdb['peak_memory_mb']:,}" if duckdb else "–",
                _times(to["duckdb"]),
                _ms(plain),
                f"{max(apart.values()):.0e}" if apart else "–",
            ]
            yield f"| {' | '.join(cells)} |"


def _one(lines: list[Line], **wanted: str) -> Line:
    """Return the line that has what is *wanted*, or an empty one."""
    return next((line for line in lines if wanted.items() <= line.items() and "not_run" not in line), {})


def _ms(line: Line) -> str:
    """Return by the clock, and processor time in parentheses."""
    return f"{1000 * line['seconds_per_baseline']:.3g} ({1000 * line['cpu_s_per_baseline']:.3g})" if line else "–"


def _times(line: Line) -> str:
    """Return by the clock, and by processor time in parentheses."""
    if "times_less_cpu" not in line:
        return "–"
    clock = "–" if line["times_faster"] is None else f"{line['times_faster']:,.3g}×"
    return f"{clock} ({line['times_less_cpu']:,.3g}×)"


if __name__ == "__main__":
    sys.stdout.writelines(f"{row}\n" for row in table(map(json.loads, sys.stdin)))
