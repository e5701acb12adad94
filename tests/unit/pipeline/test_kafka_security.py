"""`[kafka]` is refused where it contradicts itself, and says the same thing to every client library."""

import os
import pty
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from faust.types.auth import AuthProtocol, SASLMechanism

from deploy import toml
from deploy.broker.certificates import Pair, authority, issued
from pipeline import kafka_security
from pipeline.errors import ConfigError
from pipeline.settings import Kafka, load
from pipeline.streams import credentials

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
PASSWORD = "correct horse"


def put(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


@pytest.fixture
def pair() -> Pair:
    return issued(authority("an authority", NOW), "collector", NOW, hosts=["localhost"])


@pytest.fixture
def password_file(tmp_path: Path) -> str:
    return put(tmp_path / "password", f"{PASSWORD}\n".encode())


@pytest.fixture
def mtls(tmp_path: Path, pair: Pair) -> Kafka:
    """Return the settings of a client with a certificate, and an authority that it trusts."""
    return Kafka(
        security="ssl",
        ca_file=put(tmp_path / "ca.pem", authority("another", NOW).certificate_pem, 0o644),
        certificate_file=put(tmp_path / "me.pem", pair.certificate_pem, 0o644),
        key_file=put(tmp_path / "me.key", pair.key_pem),
    )


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('security = "sasl_ssl"\nusername = "worker"', 'security = "sasl_ssl" needs username and password_file'),
        ('security = "sasl_plaintext"\npassword_file = "p"', "needs username and password_file"),
        ('username = "worker"', 'username has no use with security = "plaintext"'),
        ('security = "ssl"\nusername = "a"\npassword_file = "p"', 'username has no use with security = "ssl"'),
        ('ca_file = "ca.pem"', 'ca_file has no use with security = "plaintext"'),
        (
            'security = "sasl_plaintext"\nusername = "a"\npassword_file = "p"\nca_file = "c"',
            'ca_file has no use with security = "sasl_plaintext"',
        ),
        ('security = "ssl"\ncertificate_file = "c"', "certificate_file and key_file belong together"),
        ('security = "ssl"\nkey_file = "k"', "certificate_file and key_file belong together"),
        ('security = "tls"', "Invalid enum value 'tls'"),
        ('mechanism = "PLAIN"', "Invalid enum value 'PLAIN'"),
        ("telemetry_partitions = 0", "Expected `int` >= 1"),
    ],
)
def test_settings_that_contradict_each_other_are_one_line(tmp_path: Path, text: str, reason: str) -> None:
    """What would silently be ignored is an error too: whoever writes `ca_file` believes that it protects him."""
    path = tmp_path / "firmwatt.toml"
    path.write_text(f"[kafka]\n{text}\n")

    with pytest.raises(ConfigError) as told:
        load(path, "kafka", Kafka)

    assert str(told.value).startswith(f"{path}, line ")
    assert reason in str(told.value)
    assert "\n" not in str(told.value)


def test_plaintext_asks_for_nothing() -> None:
    kafka = Kafka(bootstrap="a:1,b:2")

    assert kafka_security.for_aiokafka(kafka) == {"bootstrap_servers": "a:1,b:2", "security_protocol": "PLAINTEXT"}
    assert kafka_security.for_librdkafka(kafka) == {"bootstrap.servers": "a:1,b:2", "security.protocol": "plaintext"}
    assert credentials(kafka) is None


def test_a_password_goes_to_each_library(password_file: str) -> None:
    kafka = Kafka(security="sasl_plaintext", username="worker", password_file=password_file)

    faust = credentials(kafka)

    assert kafka_security.for_aiokafka(kafka) == {
        "bootstrap_servers": "127.0.0.1:9092",
        "security_protocol": "SASL_PLAINTEXT",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "worker",
        "sasl_plain_password": PASSWORD,
    }
    assert kafka_security.for_librdkafka(kafka) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "sasl_plaintext",
        "sasl.mechanisms": "SCRAM-SHA-512",
        "sasl.username": "worker",
        "sasl.password": PASSWORD,
    }
    assert (faust.protocol, faust.mechanism) == (AuthProtocol.SASL_PLAINTEXT, SASLMechanism.SCRAM_SHA_512)
    assert (faust.username, faust.password, faust.ssl_context) == ("worker", PASSWORD, None)


def test_tls_is_new_enough_and_looks_at_who_answers(mtls: Kafka) -> None:
    """TLS 1.2 at least, a certificate from the named authority and no other, and the name that was dialled."""
    context = kafka_security.tls(mtls)

    assert context.minimum_version is ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert [found["subject"] for found in context.get_ca_certs()] == [((("commonName", "another"),),)]


