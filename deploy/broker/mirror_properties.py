"""
The settings of MirrorMaker 2 (Apache Kafka 4.3, "Geo-Replication" and "Mirror Configs"). Pure.

    site-1 ──Read──▶ mirror ──Write──▶ portfolio         site-1-mm2           group of the workers   ┐
    site-2 ──Read──▶   │                                 mm2-*.site-1.internal  offsets, state       ├ all on the
                       └ keeps nothing on disk           site-1.checkpoints.internal, heartbeats     ┘ portfolio

What differs from a default does so for the reason written beside it; defaults are not repeated.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from deploy.broker.mirror_settings import Cluster, Link, Mirror, downward, upward
from pipeline.kafka_security import has_password, is_encrypted
from pipeline.topics import Topic

MB = 2**20

#: For all clusters and links.
COMMON = {
    # A topic keeps its name, so that whoever reads a portfolio reads it like a site. Such a mirror cannot see a circle:
    # what goes up and what comes down share no topic.
    "replication.policy.class": "org.apache.kafka.connect.mirror.IdentityReplicationPolicy",
    # Rights and retention are the target's own affair; copied ones would undo its owner's at any time.
    "sync.topic.acls.enabled": "false",
    "sync.topic.configs.enabled": "false",
    # Otherwise each pair of clusters gets a worker, in directions nobody asked for too.
    "emit.heartbeats.enabled": "false",
    "heartbeats.replication.enabled": "false",
    # A site that was unreachable when the mirror started, or had no topic yet, is found after so long, not 10 minutes.
    "refresh.topics.interval.seconds": "15",
    "refresh.groups.interval.seconds": "60",
    # Secrets are named in the settings and read from a file: what a connector is told ends up in a topic.
    "config.providers": "file",
    "config.providers.file.class": "org.apache.kafka.common.config.provider.FileConfigProvider",
    # Every plug-in comes from a pinned jar with a manifest; searching all classes for more takes five seconds.
    "plugin.discovery": "service_load",
}


def render(mirror: Mirror, secrets: Path) -> dict[str, str]:
    """Return ``mirror.properties``; the file *secrets* has what `mirror_secrets.read` returns."""
    clusters = (mirror.target, *mirror.source)
    links = {link.target.name: link.target for link in (*upward(mirror), *downward(mirror))}
    settings = {
        "clusters": ",".join(cluster.name for cluster in clusters),
        **COMMON,
        "config.providers.file.param.allowed.paths": str(secrets.parent),
    }
    for cluster in clusters:
        settings |= _prefixed(f"{cluster.name}.", client(cluster, secrets))
    for written in links.values():
        settings |= _prefixed(f"{written.name}.", worker(mirror, written))
    for link in upward(mirror):
        settings |= _prefixed(f"{link.name}.", up(link, mirror.tasks))
    for link in downward(mirror):
        settings |= _prefixed(f"{link.name}.", down(link))
    return settings


def _prefixed(prefix: str, settings: dict[str, str]) -> dict[str, str]:
    return {f"{prefix}{name}": value for name, value in settings.items()}


def client(cluster: Cluster, secrets: Path) -> dict[str, str]:
    """Return how every client reaches *cluster*; without `ca_file` Java's own authorities vouch for it."""

    def secret(word: str) -> str:
        return f"${{file:{secrets}:{cluster.name}.{word}}}"

    settings = {"bootstrap.servers": cluster.bootstrap, "security.protocol": cluster.security.upper()}
    if has_password(cluster):
        settings |= {"sasl.mechanism": cluster.mechanism, "sasl.jaas.config": secret("login")}
    if is_encrypted(cluster) and cluster.ca_file:
        settings |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": str(Path(cluster.ca_file).absolute())}
    if is_encrypted(cluster) and cluster.certificate_file:
        settings |= {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.certificate.chain": secret("certificate"),
            "ssl.keystore.key": secret("key"),
        }
    return settings


def worker(mirror: Mirror, target: Cluster) -> dict[str, str]:
    """Return the settings of the Connect workers that write to *target* and keep their state there."""
    copies = str(target.replication)
    return {
        # A worker that lost its cluster leaves the group. By default its tasks then wait five minutes for it to come
        # back, and it is the only one: the link would stand still for five minutes after every outage.
        "scheduled.rebalance.max.delay.ms": "0",
        "offset.flush.interval.ms": str(round(mirror.flush_s * 1000)),
        "config.storage.replication.factor": copies,
        "offset.storage.replication.factor": copies,
        "status.storage.replication.factor": copies,
        # A link notes some dozens of offsets; small segments let compaction keep them few.
        "offset.storage.partitions": "1",
        "offset.storage.segment.bytes": str(MB),
        "status.storage.partitions": "1",
        "producer.compression.type": mirror.compression,
        # One request at a time keeps the order; larger ones make up for the way.
        "producer.batch.size": str(MB // 4),
        "plugin.discovery": COMMON["plugin.discovery"],
    }


def up(link: Link, tasks: int) -> dict[str, str]:
    """Return the settings of a link to the portfolio. It writes nothing at the site."""
    copies = str(link.target.replication)
    return {
        "enabled": "true",
        "topics": exactly(link.topics),
        "tasks.max": str(tasks),
        "emit.heartbeats.enabled": "true",
        "replication.factor": copies,
        "heartbeats.topic.replication.factor": copies,
        "checkpoints.topic.replication.factor": copies,
        # By default these are written at the source.
        "offset-syncs.topic.location": "target",
        "offset-syncs.topic.replication.factor": copies,
    }


def down(link: Link) -> dict[str, str]:
    """Return the settings of a link to a site: the topics, and no book-keeping beyond the worker's own."""
    return {
        "enabled": "true",
        "topics": exactly(link.topics),
        "replication.factor": str(link.target.replication),
        "emit.checkpoints.enabled": "false",
        "emit.offset-syncs.enabled": "false",
    }


def exactly(topics: Iterable[Topic[Any]]) -> str:
    """Return a list of regular expressions for *topics* and none besides: a bare point would match any letter."""
    return ",".join(topic.name.replace(".", "[.]") for topic in topics)


def logging(log: Path) -> dict[str, str]:
    """
    Return the settings of log4j 2: *log*, and one older, of at most 10 MB each.

    While a cluster is away every client reports every attempt, some 18 lines a second.
    """
    return {
        "status": "error",
        "appender.file.type": "RollingFile",
        "appender.file.name": "file",
        "appender.file.fileName": str(log),
        "appender.file.filePattern": f"{log}.%i",
        "appender.file.layout.type": "PatternLayout",
        "appender.file.layout.pattern": "%d{yyyy-MM-dd HH:mm:ss,SSS} %p %c{1} %m%n",
        "appender.file.policies.type": "SizeBasedTriggeringPolicy",
        "appender.file.policies.size": "10MB",
        "appender.file.strategy.type": "DefaultRolloverStrategy",
        "appender.file.strategy.max": "1",
        "rootLogger.level": "WARN",
        "rootLogger.appenderRef.file.ref": "file",
        "logger.mirror.name": "org.apache.kafka.connect.mirror",
        "logger.mirror.level": "INFO",
        "logger.network.name": "org.apache.kafka.clients.NetworkClient",
        "logger.network.level": "ERROR",
    }
