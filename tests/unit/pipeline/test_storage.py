"""A folder as a place: files appear whole, lines too, whatever was left by the dead."""

import os
import threading
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.storage import Folder


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def test_what_is_published_is_listed_read_and_replaced(folder: Folder) -> None:
    folder.publish("t/day=1/a", b"one")
    folder.publish("t/day=1/a", b"two")
    folder.publish("t/day=2/b", b"three")

    assert (folder.read("t/day=1/a"), folder.names("t/day=1"), folder.folders("t")) == (
        b"two",
        ["a"],
        ["day=1", "day=2"],
    )
    assert (folder.names("t"), folder.names("nowhere"), folder.folders("nowhere")) == ([], [], [])
    with pytest.raises(FileNotFoundError):
        folder.read("t/day=3/c")


def test_a_draft_is_never_listed_and_swept_once_it_is_old(folder: Folder) -> None:
    folder.publish("t/a", b"")
    draft = folder.path / "t" / ".b.1.tmp"
    draft.touch()
    os.utime(draft, (1000, 1000))

    assert folder.names("t") == ["a"]
    folder.sweep("t", 1059)
    assert draft.exists()
    folder.sweep("t", 1061)
    assert not draft.exists()


def test_lines_of_many_writers_are_all_there_and_whole(folder: Folder) -> None:
    """Four writers, a hundred lines each, long enough to be torn if they could be."""

    def write(writer: int) -> None:
        for number in range(100):
            folder.append("t/lines", f"{writer} {number} {'x' * 5000}\n".encode())

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    lines = folder.read("t/lines").decode().splitlines()
    assert sorted(line.split()[:2] for line in lines) == sorted([str(w), str(n)] for w in range(4) for n in range(100))
    assert {len(line.split()[2]) for line in lines} == {5000}


def test_a_line_after_a_torn_one_is_whole(folder: Folder) -> None:
    folder.publish("t/lines", b"one\ntor")
    folder.append("t/lines", b"two\n")

    assert folder.read("t/lines") == b"one\ntor\ntwo\n"


def test_a_folder_goes_with_all_that_is_in_it_and_may_be_gone_already(folder: Folder) -> None:
    for name in ("t/day=1/site=a/x", "t/day=1/site=b/.y.1.tmp", "t/day=2/z"):
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).touch()
    for _ in range(2):
        folder.remove_folder("t/day=1")
        folder.remove("t/day=2/z")

    assert [str(path.relative_to(folder.path)) for path in folder.path.rglob("*")] == ["t", "t/day=2"]


def test_what_cannot_be_written_is_one_line_that_says_what_to_do(folder: Folder) -> None:
    (folder.path / "t").write_text("in the way")

    for attempt in (folder.publish, folder.append):
        with pytest.raises(EnvironmentProblem, match="make room") as failure:
            attempt("t/a", b"")
        assert "\n" not in str(failure.value)


def test_a_location_is_a_folder_or_an_object_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    assert isinstance(storage.at(tmp_path), Folder)
    assert storage.at(tmp_path).address("t/*/a") == f"{tmp_path}/t/*/a"
    monkeypatch.setitem(sys.modules, "pipeline.storage_s3", None)
    with pytest.raises(ConfigError, match="extra `s3`"):
        storage.at("s3://bucket/prefix")
