"""`deploy.broker.security`, `keys` and `secure_properties`: the files of a secured broker, and its settings."""

import asyncio
import json
import stat
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.broker import cli, keys, properties, security, state
from deploy.broker import node as broker
from deploy.broker.properties import Proxied, behind, last_port, render, server
from deploy.broker.secure_properties import Files, Variant, secured
from deploy.broker.security import Security
from pipeline import kafka_security
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.settings import Kafka, load

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PRINCIPALS = ("admin", "collector", "actuator", "worker", "dispatch", "archive", "monitor", "mirror", "fleet")
FILES = Files(Path("/s/server.pem"), Path("/s/ca.pem"), Path("/s/node.pem"), Path("/s/nodes.pem"))


def made(data: Path, variant: Variant = Variant.SCRAM, now: datetime = NOW, *, used: bool = False) -> Security:
    """Return the security of *data* with all its files."""
    guard = security.chosen(data, variant, None, used=used)
    assert guard
    keys.prepare(guard, now, used=used)
    return guard


def common_name(file: Path) -> str:
    subject = x509.load_pem_x509_certificate(file.read_bytes()).subject
    return str(subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)[0].value)


def test_everything_is_its_owners_alone(tmp_path: Path) -> None:
    guard = made(tmp_path / "data")
    keys.write_clients(guard, "127.0.0.1:9093")

    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "data").rglob("*")}

    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700
    assert modes.pop("security") == modes.pop("clients") == 0o700
    assert set(modes.values()) == {0o600}
    assert {"ca.pem", "ca.key", "server.pem", "node.pem", "worker.password", "worker.toml"} <= set(modes)


def test_every_principal_gets_settings_that_work_as_they_are(tmp_path: Path) -> None:
    """The file is a whole settings file's `[kafka]`; its password and authority are found and read."""
    guard = made(tmp_path)
    keys.write_clients(guard, "127.0.0.1:9093")

    found = {name: load(guard.of_client(name, "toml"), "kafka", Kafka) for name in guard.principals}

    assert tuple(found) == PRINCIPALS
    assert {kafka.username for kafka in found.values()} == set(PRINCIPALS)
    passwords = {kafka_security.for_aiokafka(kafka)["sasl_plain_password"] for kafka in found.values()}
    assert len(passwords) == len(PRINCIPALS)
    assert min(map(len, passwords)) == 43  # 32 bytes in base 64


def test_every_principal_gets_a_certificate_where_that_is_the_way_in(tmp_path: Path) -> None:
    guard = made(tmp_path, Variant.MTLS)
    keys.write_clients(guard, "127.0.0.1:9093")

    for name in PRINCIPALS:
        kafka = load(guard.of_client(name, "toml"), "kafka", Kafka)
        assert (kafka.security, kafka.username) == ("ssl", "")
        assert common_name(Path(kafka.certificate_file)) == name
        kafka_security.tls(kafka)
    assert not list(guard.folder.rglob("*.password"))


def test_the_next_start_renews_what_is_issued_and_keeps_what_others_rely_on(tmp_path: Path) -> None:
    lasting = ("ca.pem", "ca.key", "nodes.pem", "node.key", "clients/worker.password")
    guard = made(tmp_path)
    before = {name: (guard.folder / name).read_bytes() for name in (*lasting, "server.pem")}

    made(tmp_path, now=NOW + timedelta(days=300), used=True)

    after = {name: (guard.folder / name).read_bytes() for name in before}
    assert {name for name in before if before[name] != after[name]} == {"server.pem"}
    renewed = x509.load_pem_x509_certificate(after["server.pem"])
    assert renewed.not_valid_after_utc == NOW + timedelta(days=697)


def test_a_removed_password_is_made_anew_and_the_broker_has_to_be_told(tmp_path: Path) -> None:
    guard = made(tmp_path)
    old = keys.password(guard, "worker")
    guard.of_client("worker", "password").unlink()

    assert keys.prepare(guard, NOW, used=True) == ["worker"]
    assert keys.password(guard, "worker") != old
    assert keys.prepare(guard, NOW, used=True) == []


def test_without_the_administrators_password_nobody_gets_a_new_one(tmp_path: Path) -> None:
    guard = made(tmp_path)
    guard.of_client("admin", "password").unlink()

    with pytest.raises(EnvironmentProblem, match=r"admin\.password is gone"):
        keys.prepare(guard, NOW, used=True)


def test_a_damaged_authority_is_no_reason_for_a_new_one(tmp_path: Path) -> None:
    """Clients hold the old one's certificate: a new one would lock them out."""
    guard = made(tmp_path)
    (guard.folder / "ca.key").write_text("half")

    with pytest.raises(EnvironmentProblem, match=r"ca\.pem and .*ca\.key are damaged"):
        keys.prepare(guard, NOW, used=True)


