"""The secured broker as a whole: certificates as the way in, the inner listeners, and what a restart keeps."""

import asyncio
import json
import socket
import ssl
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import KafkaException
from confluent_kafka import admin as confluent_admin
from cryptography import x509
from doubles.guarded import Guarded, quiet, readable, secured, written
from doubles.rights import TABLE

from deploy.broker import keys, node
from deploy.broker.certificates import Pair, authority, issued
from deploy.broker.node import Variant
from pipeline import kafka_security
from pipeline.clock import Clock
from pipeline.errors import BrokerGoneError, ConfigError, NotAllowedError
from pipeline.kafka import ensure_topics
from pipeline.kafka_security import for_librdkafka
from pipeline.settings import Kafka, load

pytestmark = pytest.mark.broker

MAIN = "import sys; from deploy.cli import main; sys.exit(main())"
DAY = timedelta(days=1)
library: Any = confluent_admin
AdminClient = library.AdminClient
RW = ("Read", "Write")
LOOKS = 8
"""In a row: each of the broker's network threads takes up a new certificate by itself."""


@pytest.fixture(scope="module")
def mtls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """Yield a broker that lets in principals with a certificate."""
    with secured(tmp_path_factory.mktemp("mtls"), Variant.MTLS) as broker:
        yield broker


def put(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


def let_in(kafka: Kafka) -> None:
    """Connect as every one of our processes does, to see which topics there are."""
    asyncio.run(ensure_topics(kafka, ()))


def with_identity(kafka: Kafka, pair: Pair, folder: Path) -> Kafka:
    certificate, key = put(folder / "me.pem", pair.certificate_pem), put(folder / "me.key", pair.key_pem)
    return msgspec.structs.replace(kafka, certificate_file=certificate, key_file=key)


def its_authority(broker: Guarded) -> Pair:
    folder = broker.security.folder
    return Pair.from_pem((folder / "ca.key").read_bytes(), (folder / "ca.pem").read_bytes())


def test_a_certificate_gives_its_principals_rights(mtls: Guarded) -> None:
    """The certificate's common name is the principal: dispatch commands, and the collector does not."""
    for principal in ("collector", "dispatch"):
        may = {right: {topic for topic, rights in TABLE.items() if right in rights.get(principal, "")} for right in RW}

        assert written(mtls.kafka(principal), TABLE) == may["Write"]
        assert readable(mtls.kafka(principal), TABLE) == may["Read"]


def test_only_a_living_certificate_of_the_right_authority_lets_in(mtls: Guarded, tmp_path: Path) -> None:
    """Expired an hour ago; of another authority with the same name; none at all. One that lives on is let in."""
    now, kafka, ca = Clock().now(), mtls.kafka("worker"), its_authority(mtls)
    stranger = authority("firmwatt broker authority", now)

    let_in(with_identity(kafka, issued(ca, "worker", now - 2 * DAY, until=now + DAY), tmp_path))
    for refused in (
        with_identity(kafka, issued(ca, "worker", now - 2 * DAY, until=now - timedelta(hours=1)), tmp_path),
        with_identity(kafka, issued(stranger, "worker", now), tmp_path),
        msgspec.structs.replace(kafka, certificate_file="", key_file=""),
    ):
        with pytest.raises(BrokerGoneError, match=r"if it runs, see security and certificate_file"):
            let_in(refused)


def test_a_stranger_who_calls_himself_the_node_is_not_one(mtls: Guarded, tmp_path: Path) -> None:
    """At the clients' door the name of the node's certificate means nothing: no topic, no rule."""
    impostor = issued(its_authority(mtls), "firmwatt-node", Clock().now())

    kafka = with_identity(mtls.kafka("worker"), impostor, tmp_path)

    let_in(kafka)
    assert written(kafka, TABLE) == readable(kafka, TABLE) == set()


@pytest.mark.parametrize("listener", ["BROKER", "CONTROLLER"])
def test_clients_do_not_get_in_where_nodes_meet(mtls: Guarded, listener: str) -> None:
    """Not even the administrator, who trusts the node's certificate and shows his own."""
    address, nodes = mtls.listeners()[listener], mtls.security.files.nodes
    kafka = msgspec.structs.replace(mtls.kafka("admin"), bootstrap=address, ca_file=str(nodes))

    for refused in (kafka, Kafka(bootstrap=address)):
        with pytest.raises(BrokerGoneError):
            let_in(refused)

    assert shakes_hands(address, msgspec.structs.replace(kafka, **node_identity(mtls)))
    assert not shakes_hands(address, kafka)


def node_identity(broker: Guarded) -> dict[str, str]:
    return {
        "certificate_file": str(broker.security.files.nodes),
        "key_file": str(broker.security.folder / "node.key"),
    }


def shakes_hands(address: str, kafka: Kafka) -> bool:
    """Tell whether TLS comes about; by 1.2, where both sides know that before anything else is said."""
    host, _, port = address.rpartition(":")
    context = kafka_security.tls(kafka)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    try:
        with socket.create_connection((host, int(port))) as line, context.wrap_socket(line, server_hostname=host):
            return True
    except ssl.SSLError:
        return False


def test_an_expired_broker_is_not_believed(mtls: Guarded, tmp_path: Path) -> None:
    """The certificate of the running broker is replaced by one that ended an hour ago, and then put back."""
    now, kafka = Clock().now(), mtls.kafka("worker")
    old = issued(
        its_authority(mtls), "firmwatt-broker", now - 2 * DAY, hosts=keys.HOSTS, until=now - timedelta(hours=1)
    )
    let_in(kafka)

    show(mtls, put(tmp_path / "old.pem", old.key_pem + old.certificate_pem), old.certificate)
    try:
        with pytest.raises(NotAllowedError, match="certificate has expired"):
            let_in(kafka)
        with pytest.raises(KafkaException):
            AdminClient(for_librdkafka(kafka), logger=quiet).list_topics(timeout=5)
    finally:
        server = mtls.security.files.server
        show(mtls, str(server), x509.load_pem_x509_certificate(server.read_bytes()))
    let_in(kafka)


def show(broker: Guarded, store: str, certificate: x509.Certificate) -> None:
    """Let the running *broker* show *certificate*, which is in *store*, to clients; return once it does."""
    options = for_librdkafka(broker.kafka("admin")) | {"enable.ssl.certificate.verification": "false"}
    name = "listener.name.client.ssl.keystore.location"
    entry = library.ConfigEntry(name, store, incremental_operation=library.AlterConfigOpType.SET)
    node_one = library.ConfigResource(library.ResourceType.BROKER, "1", incremental_configs=[entry])
    administrator = AdminClient(options, logger=quiet)
    for future in administrator.incremental_alter_configs([node_one]).values():
        future.result()
    host, _, port = broker.node.bootstrap.rpartition(":")
    deadline, seen = time.monotonic() + 60, 0
    while seen < LOOKS:
        assert time.monotonic() < deadline, "the broker still shows another certificate"
        shown = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode())
        seen = seen + 1 if shown == certificate else 0


