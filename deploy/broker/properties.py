"""The settings of the one node, and what its log says when it fails. Pure."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
NODE_ID = 1
MB = 2**20


def server(logs: Path, port: int, controller_port: int) -> dict[str, str]:
    """
    Return ``server.properties`` of a node that is broker and controller, on loopback only.

    Names and defaults are those of Apache Kafka 4.3, "Broker Configs"; what is set here differs from them because there
    is one node, few clients and little memory. The controller is named by its address, not by a quorum recorded in the
    log, so that both ports may change from start to start.
    """
    listeners = f"BROKER://{HOST}:{port},CONTROLLER://{HOST}:{controller_port}"
    return {
        "process.roles": "broker,controller",
        "node.id": str(NODE_ID),
        "controller.quorum.voters": f"{NODE_ID}@{HOST}:{controller_port}",
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(logs),
        # One node holds every copy.
        "default.replication.factor": "1",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        # Each partition of an internal topic costs files and start-up time.
        "offsets.topic.num.partitions": "8",
        "transaction.state.log.num.partitions": "2",
        "share.coordinator.state.topic.num.partitions": "2",
        # Topics are declared in pipeline.topics; a misspelt one is an error, not a new topic.
        "auto.create.topics.enable": "false",
        # Groups form at once, and a killed worker is noticed after two seconds if it asks for that.
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "2000",
        # A node that was killed may register again once its old session is over: 4 s instead of 9.
        "broker.session.timeout.ms": "4000",
        "broker.heartbeat.interval.ms": "1000",
        # A quarter of a small heap would go to the cleaner's default of 128 MB.
        "log.cleaner.dedupe.buffer.size": str(16 * MB),
        "num.network.threads": "2",
        "num.io.threads": "4",
    }


@dataclass(frozen=True)
class Proxied:
    """A second port for clients, for those that come through a proxy in front of it. Both on loopback."""

    port: int
    """Where the node listens."""
    advertised: int
    """Where it says it is to whoever asks on `port`: the proxy's port."""


def behind(settings: Mapping[str, str], proxied: Proxied) -> dict[str, str]:
    """
    Return *settings* with one more listener, protected like the one for clients.

    A client finds the brokers by what one of them answers, and that is the advertised address of the listener it asked
    (Apache Kafka 4.3, "Broker Configs", advertised.listeners): who comes through the proxy stays behind it, who comes
    directly does not.
    """
    protocols = settings["listener.security.protocol.map"]
    clients = settings["listeners"].partition(":")[0]
    protection = dict(pair.split(":") for pair in protocols.split(","))[clients]
    theirs = f"listener.name.{clients.lower()}."
    copied = {name.removeprefix(theirs): value for name, value in settings.items() if name.startswith(theirs)}
    return {
        **settings,
        **{f"listener.name.proxied.{name}": value for name, value in copied.items()},
        "listeners": f"{settings['listeners']},PROXIED://{HOST}:{proxied.port}",
        "advertised.listeners": f"{settings['advertised.listeners']},PROXIED://{HOST}:{proxied.advertised}",
        "listener.security.protocol.map": f"{protocols},PROXIED:{protection}",
    }


def render(settings: Mapping[str, str]) -> str:
    """Write *settings* in Java's properties format, whose escapes outside ASCII are those of JSON strings."""
    return "".join(f"{name}={json.dumps(value)[1:-1]}\n" for name, value in settings.items())


def last_port(text: str) -> int | None:
    """Return the port for clients in a ``server.properties`` that `render` wrote."""
    found = re.search(rf"^listeners=(?:BROKER|CLIENT)://{re.escape(HOST)}:(\d+),", text, re.MULTILINE)
    return int(found[1]) if found else None


def cluster_id(text: str) -> str | None:
    """Return the cluster's id from ``meta.properties``."""
    found = re.search(r"^cluster\.id=(\S+)$", text, re.MULTILINE)
    return found[1] if found else None


_CAUSE = re.compile(r"(?:Caused by: )?(?:[a-z]\w*\.)+[A-Z]\w*(?:Exception|Error): .+")
_ERROR = re.compile(r".* (?:ERROR|FATAL) .+|(?:Error|Exception)\b.+|Invalid .+")


def last_meaningful_line(log: str) -> str:
    """
    Return the line of *log* that tells most about an end: the last exception with a message, else the last error.

    A log without either gives its last line, an empty log "it says nothing".
    """
    lines = [line.strip() for line in log.splitlines() if line.strip() and not line.startswith(("\t", " "))]
    for pattern in (_CAUSE, _ERROR):
        if telling := [line for line in lines if pattern.fullmatch(line)]:
            return telling[-1].removeprefix("Caused by: ")
    return lines[-1] if lines else "it says nothing"
