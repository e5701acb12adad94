"""
The accuracy of every method on the real series: `make baseline-accuracy` writes ACCURACY.md and accuracy/. Shell.

    python -m pipeline.cbl.accuracy_real pipeline/cbl/ACCURACY.md
"""

import os
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import polars as pl

from pipeline.cbl import accuracy_cli, accuracy_finding, accuracy_svg, engines, series
from pipeline.cbl.accuracy import YESTERDAY, Plan
from pipeline.cbl.accuracy_report import report
from pipeline.cbl.accuracy_study import request_of, scored, study
from pipeline.cbl.rule import Learned
from pipeline.errors import ConfigError

WEEK = 7
FEW = 4
"""Placebo days of each kind where trees are tried."""
BESIDE_TREES = frozenset({"house-ml", "house-regression", "caiso-10-in-10", "pjm-match-day", YESTERDAY})


def main(argv: list[str]) -> int:
    """Write the report to the file named first."""
    if len(argv) != 1 or not argv[0].endswith(".md"):
        raise ConfigError("name the file to write: python -m pipeline.cbl.accuracy_real ACCURACY.md")
    path, data = Path(argv[0]), Path(os.environ.get("FIRMWATT_SHARED") or "../shared") / "data"
    rules, engine, plan = accuracy_cli.chosen(None), engines.engine("polars"), Plan()
    # Trees are grown anew for each event, which takes longer than all the others together.
    quick = tuple(rule for rule in rules if not isinstance(rule.parameters, Learned))

    llm = series.llm_demand(data)
    fleets = study([(llm, request_of(llm))], rules, plan, engine)
    metered = series.buildings(data)
    buildings = study([(metered, request_of(metered))], quick, plan, engine)
    regions = study([(one, request_of(one)) for one in series.demand(data)], quick, plan, engine)
    beside = tuple(rule for rule in rules if rule.method in BESIDE_TREES)
    learned = study([(metered, request_of(metered))], beside, replace(plan, days=FEW), engine)
    learned = replace(learned, name="buildings-trees", title="The same buildings, with boosted trees, on fewer days")
    regions = replace(regions, name="demand", title="12 regions of four markets (EIA-930), hourly, 2020 to 2022")

    shifted = pl.concat(
        scored(quick, request_of(series.llm_demand(data, day)), plan, engine).with_columns(first_day=day)
        for day in (series.FIRST_DAY + timedelta(days=number) for number in range(WEEK))
    )
    folder = path.stem.lower()
    finding = accuracy_finding.ai_load(fleets, buildings, shifted)
    parts = (
        "`make baseline-accuracy` writes this page. What a baseline costs: [MEASURED.md](MEASURED.md).",
        "## Finding for AI load",
        finding,
        _shown(folder),
    )
    made = report([fleets, buildings, learned, regions], folder, opening="\n\n".join(parts))
    accuracy_cli.write(replace(made, files=made.files | {"llm-load.svg": load_picture(llm)}), path)
    return 0


def _shown(folder: str) -> str:
    return f"![Simulated load of fourteen days]({folder}/llm-load.svg)"


def load_picture(llm: series.Series) -> str:
    """Return the simulated loads over the days of the record."""
    named = [
        (str(name), loads.sort("start")["load_kw"].to_list())
        for (name,), loads in llm.loads.group_by("resource", maintain_order=True)
    ]
    first, last = llm.loads["start"].sort().gather([0, -1]).to_list()
    days = round((last - first + llm.grid) / timedelta(days=1))
    return accuracy_svg.lines("Simulated load from real demand, kW, by day of the record", days, named)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ConfigError as error:
        sys.exit(str(error))
