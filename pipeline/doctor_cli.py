"""`firmwatt pipeline doctor`: is everything there that a worker needs? Each line that says no says what to do."""

import argparse
import asyncio
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from pathlib import Path
from shutil import disk_usage

from aiokafka.conn import collect_hosts, create_conn
from aiokafka.errors import KafkaError
from aiokafka.protocol.admin import ApiVersionRequest
from aiokafka.protocol.fetch import FetchRequest

from pipeline import doctor, groups, settings, storage
from pipeline import kafka as bus
from pipeline.cluster import Cluster
from pipeline.doctor import Check, fail, ok
from pipeline.errors import BrokerGoneError, FirmwattError
from pipeline.groups import Place
from pipeline.kafka_security import for_aiokafka
from pipeline.market_topics import MARKET_TOPICS
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import ClockSection, Kafka, Site
from pipeline.topics import HOST_TICKS, TOPICS

#: What `firmwatt[pipeline]` brings.
PACKAGES = (
    "aiokafka", "confluent-kafka", "duckdb", "faust-streaming", "msgspec", "numpy", "polars", "prometheus-client",
    "pydantic",
)  # fmt: skip
ANSWER_S = 10.0
#: A tick comes every second from each host; the quickest of those that come meanwhile is soon here.
TICKS_FOR_S, WAY_S = 3.0, 0.5


def main(argv: list[str]) -> int:
    """Check everything and say so; 1 where something fails."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline doctor", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    checks = []
    for check in _checks(parser.parse_args(argv).config):
        checks.append(check)
        print("\n".join(doctor.lines([check])), flush=True)  # noqa: T201 - a command line talks
    return 1 if doctor.fails(checks) else 0


def _checks(config: Path) -> Iterator[Check]:
    """Yield what was found; what cannot be looked at without what just failed is left out."""
    yield doctor.packages({name: _version(name) for name in PACKAGES})
    try:
        settings.check_tables(config)
        kafka = settings.load(config, "kafka", Kafka)
        own = settings.load(config, "pipeline", Pipeline)
        settings.load(config, "site", Site)
        settings.load(config, "clock", ClockSection).clock()
    except FirmwattError as error:
        yield fail("settings", str(error), "correct the file; everything else waits for it")
        return
    yield ok("settings", str(config))
    yield _archive(own)
    yield from _kafka(kafka, own)


def _version(package: str) -> str | None:
    try:
        return version_of(package)
    except PackageNotFoundError:
        return None


def _archive(own: Pipeline) -> Check:
    try:
        place = storage.at(own.archive)
        if not isinstance(place, storage.Folder):
            place.folders("")
            return ok("archive", own.archive)
    except FirmwattError as error:
        return fail("archive", str(error), "see [pipeline] archive, the credentials and the bucket")
    folder = place.path.absolute()
    while not folder.exists():
        folder = folder.parent
    usage = disk_usage(folder)
    return doctor.disk(str(place.path), usage.free, usage.total)


def _kafka(kafka: Kafka, own: Pipeline) -> Iterator[Check]:
    try:
        yield doctor.version(asyncio.run(_oldest_fetch(kafka)))
        cluster = Cluster(kafka)
        brokers = cluster.brokers()
        yield ok("brokers", ", ".join(brokers))
        there = cluster.topics([topic.name for topic in (*TOPICS, *MARKET_TOPICS)])
        yield from doctor.topics(kafka, there)
        yield from doctor.replication(there, len(brokers))
        known = asyncio.run(groups.ask(kafka, (f"{own.group}-rollup", own.group, f"{own.group}-archive")))
        yield from doctor.rights(there, {group: cluster.may_join(group) for group in known})
        if HOST_TICKS.name in there:
            yield _clock(cluster, there[HOST_TICKS.name].partitions)
    except BrokerGoneError as error:
        yield fail("Kafka", str(error), "start the brokers, or correct [kafka]; topics and rights wait for it")


async def _oldest_fetch(kafka: Kafka) -> int:
    """Return the oldest version of a Fetch that a broker takes; raise `BrokerGoneError` where none answers."""
    async with bus.consumer(kafka):
        pass  # its errors say why not
    options = for_aiokafka(kafka)
    for host, port, _ in collect_hosts(options.pop("bootstrap_servers")):
        try:
            connection = await create_conn(host, port, **options)
        except (KafkaError, OSError):
            continue
        try:
            answer = await asyncio.wait_for(connection.send(ApiVersionRequest()), ANSWER_S)
        finally:
            connection.close()
        return int(next(oldest for key, oldest, _ in answer.api_versions if key == FetchRequest.API_KEY))
    raise bus.gone(kafka.bootstrap, TimeoutError("no broker tells its version"))


def _clock(cluster: Cluster, partitions: int) -> Check:
    """Compare the broker's clock with ours by ticks that come now: each carries the broker's stamp."""
    places = [Place(HOST_TICKS.name, number) for number in range(partitions)]
    came = cluster.arrivals(places, TICKS_FOR_S)
    behind_s = [arrived_s - record.stamp_s for record, arrived_s in came if record.stamped_by_broker]
    return doctor.clock(min(behind_s, default=None), WAY_S)
