"""`deploy.broker.mirror_secrets`: passwords and keys in the form that Java reads."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.broker.mirror_secrets import login, pkcs8, read
from deploy.broker.mirror_settings import Cluster, Mirror, Source
from pipeline.errors import ConfigError

MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


def with_password(file: Path) -> Mirror:
    return Mirror(
        target=Cluster(name="portfolio", bootstrap="p:9092"),
        source=(
            Source(
                name="north", bootstrap="n:9092", security="sasl_plaintext", username="mirror", password_file=str(file)
            ),
        ),
    )


def test_each_cluster_has_its_own_login(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "password").chmod(0o600)

    assert read(with_password(tmp_path / "password")) == {
        "north.login": f'{MODULE} required username="mirror" password="s3cret";'
    }


def test_a_password_that_others_may_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    (tmp_path / "password").chmod(0o644)

    with pytest.raises(ConfigError, match="chmod 600") as refused:
        read(with_password(tmp_path / "password"))

    assert "s3cret" not in str(refused.value)


def test_quotes_and_backslashes_stay_part_of_a_password() -> None:
    assert login("a", 'x"y\\z') == f'{MODULE} required username="a" password="x\\"y\\\\z";'


def test_a_key_in_openssl_s_older_form_is_rewritten_as_java_reads_it(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    file = tmp_path / "key"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    assert file.read_text().startswith("-----BEGIN EC PRIVATE KEY-----")

    assert pkcs8(file) == key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def test_something_else_than_a_key_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("-----BEGIN NONSENSE-----\n")

    with pytest.raises(ConfigError, match=r"key_file .*key holds no private key"):
        pkcs8(tmp_path / "key")
