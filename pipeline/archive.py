"""
Rows into files and files into the archive: published whole, told of in the manifest. Shell: `pipeline.agents.archive`.

`pipeline.archive_places` draws the layout. A file is complete and synced to disk when it appears, and never changes. A
crash between a file and its fact leaves a file that is *adopted* the next time somebody looks; one between a file and
the commit publishes rows again, and every view takes each natural key once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from hashlib import sha256

import msgspec
import polars as pl

from pipeline import archive_manifest
from pipeline.archive_manifest import Manifest, Published
from pipeline.archive_places import (
    MANIFEST,
    NO_DAY,
    Place,
    loaded_name,
    parse,
    place_of,
    schema_name,
    split,
    streamed_name,
)
from pipeline.archive_rows import frame, metadata, offsets, parquet, rows_of
from pipeline.archive_schemas import SCHEMAS
from pipeline.errors import EnvironmentProblem
from pipeline.storage import Storage
from pipeline.topics import SITE_INTERVALS

#: In a merged file's own metadata: the names and hashes of the files whose rows it holds.
REPLACES = "firmwatt.replaces"


@dataclass(frozen=True)
class File:
    """A file on its way into the archive."""

    name: str
    content: bytes
    rows: int
    offsets: dict[int, tuple[int, int]]
    replaces: Mapping[str, str] = field(default_factory=dict)


def publish(storage: Storage, topic: str, partition: int, rows: pl.DataFrame, now: datetime) -> list[Published]:
    """
    Publish *rows* of one Kafka partition, a file for each day and site, and return what was published.

    *now* is the machine's. Raise `EnvironmentProblem` when the place will not take it; nothing half-written stays.
    """
    published = []
    for place, part in split(topic, rows):
        content, spans = parquet(part), offsets(part)
        name = streamed_name(topic, partition, spans[partition], sha256(content).hexdigest())
        published.append(add(storage, place, File(name, content, part.height, spans), now))
    return published


def add(storage: Storage, place: Place, file: File, now: datetime) -> Published:
    """Make *file* appear in *place*, then say so in its manifest."""
    return add_timed(storage, place, file, lambda: now)


def add_timed(storage: Storage, place: Place, file: File, machine: Callable[[], datetime]) -> Published:
    """Do the same; the fact is dated by *machine* once the file is there, and no earlier."""
    storage.publish(f"{place.folder}/{file.name}", file.content)
    fact = _fact(file, machine())
    storage.append(f"{place.folder}/{MANIFEST}", archive_manifest.lines([fact]))
    return fact


def _fact(file: File, now: datetime, *, adopted: bool = False) -> Published:
    return Published(
        file=file.name,
        at=now,
        bytes=len(file.content),
        sha256=sha256(file.content).hexdigest(),
        rows=file.rows,
        offsets=file.offsets,
        replaces=dict(file.replaces),
        adopted=adopted,
    )


def told(storage: Storage, place: Place) -> tuple[Manifest, list[str]]:
    """Return the facts about the files of *place*, and the files that a crash, or a moment, has left without one."""
    listed = [name for name in storage.names(place.folder) if (what := parse(name)) and not what.is_schema]
    known = manifest(storage, place).among(listed)
    return known, [name for name in listed if name not in known.files]


def look(storage: Storage, place: Place, machine: Callable[[], datetime]) -> Manifest:
    """
    Return what *place* holds; a file without a fact gets one, and a file that is gone has none.

    Facts are dated by *machine*, which is asked once the files are listed.
    """
    known, silent = told(storage, place)
    adopted = [_adopted(storage, place, name, machine()) for name in silent]
    if adopted:
        storage.append(f"{place.folder}/{MANIFEST}", archive_manifest.lines(adopted))
    return known.plus(*adopted)


def _adopted(storage: Storage, place: Place, name: str, now: datetime) -> Published:
    content = storage.read(f"{place.folder}/{name}")
    rows = readable(place, name, content)
    replaces = msgspec.json.decode(metadata(content).get(REPLACES, "{}"), type=dict[str, str])
    return _fact(File(name, content, rows.height, offsets(rows), replaces), now, adopted=True)


def manifest(storage: Storage, place: Place) -> Manifest:
    """Return the manifest of *place* as it is written."""
    return _manifest(storage, place.folder)


def manifest_of_topic(storage: Storage, topic: str) -> Manifest:
    """Return the topic's own manifest: which days went as retention says."""
    return _manifest(storage, topic)


