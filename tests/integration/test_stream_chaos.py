"""The streaming pipeline under faults, in short; the long form, with bounds, is tests/long/stream_chaos.py."""

from pathlib import Path

import pytest
from doubles import broken_pipeline
from doubles.stream.faults import Kind
from doubles.stream.run import run
from doubles.stream.stage import Scenario

from pipeline.settings import Kafka

pytestmark = pytest.mark.broker

SETTLED_S = 25.0


def test_a_killed_and_a_stopped_worker_change_no_figure(fresh_kafka: Kafka, tmp_path: Path) -> None:
    """
    Two workers under hosts that reboot, come late, twice and out of order; one worker is killed, then one stopped.

    Every interval equals the plain sums to the millijoule and the thousandth of a token.
    """
    outcome = run(tmp_path, fresh_kafka, Scenario(seed=7, workers=2, faults=(Kind.KILL, Kind.STOP), hosts=16))

    assert outcome.failures == []
    assert [fault.kind for fault in outcome.faults] == [Kind.KILL, Kind.STOP]
    assert outcome.codes[-9] == 1
    assert outcome.verdict.counted == outcome.verdict.acknowledged > 1000
    assert outcome.records > outcome.verdict.acknowledged, "nothing was sent twice"
    assert outcome.verdict.corrected > 0, "nothing came late"


def test_a_pipeline_that_counts_redelivered_ticks_is_found(fresh_kafka: Kafka, tmp_path: Path) -> None:
    planted = broken_pipeline.entry("count-again")
    scenario = Scenario(seed=7, workers=1, faults=(), hosts=8, entry=planted, settled_s=SETTLED_S)

    failures = run(tmp_path, fresh_kafka, scenario).failures

    assert any("ticks are acknowledged" in failure for failure in failures), failures
    assert any(" wrong: " in failure for failure in failures), failures
