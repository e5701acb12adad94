"""
The page: what was tried, what is real and what is not, what came of it. Pure; sentences with figures are computed.

Plots and monthly values lie in a folder beside the page that is named as it is: `BACKTEST.md`, `backtest/*.svg`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bidding.backtest import plots, provenance
from bidding.backtest.cases import Case, Real
from bidding.backtest.finding import finding, signed, why
from bidding.backtest.summary import Summary
from bidding.backtest.walk import FORESIGHT, Contestant

HEADS = (
    "contestant",
    "value $",
    "of foresight",
    "over simple: $ (95 %)",
    "ratio (95 %)",
    "worst day $",
    "CVaR 5 % $",
    "std $",
    "sold MWh",
    "delivered MWh",
    "missing MWh",
    "shortfalls",
    "calls",
    "hours",
    "tokens forgone ×10⁹",
    "$ per million",
)


@dataclass(frozen=True)
class Report:
    """A page and the files it shows, by their names."""

    text: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class Plan:
    """How the walk was done."""

    contestants: tuple[Contestant, ...]
    seed: str
    weeks_apart: int
    folder: str
    """Where the page finds its plots, beside it."""


def report(cases: Sequence[Case], lines: Sequence[Summary], real: Real, plan: Plan) -> Report:
    """Return the page on *lines*."""
    folder = plan.folder
    files = {"monthly.csv": monthly(lines), "frontier.svg": plots.frontier(lines)}
    for case in cases:
        mine = [line for line in lines if line.case == case.name]
        if mine:
            files[f"{case.name}-value.svg"] = plots.cumulative([line for line in mine if line.whole])
            files[f"{case.name}-captured.svg"] = plots.captured([line for line in mine if line.whole])
    parts = [
        "# What the offer builder would have earned",
        "`make backtest` writes this page.",
        "**The site is simulated; prices are real; calls are drawn from real events.**",
        "## Finding",
        finding(lines),
        f"![Mean day against the worst]({folder}/frontier.svg)",
        "## What is real, and what is not",
        provenance.table(real),
        provenance.assumptions(real, plan.seed),
        "## How it was done",
        provenance.method(plan.contestants, plan.weeks_apart),
        *(part for case in cases for part in section(case, lines, folder)),
    ]
    return Report("\n\n".join(part for part in parts if part) + "\n", files)


def section(case: Case, lines: Sequence[Summary], folder: str) -> Iterator[str]:
    """Yield the parts on one case."""
    mine = [line for line in lines if line.case == case.name]
    if not mine:
        return
    yield f"## {case.title}"
    if case.constructed:
        yield "**A construction, not history: these prices were never seen together.**"
    yield provenance.gaps(case, mine)
    for span in dict.fromkeys(line.span for line in mine):
        of_span = [line for line in mine if line.span == span]
        yield f"### {span}: {of_span[0].days} days"
        yield table(of_span)
        yield why(of_span)
    yield f"![Value so far]({folder}/{case.name}-value.svg)"
    yield f"![Share of perfect foresight by month]({folder}/{case.name}-captured.svg)"


def table(lines: Sequence[Summary]) -> str:
    """Return one span of one case, a row a contestant."""
    rows = [_row(HEADS), _row(["---", *["---:"] * (len(HEADS) - 1)])]
    return "\n".join([*rows, *(_row(cells(line)) for line in lines)])


def cells(line: Summary) -> list[str]:
    """Return the figures of one row in the order of `HEADS`."""
    of, gain = line.outcome, line.over_rule
    per_million = line.per_million_tokens
    return [
        f"`{line.contestant}`" if line.contestant != FORESIGHT else FORESIGHT,
        f"{line.value:,.0f}",
        "–" if line.captured is None else f"{line.captured:.1%}",
        "–" if gain is None else f"{signed(gain.difference)} ({signed(gain.low)} to {signed(gain.high)})",
        "–" if gain is None or gain.ratio is None else f"{gain.ratio:.3f} {_interval(gain.ratio_low, gain.ratio_high)}",
        f"{round(line.worst):,}",
        f"{round(line.cvar):,}",
        f"{line.deviation:,.0f}",
        f"{of.sold_mwh:,.0f}",
        f"{of.delivered_mwh:,.1f}",
        f"{of.missing_mwh:,.1f}",
        f"{of.shortfalls:,}",
        f"{of.calls:,}",
        f"{of.hours_sold:,}",
        f"{of.tokens / 10**9:,.0f}",
        "–" if per_million is None else f"{per_million:.4f}",
    ]


def _interval(low: float | None, high: float | None) -> str:
    return "" if low is None or high is None else f"({low:.3f} to {high:.3f})"


def _row(texts: Sequence[str]) -> str:
    return f"| {' | '.join(texts)} |"


def monthly(lines: Sequence[Summary]) -> str:
    """Return every month's value as CSV."""
    months: dict[tuple[str, str, str], float] = {}
    for line in (line for line in lines if line.whole):
        for day, value in sorted(line.daily.items()):
            key = (line.case, line.contestant, f"{day:%Y-%m}")
            months[key] = months.get(key, 0.0) + value
    rows = [f'{case},"{contestant}",{month},{value:.2f}' for (case, contestant, month), value in months.items()]
    return "\n".join(["case,contestant,month,value_usd", *rows]) + "\n"
