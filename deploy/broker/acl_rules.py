"""
Who may do what on Kafka, and why. Pure data; `acl_formats` writes it down, `acl_apply` puts it on a broker.

    collector ──W──▶ telemetry.host ──R──▶ worker ──RW──▶ site, portfolio, rollup ──R──▶ dispatch
    actuator  ──W──▶ control.ack ──R──▶ worker, dispatch          dispatch ──W──▶ market ──R──▶ worker
        ▲────────R── control.command ◀──W── dispatch, and nobody else

Kafka authorises by topic, not by key: a host that may read its own commands reads those of all hosts. They are signed,
not secret; what a host cannot do is write one. Operations and what they imply are those of Apache Kafka 4.3,
"Authorization and ACLs": who may read or write a topic may also describe it, an idempotent producer needs Write and no
more (KIP-679, brokers from 2.8 on), a group's member needs Read on the group.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from deploy.broker import mirror_settings
from pipeline.market_topics import MARKET_TOPICS
from pipeline.topics import (
    ACKS,
    COMMANDS,
    HOST_RECORDS,
    HOST_TICKS,
    INTERVAL_PARTIALS,
    SITE_CAPACITY,
    SITE_INTERVALS,
    SITE_PARTIALS,
    TOPICS,
    Topic,
)

ALL: tuple[Topic[Any], ...] = (*TOPICS, *MARKET_TOPICS)
#: What goes from a site to a portfolio, by one profile or another.
MIRRORED = tuple(dict.fromkeys(topic for profile in mirror_settings.TOPICS.values() for topic in profile))


#: The group of deploy/examples/mirror-maker.yaml, whose workers serve all sites.
ON_KUBERNETES = "firmwatt-mirror"


class Kind(StrEnum):
    """Kinds of resource, by Kafka's names."""

    TOPIC = "topic"
    GROUP = "group"
    CLUSTER = "cluster"


class Operation(StrEnum):
    """What may be done to a resource, by Kafka's names."""

    READ = "Read"
    WRITE = "Write"
    CREATE = "Create"
    DESCRIBE = "Describe"
    DESCRIBE_CONFIGS = "DescribeConfigs"


#: What a mirror needs of a topic that it makes and fills, and of its own.
BOTH_WAYS = (Operation.READ, Operation.WRITE, Operation.CREATE, Operation.DESCRIBE_CONFIGS)


@dataclass(frozen=True)
class Rule:
    """One resource, or all whose names begin like it, and what may be done to it; everything else is refused."""

    kind: Kind
    name: str
    operations: tuple[Operation, ...]
    reason: str
    prefixed: bool = False


@dataclass(frozen=True)
class Role:
    """What one kind of process is to Kafka."""

    name: str
    purpose: str
    rules: tuple[Rule, ...]
    per_host: bool = False
    """Whether each host can have a principal of its own."""


def topics(names: Iterable[Topic[Any]], reason: str, *operations: Operation) -> tuple[Rule, ...]:
    """Return a rule for each of *names*."""
    return tuple(Rule(Kind.TOPIC, topic.name, operations, reason) for topic in names)


def family(*words: str) -> tuple[Topic[Any], ...]:
    """Return the topics whose names begin with one of *words* and a point."""
    return tuple(topic for topic in ALL if topic.name.partition(".")[0] in words)


COLLECTOR = Role(
    "collector",
    "measures a host",
    topics([HOST_TICKS], "sends its ticks", Operation.WRITE),
    per_host=True,
)
ACTUATOR = Role(
    "actuator",
    "holds a host's power back under signed leases",
    (
        # No group: it reads without one, and one shared by all would let a host move another's place.
        *topics(
            [COMMANDS], "hears its commands; sees those of others, which are signed and not secret", Operation.READ
        ),
        *topics([ACKS], "says what it did", Operation.WRITE),
    ),
    per_host=True,
)
DISPATCH = Role(
    "dispatch",
    "bids, dispatches, settles",
    (
        *topics([SITE_CAPACITY, SITE_INTERVALS, HOST_RECORDS], "knows what there is to sell", Operation.READ),
        *topics([ACKS], "sees what hosts did", Operation.READ),
        *topics([COMMANDS], "commands; the only one who does", Operation.WRITE),
        *topics(MARKET_TOPICS, "publishes offers, awards and what became of them", Operation.WRITE),
    ),
)
FLEET = Role(
    "fleet",
    "simulates hosts: collector and actuator in one process; not where hosts are real",
    (*COLLECTOR.rules, *ACTUATOR.rules),
)


def worker(group: str) -> Role:
    """Return the pipeline worker's role; *group* is what ``[pipeline] group`` says."""
    changelogs = "keeps and restores Faust's tables"
    return Role(
        "worker",
        "rolls up, aggregates, archives",
        (
            *topics(
                ALL,
                "lays out the topics, and compares them with what is declared",
                Operation.CREATE,
                Operation.DESCRIBE_CONFIGS,
            ),
            *topics([HOST_TICKS], "rolls ticks up", Operation.READ),
            *topics(
                family("site", "portfolio", "rollup"),
                "writes figures and state, and reads them in the next stage, after a restart and for the archive",
                Operation.READ,
                Operation.WRITE,
            ),
            *topics(family("control", "market"), "archives them", Operation.READ),
            Rule(
                Kind.TOPIC, f"{group}-", (Operation.READ, Operation.WRITE, Operation.CREATE), changelogs, prefixed=True
            ),
            *_groups(group, "shares partitions with the other workers", Operation.READ),
        ),
    )


