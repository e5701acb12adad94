"""The archive as a market desk sees it while workers die: files that are torn, rows that are missing."""

from collections.abc import Iterable
from pathlib import Path

import polars as pl
from doubles.stream.tail import Read

from pipeline.messages.telemetry import SiteInterval
from pipeline.topics import SITE_CAPACITY, SITE_INTERVALS

NEWEST = 3


def torn(archive: Path) -> set[str]:
    """Return the names of the newest capacity files that cannot be read at this moment."""
    newest = sorted(_files(archive, SITE_CAPACITY.name), key=lambda pair: pair[1])[-NEWEST:]
    return {path.name for path, _ in newest if not _reads(path)}


def _files(archive: Path, topic: str) -> Iterable[tuple[Path, int]]:
    for path in (archive / topic).rglob("[!.]*.parquet"):
        try:
            yield path, path.stat().st_mtime_ns
        except FileNotFoundError:  # merged into another
            continue


def _reads(path: Path) -> bool:
    try:
        pl.read_parquet(path)
    except FileNotFoundError:
        return True
    except (pl.exceptions.PolarsError, OSError):
        return False
    return True


def missing(archive: Path, published: Iterable[Read[SiteInterval]]) -> list[str]:
    """Return what is wrong with the archive of the intervals in *published*, all of them acknowledged by Kafka."""
    wanted = {(read.partition, read.offset) for read in published}
    whole = [path for path, _ in _files(archive, SITE_INTERVALS.name)]
    broken = [path for path in whole if not _reads(path)]
    held = set[tuple[int, int]]()
    for path in set(whole) - set(broken):
        rows = pl.read_parquet(path, columns=["kafka_partition", "kafka_offset"]).drop_nulls()
        held |= set(rows.iter_rows())
    found = [f"{path.name} in the archive cannot be read" for path in broken]
    if absent := sorted(wanted - held):
        found.append(f"{len(absent)} of {len(wanted)} published intervals are not in the archive: {absent[:3]}")
    return found
