"""An append-only file of the book's entries, one JSON document a line, on disk before anybody hears of it."""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from bidding.sandbox.entries import AnyEntry, Entry
from pipeline.errors import ConfigError, EnvironmentProblem

_ENTRY: TypeAdapter[AnyEntry] = TypeAdapter(Entry)


class Journal:
    """One process's file. A last line without its end, left by a crash, was never answered: it is cut off."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b", buffering=0)
        except OSError as error:
            raise EnvironmentProblem(f"cannot write {path}: {error.strerror}; choose another --journal") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._file.close()
            raise EnvironmentProblem(f"another venue is writing {path}; stop it or name another file") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self) -> Iterator[AnyEntry]:
        """Yield the entries so far; raise `ConfigError` on a line that is none."""
        whole = 0
        for number, line in enumerate(self._path.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                break
            try:
                yield _ENTRY.validate_json(line)
            except ValidationError as error:
                raise ConfigError(
                    f"{self._path}, line {number}, is no journal entry; move the file away: {error.errors()[0]['msg']}"
                ) from error
            whole += len(line)
        self._file.truncate(whole)

    def append(self, entry: AnyEntry) -> None:
        """Put *entry* on disk; raise `EnvironmentProblem`, the file as before, when that fails."""
        before = self._file.seek(0, os.SEEK_END)
        line = entry.model_dump_json().encode() + b"\n"
        try:
            while line:
                line = line[self._file.write(line) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            self._file.truncate(before)
            raise EnvironmentProblem(f"cannot write {self._path}: {error.strerror}") from error
