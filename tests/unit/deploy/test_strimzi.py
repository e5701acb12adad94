"""The Strimzi examples: as the commands print them, three copies of everything, and names that belong together."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from deploy.broker import acl_cli
from pipeline import topics_cli
from pipeline.doctor import IN_SYNC, REPLICAS
from pipeline.kafka import topic_settings
from pipeline.topics import ROLLUP_STATE

FOLDER = Path(__file__).parents[3] / "deploy" / "examples" / "strimzi"


def documents(name: str) -> list[dict[str, Any]]:
    text = (FOLDER / name).read_text(encoding="utf-8")
    return [msgspec.yaml.decode(part) for part in text.split("---\n") if part.strip()]


def test_topics_are_those_of_the_topology(capsys: pytest.CaptureFixture[str]) -> None:
    topics_cli.main(["--format", "strimzi"])

    assert capsys.readouterr().out == (FOLDER / "topics.yaml").read_text(encoding="utf-8")


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


def test_everything_belongs_to_the_one_cluster() -> None:
    pool, kafka = documents("kafka.yaml")

    members = [pool, *documents("topics.yaml"), *documents("users.yaml")]
    assert {each["metadata"]["labels"]["strimzi.io/cluster"] for each in members} == {kafka["metadata"]["name"]}
    assert {each["apiVersion"] for each in [kafka, *members]} == {"kafka.strimzi.io/v1"}
