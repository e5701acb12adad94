"""Sentences on what came out: who beat whom, by how much and how surely, and why. Pure; all figures computed."""

from collections.abc import Iterator, Sequence

from bidding.backtest.summary import RULE, Summary
from bidding.backtest.walk import FORESIGHT

ALIKE = 0.005
"""Below this share of the rule's value a difference is none."""


def finding(lines: Sequence[Summary]) -> str:
    """Return the overall result, a sentence a contestant and one a case."""
    keys = list(dict.fromkeys((line.case, line.year) for line in lines))
    names = [name for name in dict.fromkeys(line.contestant for line in lines) if name not in {RULE, FORESIGHT}]
    parts = [_contestant(name, lines) for name in names]
    parts += [_case([line for line in lines if (line.case, line.year) == key]) for key in keys]
    return "\n".join(f"- {part}" for part in parts if part)


def _contestant(name: str, lines: Sequence[Summary]) -> str:
    mine = [line for line in lines if line.contestant == name and line.over_rule is not None]
    gains = [line.over_rule for line in mine if line.over_rule is not None]
    better = sum(gain.low > 0 for gain in gains)
    worse = sum(gain.high < 0 for gain in gains)
    shares = [line.captured for line in mine if line.captured is not None]
    span = f", {min(shares):.1%} to {max(shares):.1%} of perfect foresight" if shares else ""
    return (
        f"`{name}` earned more than `{RULE}` in {better} of {len(gains)} market years, less in {worse}, and in "
        f"{len(gains) - better - worse} the 95 % interval holds both{span}."
    )


def _case(lines: Sequence[Summary]) -> str:
    by_name = {line.contestant: line for line in lines}
    others = [line for line in lines if line.contestant not in {RULE, FORESIGHT}]
    if RULE not in by_name or not others:
        return ""
    rule, best = by_name[RULE], max(others, key=lambda line: line.value)
    gain = best.over_rule
    captured = (
        ""
        if rule.captured is None or best.captured is None
        else (f"; of perfect foresight {best.captured:.1%} against {rule.captured:.1%}")
    )
    interval = "" if gain is None else f" ({gain.low:+,.0f} to {gain.high:+,.0f})"
    return (
        f"{rule.case} {rule.year}: best of the optimiser's `{best.contestant}`, {best.value - rule.value:+,.0f} $"
        f"{interval} on {rule.value:,.0f} ${captured}."
    )


def why(lines: Sequence[Summary]) -> str:
    """Return where the optimiser does not beat the rule in one market year, and what sets the two apart."""
    rule = next((line for line in lines if line.contestant == RULE), None)
    if rule is None:
        return ""
    return "\n".join(f"- {sentence}" for line in lines for sentence in _not_better(line, rule))


def _not_better(line: Summary, rule: Summary) -> Iterator[str]:
    gain = line.over_rule
    if gain is None or gain.low > 0:
        return
    verdict = "is worse than" if gain.high < 0 else "is not surely better than"
    if abs(gain.difference) <= ALIKE * abs(rule.value):
        verdict = "is level with"
    ours, theirs = line.outcome, rule.outcome
    yield (
        f"`{line.contestant}` {verdict} `{RULE}` ({gain.difference:+,.0f} $): it was paid "
        f"{ours.revenue - theirs.revenue:+,.0f} $, spent {ours.cost - theirs.cost:+,.0f} $ on tokens and "
        f"{ours.penalty - theirs.penalty:+,.0f} $ on penalties, and delivered "
        f"{ours.delivered_mwh - theirs.delivered_mwh:+,.0f} MWh, in comparison."
    )
