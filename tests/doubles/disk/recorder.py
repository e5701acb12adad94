"""
What a process asked of the disk, and what a loss of power may have left of it.

    library = recorder.compile(folder)                                   # None without a C compiler
    subprocess.run(…, env=os.environ | recorder.environment(library, watched, diary, trouble))
    for crash in crashes(read(diary), cuts, random): crash.write_to(empty_folder)

The model is that of POSIX, harsher than any one file system: what was written since the last fsync of its file may be
there, missing, or there up to some sector, each write by itself and in any combination; a name given or taken since the
last fsync of the folder may be there or not. A process killed with -9 loses nothing of it, so this is what kill -9
cannot show.
"""

import shutil
import struct
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from random import Random
from typing import NamedTuple

SOURCE = Path(__file__).with_name("disk.c")
SECTOR = 512
"""A disk writes no less at once."""
HEAD = struct.Struct("<BHHqI")


class Do(IntEnum):
    """As in disk.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    UNLINK = 5
    RENAME = 6


class Operation(NamedTuple):
    """One entry of the diary."""

    do: Do
    name: str
    to: str
    offset: int
    data: bytes


def compile(folder: Path) -> Path | None:  # noqa: A001 - read as recorder.compile
    """Compile disk.c into *folder* and return the library, None where there is no C compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        return None
    library = folder / "disk.so"
    flags = ["-O2", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]
    subprocess.run([compiler, *flags, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return library


def environment(library: Path, watched: Path, diary: Path, trouble: Path) -> dict[str, str]:
    """Return what makes a process keep a *diary* of the folder *watched*, and fail while *trouble* holds an errno."""
    return {
        "LD_PRELOAD": str(library),
        "DISK_FOLDER": str(watched.resolve()),
        "DISK_DIARY": str(diary),
        "DISK_TROUBLE": str(trouble),
    }


def read(diary: Path) -> list[Operation]:
    """Return all that was done, in its order."""
    content, at, found = diary.read_bytes(), 0, []
    while at < len(content):
        do, name_length, to_length, offset, length = HEAD.unpack_from(content, at)
        at += HEAD.size
        ends = at + name_length, at + name_length + to_length
        data = content[ends[1] : ends[1] + length] if do == Do.WRITE else b""
        found.append(
            Operation(Do(do), content[at : ends[0]].decode(), content[ends[0] : ends[1]].decode(), offset, data)
        )
        at = ends[1] + len(data)
    return found


@dataclass
class File:
    """One file, whatever its name: what is safe of it, and what is not yet."""

    safe: bytearray = field(default_factory=bytearray)
    open: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        """Make all of it safe."""
        for operation in self.open:
            apply(self.safe, operation)
        self.open.clear()

    def after_crash(self, random: Random) -> tuple[bytes, int]:
        """Return what may be left of it, and how many writes were torn."""
        content, torn = bytearray(self.safe), 0
        for operation in self.open:
            fate = random.random()
            if fate < 1 / 3:
                continue
            if fate < 2 / 3 and operation.do is Do.WRITE:
                kept = prefix(operation, random)
                torn += len(kept.data) not in {0, len(operation.data)}
                apply(content, kept)
            else:
                apply(content, operation)
        return bytes(content), torn


def prefix(write: Operation, random: Random) -> Operation:
    """Return the part of *write* before one of the sector boundaries in it."""
    first = -(-write.offset // SECTOR) * SECTOR
    boundaries = range(first, write.offset + len(write.data) + 1, SECTOR)
    kept = random.choice(boundaries) - write.offset if boundaries else 0
    return write._replace(data=write.data[:kept])


def apply(content: bytearray, operation: Operation) -> None:
    """Do *operation* to *content*; a hole reads as zeros."""
    if operation.do is Do.TRUNCATE:
        del content[operation.offset :]
        content.extend(bytes(operation.offset - len(content)))
    elif operation.data:
        content.extend(bytes(max(0, operation.offset - len(content))))
        content[operation.offset : operation.offset + len(operation.data)] = operation.data


@dataclass
class Disk:
    """A folder after some operations."""

    names: dict[str, File] = field(default_factory=dict)
    safe_names: dict[str, File] = field(default_factory=dict)
    open_names: list[tuple[Operation, File]] = field(default_factory=list)

    def do(self, operation: Operation, *, honest: bool) -> None:
        """Go on by one *operation*; a disk that is not *honest* says that it has synced and has not."""
        do, name = operation.do, operation.name
        if do is Do.SYNC:
            if honest:
                self._sync(name)
        elif do in {Do.WRITE, Do.TRUNCATE}:
            if (file := self.names.get(name)) is not None:  # else it was unlinked while open
                file.open.append(operation)
        else:
            file = File() if do is Do.CREATE else self.names[name]
            rename(self.names, operation, file)
            self.open_names.append((operation, file))

    def _sync(self, name: str) -> None:
        if name and name in self.names:
            self.names[name].sync()
        elif not name:
            self.safe_names = dict(self.names)
            self.open_names.clear()

    def after_crash(self, random: Random) -> tuple[dict[str, bytes], int]:
        """Return what may be left, by name, and how many writes were torn."""
        names = dict(self.safe_names)
        for operation, file in self.open_names:
            if random.random() < 1 / 2 and (operation.do is Do.CREATE or operation.name in names):
                rename(names, operation, file)
        left, torn = {}, 0
        for name, file in names.items():
            left[name], torn_here = file.after_crash(random)
            torn += torn_here
        return left, torn


def rename(names: dict[str, File], operation: Operation, file: File) -> None:
    """Give *file* the name that *operation* gives it, or take it away."""
    if operation.do is not Do.CREATE:
        names.pop(operation.name, None)
    if operation.do is not Do.UNLINK:
        names[operation.to or operation.name] = file


class Crash(NamedTuple):
    """A state that a loss of power may have left."""

    at: int
    """Operations before it."""
    files: dict[str, bytes]
    torn: int
    """Writes of which a part is there."""


def crashes(diary: list[Operation], cuts: Iterable[int], random: Random, *, honest: bool = True) -> Iterator[Crash]:
    """Yield a state for every one of *cuts*, numbers of operations done before the power went."""
    disk, done = Disk(), 0
    for cut in sorted(cuts):
        for operation in diary[done:cut]:
            disk.do(operation, honest=honest)
        done = cut
        files, torn = disk.after_crash(random)
        yield Crash(cut, files, torn)
