"""The archive in an object store: what is true of a folder is true of a bucket, over real sockets."""

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from doubles.archived import MINUTE, NOON, interval, put
from doubles.object_store import BUCKET, object_store

from pipeline import archive, desk, storage
from pipeline.archive_places import Place
from pipeline.archive_upkeep import Instants, tend
from pipeline.desk_cli import query
from pipeline.errors import EnvironmentProblem
from pipeline.pipeline_settings import Upkeep
from pipeline.storage import Storage
from pipeline.store import interval_history
from pipeline.topics import SITE_INTERVALS

TOPIC = SITE_INTERVALS.name
PLACE = Place(TOPIC, date(2026, 7, 23), "dc/2")
TOMORROW = datetime(2026, 7, 24, 1, tzinfo=UTC)

WRITER = """
import sys
from pipeline import storage
place = storage.at(sys.argv[1])
for number in range(int(sys.argv[3])):
    place.append("t/lines", f"{sys.argv[2]} {number}\\n".encode())
"""


def at(machine_s: float) -> Instants:
    """Return the next day, *machine_s* after noon by the machine's clock."""
    return Instants(TOMORROW, lambda: NOON + timedelta(seconds=machine_s))


@pytest.fixture(scope="module")
def store() -> Iterator[dict[str, str]]:
    with object_store() as variables:
        yield variables


@pytest.fixture
def location(store: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a prefix of the test's own."""
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture
def bucket(location: str) -> Storage:
    return storage.at(location)


def test_what_is_published_is_listed_read_and_removed(bucket: Storage) -> None:
    bucket.publish("t/day=1/site=a%2Fb/x", b"one")
    bucket.publish("t/day=1/site=a%2Fb/x", b"two")
    bucket.publish("t/day=2/site=_/y", b"three")

    assert (bucket.read("t/day=1/site=a%2Fb/x"), bucket.names("t/day=1/site=a%2Fb")) == (b"two", ["x"])
    assert (bucket.folders("t"), bucket.folders("t/day=1"), bucket.folders("none")) == (
        ["day=1", "day=2"],
        ["site=a%2Fb"],
        [],
    )
    with pytest.raises(FileNotFoundError):
        bucket.read("t/none")
    for _ in range(2):
        bucket.remove("t/day=2/site=_/y")
        bucket.remove_folder("t/day=1")
    assert bucket.folders("t") == []


def test_lines_of_two_processes_are_all_there(bucket: Storage, location: str) -> None:
    """Each replaces the object on condition that it is what it read; who comes second reads again."""
    words = [sys.executable, "-c", WRITER, location]
    writers = [subprocess.Popen([*words, str(writer), "15"], env=os.environ) for writer in range(2)]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]

    lines = bucket.read("t/lines").decode().splitlines()
    assert sorted(lines) == sorted(f"{writer} {number}" for writer in range(2) for number in range(15))


def test_an_archive_is_filled_merged_sealed_and_let_go(bucket: Storage, location: str) -> None:
    """Four files of an interval each become one sealed one, and a reader sees all of them at every step."""
    settings = Upkeep(merge_files=3, grace_s=60)
    for number in range(4):
        put(bucket, SITE_INTERVALS, interval(number, site="dc/2"), first=number)
        assert interval_history(location, "dc/2", TOMORROW, MINUTE).height == number + 1
    for machine_s in (100, 200, 300):
        tend(bucket, settings, {}, at(machine_s))
        assert interval_history(location, "dc/2", TOMORROW, MINUTE).height == 4

    known = archive.look(bucket, PLACE, lambda: NOON)
    assert (len(known.files), known.is_sealed()) == (1, True)
    tend(bucket, settings, {TOPIC: 2}, Instants(TOMORROW, lambda: NOON))
    assert archive.days(bucket, TOPIC) == [PLACE.day], "the newest day stays whatever the clock says"
    put(bucket, SITE_INTERVALS, interval(3 * 24 * 60, site="dc/2"), first=9)
    tend(bucket, settings, {TOPIC: 2}, Instants(TOMORROW + timedelta(days=3), lambda: NOON))
    assert archive.days(bucket, TOPIC) == [date(2026, 7, 26)]
    assert [fact.day for fact in archive.manifest_of_topic(bucket, TOPIC).expired] == [PLACE.day]


def test_the_desk_reads_the_bucket_and_opens_no_other_day_s_files(bucket: Storage, tmp_path: Path) -> None:
    """Another day's file is made to be no Parquet file: a query that opened it would fail."""
    put(bucket, SITE_INTERVALS, interval(0, site="dc/2"), interval(720, site="dc/2"))
    desk.build(tmp_path / "desk.duckdb", bucket)
    other = Place(TOPIC, date(2026, 7, 24), "dc/2").folder
    (name,) = [name for name in bucket.names(other) if name.endswith(".parquet")]
    bucket.publish(f"{other}/{name}", b"no Parquet file")

    day = "day = '2026-07-23'"
    assert query(tmp_path / "desk.duckdb", f"SELECT site, energy_kwh FROM intervals WHERE {day}")[1] == [("dc/2", 1.0)]


def test_a_store_that_does_not_answer_is_one_line(location: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")

    with pytest.raises(EnvironmentProblem, match="AWS_ variables") as failure:
        storage.at(location).publish("t/a", b"")

    assert "\n" not in str(failure.value)
    assert failure.value.exit_code == 4
