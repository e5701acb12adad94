"""
Workers watched for a long time under an even load: what grows, what piles up.

    resident memory   ▁▂▃▃▃▃▃▃▃▃▃▃▃▃    a line is laid through what comes after the warm-up; its slope, extrapolated
                      warm-up│ fit      to an hour, has the usual interval of 95 % confidence
"""

import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import sqrt
from pathlib import Path
from random import Random
from typing import Any

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient
from doubles.stream.endings import unexpected
from doubles.stream.recovery import quantile
from doubles.stream.stage import Scenario, Stage, place
from doubles.stream.workers import LENGTHS, Workforce

from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka

HOUR_S = 3600.0
MB = 2**20
SAMPLE_EVERY_S = 5.0
TWO_SIDED_95 = 1.96
"""Of the normal distribution; there are hundreds of samples."""
COUNTED_S, ASK_S = 120.0, 10.0


@dataclass(frozen=True)
class Line:
    """A straight line through samples: what they come to per hour, and how sure that is."""

    samples: int
    first: float
    last: float
    per_hour: float
    plus_minus: float
    """95 %; samples are taken to be independent, which neighbouring ones are not quite."""


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Lay a line through *points* (seconds, value) by least squares. At least three."""
    count = len(points)
    mean_x = sum(x for x, _ in points) / count
    mean_y = sum(y for _, y in points) / count
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / spread
    rest = sum((y - mean_y - slope * (x - mean_x)) ** 2 for x, y in points)
    error = sqrt(rest / (count - 2) / spread)
    return Line(count, points[0][1], points[-1][1], slope * HOUR_S, TWO_SIDED_95 * error * HOUR_S)


@dataclass(eq=False)
class Samples:
    """What was seen, by name, with the seconds since the beginning."""

    memory_mb: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    files: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    lag: defaultdict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    figure_age_ms: list[tuple[float, float]] = field(default_factory=list)
    """How old the second was, machine time, of which a site's figure told when it was made."""

    def fits(self, warm_up_s: float) -> dict[str, Any]:
        """Return the lines through everything after the warm-up."""
        return {
            name: {who: fit(_after(points, warm_up_s)) for who, points in sorted(series.items())}
            for name, series in (("memory_mb", self.memory_mb), ("files", self.files), ("lag_records", self.lag))
        }


def _after(points: Iterable[tuple[float, float]], warm_up_s: float) -> list[tuple[float, float]]:
    return [(second, value) for second, value in points if second >= warm_up_s]


class Lag:
    """Asks Kafka how far groups are behind."""

    def __init__(self, kafka: Kafka, groups: Iterable[str]) -> None:
        self._admin = AdminClient(for_librdkafka(kafka) | {"log_level": 0})
        self._reader: Any = Consumer(for_librdkafka(kafka) | {"group.id": "soak", "log_level": 0})
        self._groups = list(groups)

    def read(self) -> dict[str, float]:
        """Return for each group how many records it has not committed."""
        asked = [ConsumerGroupTopicPartitions(group) for group in self._groups]
        answers = [self._admin.list_consumer_group_offsets([one])[one.group_id].result() for one in asked]
        return {answer.group_id: self._behind(answer.topic_partitions) for answer in answers}

    def _behind(self, committed: Sequence[TopicPartition]) -> float:
        known = [one for one in committed if one.offset >= 0]
        return float(sum(self._reader.get_watermark_offsets(one, ASK_S)[1] - one.offset for one in known))


def soak(folder: Path, kafka: Kafka, scenario: Scenario, span_s: float, warm_up_s: float) -> dict[str, Any]:
    """Let the workers of *scenario* work for *span_s* seconds of the machine; return the account of it."""
    with Stage(scenario, kafka, Workforce(place(folder, kafka, scenario)), None, Random(scenario.seed)) as stage:
        _, load, told = stage.begin()
        samples = watch(stage, Lag(kafka, _groups(stage)), span_s)
        sent = stage.end_load(load, told)
        distinct = len(sent.ticks)
        stage.until(lambda: counted(stage) >= distinct, COUNTED_S, "all ticks to be counted")
        total = counted(stage)
        if total != distinct:
            stage.failures.append(f"{distinct} ticks are acknowledged, {total} are counted")
        stage.failures += unexpected((), stage.force.codes, stage.force.complaints)
        stage.end()
    return {
        "minutes": round(span_s / 60, 1),
        "warm_up_minutes": round(warm_up_s / 60, 1),
        "seed": scenario.seed,
        "workers": scenario.workers,
        "hosts": scenario.hosts,
        "speed": scenario.speed,
        "records_per_s": round(sent.records / span_s),
        "ticks": distinct,
        "counted": total,
        "figure_age_ms": {
            share: quantile((value for _, value in samples.figure_age_ms), share) for share in (0.5, 0.99)
        },
        **samples.fits(warm_up_s),
        "failures": stage.failures,
    }


def _groups(stage: Stage) -> list[str]:
    return [stage.place.group, f"{stage.place.group}-rollup", f"{stage.place.group}-archive"]


def watch(stage: Stage, lag: Lag, span_s: float) -> Samples:
    """Take samples for *span_s* seconds."""
    samples, began = Samples(), time.monotonic()
    while (second := time.monotonic() - began) < span_s:
        for name, memory, files in stage.force.usage():
            samples.memory_mb[name].append((second, memory / MB))
            samples.files[name].append((second, files))
        for group, behind in lag.read().items():
            samples.lag[group.removeprefix(stage.place.group) or "faust"].append((second, behind))
        if stage.capacities:
            newest = stage.capacities[-1]
            old_s = (newest.known_at - newest.as_of).total_seconds() / stage.scenario.speed
            samples.figure_age_ms.append((second, old_s * 1000))
        stage.wait(SAMPLE_EVERY_S)
    return samples


def counted(stage: Stage) -> int:
    """Return how many ticks are in the shortest intervals."""
    return sum(figure.ticks for figure in stage.seen.highest() if figure.interval.length == LENGTHS[0])
