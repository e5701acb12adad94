"""`deploy.broker.properties`: one node on loopback, and the line of a log that matters."""

from pathlib import Path

from deploy.broker.properties import Proxied, behind, cluster_id, last_meaningful_line, last_port, render, server


def test_the_node_is_broker_and_controller_on_loopback_only() -> None:
    settings = server(Path("/data/kafka"), 4000, 4001)

    assert settings["process.roles"] == "broker,controller"
    assert settings["listeners"] == "BROKER://127.0.0.1:4000,CONTROLLER://127.0.0.1:4001"
    assert settings["controller.quorum.voters"] == "1@127.0.0.1:4001"
    assert settings["log.dirs"] == "/data/kafka"


def test_workers_are_noticed_fast_and_groups_form_at_once() -> None:
    settings = server(Path("/data"), 1, 2)

    assert settings["group.initial.rebalance.delay.ms"] == "0"
    assert settings["group.min.session.timeout.ms"] == "2000"


def test_every_internal_topic_has_one_copy() -> None:
    copies = {name: value for name, value in server(Path("/data"), 1, 2).items() if "replication.factor" in name}

    assert len(copies) == 4
    assert set(copies.values()) == {"1"}


def test_who_comes_through_a_proxy_is_told_the_proxys_port_and_who_does_not_is_not() -> None:
    settings = behind(server(Path("/data"), 4000, 4001), Proxied(port=4002, advertised=5000))

    assert settings["listeners"].endswith(
        "BROKER://127.0.0.1:4000,CONTROLLER://127.0.0.1:4001,PROXIED://127.0.0.1:4002"
    )
    assert settings["advertised.listeners"].split(",")[::2] == ["BROKER://127.0.0.1:4000", "PROXIED://127.0.0.1:5000"]
    assert settings["listener.security.protocol.map"].split(",")[2] == "PROXIED:PLAINTEXT"
    assert last_port(render(settings)) == 4000


def test_java_reads_back_backslashes_and_letters_beyond_ascii() -> None:
    """Java's properties are Latin-1 with escapes: ö is 00F6."""
    assert render({"log.dirs": r"/strom\zähler/ö"}) == "log.dirs=/strom\\\\z\\u00e4hler/\\u00f6\n"


def test_the_port_is_read_back_for_the_next_start() -> None:
    assert last_port(render(server(Path("/data"), 4000, 4001))) == 4000
    assert last_port("") is None


def test_the_cluster_id_is_read_from_the_storage() -> None:
    assert cluster_id("#\n#date\nnode.id=1\ncluster.id=1iyAtpBOQjyLhSv1DcRoXQ\n") == "1iyAtpBOQjyLhSv1DcRoXQ"
    assert cluster_id("") is None


def test_the_last_cause_tells_more_than_the_lines_around_it() -> None:
    log = """\
2026-11-23T12:28:33Z main ERROR Exiting Kafka due to fatal exception
org.apache.kafka.common.KafkaException: Socket server failed to bind
\tat kafka.network.Acceptor.openServerSocket(SocketServer.scala:711)
Caused by: java.net.BindException: Address already in use
\tat java.base/sun.nio.ch.Net.bind0(Native Method)
\t... 7 more
2026-11-23T12:28:34Z main WARN closing
"""
    assert last_meaningful_line(log) == "java.net.BindException: Address already in use"


def test_without_an_exception_the_last_error_tells_and_without_one_the_last_line() -> None:
    assert last_meaningful_line("a ERROR disk full\nb WARN closing\n") == "a ERROR disk full"
    assert last_meaningful_line("Invalid maximum heap size: -Xmx9g\nbye\n") == "Invalid maximum heap size: -Xmx9g"
    assert last_meaningful_line("one\ntwo\n") == "two"
    assert last_meaningful_line("") == "it says nothing"
