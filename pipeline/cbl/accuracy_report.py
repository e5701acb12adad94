"""
The accuracy report: Markdown, its pictures, and every score as CSV. Pure; every sentence with a figure is computed.

Pictures and scores lie in a folder beside the report that is named as it is: `ACCURACY.md`, `accuracy/*.svg`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import polars as pl

from pipeline.cbl import accuracy_finding as finding
from pipeline.cbl import accuracy_hours as hours
from pipeline.cbl import accuracy_svg as svg
from pipeline.cbl.accuracy import BUSINESS, GATE, GATE_DAYS, MOST_WITHOUT, OTHER, Plan
from pipeline.cbl.accuracy_scores import ALIKE, best
from pipeline.cbl.accuracy_study import Study

KINDS = (BUSINESS, OTHER)
UNNAMED = "the load"
HOURLY_RESOURCES = 4


@dataclass(frozen=True)
class Report:
    """A document and the files it shows, by their names."""

    text: str
    files: dict[str, str]


def report(studies: Sequence[Study], folder: str, opening: str = "") -> Report:
    """Return the report of *studies*, whose pictures and scores it looks for in *folder*."""
    files = {f"{study.name}.svg": picture(study) for study in studies}
    scores = pl.concat(_listed(study).with_columns(study=pl.lit(study.name)) for study in studies)
    files["scores.csv"] = scores.select("study", pl.exclude("study")).write_csv(float_precision=6)
    parts = [
        "# How far off baselines are",
        opening,
        _how(studies[0].plan, folder),
        *(part for study in studies for part in _section(study, folder)),
        "## What an adjustment is worth",
        finding.adjustments(studies),
    ]
    return Report("\n\n".join(part for part in parts if part) + "\n", files)


def _listed(study: Study) -> pl.DataFrame:
    """Return the scores that are written beside the report; those of single hours where the resources are few."""
    few = len(study.resources) <= HOURLY_RESOURCES
    return study.scores.filter(pl.col("hour").is_null() | few)


def _how(plan: Plan, folder: str) -> str:
    starts = ", ".join(f"{hour}:00" for hour in plan.start_hours)
    return (
        f"Placebo events: {plan.hours} h from {starts} local time, on up to {plan.days} business days and {plan.days} "
        "other days on which nothing was called, chosen by a hash of their date after the history at the beginning "
        f"of the record ({plan.history_days} days, of a short record half). There the load itself is the truth. RRMSE "
        "= √mean((load − baseline)²) ÷ mean load; bias = mean(baseline − load) ÷ mean load, above zero where a "
        f"reduction is overstated. The gate is an RRMSE of {GATE:.0%} (AEMO found, PJM unverified), tried on "
        f"{GATE_DAYS} days; on fewer a verdict is indicative. A method that lacked a baseline on more than "
        f"{MOST_WITHOUT:.0%} of the events is not called the best. Intervals of one day are not independent: mind the "
        "number of days. CV(RMSE), NMBE (ASHRAE Guideline 14, p = 1), and for few resources every hour by itself: "
        f"`{folder}/scores.csv`. Definitions: `accuracy_scores.py`."
    )


def _section(study: Study, folder: str) -> Iterator[str]:
    yield f"## {study.title}"
    if study.simulated:
        yield "**Simulated load from real demand.**"
    yield "\n".join(f"- {note}" for note in study.notes)
    yield f"![RRMSE by method]({folder}/{study.name}.svg)"
    for kind in KINDS:
        scored = study.overall(kind).filter(pl.col("intervals") > 0)
        if len(scored):
            yield f"### {kind.capitalize()}: {sample(scored)}"
            yield matrix(study, kind)
            yield verdicts(study, kind)
            yield hours.table(study, kind)
        else:
            yield f"### {kind.capitalize()}: no method had a baseline"
    yield finding.counted_once(study)
    if study.unfit:
        yield "Not tried: " + "; ".join(f"`{method}` ({why})" for method, why in study.unfit) + "."


def sample(scored: pl.DataFrame) -> str:
    """Return how much the figures rest on: the days, events and intervals of the method that had most of them."""
    days, events, intervals = scored.select(pl.col("days", "events", "intervals").max()).row(0)
    return f"{days} days, {events:,} events, {intervals:,} intervals a resource"


def matrix(study: Study, kind: str) -> str:
    """Return a table of RRMSE and bias, method by resource, the best of each resource in bold."""
    scored = study.overall(kind)
    winners = {(row["resource"], row["method"]) for row in best(study.candidates(kind)).iter_rows(named=True)}
    cells = {(row["method"], row["resource"]): _cell(row, winners) for row in scored.iter_rows(named=True)}
    resources = study.resources
    lines = [
        _line(["RRMSE, bias", *(one or UNNAMED for one in resources)]),
        _line(["---", *(["---:"] * len(resources))]),
    ]
    lines += [
        _line([f"`{rule.method}`", *(cells.get((rule.method, one), "–") for one in resources)]) for rule in study.rules
    ]
    legend = (
        "Bold: the best. ✗: above the gate. ▲: worse than before its own adjustment. (n %): of the events without a "
    )
    return "\n".join(lines) + f"\n\n{legend}baseline. –: never one."


def _cell(row: dict[str, float | str | None], winners: set[tuple[str, str]]) -> str:
    error, before, bias, without = (row[name] for name in ("rrmse", "rrmse_unadjusted", "bias", "without_baseline"))
    if not isinstance(error, float) or not isinstance(before, float) or not isinstance(bias, float):
        return "–"
    text = f"{error:.1%}, {bias:+.1%}"
    text = f"**{text}**" if (row["resource"], row["method"]) in winners else text
    marks = f"{' ✗' if error > GATE else ''}{' ▲' if error > before + ALIKE else ''}"
    return text + marks + (f" ({without:.1%})" if without else "")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def verdicts(study: Study, kind: str) -> str:
    """Return for each resource which method is best, and which pass the gate."""
    scored = study.candidates(kind)
    winners = {row["resource"]: row for row in best(scored).iter_rows(named=True)}
    lines = ["| resource | best | eligible at the gate | not eligible |", "|---|---|---|---|"]
    once = study.once
    for resource in study.resources:
        mine = scored.filter(resource=resource)
        winner = winners.get(resource)
        first = f"`{winner['method']}` {winner['rrmse']:.1%}" if winner else "none"
        hint = " (indicative)" if winner and winner["indicative"] else ""
        passed, failed = (_names(mine.filter(pl.col("eligible") == passes), mine, once) for passes in (True, False))
        lines.append(_line([resource or UNNAMED, first + hint, passed, failed]))
    return "\n".join(lines)


def _names(scored: pl.DataFrame, tried: pl.DataFrame, once: frozenset[str]) -> str:
    """Return the methods that had a baseline, the best first, and how many never had one; "all" where it is all."""
    if len(scored) == len(tried) and scored["intervals"].min() != 0:
        return f"all {len(tried.filter(pl.col('method').is_in(once)))}"
    have = [f"`{method}`" for method in scored.filter(pl.col("intervals") > 0)["method"].to_list()]
    never = len(scored.filter(pl.col("intervals") == 0))
    return ", ".join([*have, *([f"{never} that never had a baseline"] if never else [])]) or "none"


def picture(study: Study) -> str:
    """Return the errors of business days, a row a method; of a method that adjusts also those before."""
    scored = study.overall(BUSINESS).filter(pl.col("rrmse").is_not_null())
    by_method = {rule.method: scored.filter(method=rule.method) for rule in study.rules}
    rows = [
        (
            method,
            [
                svg.Dot(resource, error, before if method in study.adjusted else None)
                for resource, error, before in mine.select("resource", "rrmse", "rrmse_unadjusted").iter_rows()
            ],
        )
        for method, mine in by_method.items()
        if len(mine)
    ]
    mark = ", simulated load" if study.simulated else ""
    return svg.dots(f"RRMSE on placebo business days: {study.name}{mark}", rows, GATE)