def test_a_certificate_goes_to_each_library(mtls: Kafka) -> None:
    aiokafka, faust = kafka_security.for_aiokafka(mtls), credentials(mtls)

    assert (aiokafka["security_protocol"], aiokafka["ssl_context"].check_hostname) == ("SSL", True)
    assert faust.protocol is AuthProtocol.SSL
    assert faust.context.verify_mode is ssl.CERT_REQUIRED
    assert kafka_security.for_librdkafka(mtls) == {
        "bootstrap.servers": "127.0.0.1:9092",
        "security.protocol": "ssl",
        "enable.ssl.certificate.verification": "true",
        "ssl.endpoint.identification.algorithm": "https",
        "ssl.ca.location": mtls.ca_file,
        "ssl.certificate.location": mtls.certificate_file,
        "ssl.key.location": mtls.key_file,
    }


def test_the_systems_authorities_serve_where_none_is_named() -> None:
    kafka = Kafka(security="ssl")

    assert "ssl.ca.location" not in kafka_security.for_librdkafka(kafka)
    assert kafka_security.tls(kafka).verify_mode is ssl.CERT_REQUIRED


@pytest.mark.parametrize("options", [kafka_security.for_aiokafka, kafka_security.for_librdkafka])
@pytest.mark.parametrize(
    ("name", "content", "mode", "reason"),
    [
        ("ca_file", b"no certificate", 0o644, "ca_file .* holds no certificate in PEM"),
        ("ca_file", None, 0, "cannot read ca_file .*: No such file"),
        ("certificate_file", b"no certificate", 0o644, "are not a certificate and its own key"),
        ("certificate_file", None, 0, "cannot read certificate_file .*: No such file"),
        ("key_file", b"no key", 0o600, "are not a certificate and its own key"),
        ("key_file", None, 0, "cannot read the secret in .*me.key: No such file"),
        ("password_file", None, 0, "cannot read the secret in .*password: No such file"),
        ("password_file", b"", 0o600, "its first line is empty"),
        ("password_file", b"secret", 0o644, "mode 0644: `chmod 600"),
        ("password_file", b"secret", 0o640, "mode 0640: `chmod 600"),
    ],
)
def test_a_file_that_does_not_serve_is_one_line(  # noqa: PLR0917 - a table
    mtls: Kafka,
    password_file: str,
    options: Any,
    name: str,
    content: bytes | None,
    mode: int,
    reason: str,
) -> None:
    """The same sentence whichever library is used, before it has tried anything."""
    kafka = msgspec.structs.replace(mtls, security="sasl_ssl", username="worker", password_file=password_file)
    path = Path(getattr(kafka, name))
    path.unlink()
    if content is not None:
        put(path, content, mode)

    with pytest.raises(ConfigError, match=reason) as told:
        options(kafka)

    assert "\n" not in str(told.value)
    assert str(path) in str(told.value)


def test_a_key_that_others_may_read_is_refused(mtls: Kafka) -> None:
    Path(mtls.key_file).chmod(0o644)

    with pytest.raises(ConfigError, match=r"me\.key holds a secret and has mode 0644"):
        kafka_security.for_aiokafka(mtls)


def test_another_owners_key_is_refused(mtls: Kafka) -> None:
    """A certificate renewed without its key, or the other way round."""
    stranger = issued(authority("a third", NOW), "stranger", NOW)
    put(Path(mtls.key_file), stranger.key_pem)

    with pytest.raises(ConfigError, match="not a certificate and its own key"):
        kafka_security.for_aiokafka(mtls)


ON_A_TERMINAL = """
import fcntl, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)  # what OpenSSL opens to ask for a password
from pathlib import Path
from pipeline import kafka_security
from pipeline.settings import Kafka, load
try:
    kafka_security.for_aiokafka(load(Path(sys.argv[1]), "kafka", Kafka))
except Exception as error:
    print(type(error).__name__, error)
"""


def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(
    mtls: Kafka, pair: Pair, tmp_path: Path
) -> None:
    """A worker that asks a terminal stands still where somebody started it by hand, and says nothing elsewhere."""
    key = serialization.load_pem_private_key(pair.key_pem, None)
    format_, encryption = serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"hunter2")
    put(Path(mtls.key_file), key.private_bytes(serialization.Encoding.PEM, format_, encryption))
    config = tmp_path / "firmwatt.toml"
    config.write_text(toml.table("kafka", mtls))

    ours, its = pty.openpty()
    command = [sys.executable, "-c", ON_A_TERMINAL, str(config)]
    with subprocess.Popen(command, stdin=its, stdout=its, stderr=its, start_new_session=True) as process:
        os.close(its)
        try:
            assert process.wait(30) == 0
        finally:
            process.kill()
    said = os.read(ours, 65_536).decode()
    os.close(ours)

    assert said.startswith("ConfigError ")
    assert "not a certificate and its own key, unencrypted, in PEM" in said


def test_neither_settings_nor_credentials_show_the_password(password_file: str) -> None:
    kafka = Kafka(security="sasl_plaintext", username="worker", password_file=password_file)

    shown = f"{kafka!r} {kafka} {credentials(kafka)!r} {credentials(kafka)}"

    assert PASSWORD not in shown
    assert "worker" in shown
