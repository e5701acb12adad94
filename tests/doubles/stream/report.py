"""Outcomes as lines of JSON, and what many of them prove. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from doubles.stream.recovery import quantile
from doubles.stream.run import Outcome

RECOVERED_WITHIN_S = 30.0
RULE_OF_THREE = 3
"""No failure among n makes its rate less than 3/n, at 95 % confidence."""


def of_run(part: str, outcome: Outcome) -> dict[str, Any]:
    """Return one run."""
    verdict = outcome.verdict
    return {
        "part": part,
        "seed": outcome.scenario.seed,
        "workers": outcome.scenario.workers,
        "faults": len(outcome.faults),
        "ticks_acknowledged": verdict.acknowledged,
        "ticks_counted": verdict.counted,
        "records": outcome.records,
        "intervals": verdict.intervals,
        "revised": verdict.corrected,
        "wrong": len(verdict.wrong),
        "holes": len(verdict.holes),
        "doubles": len(verdict.doubles),
        "exit_codes": dict(outcome.codes),
        "ended_by_themselves": outcome.complaints,
        "failures": outcome.failures,
    }


def of_kinds(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Return a line for each kind of fault; one of a run in which anything was wrong has failed."""
    spans: dict[str, list[float]] = {}
    failed = Counter[str]()
    for outcome in outcomes:
        for fault in outcome.faults:
            spans.setdefault(fault.kind, []).append(fault.recovery_s)
            failed[fault.kind] += bool(outcome.failures) or fault.recovery_s > RECOVERED_WITHIN_S
    return [
        {
            "fault": kind,
            "n": len(own),
            "failures": failed[kind],
            "bound_95": RULE_OF_THREE / len(own) if not failed[kind] else None,
            "recovery_s": {share: round(quantile(own, share) or 0.0, 2) for share in (0.5, 0.99, 1.0)},
        }
        for kind, own in spans.items()
    ]


def of_all(outcomes: Iterable[Outcome], bugs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return everything as one line."""
    outcomes = list(outcomes)
    unequal = [outcome.scenario.seed for outcome in outcomes if outcome.failures]
    slow = [fault for outcome in outcomes for fault in outcome.faults if fault.recovery_s > RECOVERED_WITHIN_S]
    missed = [bug["bug"] for bug in bugs if not bug["caught"]]
    return {
        "runs": len(outcomes),
        "faults": sum(len(outcome.faults) for outcome in outcomes),
        "ticks": sum(outcome.verdict.acknowledged for outcome in outcomes),
        "intervals": sum(outcome.verdict.intervals for outcome in outcomes),
        "revised": sum(outcome.verdict.corrected for outcome in outcomes),
        "seeds_failed": unequal,
        "slow": [f"{fault.kind}: {fault.recovery_s:.1f} s" for fault in slow],
        "bugs_missed": missed,
        "failed": bool(unequal or slow or missed),
    }
