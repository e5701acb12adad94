"""Messages as rows, files that appear whole or not at all, history that is loaded, archives of the first layout."""

import os
import resource
import subprocess
import sys
from datetime import date, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest
from doubles.archived import ack, interval, put
from unit.pipeline.ticks import NOON, at

from pipeline import archive, archive_migrate
from pipeline.archive_manifest import Published
from pipeline.archive_places import FILING, Place
from pipeline.archive_rows import frame, parquet, row, rows_of
from pipeline.archive_schemas import ARCHIVED, SCHEMAS, TELEMETRY
from pipeline.errors import EnvironmentProblem
from pipeline.interval import Interval
from pipeline.market_topics import AWARDS
from pipeline.messages.control import LeaseCommand
from pipeline.messages.market import Award
from pipeline.messages.telemetry import SiteInterval
from pipeline.pipeline_settings import membership
from pipeline.storage import Folder
from pipeline.topics import ACKS, COMMANDS, SITE_INTERVALS, Topic

LIMIT = """
import resource, sys
from datetime import UTC, datetime
from pathlib import Path
from doubles.archived import interval, put
from pipeline.errors import FirmwattError
from pipeline.storage import Folder
from pipeline.topics import SITE_INTERVALS
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    put(Folder(Path(sys.argv[1])), SITE_INTERVALS, interval())
except FirmwattError as error:
    print(error.exit_code, error)
"""
#: On the wire and not in a row: what kind of message it is, and a command's envelope.
NOT_SAID = {"kind", "payload", "signature"}
HISTORY = pl.DataFrame({"start": [NOON, at(60), at(120)], "load_kw": [60.0, 120.0, None]})


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_every_archived_topic_has_a_schema_and_a_filing_and_no_other() -> None:
    assert {topic.name for topic in (*ARCHIVED, *TELEMETRY)} == set(SCHEMAS) == set(FILING)


def kinds(kind: Any, found: set[str], prefix: str = "") -> set[str]:
    """Collect the names of all fields of *kind*, at every depth, as an archived row has them."""
    if isinstance(kind, msgspec.inspect.UnionType):
        for one in kind.types:
            kinds(one, found, prefix)
    elif isinstance(kind, msgspec.inspect.VarTupleType | msgspec.inspect.ListType):
        kinds(kind.item_type, found, prefix)
    elif isinstance(kind, msgspec.inspect.StructType | msgspec.inspect.DataclassType):
        for field in kind.fields:
            kinds(field.type, found, f"{prefix}{field.name}.")
    else:
        found.add(prefix.removesuffix("."))
    return found


