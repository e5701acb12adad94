"""
Files replaced whole: a reader sees the old content or the new, never a part of either.

The draft lies beside the file, as `.NAME.PID.tmp`, and takes its name when it is complete. Whatever goes wrong before
that leaves the file as it was and no draft.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def draft(path: Path) -> Iterator[Path]:
    """Yield where to write what *path* is to hold; on an error it stays as it was. For those who write by name."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        beside.unlink(missing_ok=True)
        yield beside
        beside.replace(path)
    finally:
        with suppress(OSError):
            beside.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Make *content* what *path* holds. Its folder must exist."""
    with draft(path) as beside:
        beside.write_bytes(content)


def replace_privately(path: Path, content: bytes) -> None:
    """Do the same with a file that nobody but its owner may read, at any moment."""
    with draft(path) as beside, open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 - a descriptor
        file.write(content)


def replace_durably(path: Path, content: bytes) -> None:
    """Do the same and return once both the file and its name are on disk."""
    with draft(path) as beside, beside.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
