"""
Write the page and its plots: `make backtest`. Shell.

    python -m bidding.backtest --out bidding/backtest/BACKTEST.md [--weeks-apart N] [--days N] [--markets NAME …]
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
from bidding.backtest.cases import JOINT_HUB, Case, Real, cases, names
from bidding.backtest.report import Plan, Report, report
from bidding.backtest.rules import RESERVE
from bidding.backtest.summary import RULE, Summary, summaries
from bidding.backtest.walk import Contestant, Row, apart, walk
from bidding.portfolio import model as portfolio_model
from pipeline.errors import ConfigError, FirmwattError
from pipeline.files import replace

SEED = "firmwatt"
RESAMPLING_SEED = 7
OPTIMISER = "optimiser"
DEEPER = 0.8
"""Confidence of the least firm step that some contestants sell; the others stop where a rule-based desk would."""
DOUBT = 1e-6
"""Enough for limits to hold whatever is taken, too little to move an expected value."""
EVERYWHERE = (
    Contestant(RULE, RULE),
    Contestant("simple, to 80 %", RULE, 0.0, DEEPER),
    Contestant("optimiser, λ 0", OPTIMISER, 0.0),
    Contestant("optimiser, λ 0, to 80 %", OPTIMISER, 0.0, DEEPER),
)
#: Not for reserve: whatever is taken would there be whatever is called, in every hour, which no reserve could bear.
ENERGY_ONLY = (Contestant("optimiser, λ 0, any day", OPTIMISER, 0.0, unseen=DOUBT),)
#: Risk weights are tried where reserve is sold, and on the hub that it is paired with.
AT_RISK = (
    Contestant("optimiser, λ 0.1", OPTIMISER, 0.1),
    Contestant("optimiser, λ 0.3", OPTIMISER, 0.3),
)
WEEKS_APART = 8
SHORT = 4
"""The half years with reserve are walked so many times as often."""

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
        rows = run(case, options)
        lines += summaries(rows, RESAMPLING_SEED)
        log.info("%s: %d days", case.name, len({row.day for row in rows}))
    out = Path(options.out)
    plan = Plan(
        (*EVERYWHERE, *ENERGY_ONLY, *AT_RISK),
        seed=options.seed,
        weeks_apart=options.weeks_apart,
        folder=out.stem.lower(),
    )
    write(report(chosen, lines, real, plan), out)
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


def run(case: Case, options: argparse.Namespace) -> list[Row]:
    """Return the rows of one case: of every so many weeks, and of no more days than asked for."""
    days = apart(case.days, max(1, options.weeks_apart // SHORT) if RESERVE in case.products else options.weeks_apart)
    rows: list[Row] = []
    for row in walk(case, contestants_of(case), planner, options.seed, days):
        if options.days is not None and len({found.day for found in rows} | {row.day}) > options.days:
            break
        rows.append(row)
    return rows


def contestants_of(case: Case) -> tuple[Contestant, ...]:
    """Return who takes part in *case*."""
    energy_only = RESERVE not in case.products
    at_risk = not energy_only or case.name == JOINT_HUB
    return (*EVERYWHERE, *(ENERGY_ONLY if energy_only else ()), *(AT_RISK if at_risk else ()))


def planner(contestant: Contestant, problem: portfolio_model.Problem) -> portfolio_model.Plan:
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
    parser.add_argument(
        "--weeks-apart", type=int, default=WEEKS_APART, help="offers are made in every so many weeks; 1: all"
    )
    parser.add_argument("--days", type=int, help="so many days of each market, for a quick look")
    parser.add_argument("--markets", nargs="*", default=[], help="some of the markets, by name")
    parser.add_argument("--seed", default=SEED, help="of everything that is simulated")
    return parser.parse_args(argv)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except FirmwattError as error:
        sys.exit(str(error))
