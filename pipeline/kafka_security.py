"""
``[kafka]`` in the words of each client library: encryption, who the broker is, and who we are.

Whichever library asks, TLS is 1.2 or newer, the broker's certificate must come from a known authority and name the
host that was dialled. Files are read when a client is made, so that a renewed certificate or password is taken up by
the next connection of a long-lived process that makes a new client.
"""

import ssl
from typing import Any

from pipeline import secret_files
from pipeline.errors import ConfigError
from pipeline.settings import Kafka


def for_aiokafka(kafka: Kafka) -> dict[str, Any]:
    """
    Return the keyword arguments of any aiokafka client; among them the password, so never show them.

    Raise `ConfigError` for a file that is missing, open to others or not what it should be.
    """
    options: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap,
        "security_protocol": kafka.security.upper(),
    }
    if is_encrypted(kafka):
        options["ssl_context"] = tls(kafka)
    if has_password(kafka):
        options |= {
            "sasl_mechanism": kafka.mechanism,
            "sasl_plain_username": kafka.username,
            "sasl_plain_password": secret_files.read(kafka.password_file).reveal(),
        }
    return options


def for_librdkafka(kafka: Kafka) -> dict[str, str]:
    """
    Return librdkafka's settings of the same (its CONFIGURATION.md), for confluent-kafka.

    Among them is the password, so never show them. Raise `ConfigError` as `for_aiokafka` does.
    """
    options = {"bootstrap.servers": kafka.bootstrap, "security.protocol": kafka.security}
    if is_encrypted(kafka):
        tls(kafka)  # says in our words what is wrong with a file
        options |= {"enable.ssl.certificate.verification": "true", "ssl.endpoint.identification.algorithm": "https"}
        files = {
            "ssl.ca.location": kafka.ca_file,
            "ssl.certificate.location": kafka.certificate_file,
            "ssl.key.location": kafka.key_file,
        }
        options |= {name: path for name, path in files.items() if path}
    if has_password(kafka):
        options |= {
            "sasl.mechanisms": kafka.mechanism,
            "sasl.username": kafka.username,
            "sasl.password": secret_files.read(kafka.password_file).reveal(),
        }
    return options


def is_encrypted(kafka: Kafka) -> bool:
    """Tell whether connections to *kafka* use TLS."""
    return kafka.security.endswith("ssl")


def has_password(kafka: Kafka) -> bool:
    """Tell whether we prove who we are by name and password."""
    return kafka.security.startswith("sasl_")


def tls(kafka: Kafka) -> ssl.SSLContext:
    """Return a client's side of TLS to *kafka*; raise `ConfigError` for a file that does not serve."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks host name and certificate
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _trust(context, kafka.ca_file)
    if kafka.certificate_file:
        _identify(context, kafka.certificate_file, kafka.key_file)
    return context


def _trust(context: ssl.SSLContext, ca_file: str) -> None:
    if not ca_file:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    try:
        context.load_verify_locations(cafile=ca_file)
    except ssl.SSLError as error:
        raise ConfigError(f"ca_file {ca_file} holds no certificate in PEM") from error
    except OSError as error:
        raise ConfigError(f"cannot read ca_file {ca_file}: {error.strerror}") from error


def _identify(context: ssl.SSLContext, certificate_file: str, key_file: str) -> None:
    secret_files.read(key_file)
    try:
        context.load_cert_chain(certificate_file, key_file, password="")  # without one OpenSSL asks a terminal
    except ssl.SSLError as error:
        raise ConfigError(
            f"certificate_file {certificate_file} and key_file {key_file} are not a certificate and its own key, "
            "unencrypted, in PEM"
        ) from error
    except OSError as error:
        raise ConfigError(f"cannot read certificate_file {certificate_file}: {error.strerror}") from error