def _manifest(storage: Storage, folder: str) -> Manifest:
    try:
        return archive_manifest.read(storage.read(f"{folder}/{MANIFEST}"))
    except FileNotFoundError:
        return Manifest()


def verified(storage: Storage, place: Place, facts: Iterable[Published]) -> pl.DataFrame:
    """
    Return the rows of the files that *facts* tell of, in the topic's schema.

    Raise `EnvironmentProblem` for a file that is gone or not, byte for byte, what was published.
    """
    contents = []
    for fact in facts:
        name = f"{place.folder}/{fact.file}"
        try:
            content = storage.read(name)
        except FileNotFoundError as error:
            raise EnvironmentProblem(f"{name} is in the manifest and gone; {RESTORE}") from error
        if sha256(content).hexdigest() != fact.sha256:
            raise EnvironmentProblem(f"{name} is not what was published: its SHA-256 differs; {RESTORE}")
        contents.append(content)
    try:
        return rows_of(place.topic, contents)
    except pl.exceptions.PolarsError as error:
        raise EnvironmentProblem(f"{place} has files of a later version: {_first_line(error)}") from error


RESTORE = "restore it from a copy, or build the archive anew: `firmwatt pipeline rebuild`"


def readable(place: Place, name: str, content: bytes) -> pl.DataFrame:
    """Return the rows of one file; raise `EnvironmentProblem` where it is no Parquet file of the topic."""
    try:
        return rows_of(place.topic, [content])
    except pl.exceptions.PolarsError as error:
        raise EnvironmentProblem(f"{place.folder}/{name} cannot be read ({_first_line(error)}); {RESTORE}") from error


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def rewrite(storage: Storage, place: Place, known: Manifest) -> None:
    """Write the manifest of *place* anew; a fact that another process appends meanwhile is adopted later."""
    storage.publish(f"{place.folder}/{MANIFEST}", archive_manifest.lines(known.facts()))


def days(storage: Storage, topic: str) -> list[date]:
    """Return the days of *topic*, in order."""
    found = (place_of(topic, folder, "site=_") for folder in storage.folders(topic))
    return sorted(place.day for place in found if place is not None and place.day != NO_DAY)


def places(storage: Storage, topic: str, day: date) -> Iterator[Place]:
    """Yield the places of one day."""
    for folder in storage.folders(f"{topic}/day={day.isoformat()}"):
        if place := place_of(topic, f"day={day.isoformat()}", folder):
            yield place


def prepare(storage: Storage) -> None:
    """Make every topic's schema file of the present generation: views bind to them before there are rows."""
    for topic in SCHEMAS:
        path = schema_name(topic)
        folder, _, name = path.rpartition("/")
        if name not in storage.names(folder):
            storage.publish(path, parquet(frame(topic, ())))


def sweep(storage: Storage, machine_time: float) -> None:
    """Remove what processes that died long before *machine_time* (Unix seconds) left half-written."""
    for topic in SCHEMAS:
        for day in days(storage, topic):
            for place in places(storage, topic, day):
                storage.sweep(place.folder, machine_time)


def backfill(
    storage: Storage, site: str, history: pl.DataFrame, interval: timedelta, now: datetime, *, simulated: bool
) -> list[Published]:
    """
    Load *history* (`start` UTC, `load_kw`) of *site* as closed intervals of length *interval*; a null is a gap.

    Loading the same days again replaces them. Metered intervals win over back-filled ones.
    """
    topic = SITE_INTERVALS.name
    rows = pl.concat([frame(topic, ()), _loaded(site, history, interval, simulated)], how="diagonal_relaxed")
    name = loaded_name(topic, round(interval.total_seconds()))
    return [add(storage, place, File(name, parquet(part), part.height, {}), now) for place, part in split(topic, rows)]


def _loaded(site: str, history: pl.DataFrame, interval: timedelta, simulated: bool) -> pl.DataFrame:  # noqa: FBT001 - a column
    start = pl.col("start").dt.cast_time_unit("us")
    return (
        history.sort("start")
        .select(
            site=pl.lit(site),
            interval_start=start,
            interval_end=start + interval,
            revision=pl.lit(0),
            energy_kwh=pl.col("load_kw") * (interval / timedelta(hours=1)),
            covered_share=pl.lit(1.0),
            simulated=pl.lit(simulated),
            source=pl.lit("backfill"),
        )
        .drop_nulls("energy_kwh")
    )