def test_users_are_made_with_their_passwords_and_only_where_there_are_passwords(tmp_path: Path) -> None:
    scram, mtls = made(tmp_path / "scram"), made(tmp_path / "mtls", Variant.MTLS)

    lines = keys.users(scram).splitlines()

    assert lines[:2] == ["--add-scram", f"SCRAM-SHA-512=[name=admin,password={keys.password(scram, 'admin')}]"]
    assert len(lines) == 2 * len(PRINCIPALS)
    assert keys.users(mtls) == ""


TOOL = """
import json, os, stat, sys
from pathlib import Path
given = Path(sys.argv[-1].removeprefix("@"))
modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (given, given.parent)]
seen = {"line": Path("/proc/self/cmdline").read_text(), "given": given.read_text(), "modes": modes}
Path(sys.argv[1]).write_text(json.dumps(seen))
print("Formatting", given.read_text())
"""


def test_passwords_are_neither_on_a_command_line_nor_in_a_log_nor_left_behind(tmp_path: Path) -> None:
    """Everybody on the machine reads command lines, and Kafka's tool prints what it was given."""
    guard = made(tmp_path)
    passwords = [keys.password(guard, name) for name in PRINCIPALS]
    log, seen = tmp_path / "broker.log", tmp_path / "seen"
    before = set(tmp_path.iterdir())

    tool = [sys.executable, "-c", TOOL, str(seen)]
    asyncio.run(broker._format(tmp_path, log, tool, "cluster", keys.users(guard)))

    told = json.loads(seen.read_text())
    assert "format" in told["line"]
    assert all(password in told["given"] for password in passwords), "the tool got them"
    assert told["modes"] == [0o600, 0o700]
    assert not [password for password in passwords if password in told["line"]]
    assert not log.exists() or not [password for password in passwords if password in log.read_text()]
    assert set(tmp_path.iterdir()) - before <= {log, seen}


def test_a_tool_that_does_not_end_is_no_fault_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker, "FORMAT_S", 0.2)
    tool = [sys.executable, "-c", "import time; time.sleep(60)"]

    with pytest.raises(EnvironmentProblem, match=r"did not end within 0.2 s: the machine is too busy"):
        asyncio.run(broker._format(tmp_path, tmp_path / "log", tool, "cluster", ""))


def test_a_tool_that_complains_of_a_password_is_not_quoted(tmp_path: Path) -> None:
    complaining = (
        "import sys; print('no space left'); print('what is', *open(sys.argv[-1][1:]).read().split()); exit(1)"
    )

    guard = made(tmp_path)
    tool = [sys.executable, "-c", complaining]
    with pytest.raises(EnvironmentProblem, match="no space left") as told:
        asyncio.run(broker._format(tmp_path, tmp_path / "log", tool, "cluster", keys.users(guard)))

    assert not [name for name in PRINCIPALS if keys.password(guard, name) in str(told.value)]


def test_a_broker_stays_as_it_was_made(tmp_path: Path) -> None:
    """Nothing asked: as it is. Something else asked: an error, for its storage has the users, or has none."""
    made(tmp_path / "scram")

    kept = security.chosen(tmp_path / "scram", None, None, used=True)

    assert kept == Security(tmp_path / "scram" / "security", Variant.SCRAM, "firmwatt")
    with pytest.raises(ConfigError, match="was made with --secure scram"):
        security.chosen(tmp_path / "scram", Variant.MTLS, None, used=True)
    assert security.chosen(tmp_path / "plain", None, None, used=True) is None
    with pytest.raises(ConfigError, match="was made without security"):
        security.chosen(tmp_path / "plain", Variant.SCRAM, None, used=True)


@pytest.mark.parametrize("asked", [None, Variant.SCRAM])
def test_a_secured_broker_that_lost_its_description_is_not_an_open_one(tmp_path: Path, asked: Variant | None) -> None:
    """Started all the same it would listen in plaintext, without rules, on what secured clients wrote."""
    guard = made(tmp_path)
    text = guard.description.read_text()
    guard.description.unlink()

    with pytest.raises(EnvironmentProblem, match=r"security\.json is gone.*restore it, as in") as told:
        security.chosen(tmp_path, asked, None, used=True)

    assert "\n" not in str(told.value)
    assert text in str(told.value), "the remedy is what was lost"
    guard.description.write_text(text)
    assert security.chosen(tmp_path, asked, None, used=True) == guard


