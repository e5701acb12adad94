"""
Write the page and its plots: `make backtest`. Shell.

    python -m bidding.backtest --out bidding/backtest/BACKTEST.md [--days N] [--markets NAME …] [--seed TEXT]
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bidding import portfolio
from bidding.backtest import prices, reserves, site_data
from bidding.backtest.calls import learn
from bidding.backtest.cases import Case, Real, cases, names
from bidding.backtest.report import Report, report
from bidding.backtest.summary import RULE, Summary, summaries
from bidding.backtest.walk import Contestant, Row, walk
from bidding.portfolio.model import Plan, Problem
from pipeline.errors import ConfigError, FirmwattError
from pipeline.files import replace

SEED = "firmwatt"
RESAMPLING_SEED = 7
OPTIMISER = "optimiser"
CONTESTANTS = (
    Contestant(RULE, RULE),
    Contestant("optimiser, firm", OPTIMISER, 0.0, 0.95),
    Contestant("optimiser, λ 0", OPTIMISER, 0.0, 0.5),
    Contestant("optimiser, λ 0.5", OPTIMISER, 0.5, 0.5),
    Contestant("optimiser, λ 0.9", OPTIMISER, 0.9, 0.5),
)

log = logging.getLogger("bidding.backtest")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the back-test and write its page."""
    options = _options(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    real = load(Path(os.environ.get("FIRMWATT_SHARED") or "../shared") / "data")
    if unknown := set(options.markets) - set(names(real)):
        raise ConfigError(f"no market {', '.join(sorted(unknown))}; have {', '.join(names(real))}")
    chosen = tuple(cases(real, options.seed, options.markets))
    lines: list[Summary] = []
    for case in chosen:
        rows = list(run(case, options.seed, options.days))
        lines += summaries(rows, RESAMPLING_SEED)
        log.info("%s: %d rows", case.name, len(rows))
    out = Path(options.out)
    write(report(chosen, lines, CONTESTANTS, real=real, seed=options.seed, folder=out.stem.lower()), out)
    return 0


def load(data: Path) -> Real:
    """Read everything from the data folder."""
    return Real(
        hubs=prices.load(data),
        srmcp=reserves.srmcp(data),
        calls=learn(reserves.events(data)),
        retroactive=reserves.retroactive(data),
        measured=site_data.load(data),
    )


def run(case: Case, seed: str, days: int | None) -> list[Row]:
    """Return the rows of one case, of its first *days* that offers can be made for, or of all."""
    rows: list[Row] = []
    for row in walk(case, CONTESTANTS, planner, seed):
        if days is not None and len({found.day for found in rows} | {row.day}) > days:
            break
        rows.append(row)
    return rows


def planner(contestant: Contestant, problem: Problem) -> Plan:
    """Ask the live strategy of that name."""
    return portfolio.strategy(contestant.strategy).plan(problem)


def write(made: Report, out: Path) -> None:
    """Write the page to *out* and its files beside it."""
    folder = out.parent / out.stem.lower()
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in made.files.items():
        replace(folder / name, text.encode())
    replace(out, made.text.encode())


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bidding.backtest", description=__doc__)
    parser.add_argument("--out", required=True, help="the page, a Markdown file; its plots go into a folder beside it")
    parser.add_argument("--days", type=int, help="so many days of each market, for a quick look")
    parser.add_argument("--markets", nargs="*", default=[], help="some of the markets, by name")
    parser.add_argument("--seed", default=SEED, help="of everything that is simulated")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FirmwattError as error:
        sys.exit(str(error))
