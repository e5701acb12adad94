"""
The folder of a spool: whose it is, whether its stream of ticks is whole, and what becomes of a file that went bad.

    lock        held by the one collector that uses the folder
    unbroken    there while every tick that was numbered is on disk; see `collectors.spool`
    spool.db    the ticks, with spool.db-wal beside it
    spool.bad   a file that could not be read, the newest of them, for whoever wants to look
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from pipeline.errors import ConfigError

DATABASE, BAD = "spool.db", "spool.bad"
SUFFIXES = ("", "-wal", "-journal")


class Folder:
    """One folder, once it is claimed. What the disk refuses is an `OSError`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def database(self) -> Path:
        """Where the ticks are."""
        return self.path / DATABASE

    @property
    def size_bytes(self) -> int:
        """What the ticks take on disk, log included."""
        return sum(_size(self.path / f"{DATABASE}{suffix}") for suffix in SUFFIXES)

    def claim(self) -> None:
        """Make the folder if need be and take possession of it; `ConfigError` if another process has."""
        if self._lock is not None:
            return
        if not self.path.is_dir():
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync(self.path.parent)
        lock = os.open(self.path / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(lock, 20).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise ConfigError(
                f"another collector (process {holder}) uses the spool in {self.path}: stop it, "
                "or give this one a `spool` folder of its own"
            ) from error
        self._lock = lock
        with suppress(OSError):  # who holds it is a courtesy
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def unbroken(self) -> bool:
        """Whether every tick that was numbered is on disk."""
        return self._mark.exists()

    def mark_unbroken(self) -> None:
        """Say that it is. Need not outlive a loss of power: then the kernel's boot id is another one."""
        with suppress(OSError):
            self._mark.touch(mode=0o600)

    def mark_broken(self) -> None:
        """Say that it is not, if the disk lets us."""
        with suppress(OSError):
            self._mark.unlink(missing_ok=True)

    def set_aside(self) -> Path:
        """Rename the database and return its new name; an earlier one set aside makes way."""
        for suffix in SUFFIXES:
            (self.path / f"{BAD}{suffix}").unlink(missing_ok=True)
        for suffix in reversed(SUFFIXES):  # the log first: it must never be taken for that of a new file
            with suppress(FileNotFoundError):
                (self.path / f"{DATABASE}{suffix}").rename(self.path / f"{BAD}{suffix}")
        _sync(self.path)
        return self.path / BAD

    @property
    def _mark(self) -> Path:
        return self.path / "unbroken"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _sync(folder: Path) -> None:
    """Return once the names in *folder* are on disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
