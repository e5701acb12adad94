"""
What makes a node's ``server.properties`` a secured node's. Pure.

    CLIENT       whom we gave a password or a certificate      SASL_SSL, or SSL with the client's certificate
    BROKER       nodes of this cluster, and nobody else        SSL, both ends show the node's own certificate
    CONTROLLER   the same                                      SSL, the same

Nothing is plaintext. Names are those of Apache Kafka 4.3, "Broker Configs"; PEM files are KIP-651.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from deploy.broker.properties import HOST

CLIENT, BROKER, CONTROLLER = "CLIENT", "BROKER", "CONTROLLER"
ADMIN = "admin"
"""The principal that may do everything: it manages topics, users and rules."""
NODE = "firmwatt-node"
"""Whom the certificate of the inner listeners names; only there a principal keeps the ``CN=`` that is part of it."""
MECHANISM = "SCRAM-SHA-512"
LOGIN = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
TLS = "TLSv1.3,TLSv1.2"


class Variant(StrEnum):
    """How clients prove who they are."""

    SCRAM = "scram"
    MTLS = "mtls"


@dataclass(frozen=True)
class Files:
    """PEM files that the node reads."""

    server: Path
    """Key and certificate for clients."""
    authority: Path
    """Who vouches for clients' certificates."""
    node: Path
    """Key and certificate for the inner listeners."""
    nodes: Path
    """The certificates of all nodes; nothing else is believed at the inner listeners."""


def secured(settings: Mapping[str, str], variant: Variant, files: Files, broker_port: int) -> dict[str, str]:
    """
    Return *settings* of a plaintext node, as `properties.server` makes them, with everything secured.

    Clients keep their port; *broker_port* is where nodes speak to each other. Everything not allowed by a rule is
    refused, to everybody but the administrator and the nodes.
    """
    clients, controllers = settings["listeners"].split(",")[:2]
    listeners = (
        f"{CLIENT}{clients.removeprefix(BROKER)},{BROKER}://{HOST}:{broker_port},"
        f"{CONTROLLER}{controllers.removeprefix(CONTROLLER)}"
    )
    protocol = "SASL_SSL" if variant is Variant.SCRAM else "SSL"
    return {
        **settings,
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": f"{CLIENT}:{protocol},{BROKER}:SSL,{CONTROLLER}:SSL",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "allow.everyone.if.no.acl.found": "false",
        "super.users": f"User:{ADMIN};User:CN={NODE}",
        "ssl.enabled.protocols": TLS,
        **_for_clients(variant, files),
        **_inner(BROKER, files),
        **_inner(CONTROLLER, files),
    }


def _for_clients(variant: Variant, files: Files) -> dict[str, str]:
    tls = {"ssl.keystore.type": "PEM", "ssl.keystore.location": str(files.server)}
    if variant is Variant.SCRAM:
        tls |= {
            "ssl.client.auth": "none",
            "sasl.enabled.mechanisms": MECHANISM,
            f"{MECHANISM.lower()}.sasl.jaas.config": LOGIN,
        }
    else:
        tls |= {
            "ssl.client.auth": "required",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(files.authority),
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+)$/$1/",
        }
    return _prefixed(CLIENT, tls)


def _inner(listener: str, files: Files) -> dict[str, str]:
    return _prefixed(
        listener,
        {
            "ssl.client.auth": "required",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(files.node),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(files.nodes),
        },
    )


def _prefixed(listener: str, settings: Mapping[str, str]) -> dict[str, str]:
    return {f"listener.name.{listener.lower()}.{name}": value for name, value in settings.items()}
