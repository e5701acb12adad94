"""Readers of the archive: they open what a query names and no more, across versions, and while files are merged."""

import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from doubles.archived import MINUTE, NOON, ack, interval, put

from pipeline import archive, desk
from pipeline.archive_places import Place, schema_name
from pipeline.archive_rows import frame, parquet, row
from pipeline.archive_schemas import SCHEMAS, generation
from pipeline.archive_upkeep import Instants, tend
from pipeline.desk_cli import query
from pipeline.errors import ConfigError
from pipeline.pipeline_settings import Upkeep
from pipeline.storage import Folder
from pipeline.store import interval_history, scan
from pipeline.topics import ACKS, SITE_INTERVALS

TOPIC = SITE_INTERVALS.name
DAY = date(2026, 7, 23)
MIDNIGHT = datetime(2026, 7, 24, tzinfo=UTC)

READER = """
import os, sys
from datetime import UTC, datetime, timedelta
import duckdb
from pipeline.store import interval_history
way, desk, archive, answered, enough = sys.argv[1:]
seen = []
while not os.path.exists(enough):
    if way == "desk":
        sql = "SELECT count(*), count(DISTINCT interval_start) FROM intervals"
        with duckdb.connect(desk, read_only=True) as connection:
            rows, distinct = connection.execute(sql).fetchone()
    else:
        starts = interval_history(archive, "site-1", datetime(2027, 1, 1, tzinfo=UTC), timedelta(minutes=1))["start"]
        rows, distinct = len(starts), starts.n_unique()
    seen.append(rows)
    assert rows == distinct, f"a row twice: {rows} rows of {distinct} intervals"
    assert seen == sorted(seen), f"rows that were there are gone: {seen[-2:]}"
    with open(answered, "a") as file:
        file.write(f"{rows}\\n")
"""
#: So many files are written, so many of them between two answers.
FILES, FILES_A_ROUND = 40, 5


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path / "archive")


def ask(folder: Folder, sql: str) -> list[tuple[Any, ...]]:
    return query(folder.path.parent / "desk.duckdb", sql)[1]


def build(folder: Folder) -> None:
    desk.build(folder.path.parent / "desk.duckdb", folder)


@pytest.fixture
def only_one_can_be_read(folder: Folder) -> Folder:
    """Archive two days of two sites, then make every file but one day's of one site something else than Parquet."""
    for site in ("site-1", "dc/2"):
        put(folder, SITE_INTERVALS, interval(0, site), interval(720, site))
    build(folder)
    kept = folder.path / Place(TOPIC, DAY, "dc/2").folder
    for file in folder.path.glob(f"{TOPIC}/day=2026-*/*/*.parquet"):
        if file.parent != kept:
            file.write_bytes(b"no Parquet file")
    return folder


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT site, energy_kwh FROM intervals WHERE day = '2026-07-23' AND site = 'dc/2'",
        "SELECT site, energy_kwh FROM archive.site_interval WHERE day = '2026-07-23' AND site = 'dc/2'",
        "SELECT site, energy_kwh FROM intervals WHERE day BETWEEN '2026-07-22' AND '2026-07-23' AND site LIKE 'dc%'",
    ],
)
def test_duckdb_opens_the_files_of_the_days_and_sites_that_are_named(only_one_can_be_read: Folder, sql: str) -> None:
    """Whatever opens another file fails, as the same question without the day does."""
    assert ask(only_one_can_be_read, sql) == [("dc/2", 1.0)]
    with pytest.raises(ConfigError, match=r"magic bytes|too small"):
        ask(only_one_can_be_read, "SELECT * FROM intervals WHERE site = 'dc/2'")


def test_polars_opens_the_files_of_the_days_and_sites_that_are_named(only_one_can_be_read: Folder) -> None:
    whole = scan(TOPIC, [only_one_can_be_read.address(f"{TOPIC}/day=*/site=*/*.parquet")])

    rows = whole.filter(pl.col("day") == DAY, pl.col("site") == "dc/2").collect()

    assert rows.select("site", "energy_kwh").rows() == [("dc/2", 1.0)]
    with pytest.raises(pl.exceptions.PolarsError):
        whole.filter(pl.col("site") == "dc/2").collect()


def test_history_opens_its_site_s_files_and_none_of_later_days(only_one_can_be_read: Folder) -> None:
    history = interval_history(only_one_can_be_read.path, "dc/2", MIDNIGHT - timedelta(seconds=1), MINUTE)

    assert history["load_kw"].to_list() == [60.0]


def test_duckdb_says_how_many_files_it_reads(folder: Folder) -> None:
    """Ten days of a file each, and the schema file: one of eleven is read."""
    for day in range(10):
        put(folder, SITE_INTERVALS, interval(day * 24 * 60))
    build(folder)

    (_, plan), *_ = ask(folder, "EXPLAIN ANALYZE SELECT * FROM intervals WHERE day = '2026-07-25'")

    assert "Scanning Files: 1/11" in plan


def test_intervals_of_several_lengths_stand_beside_each_other(folder: Folder) -> None:
    """Five minutes of 1 kWh are 12 kW; the minutes in them 60 kW each. Asked for one length, history has that one."""
    put(folder, SITE_INTERVALS, interval(0, length=5 * MINUTE), interval(0), interval(1))
    build(folder)

    assert ask(folder, "SELECT length_s, load_kw FROM intervals ORDER BY length_s, interval_start") == [
        (60, 60.0),
        (60, 60.0),
        (300, 12.0),
    ]
    assert interval_history(folder.path, "site-1", MIDNIGHT, 5 * MINUTE)["load_kw"].to_list() == [12.0]
    assert interval_history(folder.path, "site-1", MIDNIGHT, MINUTE)["load_kw"].to_list() == [60.0, 60.0]
    assert interval_history(folder.path, "site-1", MIDNIGHT, 15 * MINUTE).is_empty()


