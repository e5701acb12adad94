"""
What a worker needs, held against what is there; every failure says what to do. Pure; `pipeline.doctor_cli` looks.

A *failure* keeps a worker from working or from being right; a *note* is something an operator should know.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from pipeline.cluster import TopicFacts
from pipeline.kafka import partitions_of, topic_settings
from pipeline.market_topics import MARKET_TOPICS
from pipeline.settings import Kafka
from pipeline.topics import HOST_TICKS, TOPICS, Topic

#: Kafka 4.0 took away the versions of requests that clients before 2.1 spoke, Fetch 0 to 3 among them (KIP-896).
FETCH_OF_4_0 = 4
#: What every harness here runs against.
TESTED_WITH = "4.3"
#: Copies that survive the loss of a broker while another is being restarted, and how many must be in sync.
REPLICAS, IN_SYNC = 3, 2
#: `pipeline.skew` flags hosts at 1 s, by the broker's stamps; ours must be nearer to it than that.
CLOCK_OFF_S = 0.5
#: Of the archive's disk.
LEAST_FREE_SHARE, LEAST_FREE_BYTES = 0.10, 1_000_000_000


class Verdict(StrEnum):
    """What came of a check."""

    OK = "ok"
    NOTE = "note"
    FAIL = "FAIL"


class Check(NamedTuple):
    """One check."""

    name: str
    verdict: Verdict
    found: str
    remedy: str = ""
    """What to do; never empty for a failure."""


def ok(name: str, found: str) -> Check:
    """Return a check that found what it looked for."""
    return Check(name, Verdict.OK, found)


def note(name: str, found: str, remedy: str) -> Check:
    """Return a check that found something worth knowing."""
    return Check(name, Verdict.NOTE, found, remedy)


def fail(name: str, found: str, remedy: str) -> Check:
    """Return a check that found what must be changed."""
    return Check(name, Verdict.FAIL, found, remedy)


def packages(installed: Mapping[str, str | None]) -> Check:
    """Judge the Python packages, by name; None: it is not there."""
    if missing := sorted(name for name, version in installed.items() if version is None):
        return fail("packages", f"missing: {', '.join(missing)}", "pip install 'firmwatt[pipeline]'")
    return ok("packages", ", ".join(f"{name} {version}" for name, version in sorted(installed.items())))


def version(oldest_fetch: int) -> Check:
    """Judge the brokers' version by the oldest version of a Fetch that they still take."""
    if oldest_fetch >= FETCH_OF_4_0:
        return ok("version", f"Kafka 4.0 or newer (tested with {TESTED_WITH})")
    return note("version", "Kafka older than 4.0", f"firmwatt is tested with {TESTED_WITH}; plan an upgrade")


def topics(kafka: Kafka, there: Mapping[str, TopicFacts]) -> Iterator[Check]:
    """Judge whether each topic is there, with the right partitions and settings."""
    every = (*TOPICS, *MARKET_TOPICS)
    missing = [topic.name for topic in every if topic.name not in there]
    wrong = [check for topic in every if topic.name in there for check in _topic(kafka, topic, there[topic.name])]
    if missing:
        yield fail(
            "topics",
            f"missing, or hidden from us: {', '.join(missing)}",
            "`firmwatt pipeline topics --create --config FILE`; hidden: `firmwatt broker acls` prints the rules",
        )
    yield from wrong
    if not missing and not wrong:
        yield ok("topics", f"{len(every)} as declared")


def _topic(kafka: Kafka, topic: Topic[Any], facts: TopicFacts) -> Iterator[Check]:
    name, wanted = f"topic {topic.name}", partitions_of(kafka, topic)
    if facts.partitions != wanted:
        yield fail(name, f"{facts.partitions} partitions instead of {wanted}", _repartition(topic, facts.partitions))
    for setting, value in topic_settings(topic).items():
        is_now = facts.settings.get(setting)
        if is_now is not None and is_now != value:
            yield fail(
                name,
                f"{setting} is {is_now} instead of {value}",
                f"kafka-configs.sh --alter --entity-type topics --entity-name {topic.name} "
                f"--add-config {setting}={value}",
            )


def _repartition(topic: Topic[Any], partitions: int) -> str:
    if topic == HOST_TICKS:
        return (
            f"set [kafka] telemetry_partitions = {partitions} everywhere, or stop collectors and workers, delete this "
            "and rollup.state.v1, and create them anew: a partition added later splits a host's ticks"
        )
    return "stop the workers, delete the topic and create it anew: another number of partitions moves keys"


