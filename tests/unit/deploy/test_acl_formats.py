"""Access rules as text: what a shell, another program and Strimzi get to read."""

import importlib
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from deploy.broker import acl_cli, acl_formats, acl_rules, cli
from deploy.broker.acl_rules import ACTUATOR, COLLECTOR, Kind, Operation, Role, Rule
from pipeline.errors import ConfigError

yaml: Any = importlib.import_module("yaml")  # it comes with yamllint, and without types

VIEWER = Role(
    "viewer",
    "looks at one topic",
    (
        Rule(Kind.TOPIC, "a.v1", (Operation.READ, Operation.DESCRIBE), "shows it"),
        Rule(Kind.GROUP, "plant-", (Operation.DESCRIBE,), "shows how far others are", prefixed=True),
        Rule(Kind.CLUSTER, "kafka-cluster", (Operation.DESCRIBE,), "shows the brokers"),
    ),
)


def words(text: str) -> list[list[str]]:
    """Return the command lines of *text* as a shell splits them, without the tool and its connection."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [shlex.split(line)[5:] for line in lines]


def test_a_rule_is_one_line_for_a_shell() -> None:
    text = acl_formats.commands(acl_formats.holders([VIEWER], "", []))

    assert words(text) == [
        shlex.split("--add --allow-principal User:viewer --operation Read --operation Describe --topic a.v1"),
        shlex.split(
            "--add --allow-principal User:viewer --operation Describe --group plant- --resource-pattern-type prefixed"
        ),
        shlex.split("--add --allow-principal User:viewer --operation Describe --cluster"),
    ]
    assert "# viewer: looks at one topic" in text
    assert "#   shows how far others are" in text


def test_the_commands_run_as_a_script(tmp_path: Path) -> None:
    """A stand-in for Kafka's tool notes what it is called with: address, administrator's file, rule."""
    tool, noted = tmp_path / "kafka-acls.sh", tmp_path / "noted"
    tool.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n')
    tool.chmod(0o755)
    script = tmp_path / "acls.sh"
    script.write_text(acl_formats.commands(acl_formats.holders([COLLECTOR], "it's ", [])))
    surroundings = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    unset = subprocess.run(["sh", script], env=surroundings, capture_output=True, text=True, check=False)
    subprocess.run(["sh", script], env={**surroundings, "BOOTSTRAP": "k:1", "ADMIN": "a.properties"}, check=True)

    assert unset.returncode != 0
    assert "BOOTSTRAP" in unset.stderr
    assert noted.read_text() == (
        "--bootstrap-server k:1 --command-config a.properties --add --allow-principal User:it's collector "
        "--operation Write --topic telemetry.host.v1\n"
    )


def test_hosts_have_principals_of_their_own_and_share_a_line() -> None:
    """450 hosts in lines of 200: three lines for the one rule of the collector, six for the two of the actuator."""
    hosts = [f"gpu-{number:03}" for number in range(450)]

    holding = acl_formats.holders([COLLECTOR, ACTUATOR, VIEWER], "firmwatt-", hosts)
    lines = words(acl_formats.commands(holding))

    assert [len(holder.names) for holder in holding] == [450, 450, 1]
    assert holding[1].names[0] == "firmwatt-actuator-gpu-000"
    assert [line.count("--allow-principal") for line in lines[:9]] == [200, 200, 50] * 3
    assert [line[-1] for line in lines[3:9]] == ["control.command.v1"] * 3 + ["control.ack.v1"] * 3


def test_json_has_every_rule_of_every_principal() -> None:
    found = json.loads(acl_formats.as_json(acl_formats.holders([VIEWER, COLLECTOR], "CN=", ["h1", "h2"])))["rules"]

    assert [rule["principal"] for rule in found] == [
        "User:CN=viewer",
        "User:CN=viewer",
        "User:CN=viewer",
        "User:CN=collector-h1",
        "User:CN=collector-h2",
    ]
    assert found[1] == {
        "principal": "User:CN=viewer",
        "role": "viewer",
        "resource": "group",
        "name": "plant-",
        "pattern": "prefixed",
        "operations": ["Describe"],
        "reason": "shows how far others are",
    }


def test_strimzi_gets_a_user_for_every_principal(tmp_path: Path) -> None:
    text = acl_formats.strimzi(acl_formats.holders([VIEWER], "plant-", []), "kafka-1")

    assert list(yaml.safe_load_all(text)) == [
        {
            "apiVersion": "kafka.strimzi.io/v1",
            "kind": "KafkaUser",
            "metadata": {"name": "plant-viewer", "labels": {"strimzi.io/cluster": "kafka-1"}},
            "spec": {
                "authentication": {"type": "scram-sha-512"},
                "authorization": {
                    "type": "simple",
                    "acls": [
                        {
                            "resource": {"type": "topic", "name": "a.v1", "patternType": "literal"},
                            "operations": ["Read", "Describe"],
                        },
                        {
                            "resource": {"type": "group", "name": "plant-", "patternType": "prefix"},
                            "operations": ["Describe"],
                        },
                        {"resource": {"type": "cluster"}, "operations": ["Describe"]},
                    ],
                },
            },
        }
    ]
    file = tmp_path / "users.yaml"
    file.write_text(text)
    rules = "{extends: default, rules: {line-length: {max: 120}}}"
    lint = [sys.executable, "-m", "yamllint", "--strict", "-d", rules, str(file)]
    assert subprocess.run(lint, capture_output=True, text=True, check=False).stdout == ""


def test_users_with_certificates_are_named_without_the_subjects_beginning() -> None:
    """Strimzi's user `worker` with a certificate is the principal `User:CN=worker`; it adds that itself."""
    (user,) = yaml.safe_load_all(acl_formats.strimzi(acl_formats.holders([VIEWER], "CN=", []), "kafka"))

    assert user["metadata"]["name"] == "viewer"
    assert user["spec"]["authentication"] == {"type": "tls"}