def broker_command(*words: str) -> str:
    """Run ``firmwatt broker`` and return what it prints."""
    answer = subprocess.run(
        [sys.executable, "-c", MAIN, "broker", *words], capture_output=True, text=True, check=False, timeout=300
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def test_a_secured_broker_stays_one(tmp_path: Path) -> None:
    """Started by command, stopped, started again without a word about security: the same, but for one new password."""
    data = tmp_path / "broker"
    try:
        said = broker_command("start", "--secure", "--data", str(data), "--heap", "256m")
        clients = json.loads(broker_command("status", "--data", str(data), "--json"))["clients"]
        before = {name: load(Path(path), "kafka", Kafka) for name, path in clients.items()}
        for kafka in before.values():
            let_in(kafka)
        old = kafka_security.for_aiokafka(before["dispatch"])["sasl_plain_password"]

        broker_command("stop", "--data", str(data))
        Path(before["dispatch"].password_file).unlink()
        broker_command("start", "--data", str(data), "--heap", "256m")

        after = {name: load(Path(path), "kafka", Kafka) for name, path in clients.items()}
        assert after == before
        for kafka in after.values():
            let_in(kafka)
        with pytest.raises(NotAllowedError, match="does not know us"):
            let_in(msgspec.structs.replace(after["dispatch"], password_file=put(tmp_path / "old", f"{old}\n".encode())))
        with pytest.raises(BrokerGoneError):
            let_in(Kafka(bootstrap=after["worker"].bootstrap))
        with pytest.raises(ConfigError, match="was made with --secure scram"):
            asyncio.run(node.start(data, detach=False, secure=Variant.MTLS))
    finally:
        node.stop(data)

    assert f"  authority: {data}/security/ca.pem\n" in said
    assert all(f"  [kafka] of {name}: {path}" in said for name, path in clients.items())
    assert {stat.S_IMODE(path.stat().st_mode) for path in (data / "security").rglob("*") if path.is_file()} == {0o600}
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert old not in "".join(path.read_text() for path in data.glob("broker.log*")) + said
