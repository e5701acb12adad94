"""
One run of the failure harness: a load, workers, faults, and what came of it.

    load        ├──────────────────────────────────────────────┤ all acknowledged
    faults            ✗    ✗  ✗        ✗      ✗    ✗
    verdict                                                      every interval equal to the plain sums
"""

import subprocess
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from random import Random

import msgspec
from doubles.fault_proxy import FaultProxy
from doubles.stream import archive, fleet, sender
from doubles.stream.endings import unexpected
from doubles.stream.faults import HURRIED, HURRY_S, Kind, pause_s
from doubles.stream.oracle import Truth, Verdict
from doubles.stream.recovery import fresh, recoveries
from doubles.stream.stage import ARCHIVED_S, PATIENCE, Scenario, Stage, place
from doubles.stream.workers import LENGTHS, Workforce

from pipeline.clock import wall
from pipeline.settings import Kafka

LAST_WORD_S = 1.0
"""Figures of workers that have left are all there after this time: their broker is on this machine."""


@dataclass(frozen=True)
class Struck:
    """A fault that was."""

    kind: Kind
    at: float
    """Unix seconds of the machine."""
    recovery_s: float


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a scenario."""

    scenario: Scenario
    faults: list[Struck]
    verdict: Verdict
    records: int
    """Of ticks that Kafka has, redeliveries included."""
    codes: Counter[int]
    complaints: list[str]
    failures: list[str]


def run(folder: Path, kafka: Kafka, scenario: Scenario, *, behind: tuple[Kafka, FaultProxy] | None = None) -> Outcome:
    """
    Carry out *scenario* on *kafka*; with *behind* the workers reach it through a proxy.

    Raise what makes the run worthless, such as a load that was not acknowledged.
    """
    theirs, proxy = behind or (kafka, None)
    with Stage(scenario, kafka, Workforce(place(folder, theirs, scenario)), proxy, Random(scenario.seed)) as stage:
        plan, load, told = stage.begin()
        stage.wait(scenario.before_s)
        struck = [_struck(stage, number, kind) for number, kind in enumerate(scenario.faults)]
        stage.recovered("the last fault")
        stage.wait(scenario.before_s)
        return finished(stage, plan, load, told, struck)


def finished(
    stage: Stage,
    plan: fleet.Plan,
    load: "subprocess.Popen[bytes]",
    told: Path,
    struck: Sequence[tuple[Kind, float]],
    *,
    allowed: Collection[int] = (),
) -> Outcome:
    """
    End the load, wait for its figures, let the workers leave; return what came of it all.

    *allowed* are codes with which workers may end that no fault of *struck* accounts for.
    """
    ended = wall()
    sent = stage.end_load(load, told)
    truth = truth_of(plan, sent, stage.place.clock.now() - plan.start)
    verdict = settle(stage, truth)
    published = list(stage.intervals)
    stage.until(lambda: not archive.missing(stage.place.archive_path, published), ARCHIVED_S, "all rows in the archive")
    stage.end()
    verdict = last_word(stage, truth, verdict)
    spans = recoveries([at for _, at in struck], ended, fresh(stage.capacities, stage.place.clock))
    failures = [*stage.failures, *verdict.failures, *archive.missing(stage.place.archive_path, published)]
    failures += unexpected([kind for kind, _ in struck], stage.force.codes, stage.force.complaints, allowed)
    return Outcome(
        scenario=stage.scenario,
        faults=[Struck(kind, at, span) for (kind, at), span in zip(struck, spans, strict=True)],
        verdict=verdict,
        records=sent.records,
        codes=stage.force.codes,
        complaints=stage.force.complaints,
        failures=failures + [f"torn: {name}" for name in sorted(stage.torn)],
    )


def _struck(stage: Stage, number: int, kind: Kind) -> tuple[Kind, float]:
    stage.wait(max(0.0, pause_s(stage.random, stage.place.clock, number)))
    at = wall()
    stage.strike(kind)
    if stage.random.random() < HURRIED:
        stage.wait(stage.random.uniform(*HURRY_S))
    else:
        stage.recovered(kind)
    return kind, at


def truth_of(plan: fleet.Plan, sent: sender.Sent, span: timedelta) -> Truth:
    """Return what the figures of all that was *sent* within *span* of the plan's start must be."""
    ticks = set(sent.ticks)
    so_far = msgspec.structs.replace(plan, seconds=span // timedelta(seconds=1) + 1)
    known = [tick for tick in fleet.ticks(so_far) if (tick.host, tick.boot, tick.seq) in ticks]
    return Truth(known, LENGTHS)


def last_word(stage: Stage, truth: Truth, before: Verdict) -> Verdict:
    """Read what workers published while they left, and judge again: a figure that was right must still be."""
    judged = len(stage.intervals)
    stage.wait(LAST_WORD_S)
    return truth.verdict(stage.seen) if len(stage.intervals) > judged or before.failures else before


def settle(stage: Stage, truth: Truth) -> Verdict:
    """Return the verdict once it is good, or the last one when the time is over."""
    verdicts = [truth.verdict(stage.seen)]
    judged = len(stage.intervals)

    def good() -> bool:
        nonlocal judged
        if len(stage.intervals) > judged:
            judged = len(stage.intervals)
            verdicts.append(truth.verdict(stage.seen))
        return not verdicts[-1].failures

    deadline = time.monotonic() + stage.scenario.settled_s * PATIENCE
    stage.until(lambda: good() or time.monotonic() > deadline, stage.scenario.settled_s + 5, "a verdict")
    return verdicts[-1]
