"""Files replaced whole: the new content, or the old one and nothing beside it."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline import files

WAYS = pytest.mark.parametrize("write", [files.replace, files.replace_durably], ids=lambda write: write.__name__)

LIMIT = """
import resource, sys
from pathlib import Path
from pipeline import files
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    getattr(files, sys.argv[1])(Path(sys.argv[2]), b"x" * 1001)
except OSError as error:
    print(error.strerror)
"""


@WAYS
def test_a_file_is_replaced_and_nothing_stays_beside_it(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    target = tmp_path / "file"
    for content in (b"old", b"new"):
        write(target, content)

    assert target.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [target]


@WAYS
def test_a_full_disk_leaves_the_old_content_and_no_draft(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    """The kernel refuses files above 1 000 bytes, as a full disk would refuse more."""
    target = tmp_path / "file"
    write(target, b"old")

    words = [sys.executable, "-c", LIMIT, write.__name__, str(target)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)

    assert done.stdout == "File too large\n"
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


@WAYS
def test_a_missing_folder_is_an_error_and_is_not_made(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    with pytest.raises(FileNotFoundError):
        write(tmp_path / "none" / "file", b"new")

    assert list(tmp_path.iterdir()) == []


@WAYS
def test_a_name_that_cannot_be_taken_leaves_no_draft(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    """A folder is in the way of the rename."""
    (tmp_path / "file").mkdir()

    with pytest.raises(IsADirectoryError):
        write(tmp_path / "file", b"new")

    assert [found.name for found in tmp_path.iterdir()] == ["file"]


def test_a_draft_is_dropped_when_its_writer_fails(tmp_path: Path) -> None:
    """Whatever is raised, and whatever an earlier process of the same number left there."""

    def fail(target: Path) -> None:
        with files.draft(target) as beside:
            assert not beside.exists()
            beside.write_bytes(b"half")
            raise KeyboardInterrupt

    target = tmp_path / "file"
    with files.draft(target) as left_over:
        left_over.write_bytes(b"old")
    left_over.write_bytes(b"of the dead")
    with pytest.raises(KeyboardInterrupt):
        fail(target)

    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]
