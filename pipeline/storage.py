"""
Where the archive's files are: a folder, or a bucket of an object store. Files appear whole, and on disk, or not at all.

Names are relative to the place and use slashes. What a process that died left half-written is never listed.
"""

import fcntl
import os
from pathlib import Path
from typing import Protocol

from pipeline import files
from pipeline.errors import ConfigError, EnvironmentProblem

SCHEME = "s3://"
#: A draft (see `pipeline.files`) this old, machine time, was left by a process that died.
ABANDONED_S = 60.0


class Storage(Protocol):
    """What the archive asks of a place. Every method that writes raises `EnvironmentProblem` where it cannot."""

    def names(self, folder: str) -> list[str]:
        """Return the files directly in *folder*, in order; none where there is no such folder."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Return the folders directly in *folder*, by their own names, in order."""
        ...

    def read(self, name: str) -> bytes:
        """Return what is in a file; raise `FileNotFoundError` where there is none."""
        ...

    def publish(self, name: str, content: bytes) -> None:
        """Make *content* what the file holds: a reader sees the old content or the new, also after a loss of power."""
        ...

    def append(self, name: str, line: bytes) -> None:
        """Add *line*, which ends with its newline, whole or not at all; others may append to the same file."""
        ...

    def remove(self, name: str) -> None:
        """Remove a file; one that is gone already is fine."""
        ...

    def remove_folder(self, folder: str) -> None:
        """Remove *folder* with all that is in it."""
        ...

    def sweep(self, folder: str, machine_time: float) -> None:
        """Remove from *folder* what processes that died long before *machine_time* (Unix seconds) left half-written."""
        ...

    def address(self, pattern: str) -> str:
        """Return what Polars and DuckDB open for *pattern*, a name that may hold asterisks."""
        ...


def at(location: str | Path) -> Storage:
    """Return the place at *location*: a path, or ``s3://bucket/prefix`` (`pipeline.storage_s3`)."""
    if not str(location).startswith(SCHEME):
        return Folder(Path(location))
    try:
        from pipeline.storage_s3 import Bucket
    except ImportError as error:
        raise ConfigError(f"{location} needs the extra `s3`: pip install 'firmwatt[pipeline,s3]'") from error
    return Bucket(str(location))


class Folder:
    """A folder of a local, POSIX file system."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self, folder: str) -> list[str]:
        """Return the files directly in *folder*."""
        return sorted(entry.name for entry in self._entries(folder) if entry.is_file() and not _is_draft(entry.name))

    def folders(self, folder: str) -> list[str]:
        """Return the folders directly in *folder*."""
        return sorted(entry.name for entry in self._entries(folder) if entry.is_dir())

    def _entries(self, folder: str) -> list["os.DirEntry[str]"]:
        try:
            with os.scandir(self.path / folder) as entries:
                return list(entries)
        except (FileNotFoundError, NotADirectoryError):
            return []

    def read(self, name: str) -> bytes:
        """Return what is in a file."""
        return (self.path / name).read_bytes()

    def publish(self, name: str, content: bytes) -> None:
        """Write beside the file, fsync, rename, fsync the folder."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace_durably(path, content)
        except OSError as error:
            raise self._cannot_write(path, error) from error

    def append(self, name: str, line: bytes) -> None:
        """Add *line* under a lock; one that a process left torn is ended first, one torn by the disk taken back."""
        path = self.path / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                before = os.fstat(file.fileno()).st_size
                _append(file.fileno(), before, line)
        except OSError as error:
            raise self._cannot_write(path, error) from error

    def remove(self, name: str) -> None:
        """Remove a file."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise self._cannot_write(self.path / name, error) from error

    def remove_folder(self, folder: str) -> None:
        """Remove *folder*, the deepest first."""
        try:
            for below in self.folders(folder):
                self.remove_folder(f"{folder}/{below}")
            for entry in self._entries(folder):
                Path(entry.path).unlink(missing_ok=True)
            (self.path / folder).rmdir()
        except FileNotFoundError:
            return  # another process removes it, too
        except OSError as error:
            raise self._cannot_write(self.path / folder, error) from error

    def sweep(self, folder: str, machine_time: float) -> None:
        """Remove old drafts."""
        for entry in self._entries(folder):
            try:
                if _is_draft(entry.name) and machine_time - entry.stat().st_mtime > ABANDONED_S:
                    Path(entry.path).unlink()
            except FileNotFoundError:  # another worker sweeps too
                continue

    def address(self, pattern: str) -> str:
        """Return an absolute path."""
        return str(self.path.resolve() / pattern)

    @staticmethod
    def _cannot_write(path: Path, error: OSError) -> EnvironmentProblem:
        return EnvironmentProblem(
            f"cannot write {path} ({error.strerror}); make room or fix the folder, then start again: nothing is lost"
        )


def _is_draft(name: str) -> bool:
    return name.startswith(".") and name.endswith(".tmp")


def _append(descriptor: int, before: int, line: bytes) -> None:
    ends = before == 0 or os.pread(descriptor, 1, before - 1) == b"\n"
    content = line if ends else b"\n" + line
    try:
        while content:
            content = content[os.write(descriptor, content) :]
    except OSError:
        os.ftruncate(descriptor, before)
        raise
