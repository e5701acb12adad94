"""`deploy.broker.mirror_properties`: what MirrorMaker is told, and what it must never be told."""

import re
from pathlib import Path

import pytest

from deploy.broker.mirror_properties import exactly, logging, render
from deploy.broker.mirror_settings import Cluster, Mirror, Profile, Source
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import COMMANDS, SITE_CAPACITY, TOPICS

SECRETS = Path("/data/secrets.properties")
PORTFOLIO = Cluster(name="portfolio", bootstrap="p:9092", replication=3)
NORTH = Source(name="north", bootstrap="n:9092")
SOUTH = Source(name="south", bootstrap="s:9092", profile=Profile.TELEMETRY)


def told(*sites: Source, target: Cluster = PORTFOLIO) -> dict[str, str]:
    return render(Mirror(target=target, source=sites), SECRETS)


def test_sites_are_mirrored_up_and_no_other_pair_is() -> None:
    settings = told(NORTH, SOUTH)

    assert {name for name in settings if name.endswith(".enabled") and "->" in name} >= {
        "north->portfolio.enabled",
        "south->portfolio.enabled",
    }
    assert not [name for name in settings if name.startswith(("portfolio->", "north->south", "south->north"))]
    assert settings["emit.heartbeats.enabled"] == "false"  # or every pair gets a worker


def test_topics_keep_their_names_and_the_portfolio_its_rights_and_retention() -> None:
    settings = told(NORTH)

    assert settings["replication.policy.class"].endswith(".IdentityReplicationPolicy")
    assert settings["sync.topic.acls.enabled"] == settings["sync.topic.configs.enabled"] == "false"


def test_nothing_is_written_at_a_site() -> None:
    """What MirrorMaker keeps at the source by default is the offset syncs; workers live where they write."""
    settings = told(NORTH)

    assert settings["north->portfolio.offset-syncs.topic.location"] == "target"
    assert not [name for name in settings if name.startswith("north.") and "storage" in name]


def test_a_worker_goes_on_at_once_when_its_cluster_is_back() -> None:
    """At MirrorMaker's default of five minutes every outage would last five minutes longer."""
    settings = told(NORTH, Source(name="south", bootstrap="s:9092", commands=True))

    assert settings["portfolio.scheduled.rebalance.max.delay.ms"] == "0"
    assert settings["south.scheduled.rebalance.max.delay.ms"] == "0"


def test_each_cluster_says_how_many_copies_are_made_there() -> None:
    settings = told(Source(name="north", bootstrap="n:9092", commands=True, replication=2))

    copies = {name: value for name, value in settings.items() if "replication.factor" in name}
    up = {value for name, value in copies.items() if name.startswith(("portfolio.", "north->portfolio."))}
    down = {value for name, value in copies.items() if name.startswith(("north.", "portfolio->north."))}
    assert (up, down) == ({"3"}, {"2"})
    assert len(copies) == 4 + 3 + 1 + 3


def test_commands_come_down_alone_and_without_book_keeping() -> None:
    settings = told(Source(name="north", bootstrap="n:9092", commands=True))

    assert settings["portfolio->north.topics"] == "control[.]command[.]v1"
    assert settings["portfolio->north.emit.offset-syncs.enabled"] == "false"
    assert not [name for name in settings if name.startswith("portfolio->north.offset-syncs")]  # refused together


@pytest.mark.parametrize("site", [NORTH, SOUTH])
def test_what_goes_up_matches_its_topics_and_none_of_the_others(site: Source) -> None:
    patterns = told(site)[f"{site.name}->portfolio.topics"].split(",")

    matched = {topic.name for topic in (*TOPICS, *MARKET_TOPICS) for one in patterns if re.fullmatch(one, topic.name)}
    assert len(matched) == len(patterns)
    assert COMMANDS.name not in matched
    assert not re.fullmatch(exactly([SITE_CAPACITY]), "site-capacity-v1")


def test_secrets_are_named_and_not_said() -> None:
    settings = told(
        Source(
            name="north",
            bootstrap="n:9093",
            security="sasl_ssl",
            username="mirror",
            password_file="/secret/password",
            ca_file="/etc/north.pem",
        ),
        target=Cluster(
            name="portfolio",
            bootstrap="p:9093",
            security="ssl",
            certificate_file="/etc/mirror.pem",
            key_file="/secret/mirror.key",
        ),
    )

    north = {name: value for name, value in settings.items() if name.startswith(("north.s", "portfolio.ss"))}
    assert north == {
        "north.security.protocol": "SASL_SSL",
        "north.sasl.mechanism": "SCRAM-SHA-512",
        "north.sasl.jaas.config": "${file:/data/secrets.properties:north.login}",
        "north.ssl.truststore.type": "PEM",
        "north.ssl.truststore.location": "/etc/north.pem",
        "portfolio.ssl.keystore.type": "PEM",
        "portfolio.ssl.keystore.certificate.chain": "${file:/data/secrets.properties:portfolio.certificate}",
        "portfolio.ssl.keystore.key": "${file:/data/secrets.properties:portfolio.key}",
    }
    assert settings["config.providers.file.param.allowed.paths"] == "/data"


def test_an_outage_of_days_cannot_fill_the_disk_with_log() -> None:
    """Two files of 10 MB; the client's word on every attempt to connect is an error of nobody's."""
    settings = logging(Path("/data/mirror.log"))

    assert settings["appender.file.policies.size"] == "10MB"
    assert settings["appender.file.strategy.max"] == "1"
    assert settings["logger.network.level"] == "ERROR"
