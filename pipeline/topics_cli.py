"""`firmwatt pipeline topics`: the topology on one page; --create makes what is missing of it."""

import argparse
import asyncio
from pathlib import Path

from pipeline import kafka as bus
from pipeline import settings, topology
from pipeline.errors import ConfigError
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Kafka
from pipeline.topics import TOPICS

ALL = (*TOPICS, *MARKET_TOPICS)
#: What Kafka's own documentation advises for data that must outlive a broker.
REPLICATION = 3


def main(argv: list[str]) -> int:
    """Print or create the topics."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline topics", description=__doc__)
    parser.add_argument("--config", type=Path, help="settings file (TOML): where Kafka is, telemetry_partitions")
    parser.add_argument("--create", action="store_true", help="create what is missing; what exists is left as it is")
    parser.add_argument("--format", choices=("table", "strimzi"), default="table", help="%(default)s")
    parser.add_argument("--cluster", default="firmwatt", help="name of the Strimzi-managed cluster (%(default)s)")
    parser.add_argument("--replicas", type=int, default=REPLICATION, help="copies, for Strimzi (%(default)s)")
    options = parser.parse_args(argv)
    kafka = settings.load(options.config, "kafka", Kafka) if options.config else Kafka()
    if options.create:
        _create(options.config, kafka)
    made = (
        topology.strimzi(ALL, kafka, options.cluster, options.replicas)
        if options.format == "strimzi"
        else topology.table(ALL, kafka)
    )
    print("\n".join(made))  # noqa: T201 - a command line talks
    return 0


def _create(config: Path | None, kafka: Kafka) -> None:
    if config is None:
        raise ConfigError("--create needs --config FILE, which says where Kafka is")
    from pipeline.pipeline_settings import Pipeline

    asyncio.run(bus.ensure_topics(kafka, ALL, settings.load(config, "pipeline", Pipeline).replication))