def test_files_of_an_earlier_version_are_read_beside_those_of_this_one(folder: Folder) -> None:
    """The version before knew neither `corrected` nor a pool's engine; days can still be told apart unopened."""
    place = Place(TOPIC, date(2026, 7, 22), "site-1")
    now = frame(TOPIC, [row(interval(-24 * 60), 0, 0)]).drop("corrected")
    before = generation(now.schema)
    folder.publish(f"{place.folder}/0000-{0:020d}-{0:020d}-{0:08x}-{before}.parquet", parquet(now))
    folder.publish(schema_name(TOPIC).replace(generation(SCHEMAS[TOPIC]), before), parquet(now.clear()))
    put(folder, SITE_INTERVALS, interval(0, corrected=True), first=1)
    build(folder)

    assert interval_history(folder.path, "site-1", MIDNIGHT, MINUTE)["load_kw"].to_list() == [60.0, 60.0]
    assert ask(folder, "SELECT day, corrected FROM intervals ORDER BY day") == [
        (place.day, False),
        (DAY, True),
    ]
    for file in folder.path.glob(f"{TOPIC}/day=2026-07-22/*/*.parquet"):
        file.write_bytes(b"no Parquet file")
    assert ask(folder, "SELECT corrected FROM intervals WHERE day = '2026-07-23'") == [(True,)]


def test_an_answer_archived_twice_is_one_answer_and_its_day_is_shown(folder: Folder) -> None:
    for _ in range(2):
        put(folder, ACKS, ack(1), first=4)
    put(folder, ACKS, ack(1), ack(2), first=4)
    build(folder)

    assert ask(folder, "SELECT day, command_id FROM acks ORDER BY command_id") == [(DAY, "host-1-1"), (DAY, "host-1-2")]
    assert ask(folder, "SELECT count(*) FROM archive.control_ack") == [(3,)]


def read_while(folder: Folder, way: str, work: Callable[[int, Callable[[], datetime]], None]) -> None:
    """
    Let a process ask again and again how many intervals there are, and do *work* `FILES` times meanwhile.

    It must find no fewer than before and none twice. The clock that *work* is given shows how many questions are
    answered: a question that has begun is answered before the clock has gone on by two.
    """
    answered, enough = folder.path.parent / "answered", folder.path.parent / "enough"
    answered.touch()

    def answers() -> list[int]:
        return [int(line) for line in answered.read_text().splitlines()]

    def machine() -> datetime:
        return NOON + timedelta(seconds=len(answers()))

    desk_file = str(folder.path.parent / "desk.duckdb")
    words = [sys.executable, "-c", READER, way, desk_file, str(folder.path), str(answered), str(enough)]
    number = 0
    with subprocess.Popen(words) as reader:
        while reader.poll() is None and number < FILES:
            if number < FILES_A_ROUND * (1 + len(answers())):
                work(number, machine)
                number += 1
            else:
                time.sleep(0.01)
        enough.touch()
    assert reader.returncode == 0
    assert 0 <= answers()[0] < answers()[-1] <= FILES


def test_duckdb_sees_every_row_once_while_files_are_written_and_merged(folder: Folder) -> None:
    """Three files become one, and both are there for long."""
    settings = Upkeep(merge_files=3, grace_s=1000)
    build(folder)

    def work(number: int, machine: Callable[[], datetime]) -> None:
        put(folder, SITE_INTERVALS, interval(number), first=number)
        tend(folder, settings, {}, Instants(NOON, machine))

    read_while(folder, "desk", work)

    known, _ = archive.told(folder, Place(TOPIC, DAY, "site-1"))
    assert len(known.replaced) > 3


def test_history_sees_every_row_once_while_files_are_merged_and_removed(folder: Folder) -> None:
    """What was replaced goes once the questions that began before are answered, and no later."""
    settings = Upkeep(merge_files=3, grace_s=2)

    def work(number: int, machine: Callable[[], datetime]) -> None:
        put(folder, SITE_INTERVALS, interval(number), first=number)
        tend(folder, settings, {}, Instants(NOON, machine))

    put(folder, SITE_INTERVALS, interval(0))
    read_while(folder, "history", work)

    known, _ = archive.told(folder, Place(TOPIC, DAY, "site-1"))
    held = sum(fact.rows for fact in known.live.values())
    assert any(fact.replaces for fact in known.files.values())
    assert len(known.files) < held, "some that were replaced have gone"


def test_the_desk_asks_again_when_a_file_went_between_being_listed_and_being_opened(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first two times DuckDB says so; then the answer comes. What stays away is said in one line."""
    build(folder)
    times: list[int] = []
    real = desk.connect

    def unlucky(*words: Any, **options: Any) -> Any:
        times.append(1)
        if len(times) < 3:
            raise duckdb.IOException('Cannot open file "x.parquet": No such file or directory')
        return real(*words, **options)

    monkeypatch.setattr(desk, "connect", unlucky)
    assert ask(folder, "SELECT count(*) FROM intervals") == [(0,)]
    assert len(times) == 3
    monkeypatch.setattr(desk, "connect", lambda *_, **__: (_ for _ in ()).throw(duckdb.IOException("No such file")))
    with pytest.raises(ConfigError, match="No such file"):
        ask(folder, "SELECT 1")