def archive(group: str) -> Role:
    """Return the role of an archive that runs apart from the workers of *group*; steps on the way are none of it."""
    steps = (SITE_PARTIALS, INTERVAL_PARTIALS, HOST_RECORDS, *family("rollup"))
    return Role(
        "archive",
        "keeps what was published as Parquet, apart from the workers",
        (
            *topics((topic for topic in ALL if topic not in steps), "archives them", Operation.READ),
            Rule(Kind.GROUP, f"{group}-archive", (Operation.READ,), "remembers how far it has come"),
        ),
    )


def monitor(group: str) -> Role:
    """Return the role of dashboards, exporters and people who look; it changes nothing, not even a group's place."""
    return Role(
        "monitor",
        "looks",
        (
            *topics(ALL, "shows them and their settings", Operation.READ, Operation.DESCRIBE_CONFIGS),
            *_groups(group, "shows how far the workers have come", Operation.DESCRIBE),
            Rule(Kind.CLUSTER, "kafka-cluster", (Operation.DESCRIBE,), "shows the brokers"),
        ),
    )


def mirror_from_site(group: str, commanded_by: str = "") -> Role:
    """
    Return the role of a portfolio's mirror on the Kafka of a site whose workers form *group*.

    It writes nothing there, unless the site takes commands from the portfolio *commanded_by*, as the mirror's settings
    name it. Acknowledgements go up with the rest; hosts need no other rights than those of their own site.
    """
    down = [
        *topics(
            [COMMANDS],
            "brings down the portfolio's commands",
            Operation.WRITE,
            Operation.CREATE,
            Operation.DESCRIBE_CONFIGS,
        ),
        Rule(Kind.TOPIC, "mm2-", BOTH_WAYS, "keeps its settings and how far it has come", prefixed=True),
        Rule(Kind.GROUP, f"{commanded_by}-mm2", (Operation.READ,), "shares the work of bringing commands"),
    ]
    return Role(
        "mirror",
        "brings what a site publishes to the portfolio",
        (
            *topics(MIRRORED, "mirrors it", Operation.READ, Operation.DESCRIBE_CONFIGS),
            *_groups(group, "tells the portfolio how far the workers have come", Operation.DESCRIBE),
            *(down if commanded_by else ()),
        ),
    )


def mirror_to_portfolio(sites: Iterable[str], commanded_by: str = "") -> Role:
    """
    Return the role of the same mirror on the portfolio's Kafka; *sites* as its settings name them.

    Where a site takes commands from this portfolio, *commanded_by* is not empty.
    """
    of_each_site = [
        rule
        for site in sites
        for rule in (
            Rule(Kind.TOPIC, f"{site}.checkpoints.internal", BOTH_WAYS, f"notes how far {site}'s workers have come"),
            Rule(Kind.GROUP, f"{site}-mm2", (Operation.READ,), f"shares the work for {site}"),
        )
    ]
    return Role(
        "mirror",
        "brings what sites publish here",
        (
            *topics(MIRRORED, "mirrors it", *BOTH_WAYS),
            Rule(Kind.TOPIC, "mm2-", BOTH_WAYS, "keeps its settings and how far it has come", prefixed=True),
            Rule(Kind.TOPIC, "heartbeats", BOTH_WAYS, "shows that it lives"),
            Rule(Kind.GROUP, ON_KUBERNETES, (Operation.READ,), "shares the work of all sites, on Kubernetes"),
            *of_each_site,
            *(
                topics([COMMANDS], "takes them down to sites", Operation.READ, Operation.DESCRIBE_CONFIGS)
                if commanded_by
                else ()
            ),
        ),
    )


def _groups(group: str, reason: str, operation: Operation) -> tuple[Rule, Rule]:
    """Return rules for the group named *group*, which is Faust's, and for those whose names continue it."""
    return (
        Rule(Kind.GROUP, group, (operation,), reason),
        Rule(Kind.GROUP, f"{group}-", (operation,), reason, prefixed=True),
    )


def roles(group: str, sites: Iterable[str] = (), commanded_by: str = "") -> tuple[Role, ...]:
    """
    Return every role on a Kafka whose workers form *group*; simulated hosts (`FLEET`) are not among them.

    With *sites*, those that are mirrored here, it is a portfolio's, else a site's that may be mirrored. *commanded_by*:
    the portfolio whose commands the mirror takes down to sites; empty where it takes none.
    """
    mirror = mirror_to_portfolio(sites, commanded_by) if sites else mirror_from_site(group, commanded_by)
    return (COLLECTOR, ACTUATOR, worker(group), DISPATCH, archive(group), monitor(group), mirror)
