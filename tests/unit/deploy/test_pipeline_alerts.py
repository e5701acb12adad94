"""The pipeline's alert rules and dashboard: they fire when they should, and ask only for metrics that a page has."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from doubles.tools import run
from doubles.worker_status import page, samples, status

from deploy import dashboards
from pipeline.ends import REASONS
from pipeline.tally import IRREGULAR

ROOT = Path(__file__).parents[3]
RULES = ROOT / "deploy" / "alerts" / "firmwatt-pipeline.rules.yaml"
TESTS = RULES.with_name("firmwatt-pipeline.rules.test.yaml")

GROUPS = msgspec.yaml.decode(RULES.read_text(encoding="utf-8"), type=dict[str, list[dict[str, Any]]])["groups"]
ALERTS: list[dict[str, Any]] = [rule for group in GROUPS for rule in group["rules"]]
NAMES = [alert["alert"] for alert in ALERTS]

#: Of the brokers, as Strimzi names them: prometheus-kafka-rules.yaml and dashboards among its examples.
STRIMZI = {
    "kafka_server_replicamanager_underreplicatedpartitions",
    "kafka_server_replicamanager_underminisrpartitioncount",
    "kafka_controller_kafkacontroller_offlinepartitionscount",
}
SHOWN = {key[0] for key in samples(page(status()))}
ASKED = re.compile(r"\b(?:firmwatt|process|kafka)_[a-z0-9_]+\b")


def asked(expression: str) -> set[str]:
    """Return the metrics that an expression names, without those of its labels' values."""
    return set(ASKED.findall(re.sub(r'"[^"]*"', "", expression)))


def test_prometheus_understands_the_rules() -> None:
    told = run("promtool", "check", "rules", "--lint=all", "--lint-fatal", RULES)

    assert told.returncode == 0, told.stdout + told.stderr
    assert f"{len(ALERTS)} rules found" in told.stdout


def test_they_fire_when_they_should_and_not_otherwise() -> None:
    told = run("promtool", "test", "rules", TESTS, cwd=TESTS.parent)

    assert told.returncode == 0, told.stdout + told.stderr


def fired() -> set[str]:
    """Return the alerts that some test expects to fire: one that it expects not to is no proof of anything."""
    found = set()
    for test in msgspec.yaml.decode(TESTS.read_text(encoding="utf-8"))["tests"]:
        found |= {asking["alertname"] for asking in test.get("alert_rule_test", ()) if asking["exp_alerts"]}
        for asking in test.get("promql_expr_test", ()):
            for sample in asking["exp_samples"]:
                if 'alertstate="firing"' in asking["expr"] + sample.get("labels", "") and sample["value"] > 0:
                    found |= set(re.findall(r'alertname="(\w+)"', sample.get("labels", "")))
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_made_to_fire_by_some_test(name: str) -> None:
    assert name in fired()


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_says_where_and_what_to_do(alert: dict[str, Any]) -> None:
    """A person is woken for what cannot wait; the summary is short enough for a telephone and begins with a verb."""
    said = alert["annotations"]

    assert set(said) == {"summary", "description", "runbook"}
    assert said["summary"].split()[0] in {
        "Add", "Bring", "Compare", "Expect", "Find", "Keep", "Look", "Make", "Repair", "Restart", "Start",
    }  # fmt: skip
    assert len(said["summary"]) <= 140
    assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})


def test_no_two_alerts_of_the_two_files_have_one_name() -> None:
    others = msgspec.yaml.decode((RULES.with_name("firmwatt.rules.yaml")).read_text(encoding="utf-8"))["groups"]
    every = NAMES + [rule["alert"] for group in others for rule in group["rules"]]

    assert sorted(set(every)) == sorted(every)


@pytest.mark.parametrize("alert", ALERTS, ids=NAMES)
def test_an_alert_asks_for_metrics_that_there_are(alert: dict[str, Any]) -> None:
    assert asked(alert["expr"]) <= SHOWN | STRIMZI


def test_the_series_of_the_tests_are_those_of_a_page() -> None:
    """A test on a metric that no worker shows would prove nothing."""
    every = msgspec.yaml.decode(TESTS.read_text(encoding="utf-8"))["tests"]

    names = {series["series"].partition("{")[0] for test in every for series in test["input_series"]}
    assert names <= SHOWN | STRIMZI


def test_reasons_are_those_that_there_are() -> None:
    """Redelivered and filling ticks are in order; every other reason is somebody's business."""
    text = " ".join(alert["expr"] for alert in ALERTS)
    wanted = {one for values in re.findall(r'reason=~?"([^"]*)"', text) for one in values.split("|")}

    assert wanted - {".+_stuck"} == set(IRREGULAR) - {"redelivered", "filled"}
    assert {reason for reason in REASONS if re.fullmatch(".+_stuck", reason)} == {"rollup_stuck", "faust_stuck"}


# ---------------------------------------------------------------- the dashboard


def test_the_dashboard_in_the_repository_is_the_one_that_is_described() -> None:
    kept = json.loads(dashboards.FILE.read_text(encoding="utf-8"))

    assert kept == dashboards.pipeline(), "`python -m deploy.dashboards` writes it anew"


@pytest.mark.parametrize("panel", dashboards.PANELS, ids=lambda panel: str(panel.title))
def test_a_panel_asks_for_metrics_that_there_are_and_prometheus_understands_it(
    panel: dashboards.Panel, tmp_path: Path
) -> None:
    assert panel.queries
    for query in panel.queries:
        assert asked(query.expression) <= SHOWN | STRIMZI
    rules = [
        {"record": f"one:{number}", "expr": query.expression.replace("$__rate_interval", "5m")}
        for number, query in enumerate(panel.queries)
    ]
    file = tmp_path / "panel.yaml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "panel", "rules": rules}]}))

    told = run("promtool", "check", "rules", "--lint=none", file)

    assert told.returncode == 0, told.stdout + told.stderr


def test_every_metric_of_a_worker_is_looked_at_by_a_rule_or_a_panel() -> None:
    """A figure that nobody looks at is not worth its series; those that only name something are left out."""
    looked = set[str]().union(*(asked(alert["expr"]) for alert in ALERTS))
    looked |= set[str]().union(*(asked(query.expression) for panel in dashboards.PANELS for query in panel.queries))

    ours = {name for name in SHOWN if name.startswith("firmwatt_") and not name.endswith("_created")}
    assert ours - looked == set()


def test_panels_stand_beside_each_other_without_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboards.pipeline()["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
