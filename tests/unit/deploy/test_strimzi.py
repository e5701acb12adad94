"""The Strimzi examples: as the commands print them, three copies of everything, and names that belong together."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.broker import acl_cli
from pipeline import topics_cli
from pipeline.doctor import IN_SYNC, REPLICAS
from pipeline.kafka import topic_settings
from pipeline.plan import plan
from pipeline.topics import HOST_TICKS, ROLLUP_STATE

FOLDER = Path(__file__).parents[3] / "deploy" / "examples" / "strimzi"


def documents(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [msgspec.yaml.decode(part) for part in text.split("---\n") if part.strip()]


def test_topics_are_those_of_the_topology(capsys: pytest.CaptureFixture[str]) -> None:
    topics_cli.main(["--config", str(FOLDER / "firmwatt.toml"), "--format", "strimzi"])

    assert capsys.readouterr().out == (FOLDER / "topics.yaml").read_text(encoding="utf-8")


def test_partitions_and_disks_are_those_of_the_plan() -> None:
    """kafka.yaml says for how many hosts it is; the workers' chart is told the same number of partitions."""
    planned = plan(12_500, 8)
    pool, _ = documents("kafka.yaml")
    chart = FOLDER.parents[1] / "helm" / "firmwatt-pipeline" / "README.md"

    assert "up to some 12,500 hosts" in (FOLDER / "kafka.yaml").read_text(encoding="utf-8")
    partitions = {each["metadata"]["name"]: each["spec"]["partitions"] for each in documents("topics.yaml")}
    assert partitions[HOST_TICKS.name] == partitions[ROLLUP_STATE.name] == planned.partitions
    (volume,) = pool["spec"]["storage"]["volumes"]
    assert int(volume["size"].removesuffix("Ti")) * 2**40 >= planned.broker_disk_b
    words = f"kafka.telemetry_partitions={planned.partitions} --set replicas={planned.workers}"
    assert words in chart.read_text(encoding="utf-8")


def test_users_are_those_of_the_access_rules(capsys: pytest.CaptureFixture[str]) -> None:
    acl_cli.main(["--format", "strimzi"])

    assert capsys.readouterr().out == (FOLDER / "users.yaml").read_text(encoding="utf-8")


def test_what_is_acknowledged_survives_a_node() -> None:
    pool, kafka = documents("kafka.yaml")

    config = kafka["spec"]["kafka"]["config"]
    assert pool["spec"]["replicas"] == REPLICAS
    assert config["default.replication.factor"] == config["offsets.topic.replication.factor"] == REPLICAS
    assert config["min.insync.replicas"] == IN_SYNC
    assert config["unclean.leader.election.enable"] is False
    assert config["auto.create.topics.enable"] is False
    assert all(topic["spec"]["replicas"] == REPLICAS for topic in documents("topics.yaml"))


def test_nobody_connects_in_the_clear_or_unknown() -> None:
    _, kafka = documents("kafka.yaml")

    for listener in kafka["spec"]["kafka"]["listeners"]:
        assert listener["tls"] is True
        assert listener["authentication"] == {"type": "scram-sha-512"}
    assert kafka["spec"]["kafka"]["authorization"] == {"type": "simple"}
    assert {user["spec"]["authentication"]["type"] for user in documents("users.yaml")} == {"scram-sha-512"}


def test_a_follower_can_fetch_the_largest_record() -> None:
    _, kafka = documents("kafka.yaml")

    largest = int(topic_settings(ROLLUP_STATE)["max.message.bytes"])
    assert kafka["spec"]["kafka"]["config"]["replica.fetch.max.bytes"] >= largest


def test_the_nodes_are_scraped_and_their_alerts_can_say_which() -> None:
    """kafka.yaml opens a page; the monitor finds its pods, by the labels by which they also keep apart."""
    pool, kafka = documents("kafka.yaml")
    (monitor,) = documents("monitor.yaml")
    assert kafka["spec"]["kafka"]["metricsConfig"]["type"] == "strimziMetricsReporter"

    assert (monitor["apiVersion"], monitor["kind"]) == ("monitoring.coreos.com/v1", "PodMonitor")
    affinity = pool["spec"]["template"]["pod"]["affinity"]["podAntiAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]
    assert monitor["spec"]["selector"] == term["labelSelector"]
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["port"] == "tcp-prometheus"
    given = {each["targetLabel"]: each["sourceLabels"] for each in endpoint["relabelings"]}
    assert given == {"namespace": ["__meta_kubernetes_namespace"], "pod": ["__meta_kubernetes_pod_name"]}
    rules = (FOLDER.parents[1] / "alerts" / "firmwatt-pipeline.rules.yaml").read_text(encoding="utf-8")
    groups = msgspec.yaml.decode(rules)["groups"]
    (brokers,) = (group["rules"] for group in groups if group["name"] == "firmwatt-brokers")
    asked = {
        label for rule in brokers for by in re.findall(r"by \(([^)]*)\)", rule["expr"]) for label in by.split(", ")
    }
    assert asked == set(given)


def test_everything_belongs_to_the_one_cluster() -> None:
    pool, kafka = documents("kafka.yaml")

    members = [pool, *documents("topics.yaml"), *documents("users.yaml")]
    assert {each["metadata"]["labels"]["strimzi.io/cluster"] for each in members} == {kafka["metadata"]["name"]}
    assert {each["apiVersion"] for each in [kafka, *members]} == {"kafka.strimzi.io/v1"}
