"""What proves to each cluster who the mirror is: passwords, certificates, keys, as Java takes them."""

from pathlib import Path

from deploy.broker.mirror_settings import Cluster, Mirror
from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.kafka_security import has_password, is_encrypted, tls

LOGIN_MODULE = "org.apache.kafka.common.security.scram.ScramLoginModule"


def read(mirror: Mirror) -> dict[str, str]:
    """
    Return every cluster's secrets under the names by which `mirror_properties.client` asks for them.

    Never show them. Raise `ConfigError` for a file that is missing, open to others or not what it should be.
    """
    return {
        f"{cluster.name}.{word}": secret
        for cluster in (mirror.target, *mirror.source)
        for word, secret in _of(cluster).items()
    }


def _of(cluster: Cluster) -> dict[str, str]:
    secrets = {}
    if has_password(cluster):
        secrets["login"] = login(cluster.username, secret_files.read(cluster.password_file).reveal())
    if is_encrypted(cluster):
        tls(cluster)  # says in our words what is wrong with a file
    if is_encrypted(cluster) and cluster.certificate_file:
        secrets["certificate"] = Path(cluster.certificate_file).read_text(encoding="ascii")
        secrets["key"] = pkcs8(Path(cluster.key_file))
    return secrets


def login(username: str, password: str) -> str:
    """Return a line of JAAS configuration, whose quoted strings know backslash escapes as C has them. Pure."""
    quoted = (word.replace("\\", "\\\\").replace('"', '\\"') for word in (username, password))
    return '{} required username="{}" password="{}";'.format(LOGIN_MODULE, *quoted)


def pkcs8(key_file: Path) -> str:
    """Return the key in PEM as Java reads it, PKCS #8; OpenSSL may have written another form."""
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_private_key(key_file.read_bytes(), password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"key_file {key_file} holds no private key in PEM without a password") from error
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode("ascii")
