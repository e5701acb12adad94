"""The topology as text, and the command that prints and creates it."""

from pathlib import Path

import msgspec
import pytest

from pipeline import cli, topology
from pipeline.errors import ConfigError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, ROLLUP_STATE, TOPICS

EVERY = (*TOPICS, *MARKET_TOPICS)


def test_every_topic_stands_on_one_line_with_what_is_set_for_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["topics"]) == 0

    heads, *rows = capsys.readouterr().out.splitlines()
    assert heads.split() == ["topic", "partitions", "kept", "carries", "settings"]
    by_name = {row.split()[0]: row for row in rows}
    assert set(by_name) == {topic.name for topic in EVERY}
    assert by_name[HOST_TICKS.name].split()[1:] == ["8", "48", "h", "HostTick", "message.timestamp.type=LogAppendTime"]
    assert "by size" in by_name[ROLLUP_STATE.name]
    assert "newest per key" in by_name["site.host.v1"]


def test_telemetry_has_as_many_partitions_as_the_settings_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so have the states, a partition each; no other topic changes."""
    config = tmp_path / "firmwatt.toml"
    config.write_text("[kafka]\ntelemetry_partitions = 24\n")

    assert cli.main(["topics", "--config", str(config)]) == 0

    rows = [row.split()[:2] for row in capsys.readouterr().out.splitlines()]
    assert sorted(name for name, partitions in rows if partitions == "24") == [ROLLUP_STATE.name, HOST_TICKS.name]


def test_topics_are_created_only_where_it_is_said_where() -> None:
    with pytest.raises(ConfigError, match="--create needs --config"):
        cli.main(["topics", "--create"])


def test_strimzi_gets_an_object_for_each_topic() -> None:
    text = "\n".join(topology.strimzi(EVERY, Kafka(telemetry_partitions=16), "power", 3))
    documents = [msgspec.yaml.decode(part) for part in text.split("---\n") if part]

    assert [each["metadata"]["name"] for each in documents] == [topic.name for topic in EVERY]
    first = documents[0]
    assert (first["apiVersion"], first["kind"]) == ("kafka.strimzi.io/v1", "KafkaTopic")
    assert first["metadata"]["labels"] == {"strimzi.io/cluster": "power"}
    assert first["spec"] == {
        "partitions": 16,
        "replicas": 3,
        "config": {
            "cleanup.policy": "delete",
            "retention.ms": "172800000",
            "message.timestamp.type": "LogAppendTime",
        },
    }


def test_an_unknown_command_is_answered_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["stauts"])

    assert "run, status, topics, doctor, rebuild, plan" in capsys.readouterr().err.replace("'", "")


@pytest.mark.parametrize("command", ["run", "status", "topics", "doctor", "rebuild", "plan"])
def test_every_command_answers_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        cli.main([command, "--help"])

    assert leaving.value.code == 0
    assert f"usage: firmwatt pipeline {command}" in capsys.readouterr().out
