"""The archive's files are made few while it is read and written, by processes that are killed at any step."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from doubles.archived import MINUTE, NOON, Dying, Killed, be_killed, interval, put

from pipeline import archive
from pipeline.archive_hash import by_hour, contents
from pipeline.archive_manifest import Manifest
from pipeline.archive_places import Place
from pipeline.archive_rows import frame, row
from pipeline.archive_upkeep import Instants, tend
from pipeline.pipeline_settings import Upkeep
from pipeline.storage import Folder, Storage
from pipeline.store import interval_history
from pipeline.topics import SITE_INTERVALS

TOPIC = SITE_INTERVALS.name
SETTINGS = Upkeep(merge_files=3, grace_s=60, settle_s=3600)
PLACE = Place(TOPIC, date(2026, 7, 23), "site-1")
OLD = Place(TOPIC, date(2026, 7, 20), "site-1")
AFTER_MIDNIGHT = datetime(2026, 7, 24, 1, tzinfo=UTC)
KEEP = {TOPIC: 3}
DAYS_AGO_3 = -3 * 24 * 60
"""In minutes: the interval three days before noon."""
ALL = [interval(number) for number in range(8)]


def look(storage: Storage, clock: datetime, machine_s: float, keep: dict[str, int] | None = None) -> None:
    """Tend to the archive when the deployment's clock shows *clock* and the machine's *machine_s* after noon."""
    tend(storage, SETTINGS, keep or {}, Instants(clock, lambda: NOON + timedelta(seconds=machine_s)))


def life(storage: Storage) -> Iterator[int]:
    """
    Fill an archive and look after it over a day and a night; yield how many intervals are acknowledged by then.

    Three files become one; its sources go; three more intervals; the day ends; another one comes late; a day of three
    days ago has been kept long enough.
    """
    put(storage, SITE_INTERVALS, interval(DAYS_AGO_3), first=0)
    for number in range(4):
        put(storage, SITE_INTERVALS, ALL[number], first=1 + number)
        yield number + 1
    look(storage, NOON, 100)
    yield 4
    look(storage, NOON, 161)
    for number in range(4, 7):
        put(storage, SITE_INTERVALS, ALL[number], first=1 + number)
        yield number + 1
    look(storage, AFTER_MIDNIGHT, 200)
    yield 7
    look(storage, AFTER_MIDNIGHT, 300)
    put(storage, SITE_INTERVALS, ALL[7], first=8)
    yield 8
    look(storage, AFTER_MIDNIGHT, 400, KEEP)
    yield 8
    look(storage, AFTER_MIDNIGHT, 500, KEEP)
    yield 8


def starts(folder: Path) -> list[datetime]:
    """Return what a reader sees of the day."""
    history = interval_history(folder, "site-1", datetime(2026, 7, 24, tzinfo=UTC), MINUTE)
    return [start for start in history["start"].to_list() if start >= NOON]


def at_rest(storage: Storage, folder: Path) -> Manifest:
    """Return the manifest of an archive that has everything, sealed, in one file, and nothing half-done."""
    known = archive.look(storage, PLACE, lambda: NOON)
    assert starts(folder) == [one.interval.start for one in ALL]
    assert len(known.files) == 1
    assert known.is_sealed()
    assert known.sealed is not None
    assert known.sealed.rows == 8
    return known


WHOLE = contents(TOPIC, by_hour(TOPIC, frame(TOPIC, [row(one, 0, 1 + number) for number, one in enumerate(ALL)])))


def test_a_day_ends_as_one_sealed_file_and_what_was_kept_long_enough_went(tmp_path: Path) -> None:
    storage = Folder(tmp_path)
    for acknowledged in life(storage):
        assert starts(tmp_path) == [one.interval.start for one in ALL[:acknowledged]]

    sealed = at_rest(storage, tmp_path).sealed
    assert sealed is not None
    assert sealed.rows_sha256 == WHOLE.rows_sha256
    assert not (tmp_path / OLD.folder).parent.exists()
    (gone,) = archive.manifest_of_topic(storage, TOPIC).expired
    assert (gone.day, gone.site, gone.files, gone.rows) == (OLD.day, "site-1", 1, 1)


def changes() -> int:
    """Return how many things the archive changes over its life."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        storage = Dying(Path(folder), 0, be_killed, half=False)
        for _ in life(storage):
            pass
        return -storage.left