def test_what_kubernetes_or_kafka_would_refuse_is_one_line() -> None:
    with pytest.raises(ConfigError, match="'collector-GPU-1': small letters"):
        acl_formats.strimzi(acl_formats.holders([COLLECTOR], "", ["GPU-1"]), "kafka")
    with pytest.raises(ConfigError, match="'a;b' is no host name"):
        acl_formats.holders([COLLECTOR], "", ["a;b"])


def test_the_command_prints_what_it_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two hosts, one of them named twice: two principals each; one for each other role, and for simulated hosts."""
    file = tmp_path / "hosts"
    file.write_text("# row 1\ngpu-1\ngpu-2  # new\n\ngpu-1\n")

    assert cli.main(["acls", "--hosts", str(file), "--group", "plant", "--format", "json", "--fleet"]) == 0

    rules = json.loads(capsys.readouterr().out)["rules"]
    assert {rule["principal"].removeprefix("User:") for rule in rules} == {
        *(f"{role}-{host}" for role in ("collector", "actuator") for host in ("gpu-1", "gpu-2")),
        *("worker", "dispatch", "archive", "monitor", "mirror", "fleet"),
    }
    assert {rule["name"] for rule in rules if rule["resource"] == "group"} == {"plant", "plant-", "plant-archive"}


def test_a_portfolios_mirror_has_the_rights_that_its_sites_do_not_give_it(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["acls", "--format", "json", "--sites", "site-1,site-2"])

    rules = [rule for rule in json.loads(capsys.readouterr().out)["rules"] if rule["role"] == "mirror"]
    assert {rule["name"] for rule in rules if "Write" in rule["operations"]} >= {"mm2-", "site-2.checkpoints.internal"}


def test_simulated_hosts_are_not_among_them_unless_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["acls"])

    text = capsys.readouterr().out
    assert "User:collector " in text
    assert "User:fleet" not in text
    assert "signed and not secret" in text


def test_a_file_of_hosts_without_a_host_is_a_mistake(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text("# none yet\n")

    with pytest.raises(ConfigError, match="names no host"):
        acl_cli.hosts_in(file)
    with pytest.raises(ConfigError, match=r"cannot read .*: No such file"):
        acl_cli.hosts_in(tmp_path / "absent")


def test_all_real_rules_can_be_written_in_all_formats() -> None:
    holding = acl_formats.holders(acl_rules.roles("firmwatt"), "", [])
    rules = sum(len(holder.role.rules) for holder in holding)

    assert len(words(acl_formats.commands(holding))) == rules
    assert len(json.loads(acl_formats.as_json(holding))["rules"]) == rules
    users = list(yaml.safe_load_all(acl_formats.strimzi(holding, "kafka")))
    assert sum(len(user["spec"]["authorization"]["acls"]) for user in users) == rules


def test_a_site_that_a_portfolio_commands_is_printed_with_its_mirrors_rights(
    capsys: pytest.CaptureFixture[str],
) -> None:
    acl_cli.main(["--commands-of", "hq"])
    lines = words(capsys.readouterr().out)
    acl_cli.main([])
    without = words(capsys.readouterr().out)

    assert [line for line in lines if line not in without] == [
        shlex.split(
            "--add --allow-principal User:mirror --operation Write --operation Create --operation DescribeConfigs "
            "--topic control.command.v1"
        ),
        shlex.split(
            "--add --allow-principal User:mirror --operation Read --operation Write --operation Create "
            "--operation DescribeConfigs --topic mm2- --resource-pattern-type prefixed"
        ),
        shlex.split("--add --allow-principal User:mirror --operation Read --group hq-mm2"),
    ]
