"""What the scores say, in sentences and a table, each computed from them. Pure."""

from collections.abc import Sequence

import polars as pl

from pipeline.cbl.accuracy import ALL, BUSINESS, GATE, HOURS_BEFORE, OTHER, YESTERDAY
from pipeline.cbl.accuracy_scores import ALIKE, beaten_by, best, first_of_same, worse_for_adjusting
from pipeline.cbl.accuracy_study import Study


def ai_load(study: Study, others: Study, by_first_day: pl.DataFrame) -> str:
    """
    Return the finding for the simulated AI loads of *study* beside the metered loads of *others*.

    *by_first_day*: the scores of all seven weekdays that the record may begin on, with `first_day`.
    """
    scored = study.overall(BUSINESS)
    once = study.by_rule & study.once
    had = scored.filter(pl.col("intervals") > 0)
    rules = had.filter(pl.col("method").is_in(once))
    days, intervals = had.select(pl.col("days", "intervals").max()).row(0)
    silent = sorted(once - set(rules["method"].to_list()))
    lines = [
        _headline(rules, days),
        (
            f"On the business days of the record ({days} placebo days, {intervals} intervals a load; simulated load "
            "from real demand, first weekday assumed; far from the 60 days that a gate asks for):"
        ),
        *(_of_one(resource, rules.filter(resource=resource), study) for resource in study.resources),
        counted_once(study),
        _silent(silent, study),
        _own(scored),
        _adjusting(rules, study),
        _against(rules, YESTERDAY, scored, "the load of the same time yesterday"),
        _against(rules, HOURS_BEFORE, scored, "the flat mean of the 2nd to 4th hour before"),
        _beside(rules, others),
        _by_weekday(by_first_day, study),
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(f"- {line}" for line in lines[2:] if line)


def _of_one(resource: str, rules: pl.DataFrame, study: Study) -> str:
    winner = best(study.candidates(BUSINESS).filter(resource=resource)).row(0, named=True)
    passed = rules.filter("eligible")
    low, high = rules.select(lowest=pl.col("rrmse").min(), highest=pl.col("rrmse").max()).row(0)
    verdict = _verdict(len(passed), len(rules))
    return (
        f"**{resource}**: of {len(rules)} market rules that had a baseline {verdict} the gate of {GATE:.0%} (RRMSE "
        f"{low:.1%} to {high:.1%}); the best of those that had one is `{winner['method']}`, {winner['rrmse']:.1%}, "
        f"bias {winner['bias']:+.1%}."
    )


def counted_once(study: Study) -> str:
    """Say which methods gave the same answers, and that they are one where methods are counted."""
    same = study.same
    groups = {first: [name for name in same if same[name] == first] for first in sorted(study.once)}
    told = [", ".join(f"`{name}`" for name in names) for names in groups.values() if len(names) > 1]
    return f"The same answers throughout, and counted once: {'; '.join(told)}." if told else ""


def _verdict(passed: int, count: int) -> str:
    return "all pass" if passed == count else "none passes" if not passed else f"only {passed} within"


def _headline(rules: pl.DataFrame, days: int) -> str:
    """Say on how many loads there is a market rule that passes the gate."""
    by_load = rules.group_by("resource").agg(passed=pl.col("eligible").sum(), count=pl.len())
    none, every = (len(by_load.filter(pl.col("passed") == wanted)) for wanted in (0, pl.col("count")))
    return (
        f"**On {none} of {len(by_load)} simulated AI loads no market rule that had a baseline is within the gate of "
        f"{GATE:.0%}; on {every} all of them are. They are one record in {len(by_load)} forms, {days} placebo days at "
        "its own intervals: an indication, no more.** A placebo event has no rebound after it and no load moved ahead "
        "of it: methods that look at the hours beside an event seem better here than they can be on a real one."
    )


def _own(scored: pl.DataFrame) -> str:
    """Say which methods of our own were never tried on these loads: of them there is no evidence here."""
    mine = scored.filter(pl.col("method").str.starts_with("house-"), pl.col("intervals") == 0)
    names = ", ".join(f"`{name}`" for name in sorted(set(mine["method"])))
    return f"Of our own methods {names} had no baseline here: nothing is known of them on AI load." if names else ""


def _silent(silent: Sequence[str], study: Study) -> str:
    if not silent:
        return ""
    names = ", ".join(f"`{name}`" for name in silent)
    count = len(study.by_rule & study.once)
    return f"{len(silent)} of {count} rules never had a baseline: fourteen days are too few for {names}."


def _adjusting(rules: pl.DataFrame, study: Study) -> str:
    """Say where a rule that adjusts is further off than the same rule without its adjustment."""
    adjusted = rules.filter(pl.col("method").is_in(study.adjusted))
    worse = worse_for_adjusting(adjusted)
    hours = _by_hour(study)
    worse_hours = worse_for_adjusting(hours)
    whole = f"{len(worse)} of {len(adjusted)} (rule, load) pairs are worse with the rule's adjustment than without it"
    which = ", ".join(
        f"`{method}` on {resource}: {error:.1%} against {before:.1%}"
        for method, resource, error, before in _largest(worse).iter_rows()
    )
    single = (
        f"by single start hours {len(worse_hours)} of {len(hours)}, the most by "
        + ", ".join(
            f"`{method}` on {resource} from {hour}:00, {error:.1%} against {before:.1%} (n = {days} days)"
            for method, resource, hour, days, error, before in _largest(worse_hours, "hour", "days").head(2).iter_rows()
        )
        if len(worse_hours)
        else f"by single start hours none of {len(hours)}"
    )
    return f"Where a rule is worse than no adjustment: {whole}{f' ({which})' if which else ''}; {single}."


def _by_hour(study: Study) -> pl.DataFrame:
    return study.scores.filter(
        pl.col("kind") == BUSINESS,
        pl.col("hour").is_not_null(),
        pl.col("intervals") > 0,
        pl.col("method").is_in(study.by_rule & study.adjusted & study.once),
    )


def _largest(worse: pl.DataFrame, *more: str) -> pl.DataFrame:
    by = (pl.col("rrmse") - pl.col("rrmse_unadjusted")).round(9)
    ordered = worse.sort(by, "method", "resource", descending=[True, False, False])
    return ordered.select("method", "resource", *more, "rrmse", "rrmse_unadjusted")


def _against(rules: pl.DataFrame, reference: str, scored: pl.DataFrame, name: str) -> str:
    pairs = pl.concat([rules, scored.filter(method=reference)])
    beaten = beaten_by(pairs, reference)
    return f"{len(beaten)} of {len(rules)} (rule, load) pairs are no better than {name}."


def _beside(rules: pl.DataFrame, others: Study) -> str:
    """Compare with metered loads, the same rules and kind of day."""
    here = set(rules["method"].to_list())
    there = others.overall(BUSINESS).filter(pl.col("method").is_in(here), pl.col("rrmse").is_not_null())
    medians = [frame.select(pl.col("rrmse").median()).item() for frame in (rules, there)]
    passed = len(there.filter("eligible"))
    return (
        f"The same {len(here)} rules on the metered loads of {len(others.resources)} others ({others.title}): median "
        f"RRMSE {medians[1]:.1%} against {medians[0]:.1%} here, {passed} of {len(there)} pairs within the gate."
    )


def _by_weekday(by_first_day: pl.DataFrame, study: Study) -> str:
    """Say what hangs on the weekday that was assumed."""
    scored = by_first_day.filter(
        pl.col("kind") == BUSINESS,
        pl.col("hour").is_null(),
        pl.col("intervals") > 0,
        pl.col("method").is_in(study.by_rule & set(first_of_same(by_first_day, "first_day").values())),
    )
    ranges = scored.group_by("resource", maintain_order=True).agg(
        low=pl.col("rrmse").min(), high=pl.col("rrmse").max(), passed=pl.col("eligible").sum(), count=pl.len()
    )
    adjusted = scored.filter(pl.col("method").is_in(study.adjusted))
    spans = ", ".join(
        f"{resource} {low:.1%} to {high:.1%} ({passed} of {count} pass)"
        for resource, low, high, passed, count in ranges.sort("resource").iter_rows()
    )
    return (
        f"The weekday of the first day is not known. Over all seven, the market rules' RRMSE is {spans}; with the "
        f"adjustment worse than without in {len(worse_for_adjusting(adjusted))} of {len(adjusted)} cases (rule, load, "
        "first weekday)."
    )


def adjustments(studies: Sequence[Study]) -> str:
    """Return a table: each rule that adjusts, with and without, over the resources and kinds of days of each study."""
    lines = [
        "| study | method | days | cases | worse with it | median RRMSE with | without |",
        "|---|---|---|---:|---:|---:|---:|",
    ]
    lines += [row for study in studies for kind in (BUSINESS, OTHER) for row in _rows(study, kind)]
    told = (
        "Before its adjustment a baseline is the mean of the same days of the same answer; a case is a resource and a "
        "rule, rules with the same answers once."
    )
    sums = [line for study in studies for kind in (BUSINESS, OTHER) if (line := _sum(study, kind))]
    return f"{told}\n\n{_joined(sums)}\n\n{_joined(lines)}"


def _joined(lines: Sequence[str]) -> str:
    return "\n".join(lines)


def _sum(study: Study, kind: str) -> str:
    """Say in how many cases a market's rule is worse with its adjustment, if there are any cases."""
    scored = study.overall(kind).filter(
        pl.col("rrmse").is_not_null(), pl.col("method").is_in(study.adjusted & study.by_rule & study.once)
    )
    worse, days = len(worse_for_adjusting(scored)), scored.select(pl.col("days").max()).to_series().to_list()[0]
    mark = " (simulated)" if study.simulated else ""
    return f"- {study.name}{mark}, {kind}: worse in {worse} of {len(scored)}, on {days} days." if len(scored) else ""


def _rows(study: Study, kind: str) -> list[str]:
    scored = study.overall(kind).filter(pl.col("rrmse").is_not_null(), pl.col("method").is_in(study.adjusted))
    summed = scored.group_by("method").agg(
        count=pl.len(),
        worse=(pl.col("rrmse") > pl.col("rrmse_unadjusted") + ALIKE).sum(),
        adjusted=pl.col("rrmse").median(),
        before=pl.col("rrmse_unadjusted").median(),
    )
    return [
        f"| {study.name} | `{method}` | {kind} | {count} | {worse} | {adjusted:.1%} | {before:.1%} |"
        for method, count, worse, adjusted, before in summed.sort("method").iter_rows()
    ]


def verdict(study: Study) -> str:
    """Return for each resource of *study*, all days together, the best method, its bias and how many pass the gate."""
    scored = study.candidates(ALL)
    winners = {row["resource"]: row for row in best(scored).iter_rows(named=True)}
    once, same = study.once, counted_once(study)
    lines = []
    for resource in study.resources:
        mine = scored.filter(pl.col("method").is_in(once), resource=resource)
        passed = len(mine.filter("eligible"))
        winner = winners.get(resource)
        first = (
            f"best `{winner['method']}`, RRMSE {winner['rrmse']:.1%}, bias {winner['bias']:+.1%}, {winner['days']} "
            f"days, {winner['intervals']} intervals"
            if winner
            else "no method had a baseline on most of the events"
        )
        lines.append(
            f"- {resource or 'the load'}: {first}; {passed} of {len(mine)} methods pass the gate of {GATE:.0%}."
        )
    return "\n".join([*lines, *([f"- {same}"] if same else [])])
