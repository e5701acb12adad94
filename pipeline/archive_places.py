"""
Which folder a row belongs in and what files are called. Pure.

    archive/site.interval.v1/day=1970-01-01/site=_/schema-7bfa9311.parquet       no rows: what views bind to
                             day=2026-07-23/site=dc%2F2/_manifest.jsonl          what is in them (`archive_manifest`)
                                                        0002-…17-…31-c0ffee00-7bfa9311.parquet   partition, offsets
                                                        merged-1-5d0c…-7bfa9311.parquet    many, redeliveries left out
                                                        backfill-300s-7bfa9311.parquet     loaded, not streamed

The day is the UTC day on which what the row tells happened, by the message's own word, so a message lands in the same
folder whenever and however often it is archived. The site is the row's own; what has none, because it is about a host
or a resource, is under ``_``.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from hashlib import sha256
from urllib.parse import quote, unquote

import polars as pl

from pipeline.archive_schemas import SCHEMAS, generation
from pipeline.market_topics import AWARDS, DISPATCHES, OFFER_EVENTS, OFFERS, PERFORMANCE, STATEMENTS
from pipeline.topics import (
    ACKS,
    COMMANDS,
    CORRECTIONS,
    HOST_TICKS,
    PORTFOLIO_CAPACITY,
    SITE_CAPACITY,
    SITE_INTERVALS,
)

MANIFEST = "_manifest.jsonl"
#: The day under which schema files lie: before any message's.
NO_DAY = date(1970, 1, 1)
NO_SITE = "_"
#: Bytes of a quoted site; with ``site=`` it stays below what a file system takes as one name (255).
SITE_BYTES = 200

_NAME = re.compile(
    r"(?:\d{4,}-\d{20}-\d{20}-[0-9a-f]{8}"
    r"|merged-(?P<level>\d+)-[0-9a-f]{16}"
    r"|(?P<loaded>backfill-\d+s)"
    r"|(?P<schema>schema))-(?P<generation>[0-9a-f]{8})\.parquet"
)


@dataclass(frozen=True)
class Filing:
    """How one topic's rows are filed and told apart, by the names of their columns."""

    day_of: str
    """The instant whose UTC day is the row's."""
    key: tuple[str, ...]
    """The natural key; merged files are in its order."""
    site: str | None = None


FILING: dict[str, Filing] = {
    HOST_TICKS.name: Filing("measured_at", ("host", "boot", "seq"), "site"),
    SITE_CAPACITY.name: Filing("as_of", ("site", "as_of"), "site"),
    SITE_INTERVALS.name: Filing("interval_start", ("site", "interval_start", "interval_end", "revision"), "site"),
    CORRECTIONS.name: Filing("interval_start", ("site", "interval_start", "interval_end", "partition"), "site"),
    PORTFOLIO_CAPACITY.name: Filing("as_of", ("portfolio", "as_of")),
    COMMANDS.name: Filing("issued_at", ("host", "seq", "command_id")),
    ACKS.name: Filing("acknowledged_at", ("host", "command_id", "status")),
    OFFERS.name: Filing("interval_start", ("offer_id",), "site"),
    OFFER_EVENTS.name: Filing("at", ("offer_id", "at", "state")),
    AWARDS.name: Filing("interval_start", ("award_id",)),
    DISPATCHES.name: Filing("interval_start", ("dispatch_id",)),
    PERFORMANCE.name: Filing("interval_start", ("award_id", "baseline_method", "interval_start"), "site"),
    STATEMENTS.name: Filing("issued_at", ("statement_id", "issuer")),
}


@dataclass(frozen=True, order=True)
class Place:
    """One folder of rows."""

    topic: str
    day: date
    site: str

    @property
    def folder(self) -> str:
        """Return its name in the archive."""
        return f"{self.topic}/day={self.day.isoformat()}/{site_folder(self.site)}"

    def __str__(self) -> str:
        return self.folder


def site_folder(site: str) -> str:
    """Return the folder of *site*, quoted so that any name is one: ``dc/2`` is ``site=dc%2F2``."""
    quoted = quote(site, safe="")
    return f"site={'%5F' if site == NO_SITE else quoted or NO_SITE}"


def fits(site: str) -> bool:
    """Tell whether *site* can be the name of a folder."""
    return len(quote(site, safe="")) <= SITE_BYTES


def place_of(topic: str, day_folder: str, folder: str) -> Place | None:
    """Return the place of the two folders ``day=…`` and ``site=…``; None where they are something else."""
    try:
        day = date.fromisoformat(day_folder.removeprefix("day="))
    except ValueError:
        return None
    name = folder.removeprefix("site=")
    if day_folder == day.isoformat() or folder == name:
        return None
    return Place(topic, day, "" if name == NO_SITE else unquote(name))


def split(topic: str, rows: pl.DataFrame) -> Iterator[tuple[Place, pl.DataFrame]]:
    """Yield *rows*, which are not empty, by the place they belong in; their order is kept."""
    filing = FILING[topic]
    days = rows[filing.day_of].dt.date()
    if filing.site is None:
        groups = rows.with_columns(_day=days, _site=pl.lit("")).partition_by("_day", "_site", as_dict=True)
    else:
        groups = rows.with_columns(_day=days, _site=filing.site).partition_by("_day", "_site", as_dict=True)
    for (day, site), part in groups.items():
        yield Place(topic, day, site), part.drop("_day", "_site")


@dataclass(frozen=True)
class FileName:
    """What a file's name says."""

    level: int
    """How often its rows were merged; 0 for what was streamed."""
    loaded: bool
    """History that did not come through Kafka: never merged."""
    is_schema: bool
    generation: str


def parse(name: str) -> FileName | None:
    """Return what *name* says; None where it is no file of rows."""
    if (found := _NAME.fullmatch(name)) is None:
        return None
    level = int(found["level"] or 0)
    return FileName(level, found["loaded"] is not None, found["schema"] is not None, found["generation"])


def streamed_name(topic: str, partition: int, offsets: tuple[int, int], content_sha256: str) -> str:
    """
    Return the name of a file of rows between two *offsets*, both included.

    The same rows get the same name again; others do not, not even those of a topic that begins anew at offset 0.
    """
    first, last = offsets
    return f"{partition:04d}-{first:020d}-{last:020d}-{content_sha256[:8]}-{generation(SCHEMAS[topic])}.parquet"


def merged_name(topic: str, level: int, sources: Mapping[str, str]) -> str:
    """Return the name of what *sources*, with their hashes, are merged into: the same whoever merges them."""
    listed = "\n".join(f"{name} {digest}" for name, digest in sorted(sources.items()))
    digest = sha256(listed.encode()).hexdigest()[:16]
    return f"merged-{level}-{digest}-{generation(SCHEMAS[topic])}.parquet"


def loaded_name(topic: str, length_s: int) -> str:
    """Return the name of loaded history in intervals of *length_s* seconds."""
    return f"backfill-{length_s}s-{generation(SCHEMAS[topic])}.parquet"


def renamed(topic: str, name: str) -> str:
    """Return the *name* of a file once it is written in the present schema."""
    return f"{name.rpartition('-')[0]}-{generation(SCHEMAS[topic])}.parquet"


def schema_name(topic: str) -> str:
    """Return the name of the file without rows, relative to the archive."""
    return f"{Place(topic, NO_DAY, '').folder}/schema-{generation(SCHEMAS[topic])}.parquet"
