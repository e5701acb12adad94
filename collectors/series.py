"""
An engine's counters from page to page: which of them count, and when they start again. Pure.

    series    engine 0   1000  1600  1700 |   40    lower than before, or says that it began later: a restart
              engine 1    500  (none)  900 |  950    missing: what it counted stays counted
    epoch                    0     0     0 |    1    nobody subtracts across one
    total                 1500  2100  2600 |  990

A series that is new counts from zero, for it is a process already known that made it. One that comes back brings what
it counted meanwhile, and nothing twice; where it restarted as well, that is another epoch.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from collectors import SourceError
from collectors.buckets import from_cumulative
from collectors.engines import PROCESS_START, Count, Engine
from collectors.exposition import Sample
from pipeline.messages.telemetry import LatencyBuckets

JITTER_S = 2.0
"""A process start is boot time plus age, and the kernel's boot time moves with the clock; no engine restarts faster."""
MAX_MISSING = 10_000
"""Series remembered that are on no page any more; where labels are made up all the time, better start again."""

#: A series: name and labels.
Key: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]


class Choice(NamedTuple):
    """Which of an engine's alternatives count: those on the page, or when none is, those before."""

    generated: Count | None = None
    prompt: Count | None = None
    ttft: str | None = None
    itl: str | None = None


@dataclass(frozen=True)
class State:
    """What is known of an engine after a page."""

    epoch: int = 0
    choice: Choice = field(default_factory=Choice)
    counts: Mapping[Key, float] = field(default_factory=dict)
    """Every counter and cumulative bucket, as last seen."""
    began: Mapping[Key, float] = field(default_factory=dict)
    """When counters or processes began, Unix time."""
    there: frozenset[Key] = frozenset()
    """Those of them that were on the last page."""


def follow(engine: Engine, state: State, found: Sequence[Sample]) -> State:
    """Return the state after a page with the samples *found*."""
    choice = _choice(engine, state.choice, found)
    counts = _counts(engine, choice, found)
    there = frozenset(counts)
    began = {
        _key(sample): sample.value
        for sample in found
        if sample.name.endswith("_created") or sample.name == PROCESS_START
    }
    missing = {key: count for key, count in state.counts.items() if key not in counts}
    if len(missing) > MAX_MISSING:
        return State(state.epoch + 1, choice, counts, began, there)
    restarts = _restarted(state, choice, counts, began)
    return State(state.epoch + restarts, choice, {**missing, **counts}, {**state.began, **began}, there)


def total(state: State, count: Count | None) -> float | None:
    """Return the tokens of *count* in this epoch, None if the last page did not have it."""
    if count is None or not _has(count, ((name, dict(labels)) for name, labels in state.there)):
        return None
    series = [
        value for (name, labels), value in state.counts.items() if name in count.samples and count.takes(dict(labels))
    ]
    return sum(series) if series else None


def histogram(state: State, name: str | None) -> LatencyBuckets | None:
    """Return the histogram *name* in this epoch, its series added up; None if the last page did not have it."""
    sample = f"{name}_bucket"
    if all(name != sample for name, _ in state.there):
        return None
    series: dict[tuple[tuple[str, str], ...], dict[float, float]] = defaultdict(dict)
    for (bucket, labels), count in state.counts.items():
        if bucket == sample:
            others = tuple(label for label in labels if label[0] != "le")
            series[others][_bound(dict(labels).get("le", ""))] = count
    return from_cumulative(series.values())


def gauge(engine: Engine, names: Iterable[str], found: Sequence[Sample]) -> float | None:
    """Return the sum over the engine's replicas of the first of *names* that is among *found*."""
    for name in names:
        if figures := _highest(engine, {name}, found):
            return sum(figures.values())
    return None


def _choice(engine: Engine, before: Choice, found: Sequence[Sample]) -> Choice:
    """Return the best of the engine's alternatives that are on the page."""
    there = {sample.name for sample in found}

    def best(alternatives: Iterable[Count]) -> Count | None:
        return next((count for count in alternatives if _has(count, (sample[:2] for sample in found))), None)

    def first(names: Iterable[str]) -> str | None:
        return next((name for name in names if f"{name}_bucket" in there), None)

    return Choice(
        generated=best(engine.generated) or before.generated,
        prompt=best(engine.prompt) or before.prompt,
        ttft=first(engine.ttft) or before.ttft,
        itl=first(engine.itl) or before.itl,
    )


def _has(count: Count, found: Iterable[tuple[str, Mapping[str, str]]]) -> bool:
    """Whether each part of *count* is among the series *found*; of other labels the name alone does not tell."""
    return {name for name, labels in found if count.takes(labels)}.issuperset(count.samples)


def _counts(engine: Engine, choice: Choice, found: Iterable[Sample]) -> dict[Key, float]:
    """Return the counters and buckets of *choice*."""
    names = {name for count in (choice.generated, choice.prompt) if count is not None for name in count.samples}
    names |= {f"{name}_bucket" for name in (choice.ttft, choice.itl) if name is not None}
    return _highest(engine, names, found)


def _highest(engine: Engine, names: set[str], found: Iterable[Sample]) -> dict[Key, float]:
    """Return the figures called *names*; of those that processes of one replica repeat, the highest."""
    figures: dict[Key, float] = {}
    for sample in found:
        if sample.name in names:
            key = _key(sample, engine.repeated_by)
            figures[key] = max(figures.get(key, sample.value), sample.value)
    return figures


def _restarted(state: State, choice: Choice, counts: Mapping[Key, float], began: Mapping[Key, float]) -> bool:
    """Whether these counters are others than before: lower, begun at another time, or called otherwise."""
    return (
        any(count < state.counts.get(key, 0.0) for key, count in counts.items())
        or any(abs(at - state.began.get(key, at)) > JITTER_S for key, at in began.items())
        or any(old not in {None, new} for old, new in zip(state.choice, choice, strict=True))
    )


def _bound(text: str) -> float:
    try:
        bound = float(text)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise SourceError(f"a malformed metrics page: a bucket with le={text!r}")
    return bound


def _key(sample: Sample, without: frozenset[str] = frozenset()) -> Key:
    return sample.name, tuple(sorted(label for label in sample.labels.items() if label[0] not in without))
