"""The alert rules: Prometheus understands them, they fire when they should, and they ask for metrics that there are."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doubles.tools import run

from collectors.admit import RefusalCode
from pipeline.messages.telemetry import Quality

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "alerts" / "firmwatt.rules.yaml"
TESTS = RULES.with_name("firmwatt.rules.test.yaml")
WORDS = ROOT / "collectors" / "metrics.py", ROOT / "collectors" / "actuator_metrics.py"
"""Where every metric's name is written, without the suffix that its kind gives it."""

GROUPS = msgspec.yaml.decode(RULES.read_text(encoding="utf-8"), type=dict[str, list[dict[str, Any]]])["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
NAMES = [alert["alert"] for alert in ALERTS]


def matched(label: str) -> set[str]:
    """Return every value of *label* that some alert asks for."""
    found = re.findall(rf'{label}=~?"([^"]*)"', " ".join(alert["expr"] for alert in ALERTS))
    return {value for values in found for value in values.split("|")}


def test_prometheus_understands_the_rules() -> None:
    told = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(ALERTS)} rules found" in told.stdout


def test_they_fire_when_they_should_and_not_otherwise() -> None:
    told = run("promtool", "test", "rules", TESTS, cwd=TESTS.parent)

    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_says_where_and_what_to_do(alert: dict[str, Any]) -> None:
    """A person is woken for what cannot wait; the summary is short enough for a telephone and begins with a verb."""
    told = alert["annotations"]

    assert set(told) == {"summary", "description", "runbook"}
    assert "{{ $labels.instance }}" in told["summary"]
    assert len(told["summary"]) <= 140
    assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})


def test_no_two_alerts_have_one_name() -> None:
    assert sorted(set(NAMES)) == sorted(NAMES)


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_asks_for_metrics_that_there_are(alert: dict[str, Any]) -> None:
    written = "".join(path.read_text(encoding="utf-8") for path in WORDS)

    for name in set(re.findall(r"\bfirmwatt_\w+", alert["expr"])):
        spellings = {name, name.removesuffix("_total"), name.removesuffix("_timestamp_seconds")}
        assert any(f'"{spelling}"' in written for spelling in spellings), name


def test_every_reason_to_refuse_a_command_is_somebodys_business() -> None:
    """Some are refused as a matter of course: while a safety cap is latched, which pages itself, and while it stops."""
    assert matched("reason") == {str(code) for code in RefusalCode} - {"latched", "stopping"}


def test_marks_are_those_that_a_gpu_can_have() -> None:
    assert matched("mark") <= {str(mark) for mark in Quality}