def test_a_secured_broker_that_lost_all_its_keys_is_not_an_open_one_either(tmp_path: Path) -> None:
    """The settings of its last start tell."""
    settings = server(tmp_path / "kafka", 4000, 4001)
    state.properties(tmp_path).write_text(render(settings))
    assert security.chosen(tmp_path, None, None, used=True) is None

    state.properties(tmp_path).write_text(render(secured(settings, Variant.MTLS, FILES, 4002)))
    with pytest.raises(EnvironmentProblem, match=r"security\.json is gone"):
        security.chosen(tmp_path, None, None, used=True)


def test_a_first_start_that_was_broken_off_can_be_made_again(tmp_path: Path) -> None:
    """The description is written last, and storage after it: nothing was ever secured there."""
    made(tmp_path).description.unlink()

    assert security.chosen(tmp_path, Variant.SCRAM, None, used=False)


def test_the_workers_group_is_remembered_until_another_is_named(tmp_path: Path) -> None:
    guard = security.chosen(tmp_path, Variant.MTLS, "plant", used=False)
    assert guard
    keys.prepare(guard, NOW, used=False)

    assert security.chosen(tmp_path, None, None, used=True) == guard
    again = security.chosen(tmp_path, None, "yard", used=True)
    assert again
    assert again.group == "yard"


@pytest.mark.parametrize("text", ["", "{}", '{"variant": "none", "group": "a"}', "[]"])
def test_a_description_that_cannot_be_read_does_not_make_the_broker_an_open_one(tmp_path: Path, text: str) -> None:
    made(tmp_path).description.write_text(text)

    with pytest.raises(EnvironmentProblem, match="does not tell how the broker is secured"):
        security.of(tmp_path)


def test_no_listener_is_plaintext_and_the_inner_ones_believe_only_the_node() -> None:
    settings = secured(server(Path("/data"), 4000, 4001), Variant.SCRAM, FILES, 4002)

    assert settings["listeners"] == "CLIENT://127.0.0.1:4000,BROKER://127.0.0.1:4002,CONTROLLER://127.0.0.1:4001"
    assert settings["advertised.listeners"] == settings["listeners"]
    assert settings["listener.security.protocol.map"] == "CLIENT:SASL_SSL,BROKER:SSL,CONTROLLER:SSL"
    assert settings["inter.broker.listener.name"] == "BROKER"
    for inner in ("broker", "controller"):
        assert settings[f"listener.name.{inner}.ssl.client.auth"] == "required"
        assert settings[f"listener.name.{inner}.ssl.truststore.location"] == "/s/nodes.pem"
    assert settings["allow.everyone.if.no.acl.found"] == "false"
    assert settings["super.users"] == "User:admin;User:CN=firmwatt-node"


def test_a_client_with_a_certificate_is_called_by_its_common_name() -> None:
    settings = secured(server(Path("/data"), 4000, 4001), Variant.MTLS, FILES, 4002)

    assert settings["listener.security.protocol.map"] == "CLIENT:SSL,BROKER:SSL,CONTROLLER:SSL"
    assert settings["listener.name.client.ssl.client.auth"] == "required"
    assert settings["listener.name.client.ssl.truststore.location"] == "/s/ca.pem"
    assert settings["listener.name.client.ssl.principal.mapping.rules"] == "RULE:^CN=([^,]+)$/$1/"


def test_a_proxy_in_front_is_protected_like_what_is_behind_it() -> None:
    plain = secured(server(Path("/data"), 4000, 4001), Variant.SCRAM, FILES, 4002)

    settings = behind(plain, Proxied(port=5000, advertised=5001))

    assert settings["listener.security.protocol.map"].endswith("PROXIED:SASL_SSL")
    assert settings["listener.name.proxied.sasl.enabled.mechanisms"] == "SCRAM-SHA-512"
    assert settings["listener.name.proxied.ssl.keystore.location"] == "/s/server.pem"


def test_the_port_of_a_secured_broker_is_read_back_too() -> None:
    settings = secured(server(Path("/data"), 4000, 4001), Variant.MTLS, FILES, 4002)

    assert last_port(render(settings)) == 4000


def test_a_status_names_the_files_that_clients_need(tmp_path: Path) -> None:
    made(tmp_path)
    node = state.Node("127.0.0.1:4000", 7, tmp_path, tmp_path / "broker.log")
    running = state.Status(state.State.RUNNING, node)

    lines, known = cli.sentence(running).splitlines(), json.loads(cli.as_object(running))

    assert lines[1] == f"  authority: {tmp_path}/security/ca.pem"
    assert lines[3] == f"  [kafka] of collector: {tmp_path}/security/clients/collector.toml"
    assert (known["secure"], known["ca"]) == ("scram", f"{tmp_path}/security/ca.pem")
    assert tuple(known["clients"]) == PRINCIPALS
    assert node.kafka.username == "admin"
    assert properties.HOST in node.kafka.bootstrap
