"""Sentences on what came out: who beat whom, by how much and how surely, and why. Pure; all figures computed."""

from collections.abc import Iterator, Mapping, Sequence

from bidding.backtest.summary import RULE, Summary
from bidding.backtest.walk import FORESIGHT

ALIKE = 0.01
"""Below this share of the rule's value a difference is none."""
MAIN = "optimiser, λ 0"
"""The optimiser on the same power as the rule, without a risk weight."""

WHY_LEVEL = (
    "Where only energy is sold the two have little to differ on: an offer at cost is paid the clearing price anyway, "
    "and what is left is which hours get the energy of the day, which both choose by the same scenarios. The "
    "optimiser's dearer offers in more hours are an option: it pays when the day is unlike the scenarios, and costs "
    "when it misses."
)
WHY_RISK = (
    "A risk weight sells less: the optimiser's worst 5 % of days are those on which not even the power of 95 % "
    "confidence is there and all of it is bought back. The walk has no such day; hours miss some of it."
)
WHY_MISSING = (
    "Limits of the day's energy hold in every scenario, not on every day: where it was unlike all of them, more of the "
    "optimiser's offers was taken than the day's energy could deliver"
)
DEEP = ", to 80 %"
WHY_DEEP = (
    "Less firm steps earn more where reserve is sold because what is not called is not missed. They show what firmness "
    "costs and are no advice: a venue buys reserve that is there. Missing MWh, reserve that did not stand ready "
    "included, to 80 % against 95 %"
)


def finding(lines: Sequence[Summary]) -> str:
    """Return the overall result: a sentence a market, then one on each of the other contestants, then the reasons."""
    whole = [line for line in lines if line.whole]
    cases = list(dict.fromkeys(line.case for line in whole))
    names = [name for name in dict.fromkeys(line.contestant for line in whole) if name not in {RULE, FORESIGHT}]
    parts = [headline("Reserve, alone or beside energy", [line for line in whole if not energy_only(line)])]
    parts += [headline("Energy alone", [line for line in whole if energy_only(line)])]
    parts += [_case([line for line in whole if line.case == case]) for case in cases]
    parts += [_contestant(name, whole) for name in names]
    parts += _reasons(whole)
    return "\n".join(f"- {part}" for part in parts if part)


def headline(what: str, lines: Sequence[Summary]) -> str:
    """Return how the optimiser did in markets of one kind."""
    gains = [line.over_rule for line in lines if line.contestant == MAIN and line.over_rule is not None]
    ratios = [gain.ratio for gain in gains if gain.ratio is not None]
    if not ratios:
        return ""
    better, worse = sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)
    return (
        f"**{what}: the optimiser earned {min(ratios):.2f} to {max(ratios):.2f} times what the rule did**, surely more "
        f"in {better} of {len(gains)} markets, surely less in {worse}."
    )


def signed(dollars: float) -> str:
    """Return whole dollars with their sign; what rounds to nothing is +0."""
    return f"{round(dollars):+,}"


def _case(lines: Sequence[Summary]) -> str:
    by_name = {line.contestant: line for line in lines}
    if RULE not in by_name or MAIN not in by_name:
        return ""
    rule, ours = by_name[RULE], by_name[MAIN]
    gain = ours.over_rule
    shares = (
        ""
        if rule.captured is None or ours.captured is None
        else f"; {ours.captured:.1%} of perfect foresight against {rule.captured:.1%}"
    )
    if gain is None:
        return ""
    return (
        f"**{rule.case}**, {rule.span}, {rule.days} days: `{MAIN}` {ours.value:,.0f} $, `{RULE}` {rule.value:,.0f} $: "
        f"{signed(gain.difference)} $ (95 %: {signed(gain.low)} to {signed(gain.high)}), {verdict(ours, rule)}{shares}."
    )


def verdict(line: Summary, rule: Summary) -> str:
    """Return how *line* stands to the rule, in words."""
    gain = line.over_rule
    if gain is None:
        return ""
    if gain.low > 0:
        return "better"
    if gain.high < 0:
        return "worse"
    return "level" if abs(gain.difference) <= ALIKE * abs(rule.value) else "not surely different"


def _contestant(name: str, lines: Sequence[Summary]) -> str:
    mine = [line for line in lines if line.contestant == name and line.over_rule is not None]
    gains = [line.over_rule for line in mine if line.over_rule is not None]
    better = sum(gain.low > 0 for gain in gains)
    worse = sum(gain.high < 0 for gain in gains)
    shares = [line.captured for line in mine if line.captured is not None]
    span = f"; {min(shares):.1%} to {max(shares):.1%} of perfect foresight" if shares else ""
    return (
        f"`{name}`: surely better than `{RULE}` in {better} of {len(gains)} markets, surely worse in {worse}, neither "
        f"in {len(gains) - better - worse}{span}."
    )


def _reasons(lines: Sequence[Summary]) -> Iterator[str]:
    """Yield the explanations that the figures call for."""
    main = {line.case: line for line in lines if line.contestant == MAIN}
    rule = {line.case: line for line in lines if line.contestant == RULE}
    energy = [line for line in main.values() if energy_only(line)]
    if any(line.over_rule is not None and line.over_rule.low <= 0 for line in energy):
        yield WHY_LEVEL
    short = [line for line in energy if line.outcome.missing_mwh > rule[line.case].outcome.missing_mwh]
    if short:
        yield f"{WHY_MISSING}. Missing MWh: {_missing(short, rule)}."
    weighed = [line for line in lines if line.contestant.startswith("optimiser, λ 0.") and line.case in main]
    if any(line.value < main[line.case].value for line in weighed):
        yield WHY_RISK
    deeper = [line for line in lines if line.contestant == f"{MAIN}{DEEP}" and not energy_only(line)]
    if any(line.outcome.missing_mwh > main[line.case].outcome.missing_mwh for line in deeper):
        yield f"{WHY_DEEP}: {_missing(deeper, main)}."


def energy_only(line: Summary) -> bool:
    """Tell whether nothing but energy was sold."""
    return line.outcome.sold_mwh == line.outcome.sold_energy_mwh


def _missing(lines: Sequence[Summary], others: Mapping[str, Summary]) -> str:
    return ", ".join(
        f"{line.case} {line.outcome.missing_mwh:,.0f} against {others[line.case].outcome.missing_mwh:,.0f}"
        for line in lines
    )


def why(lines: Sequence[Summary]) -> str:
    """Return where a contestant does not surely beat the rule in one span, and what sets the two apart."""
    rule = next((line for line in lines if line.contestant == RULE), None)
    if rule is None:
        return ""
    return "\n".join(f"- {sentence}" for line in lines for sentence in _not_better(line, rule))


def _not_better(line: Summary, rule: Summary) -> Iterator[str]:
    gain = line.over_rule
    if gain is None or gain.low > 0:
        return
    ours, theirs = line.outcome, rule.outcome
    yield (
        f"`{line.contestant}` against `{RULE}` is {verdict(line, rule)} ({signed(gain.difference)} $): paid "
        f"{ours.revenue - theirs.revenue:+,.0f} $, tokens {ours.cost - theirs.cost:+,.0f} $, penalties "
        f"{ours.penalty - theirs.penalty:+,.0f} $, delivered {ours.delivered_mwh - theirs.delivered_mwh:+,.0f} MWh."
    )