STEPS = changes()


@pytest.mark.parametrize("half", [False, True], ids=["before", "half-done"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
def test_killed_at_any_step_nobody_sees_a_row_twice_or_none_and_the_next_process_ends_the_work(
    tmp_path: Path, step: int, *, half: bool
) -> None:
    """The next process reads everything from Kafka again, also what was archived, merged and removed before."""
    acknowledged = 0
    with pytest.raises(Killed):
        for acknowledged in life(Dying(tmp_path, step, be_killed, half=half)):  # noqa: B007 - the last one counts
            pass

    seen = starts(tmp_path)
    assert len(seen) == len(set(seen))
    assert seen[:acknowledged] == [one.interval.start for one in ALL[:acknowledged]]
    assert len(seen) <= acknowledged + 1

    storage = Folder(tmp_path)
    for _ in life(storage):
        pass
    look(storage, AFTER_MIDNIGHT, 700, KEEP)
    archive.sweep(storage, machine_time=1e12)
    sealed = at_rest(storage, tmp_path).sealed
    assert sealed is not None
    assert sealed.rows_sha256 == WHOLE.rows_sha256
    assert not list(tmp_path.rglob(".*.tmp"))
    assert not (tmp_path / OLD.folder).exists()
    assert [(fact.day, fact.site) for fact in archive.manifest_of_topic(storage, TOPIC).expired[:1]] == [
        (OLD.day, "site-1")
    ]


def test_the_archive_s_life_has_as_many_steps_as_are_tested() -> None:
    assert STEPS > 30


def test_two_processes_that_merge_the_same_files_make_the_same_one(tmp_path: Path) -> None:
    """The second began from what it saw before the first was done."""
    first, second = Folder(tmp_path / "a"), Folder(tmp_path / "b")
    for storage in (first, second):
        for number in range(3):
            put(storage, SITE_INTERVALS, ALL[number], first=number)
        look(storage, NOON, 100)

    assert first.names(PLACE.folder) == second.names(PLACE.folder)
    assert len(first.names(PLACE.folder)) == 1 + 3 + 1


def test_merging_leaves_out_what_was_archived_twice_and_keeps_what_was_sent_twice(tmp_path: Path) -> None:
    """Offset 0 archived in two batches is one row; the same message at offsets 0 and 7 is two, one for the views."""
    storage = Folder(tmp_path)
    put(storage, SITE_INTERVALS, ALL[0], first=0)
    put(storage, SITE_INTERVALS, ALL[0], ALL[1], first=0)
    put(storage, SITE_INTERVALS, ALL[0], first=7)
    look(storage, AFTER_MIDNIGHT, 100)
    look(storage, AFTER_MIDNIGHT, 200)

    (fact,) = archive.look(storage, PLACE, lambda: NOON).live.values()
    assert fact.rows == 3
    assert fact.offsets == {0: (0, 7)}
    assert starts(tmp_path) == [ALL[0].interval.start, ALL[1].interval.start]


def test_a_damaged_place_is_left_as_it_is_and_the_others_are_looked_after(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage = Folder(tmp_path)
    for number in range(3):
        put(storage, SITE_INTERVALS, interval(number, site="a"), first=number)
        put(storage, SITE_INTERVALS, interval(number, site="b"), first=10 + number)
    damaged = tmp_path / Place(TOPIC, PLACE.day, "a").folder
    sorted(damaged.glob("*.parquet"))[1].write_bytes(b"not what it was")

    look(storage, NOON, 100)

    assert len(list(damaged.glob("*.parquet"))) == 3
    assert len(list((tmp_path / Place(TOPIC, PLACE.day, "b").folder).glob("merged-1-*.parquet"))) == 1
    assert "is not what was published" in caplog.text


def test_loaded_history_is_neither_merged_nor_sealed(tmp_path: Path) -> None:
    import polars as pl

    storage = Folder(tmp_path)
    history = pl.DataFrame({"start": [NOON], "load_kw": [60.0]})
    archive.backfill(storage, "site-1", history, MINUTE, NOON, simulated=True)
    look(storage, AFTER_MIDNIGHT, 100)

    known = archive.look(storage, PLACE, lambda: NOON)
    assert len(known.files) == 1
    assert known.sealed is None