def pydantic_fields(kind: Any, prefix: str = "") -> set[str]:
    """Collect the same of a pydantic document, whose steps and lines are tuples of documents."""
    found: set[str] = set()
    for name, field in kind.model_fields.items():
        if field.annotation is Interval:
            found |= {f"{prefix}{name}.start", f"{prefix}{name}.end"}
        elif hasattr(inner := next(iter(getattr(field.annotation, "__args__", ())), None), "model_fields"):
            found |= pydantic_fields(inner, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


def columns(schema: dict[str, Any], prefix: str = "") -> set[str]:
    """Return the names of all columns of *schema*, at every depth."""
    found: set[str] = set()
    for name, kind in schema.items():
        inner = kind.inner if isinstance(kind, pl.List) else kind
        if isinstance(inner, pl.Struct):
            found |= columns({field.name: field.dtype for field in inner.fields}, f"{prefix}{name}.")
        else:
            found.add(f"{prefix}{name}")
    return found


@pytest.mark.parametrize("topic", ARCHIVED, ids=lambda topic: topic.name)
def test_every_field_of_a_message_at_any_depth_has_its_column(topic: Topic[Any]) -> None:
    """A field added to a message, or to a pool in it, and forgotten in the schema would be lost without a word."""
    kind = topic.type
    fields = pydantic_fields(kind) if hasattr(kind, "model_fields") else kinds(msgspec.inspect.type_info(kind), set())
    if topic is COMMANDS:
        fields |= kinds(msgspec.inspect.type_info(LeaseCommand), set())
    flat = {name.replace("interval.start", "interval_start").replace("interval.end", "interval_end") for name in fields}

    assert len(flat) > 5
    assert flat - NOT_SAID <= columns(dict(SCHEMAS[topic.name]))


def test_a_message_becomes_a_row_with_flat_interval_in_utc_and_decimals_kept() -> None:
    """An instant with another offset is the same instant."""
    award = Award(
        award_id="a1",
        offer_id="o1",
        resource="r1",
        product="p",
        interval=Interval(NOON, at(60)),
        quantity_mw=Decimal("0.3"),
        price_per_mwh=Decimal("95.25"),
        currency="USD",
        awarded_at=NOON.astimezone(timezone(timedelta(hours=-7))),
    )

    (archived,) = frame(AWARDS.name, [row(award, 3, 17)]).iter_rows(named=True)

    assert (archived["interval_start"], archived["interval_end"], archived["awarded_at"]) == (NOON, at(60), NOON)
    assert (archived["quantity_mw"], archived["price_per_mwh"]) == (Decimal("0.3"), Decimal("95.25"))
    assert (archived["kafka_partition"], archived["kafka_offset"]) == (3, 17)


def test_a_file_of_an_earlier_version_is_read_with_gaps_and_one_of_a_later_version_refused() -> None:
    """What a later version added must not be lost because an earlier one merges its files."""
    now = frame(SITE_INTERVALS.name, [row(interval(), 0, 0)])
    earlier, later = now.drop("covered_host_s"), now.with_columns(later=1)

    (read,) = rows_of(SITE_INTERVALS.name, [parquet(earlier)]).iter_rows(named=True)

    assert (read["covered_host_s"], read["energy_kwh"]) == (None, 1.0)
    with pytest.raises(pl.exceptions.PolarsError, match="later"):
        rows_of(SITE_INTERVALS.name, [parquet(later)])


def test_rows_are_filed_by_the_day_of_what_they_tell_and_by_site(folder: Folder) -> None:
    """
    The 719th minute after noon begins at 23:59, the 720th at midnight. A site's name may hold anything.

    Every file has its fact: bytes, rows, offsets.
    """
    put(folder, SITE_INTERVALS, interval(719), interval(720), interval(720, site="dc/2"), first=7)

    facts = {
        str(place): list(archive.manifest(folder, place).files.values())
        for day in archive.days(folder, SITE_INTERVALS.name)
        for place in archive.places(folder, SITE_INTERVALS.name, day)
    }
    assert {place: [(fact.rows, fact.offsets) for fact in found] for place, found in facts.items()} == {
        "site.interval.v1/day=2026-07-23/site=site-1": [(1, {0: (7, 7)})],
        "site.interval.v1/day=2026-07-24/site=dc%2F2": [(1, {0: (9, 9)})],
        "site.interval.v1/day=2026-07-24/site=site-1": [(1, {0: (8, 8)})],
    }
    for place, (fact,) in facts.items():
        assert len(folder.read(f"{place}/{fact.file}")) == fact.bytes


def test_the_same_rows_make_the_same_file_and_other_rows_at_the_same_offsets_another(folder: Folder) -> None:
    """A topic that was deleted and made anew begins at offset 0 again; what was archived before must not go."""
    for energy_kwh in (1.0, 1.0, 2.0):
        put(folder, SITE_INTERVALS, interval(energy_kwh=energy_kwh))

    place = Place(SITE_INTERVALS.name, date(2026, 7, 23), "site-1")
    assert len(archive.look(folder, place, lambda: NOON).files) == 2


def test_a_full_disk_is_one_line_and_leaves_nothing_half_written(tmp_path: Path) -> None:
    """The kernel refuses files above 1 000 bytes, as a full disk would refuse more."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    words = [sys.executable, "-c", LIMIT, str(tmp_path)]

    done = subprocess.run(words, capture_output=True, text=True, check=True, env=environment)

    assert done.stdout.startswith("4 cannot write")
    assert done.stdout.count("\n") == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_scratch_files_of_the_dead_are_swept_and_fresh_ones_left(folder: Folder) -> None:
    place = folder.path / Place(ACKS.name, date(2026, 7, 23), "").folder
    place.mkdir(parents=True)
    old, new = place / ".a.parquet.1.tmp", place / ".b.parquet.2.tmp"
    for file, changed in ((old, 1000), (new, 1090)):
        file.touch()
        os.utime(file, (changed, changed))

    archive.sweep(folder, machine_time=1100.0)

    assert [file.name for file in place.iterdir()] == [new.name]


def test_loading_history_twice_leaves_it_once(folder: Folder) -> None:
    """60 kW over a minute is 1 kWh; a null is a gap and is not loaded."""
    for _ in range(2):
        archive.backfill(folder, "a/b", HISTORY, timedelta(minutes=1), NOON, simulated=True)

    place = Place(SITE_INTERVALS.name, date(2026, 7, 23), "a/b")
    known = archive.look(folder, place, lambda: NOON)
    rows = archive.verified(folder, place, known.files.values())
    assert len(known.files) == 1
    assert rows["energy_kwh"].to_list() == [1.0, 2.0]
    assert rows["interval_end"].to_list() == [at(60), at(120)]
    assert set(rows["source"]) == {"backfill"}
    assert "source" in SiteInterval.__struct_fields__


def test_a_file_that_changed_or_went_is_named(folder: Folder) -> None:
    put(folder, SITE_INTERVALS, interval())
    place = Place(SITE_INTERVALS.name, date(2026, 7, 23), "site-1")
    (fact,) = archive.manifest(folder, place).files.values()
    file = folder.path / place.folder / fact.file
    whole = file.read_bytes()

    file.write_bytes(whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:])
    with pytest.raises(EnvironmentProblem, match=fact.file):
        archive.verified(folder, place, [fact])
    file.unlink()
    with pytest.raises(EnvironmentProblem, match="gone"):
        archive.verified(folder, place, [fact])


def test_a_file_that_is_no_parquet_is_named_and_not_adopted(folder: Folder) -> None:
    put(folder, SITE_INTERVALS, interval())
    place = Place(SITE_INTERVALS.name, date(2026, 7, 23), "site-1")
    (fact,) = archive.manifest(folder, place).files.values()
    (folder.path / place.folder / fact.file.replace("0000-", "0001-", 1)).write_bytes(b"PAR1 and no more")

    with pytest.raises(EnvironmentProblem, match=r"0001-.*cannot be read"):
        archive.look(folder, place, lambda: NOON)


def test_an_archive_of_the_first_layout_is_moved_whole_and_moving_again_changes_nothing(folder: Folder) -> None:
    """Two intervals of two days in one file, three of loaded history in another, and the old schema file."""
    streamed = frame(SITE_INTERVALS.name, [row(interval(719), 0, 5), row(interval(720), 0, 6)])
    history = pl.DataFrame({"start": [NOON, at(60), at(120)], "load_kw": [60.0] * 3})
    flat = folder.path / SITE_INTERVALS.name
    flat.mkdir()
    streamed.drop("corrected").write_parquet(flat / f"0000-{5:020d}-{6:020d}.parquet")
    frame(SITE_INTERVALS.name, ()).write_parquet(flat / "schema.parquet")
    elsewhere = Folder(folder.path / "elsewhere")
    (loaded,) = archive.backfill(elsewhere, "site-1", history, timedelta(minutes=1), NOON, simulated=True)
    place = Place(SITE_INTERVALS.name, date(2026, 7, 23), "site-1")
    (flat / "backfill-site-1.parquet").write_bytes(elsewhere.read(f"{place.folder}/{loaded.file}"))

    assert (archive_migrate.migrate(folder, NOON), archive_migrate.migrate(folder, NOON)) == (3, 0)

    today, tomorrow = (
        archive.look(folder, Place(SITE_INTERVALS.name, day, "site-1"), lambda: NOON).files.values()
        for day in (date(2026, 7, 23), date(2026, 7, 24))
    )
    assert sorted((fact.rows, fact.offsets) for fact in today) == [(1, {0: (5, 5)}), (3, {})]
    assert [(fact.rows, fact.offsets) for fact in tomorrow] == [(1, {0: (6, 6)})]
    assert all(isinstance(fact, Published) for fact in today)


def test_the_schema_files_are_made_once(folder: Folder) -> None:
    archive.prepare(folder)
    before = {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.parquet")}
    archive.prepare(folder)

    assert len(before) == len(SCHEMAS)
    assert {path: path.stat().st_mtime_ns for path in folder.path.rglob("*.parquet")} == before


def test_an_answer_has_no_site_and_is_filed_without(folder: Folder) -> None:
    put(folder, ACKS, ack(1))

    assert [path.name for path in folder.path.glob("*/day=2026-07-23/*")] == ["site=_"]


def test_a_member_of_a_group_beats_four_times_in_a_session() -> None:
    assert membership("g", 6.0) == {"group_id": "g", "session_timeout_ms": 6000, "heartbeat_interval_ms": 1500}