def replication(there: Mapping[str, TopicFacts], brokers: int) -> Iterator[Check]:
    """Judge what survives the loss of a broker."""
    if not there:
        return
    if lagging := sorted(name for name, facts in there.items() if facts.out_of_sync):
        yield fail(
            "replicas in sync",
            f"copies are missing or behind: {', '.join(lagging)}",
            "bring all brokers back; look at their disks and at the network between them",
        )
    if brokers < REPLICAS:
        yield note("replication", f"{brokers} broker(s): what its disk loses is lost", "three brokers in production")
        return
    few = {name: facts for name, facts in there.items() if facts.replicas < REPLICAS}
    for name, facts in sorted(few.items()):
        yield fail(
            f"topic {name}",
            f"{facts.replicas} cop(ies) on {brokers} brokers",
            "kafka-reassign-partitions.sh gives it more; new topics get [pipeline] replication = 3",
        )
    for name, facts in sorted(there.items()):
        in_sync = int(facts.settings.get("min.insync.replicas", IN_SYNC))
        if name not in few and in_sync != IN_SYNC:
            yield fail(
                f"topic {name}",
                f"min.insync.replicas is {in_sync} of {facts.replicas}",
                "1 loses acknowledged figures with one broker, all of them stops with one: set min.insync.replicas = 2",
            )
    if not few:
        yield ok("replication", f"at least {REPLICAS} copies on {brokers} brokers")


#: What a worker reads, if only to archive it, and what it writes. `firmwatt broker acls` grants this; a test compares.
READS: tuple[Topic[Any], ...] = (*TOPICS, *MARKET_TOPICS)
WRITES: tuple[Topic[Any], ...] = tuple(
    topic for topic in TOPICS if topic.name.partition(".")[0] in {"site", "portfolio", "rollup"}
)


def rights(there: Mapping[str, TopicFacts], groups: Mapping[str, bool]) -> Iterator[Check]:
    """Judge whether a worker with our credentials may do its work; *groups*: whether we may join each."""
    remedy = "`firmwatt broker acls` prints the rules of the worker's principal"
    reads = [(topic.name, "read") for topic in READS if topic.name in there]
    writes = [(topic.name, "write") for topic in WRITES if topic.name in there]
    refused = [(name, what) for name, what in (*reads, *writes) if what not in there[name].allowed]
    refused += [(group, "join group") for group, may in sorted(groups.items()) if not may]
    yield from (fail(f"right to {what} {name}", "refused", remedy) for name, what in refused)
    if not refused:
        found = f"may read {len(reads)} topics, write {len(writes)} and join {len(groups)} groups"
        yield ok("rights", found)


def clock(behind_s: float | None, way_s: float) -> Check:
    """
    Judge the broker's clock: the quickest tick reached us *behind_s* seconds after the broker's stamp, by our clock.

    It was at most *way_s* seconds under way; None: no tick came.
    """
    if behind_s is None:
        return note("clock", "not compared: no tick came", "run this again while hosts send")
    off_s = max(-behind_s, behind_s - way_s)
    if off_s > CLOCK_OFF_S:
        return fail(
            "clock",
            f"the broker's clock and ours are {off_s:.1f} s apart",
            "`chronyc tracking` on both: intervals are closed and hosts' clocks judged by the broker's",
        )
    return ok("clock", f"broker and we agree to {CLOCK_OFF_S:g} s")


def disk(where: str, free: int, size: int) -> Check:
    """Judge the archive's file system, bytes."""
    found = f"{free / 1e9:,.1f} of {size / 1e9:,.1f} GB free at {where}"
    if free < max(LEAST_FREE_BYTES, LEAST_FREE_SHARE * size):
        return fail("disk", found, "make room, or let go of old days: [pipeline.keep_days]")
    return ok("disk", found)


def lines(checks: Iterable[Check]) -> Iterator[str]:
    """Yield a line for each check, and one with what to do below those that are not in order."""
    for check in checks:
        yield f"{check.verdict:<4}  {check.name}: {check.found}"
        if check.remedy:
            yield f"      → {check.remedy}"


def fails(checks: Sequence[Check]) -> bool:
    """Tell whether any check failed."""
    return any(check.verdict is Verdict.FAIL for check in checks)
