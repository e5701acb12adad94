"""
The archive's files kept few: merged, sealed, let go. Shell; `pipeline.archive_plan` decides.

Any number of processes may do this at once, and any of them may be killed at any step: a merged file appears before the
first of its sources goes, says in itself what it replaces, and two that merge the same files make the same one.
"""

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime
from hashlib import sha256

import msgspec
import polars as pl

from pipeline import archive, archive_hash, archive_manifest, archive_plan
from pipeline.archive import REPLACES, File
from pipeline.archive_hash import Contents
from pipeline.archive_manifest import Expired, Manifest, Published, Sealed
from pipeline.archive_places import FILING, MANIFEST, Place, merged_name, parse
from pipeline.archive_plan import Merge
from pipeline.archive_rows import merged, offsets, parquet
from pipeline.archive_schemas import SCHEMAS
from pipeline.errors import EnvironmentProblem
from pipeline.pipeline_settings import Upkeep
from pipeline.storage import Storage

log = logging.getLogger(__name__)

#: Above so many rows a place is hashed hour by hour, file by file, rather than at once.
ROWS_AT_ONCE = 2_000_000


@dataclass(frozen=True)
class Instants:
    """What time it is."""

    clock: datetime
    """In the deployment: decides which days are over and kept long enough."""
    machine: Callable[[], datetime]
    """On the machine, asked again at every step: decides how long a replaced file has been there."""


def tend(
    storage: Storage, settings: Upkeep, keep_days: dict[str, int], now: Instants, since: date | None = None
) -> None:
    """
    Let go of what was kept long enough, then tend to every place of *since* and later, or of all days.

    A place that cannot be tended to is named in the log, left as it is and tried again the next time.
    """
    for topic in SCHEMAS:
        known = archive.days(storage, topic)
        for day in archive_plan.expired(known, now.clock, keep_days, topic):
            _expire(storage, topic, day, now.machine())
            known.remove(day)
        for day in known:
            if since is None or day >= since:
                for place in archive.places(storage, topic, day):
                    _try(storage, place, settings, now)


def _try(storage: Storage, place: Place, settings: Upkeep, now: Instants) -> None:
    try:
        tend_to(storage, place, settings, now)
    except FileNotFoundError as error:
        log.info("%s: %s went while it was read: another process looks after the archive, too", place, error)
    except EnvironmentProblem as error:
        log.warning("%s is left as it is: %s", place, error)


def tend_to(storage: Storage, place: Place, settings: Upkeep, now: Instants) -> Manifest:
    """Repair, merge, remove and seal one place as far as it is time; return its manifest."""
    over = archive_plan.is_over(place.day, now.clock, settings)
    known = archive.look(storage, place, now.machine)
    while todo := list(archive_plan.merges(known, settings, over=over)):
        for merge in todo:
            known = known.plus(_merge(storage, place, known, merge, now.machine))
    if gone := archive_plan.removable(known, settings, now.machine()):
        removed = [name for name in gone if _remove(storage, place, known.files[name])]
        known = known.among(set(known.files) - set(removed))
        archive.rewrite(storage, place, known)
    if archive_plan.seals(known, settings, over=over):
        held = contents(storage, place, known)
        sealed = Sealed(at=now.machine(), files=tuple(sorted(known.live)), rows=held.rows, rows_sha256=held.rows_sha256)
        known = known.plus(sealed)
        archive.rewrite(storage, place, known)
    return known


def _merge(storage: Storage, place: Place, known: Manifest, merge: Merge, machine: Callable[[], datetime]) -> Published:
    facts = [known.files[name] for name in merge.sources]
    rows = merged(place.topic, archive.verified(storage, place, facts))
    replaces = {fact.file: fact.sha256 for fact in facts}
    content = parquet(rows, {REPLACES: msgspec.json.encode(replaces).decode()})
    name = merged_name(place.topic, merge.level, replaces)
    return archive.add_timed(storage, place, File(name, content, rows.height, offsets(rows), replaces), machine)


def _remove(storage: Storage, place: Place, fact: Published) -> bool:
    """Remove a replaced file; keep one that is not what was merged, and tell which."""
    name = f"{place.folder}/{fact.file}"
    if sha256(storage.read(name)).hexdigest() != fact.sha256:
        return False
    storage.remove(name)
    return True


def contents(storage: Storage, place: Place, known: Manifest) -> Contents:
    """Return how many different messages *place* holds, and their hash; every file is compared with its fact."""
    facts = [fact for fact in known.live.values() if (name := parse(fact.file)) and not name.loaded]
    return archive_hash.contents(place.topic, hours(storage, place, facts))


def hours(storage: Storage, place: Place, facts: list[Published]) -> Iterator[pl.DataFrame]:
    """Yield the rows of the files that *facts* tell of hour by hour, each file compared with its fact."""
    if sum(fact.rows for fact in facts) <= ROWS_AT_ONCE:
        yield from archive_hash.by_hour(place.topic, archive.verified(storage, place, facts))
        return
    hour_of = pl.col(FILING[place.topic].day_of).dt.hour()
    for hour in range(24):
        parts = [archive.verified(storage, place, [fact]).filter(hour_of == hour) for fact in facts]
        yield pl.concat(parts)


def _expire(storage: Storage, topic: str, day: date, machine_now: datetime) -> None:
    """Write down that *day* goes, then remove it; what a crash left of it goes the next time, written down once."""
    said = {(fact.day, fact.site): fact.at for fact in archive.manifest_of_topic(storage, topic).expired}
    for place in archive.places(storage, topic, day):
        known = archive.manifest(storage, place)
        before = said.get((day, place.site))
        going = [fact for fact in known.live.values() if before is None or fact.at > before]
        if going:
            fact = Expired(
                at=machine_now,
                day=day,
                site=place.site,
                files=len(going),
                rows=sum(one.rows for one in going),
                rows_sha256=known.sealed.rows_sha256 if known.sealed and known.is_sealed() else None,
            )
            storage.append(f"{topic}/{MANIFEST}", archive_manifest.lines([fact]))
    storage.remove_folder(f"{topic}/day={day.isoformat()}")
