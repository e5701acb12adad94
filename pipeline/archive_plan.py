"""
When files are merged, removed, sealed and let go. Pure; the shell is `pipeline.archive_upkeep`.

    0-…  0-…  0-…  ─┐ there are 300, or the day is over
    0-…  0-…  0-…  ─┴▶ merged-1-…  appears beside them ──────── grace ──▶ they go

A reader that lists the folder while both are there may read a row from both and takes its natural key once; nobody
finds it in neither. Files never change: DuckDB opens one more than once for a query, and fails where it is another by
then. So a query that has listed a file which goes before it is opened ends with an error, never with a wrong answer:
the time from listing to opening, once in 300 files. `pipeline.store` asks the manifest which files are replaced and
opens none of them, so it has the whole grace period; `firmwatt desk` asks again.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from pipeline.archive_manifest import Manifest, Published
from pipeline.archive_places import NO_DAY, parse
from pipeline.pipeline_settings import Upkeep

DAY = timedelta(days=1)


@dataclass(frozen=True)
class Merge:
    """Files to be made one."""

    level: int
    """Of the file that replaces them."""
    sources: tuple[str, ...]


def is_over(day: date, now: datetime, settings: Upkeep) -> bool:
    """Tell whether no more of *day* is to be expected at *now*, the deployment's clock."""
    return now >= datetime.combine(day + DAY, time(), UTC) + timedelta(seconds=settings.settle_s)


def merges(manifest: Manifest, settings: Upkeep, *, over: bool) -> Iterator[Merge]:
    """Yield what to merge: files of one level once there are enough, all there are once the day is *over*."""
    levels: dict[int, list[Published]] = {}
    for fact in manifest.live.values():
        name = parse(fact.file)
        if name is not None and not name.loaded and fact.bytes < settings.merge_bytes // 2:
            levels.setdefault(0 if over else name.level, []).append(fact)
    for level, facts in sorted(levels.items()):
        highest = max((name.level for fact in facts if (name := parse(fact.file))), default=level)
        for batch, full in batches(facts, settings.merge_bytes):
            if len(batch) >= (2 if over or full else settings.merge_files):
                yield Merge(highest + 1, tuple(fact.file for fact in batch))


def batches(facts: Iterable[Published], limit: int) -> Iterator[tuple[list[Published], bool]]:
    """
    Yield *facts* in the order of their names, as many at once as are not above *limit* bytes together.

    Beside each batch stands whether it is full, so that waiting would not make it longer.
    """
    batch: list[Published] = []
    size = 0
    for fact in sorted(facts, key=lambda one: one.file):
        if batch and size + fact.bytes > limit:
            yield batch, True
            batch, size = [], 0
        batch.append(fact)
        size += fact.bytes
    if batch:
        yield batch, False


def removable(manifest: Manifest, settings: Upkeep, machine_now: datetime) -> list[str]:
    """Return the files that were replaced so long ago that nobody reads them any more."""
    grace = timedelta(seconds=settings.grace_s)
    return sorted(
        name for name, since in manifest.replaced.items() if name in manifest.files and machine_now - since >= grace
    )


def seals(manifest: Manifest, settings: Upkeep, *, over: bool) -> bool:
    """Tell whether what the place holds is to be written down: all is merged, nothing replaced is left."""
    left = manifest.replaced.keys() & manifest.files.keys()
    streamed = any((name := parse(file)) and not name.loaded for file in manifest.live)
    return (
        over and streamed and not left and not manifest.is_sealed() and not list(merges(manifest, settings, over=over))
    )


def expired(days: Iterable[date], now: datetime, keep_days: Mapping[str, int], topic: str) -> list[date]:
    """
    Return the days of *topic* that have been kept long enough; none where the settings name no number.

    Counted from the newest day there is where that is before *now*: a clock that is wrong lets nothing go.
    """
    known = sorted(day for day in days if day != NO_DAY)
    if topic not in keep_days or not known:
        return []
    newest = min(known[-1], now.astimezone(UTC).date())
    return [day for day in known if (newest - day).days >= keep_days[topic]]
