"""
The actuator about itself, in Prometheus' words, as a file: it opens no port.

The file follows node_exporter's textfile convention, and the collector shows it on its own page too
(``[collector] actuator_metrics``).
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import generate_latest
from prometheus_client.registry import Collector as MetricSource

from collectors.actuator import Actuator
from collectors.listen import Line
from collectors.process import Changes
from pipeline import files
from pipeline.clock import wall
from pipeline.messages.control import Kind, Trouble

log = logging.getLogger(__name__)

UNITS = {
    Kind.POWER: ("firmwatt_actuator_limit_watts", "Power limit held on a GPU", 1.0),
    Kind.CLOCK: ("firmwatt_actuator_ceiling_hertz", "SM clock ceiling held on a GPU", 1e6),
    Kind.ADMISSION: ("firmwatt_actuator_admitted_requests", "Requests that a job's engine takes at once", 1.0),
    Kind.RUN: ("firmwatt_actuator_running", "0 while a job is paused", 1.0),
}


class Page(MetricSource):
    """What the file says."""

    def __init__(self, path: Path, actuator: Actuator) -> None:
        self._path, self._actuator = path, actuator
        self._line: Line | None = None
        self._troubles = Changes(log)
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def write(self, line: Line) -> None:
        """Replace the file whole; where that cannot be it is said once, and nothing else suffers."""
        self._line = line
        try:
            files.replace(self._path, generate_latest(self._registry))
        except OSError as error:
            self._troubles.note("metrics", f"cannot write {self._path}: {error.strerror}")
        else:
            self._troubles.note("metrics", None)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric (the protocol of prometheus_client's registry)."""
        if self._line is not None:
            yield from families(self._actuator, self._line)


def families(actuator: Actuator, line: Line) -> Iterator[Metric]:
    """Yield what there is to say."""
    state, steady = actuator.state, actuator.steady
    yield _labelled("firmwatt_actuator_info", "Who speaks", ("host",), {(actuator.host,): 1.0})
    yield _gauge("firmwatt_actuator_alive_timestamp_seconds", "This was written, by the host's clock", wall())
    yield _gauge("firmwatt_actuator_connected", "1 while commands are heard", float(line.is_connected))
    contact_age_s = actuator.clock.wall_seconds(steady.now() - actuator.contact_at)
    yield _gauge("firmwatt_actuator_kafka_contact_timestamp_seconds", "Kafka answered last", wall() - contact_age_s)
    stepped_s = actuator.clock.wall_seconds(steady.ahead_of(actuator.clock.now()))
    yield _gauge("firmwatt_actuator_clock_behind_seconds", "How far the host's clock was set back since", stepped_s)
    yield CounterMetricFamily("firmwatt_actuator_commands_accepted", "Commands obeyed", value=actuator.accepted)
    refused = CounterMetricFamily("firmwatt_actuator_commands_refused", "Commands refused", labels=("reason",))
    for code, count in actuator.refused.items():
        refused.add_metric((code,), count)
    yield refused
    yield _gauge("firmwatt_actuator_leases", "Leases that hold or wait", len(state.leases))
    yield _gauge("firmwatt_actuator_safety_latched", "1 while a safety cap holds", float(state.is_latched))
    if state.deadline is not None:
        left_s = actuator.clock.wall_seconds(state.deadline - steady.now())
        yield _gauge("firmwatt_actuator_lease_end_timestamp_seconds", "The lease in force ends", wall() + left_s)
    held = {kind: sum(key.kind is kind for key in state.levels) for kind in Kind}
    yield _labelled(
        "firmwatt_actuator_held", "Controls held back", ("kind",), {(kind,): float(n) for kind, n in held.items()}
    )
    for kind, (name, text, factor) in UNITS.items():
        levels = {(key.subject,): level * factor for key, level in state.levels.items() if key.kind is kind}
        yield _labelled(name, text, ("subject",), levels)
    yield _gauge("firmwatt_actuator_overdue", "Controls that should be as they were and are not", len(actuator.overdue))
    troubles = {(key.kind, key.subject, failure.trouble): 1.0 for key, failure in actuator.hands.failures.items()}
    troubles |= {(key.kind, key.subject, Trouble.CONFLICT): 1.0 for key in actuator.foreign}
    troubles |= {(kind, "", Trouble.FAILED): 1.0 for kind in actuator.hands.silent}
    yield _labelled(
        "firmwatt_actuator_trouble", "1 for all that is wrong with a control", ("kind", "subject", "trouble"), troubles
    )
    conflicts = CounterMetricFamily(
        "firmwatt_actuator_conflicts", "Controls given up to somebody else", labels=("kind", "subject")
    )
    for key, count in actuator.conflicts.items():
        conflicts.add_metric(key, count)
    yield conflicts
    forgetful = {(reading.subject,): 1.0 for reading in actuator.hands.readings.values() if reading.note}
    yield _labelled("firmwatt_actuator_forgetful", "1 where a driver may forget what is set", ("subject",), forgetful)
    acknowledged, unsent = line.counts()
    yield CounterMetricFamily("firmwatt_actuator_acknowledgements_sent", "Answers Kafka took", value=acknowledged)
    yield CounterMetricFamily("firmwatt_actuator_acknowledgements_unsent", "Answers lost", value=unsent)
    if actuator.answers.set_ms is not None:
        text = "From the newest command's arrival until all was set and read back"
        yield _gauge("firmwatt_actuator_set_seconds", text, actuator.answers.set_ms / 1000)


def _gauge(name: str, text: str, figure: float) -> Metric:
    return GaugeMetricFamily(name, text, value=figure)


def _labelled(name: str, text: str, labels: tuple[str, ...], figures: Mapping[Any, float]) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, figure in figures.items():
        family.add_metric(values, figure)
    return family
