"""`firmwatt pipeline status`: how the deployment is, asked of Kafka alone; no worker has to answer."""

import argparse
import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from pipeline import groups as group_facts
from pipeline import settings, status
from pipeline.archive_schemas import ARCHIVED, TELEMETRY
from pipeline.clock import Clock, wall
from pipeline.cluster import Cluster
from pipeline.codec import Codec, DecodeError
from pipeline.groups import Committed, GroupFacts, Place
from pipeline.pipeline_settings import Pipeline
from pipeline.settings import Kafka
from pipeline.status import Group, Seen
from pipeline.topics import HOST_TICKS, ROLLUP_STATE, SITE_CAPACITY, SITE_INTERVALS, TOPICS, Topic

M = TypeVar("M")

#: What a group may leave waiting, seconds of the machine: the rollup commits every 10 s, Faust every second, the
#: archive when its files are on disk, ticks every minute.
ROLLUP_LIMIT_S, FAUST_LIMIT_S, ARCHIVE_LIMIT_S, TICKS_LIMIT_S = 30.0, 15.0, 30.0, 150.0
#: Figures looked back at in each partition: a few minutes of a site, some seconds of a hundred sites.
TAIL = 300


def main(argv: list[str]) -> int:
    """Print how the deployment is; 1 where something is wrong with it."""
    parser = argparse.ArgumentParser(prog="firmwatt pipeline status", description=__doc__)
    parser.add_argument("--config", type=Path, required=True, help="settings file (TOML)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    kafka = settings.load(options.config, "kafka", Kafka)
    own = settings.load(options.config, "pipeline", Pipeline)
    clock = settings.load(options.config, "clock", settings.ClockSection).clock()
    known = asyncio.run(group_facts.ask(kafka, [group.name for group in groups(own)]))
    found = status.report(look(Cluster(kafka), known, own, clock))
    text = msgspec.json.format(msgspec.json.encode(found), indent=2).decode()
    print(text if options.json else "\n".join(status.lines(found)))  # noqa: T201 - a command line talks
    return 0 if found.healthy else 1


def groups(own: Pipeline) -> tuple[Group, ...]:
    """Return the groups of the workers. Pure."""
    archived = (*ARCHIVED, *(TELEMETRY if own.archive_telemetry else ()))
    limit_s = TICKS_LIMIT_S if own.archive_telemetry else max(ARCHIVE_LIMIT_S, 4 * own.publish_every_s)
    return (
        Group(f"{own.group}-rollup", frozenset({HOST_TICKS.name}), ROLLUP_LIMIT_S),
        Group(own.group, frozenset(), FAUST_LIMIT_S),
        Group(f"{own.group}-archive", frozenset(topic.name for topic in archived), limit_s),
    )


def look(cluster: Cluster, known: Mapping[str, GroupFacts], own: Pipeline, clock: Clock) -> Seen:
    """Ask Kafka; raise `BrokerGoneError` where it does not answer."""
    ours = groups(own)
    names = sorted({topic.name for topic in TOPICS}.union(*(group.topics for group in ours)))
    topics = cluster.topics(names)
    everywhere = {name: {Place(name, number) for number in range(topic.partitions)} for name, topic in topics.items()}
    places = {
        group.name: frozenset(place for name in group.topics for place in everywhere.get(name, ()))
        if group.topics
        else frozenset(place for place in known[group.name].committed if place in everywhere.get(place.topic, ()))
        for group in ours
    }
    every = frozenset[Place]().union(*places.values())
    begins, ends = cluster.begins(every), cluster.ends(every)
    return Seen(
        now=clock.now(),
        machine_s=wall(),
        groups=ours,
        places=places,
        known=known,
        begins=begins,
        ends=ends,
        waiting={group: _waiting(cluster, places[group], known[group].committed, begins) for group in places},
        states=_states(cluster, known[ours[0].name].committed),
        capacities=_newest(cluster, SITE_CAPACITY, everywhere),
        intervals=_newest(cluster, SITE_INTERVALS, everywhere),
        missing=tuple(name for name in names if name not in topics),
    )


def _waiting(
    cluster: Cluster, places: frozenset[Place], committed: Mapping[Place, Committed], begins: dict[Place, int]
) -> dict[Place, float]:
    """Return when the first record that waits in each of *places* was written."""
    nexts = {place: max(begins[place], committed[place].offset if place in committed else 0) for place in places}
    return {place: record.stamp_s for place, record in cluster.first_at(nexts).items()}


def _states(cluster: Cluster, committed: Mapping[Place, Committed]) -> dict[int, float]:
    """Return when the states that the rollup's offsets name were written."""
    wanted = {
        Place(ROLLUP_STATE.name, place.partition): int(known.metadata)
        for place, known in committed.items()
        if known.metadata.isdigit()
    }
    return {place.partition: record.stamp_s for place, record in cluster.first_at(wanted).items()}


def _newest(cluster: Cluster, topic: Topic[M], everywhere: dict[str, set[Place]]) -> tuple[M, ...]:
    """Return the newest figures of *topic*; bytes that are none are passed over."""
    codec, found = Codec(topic), []
    for record in cluster.tail(everywhere.get(topic.name, ()), TAIL):
        try:
            found.append(codec.decode(record.payload))
        except DecodeError:
            continue
    return tuple(found)
