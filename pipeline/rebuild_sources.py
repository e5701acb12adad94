"""An archive built anew, from Kafka or another archive; what an archive holds. Shell; `pipeline.rebuild` compares."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from pipeline import archive, archive_hash, archive_upkeep, kafka
from pipeline.archive import File
from pipeline.archive_hash import Contents
from pipeline.archive_manifest import Manifest, Published
from pipeline.archive_places import Place, parse, renamed
from pipeline.archive_records import Intake
from pipeline.archive_rows import parquet
from pipeline.archive_schemas import SCHEMAS
from pipeline.archive_ticks import Record, payloads
from pipeline.archive_upkeep import Instants
from pipeline.clock import Clock
from pipeline.errors import EnvironmentProblem
from pipeline.interval import EPOCH
from pipeline.kafka_security import for_aiokafka
from pipeline.pipeline_settings import Upkeep
from pipeline.rebuild import Held, Spans, within
from pipeline.settings import Kafka
from pipeline.storage import Storage
from pipeline.topics import HOST_TICKS, Topic

#: So much of a partition is held before it is published.
ROWS, BYTES = 20_000, 32_000_000
#: Nobody reads the new archive yet: merge, remove and seal all there is.
AT_ONCE = Upkeep(merge_files=2, grace_s=0.0, settle_s=0.0)
AFTER_ALL = datetime(9999, 12, 31, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)


async def from_kafka(
    source: Kafka, target: Storage, topics: Iterable[Topic[Any]], group: str, *, archived_only: bool
) -> Spans:
    """
    Archive what Kafka holds of *topics* in *target*; return what was read.

    With *archived_only* no further than *group*, the archive's own, has committed: what it still owes is no difference.
    Nothing is committed. Raise `BrokerGoneError` where Kafka stops answering.
    """
    async with kafka.consumer(source, group_id=group) as consumer:
        try:
            partitions = await _partitions(source, topics)
            spans = await _spans(consumer, partitions, archived_only=archived_only)
            await _copy(consumer, spans, target)
        except KafkaError as error:
            raise kafka.gone(source.bootstrap, error) from error
    return {(partition.topic, partition.partition): span for partition, span in spans.items()}


async def _partitions(source: Kafka, topics: Iterable[Topic[Any]]) -> list[TopicPartition]:
    """Return the partitions that *topics* have there, in order; none of a topic that does not exist."""
    admin = AIOKafkaAdminClient(**for_aiokafka(source))
    await admin.start()
    try:
        found = await admin.describe_topics([topic.name for topic in topics])
    finally:
        await admin.close()
    return sorted(TopicPartition(one["topic"], part["partition"]) for one in found for part in one["partitions"])


async def _spans(
    consumer: Any, partitions: list[TopicPartition], *, archived_only: bool
) -> dict[TopicPartition, tuple[int, int]]:
    consumer.assign(partitions)
    begins, ends = await consumer.beginning_offsets(partitions), await consumer.end_offsets(partitions)
    if archived_only:
        for partition in partitions:
            ends[partition] = min(ends[partition], await consumer.committed(partition) or 0)
    return {partition: (begins[partition], max(begins[partition], ends[partition])) for partition in partitions}


async def _copy(consumer: Any, spans: dict[TopicPartition, tuple[int, int]], target: Storage) -> None:
    intake, held = Intake(), {partition: list[Any]() for partition in spans}
    for partition, (begin, _) in spans.items():
        consumer.seek(partition, begin)
    open_ = {partition for partition, (begin, end) in spans.items() if begin < end}
    consumer.pause(*(spans.keys() - open_))
    while open_:
        for partition, records in (await consumer.getmany(timeout_ms=200)).items():
            held[partition] += [record for record in records if record.offset < spans[partition][1]]
        for partition in sorted(open_):
            done = await consumer.position(partition) >= spans[partition][1]
            if done:
                open_.discard(partition)
                consumer.pause(partition)
            if done or _is_much(held[partition]):
                _publish(target, partition, intake, held[partition])
                held[partition].clear()


def _is_much(records: list[Any]) -> bool:
    return len(records) >= ROWS or sum(len(record.value or b"") for record in records) >= BYTES


def _publish(target: Storage, partition: TopicPartition, intake: Intake, records: list[Any]) -> None:
    rows = intake.rows(partition.topic, partition.partition, records)
    if rows.height:
        archive.publish(target, partition.topic, partition.partition, rows, Clock().now())


def from_archive(source: Storage, target: Storage) -> None:
    """
    Archive in *target* what *source* holds, loaded history included, in files of the present schema.

    Raise `EnvironmentProblem` for a file that is not, byte for byte, what *source*'s manifest says.
    """
    now = Clock().now()
    for place in places(source):
        for fact in whole(source, place).live.values():
            rows = archive.verified(source, place, [fact])
            if is_loaded(fact):
                archive.add(target, place, File(renamed(place.topic, fact.file), parquet(rows), rows.height, {}), now)
                continue
            for (partition,), part in rows.partition_by("kafka_partition", as_dict=True).items():
                archive.publish(target, place.topic, partition, part, now)


def is_loaded(fact: Published) -> bool:
    """Tell whether a file holds history that never was on Kafka."""
    name = parse(fact.file)
    return name is not None and name.loaded


def places(storage: Storage) -> Iterator[Place]:
    """Yield every place of an archive in the order of topic, day and site."""
    for topic in SCHEMAS:
        for day in archive.days(storage, topic):
            yield from archive.places(storage, topic, day)


def whole(storage: Storage, place: Place) -> Manifest:
    """Return what *place* holds; raise `EnvironmentProblem` where a file that its manifest tells of is gone."""
    told = archive.manifest(storage, place)
    known = archive.look(storage, place, Clock().now)
    if gone := sorted(told.live.keys() - known.files.keys() - known.replaced.keys()):
        raise EnvironmentProblem(f"{place}/{gone[0]} is in the manifest and gone; {archive.RESTORE}")
    return known


def finish(target: Storage) -> None:
    """Merge and seal all of a new archive."""
    for place in places(target):
        archive_upkeep.tend_to(target, place, AT_ONCE, Instants(AFTER_ALL, Clock().now))


def held(storage: Storage, spans: Spans | None = None) -> dict[Place, Held]:
    """
    Return what every place of *storage* holds of the offsets in *spans*; places with nothing of that are left out.

    For a place with a file that is not what the manifest says, or that is not what its seal says, the error.
    """
    found: dict[Place, Held] = {}
    for place in places(storage):
        try:
            what = _held(storage, place, spans)
        except EnvironmentProblem as error:
            found[place] = error
            continue
        if what.rows:
            found[place] = what
    return found


def _held(storage: Storage, place: Place, spans: Spans | None) -> Contents:
    known = whole(storage, place)
    facts = [fact for fact in known.live.values() if not is_loaded(fact)]
    hours = archive_upkeep.hours(storage, place, facts)
    what = archive_hash.contents(place.topic, (within(place.topic, rows, spans) for rows in hours))
    if spans is None and known.sealed and known.is_sealed() and known.sealed.rows_sha256 != what.rows_sha256:
        raise EnvironmentProblem(f"{place} is not what was sealed; {archive.RESTORE}")
    return what


def expired(storage: Storage) -> set[Place]:
    """Return the places that went as retention says."""
    return {
        Place(topic, fact.day, fact.site)
        for topic in SCHEMAS
        for fact in archive.manifest_of_topic(storage, topic).expired
    }


def ticks(storage: Storage, site: str) -> Iterator[tuple[int, Record]]:
    """
    Yield the archived ticks of *site* with their telemetry partition, as the frames they came as.

    Day by day, and of each partition in the order of the offsets, as the rollup would have to be given them.
    """
    for day in archive.days(storage, HOST_TICKS.name):
        place = Place(HOST_TICKS.name, day, site)
        known = archive.look(storage, place, Clock().now)
        rows = archive.verified(storage, place, known.live.values()).unique(["kafka_partition", "kafka_offset"])
        rows = rows.sort("kafka_partition", "kafka_offset")
        where = rows.select("kafka_partition", "kafka_offset", "appended_at").iter_rows()
        for (partition, offset, appended_at), payload in zip(where, payloads(rows), strict=True):
            yield partition, Record(payload, offset, (appended_at - EPOCH) // MILLISECOND)
