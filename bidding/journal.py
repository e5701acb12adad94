"""
The journal: every intent, document and answer, on disk before it is acted on. Append-only JSON lines, chained.

    {"at": …, "kind": "intent", "payload": {…}, "hash": sha256(hash of the line before + kind + at + payload)}

A line is written with one write and one fsync. A process killed while writing leaves a line without its newline: that
line was never acted on, and is cut off when the journal is opened next. Anything else that does not chain is refused.
One process at a time holds the journal; the lock dies with the process.
"""

import fcntl
import hashlib
import logging
import os
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from pydantic import BaseModel

from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.messages.telemetry import Instant

log = logging.getLogger("bidding.journal")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One line."""

    at: Instant
    kind: str
    payload: msgspec.Raw
    hash: str

    def expected_hash(self, previous: str) -> str:
        """Return the hash that chains this record to the one before."""
        head = f"{previous} {self.at.isoformat()} {self.kind} "
        return hashlib.sha256(head.encode() + bytes(self.payload)).hexdigest()


def chained(previous: str, at: datetime, kind: str, payload: bytes) -> Record:
    """Return the record that follows *previous* (a hash, empty at the start)."""
    record = Record(at=at, kind=kind, payload=msgspec.Raw(payload), hash="")
    return msgspec.structs.replace(record, hash=record.expected_hash(previous))


def parse(content: bytes, name: str) -> tuple[list[Record], int]:
    """
    Return the records in *content* and how many bytes of it are whole lines.

    Raise `ConfigError` on a line that is no record or does not chain. Pure.
    """
    whole = content.rfind(b"\n") + 1
    decoder = msgspec.json.Decoder(Record)
    records: list[Record] = []
    previous = ""
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            record = decoder.decode(line)
        except ValueError as error:
            raise ConfigError(f"journal {name}, line {number} is damaged: {error}; restore it from a copy") from error
        if record.hash != record.expected_hash(previous):
            raise ConfigError(f"journal {name}, line {number} does not follow the line before; restore it from a copy")
        previous = record.hash
        records.append(record)
    return records, whole


def read(path: Path) -> list[Record]:
    """Return the records of the journal at *path* without taking or changing it; a torn last line is left out."""
    try:
        return parse(path.read_bytes(), str(path))[0]
    except OSError as error:
        raise ConfigError(f"cannot read the journal {path}: {error.strerror}") from error


class Journal:
    """The open journal: `records` as found, then `append`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        """What was there when it was opened."""
        self._last = ""
        self._file = -1

    def __enter__(self) -> Self:
        """Lock, check and read the journal; cut off a torn last line."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise EnvironmentProblem(f"cannot open the journal {self.path}: {error.strerror}") from error
        try:
            self._take()
        except BaseException:  # an interrupt too: the lock must not outlive the attempt
            os.close(self._file)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def _take(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"another bidding process holds {self.path}; one process sells one resource") from error
        content = self.path.read_bytes()
        self.records, whole = parse(content, str(self.path))
        if whole < len(content):
            log.warning("journal %s: cut off a torn last line of %d bytes", self.path, len(content) - whole)
            os.ftruncate(self._file, whole)
            os.fsync(self._file)
        self._last = self.records[-1].hash if self.records else ""
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the file's name, too, must survive a power cut
        finally:
            os.close(folder)

    def append(self, at: datetime, kind: str, payload: BaseModel | msgspec.Struct) -> Record:
        """Return the new record once it is on disk; raise `EnvironmentProblem` when it cannot be, leaving no part."""
        body = payload.model_dump_json().encode() if isinstance(payload, BaseModel) else msgspec.json.encode(payload)
        record = chained(self._last, at, kind, body)
        line = msgspec.json.encode(record) + b"\n"
        end = os.fstat(self._file).st_size
        try:
            written = os.write(self._file, line)
            os.fsync(self._file)
        except OSError as error:
            os.ftruncate(self._file, end)
            raise EnvironmentProblem(f"cannot write the journal {self.path}: {error.strerror}") from error
        if written < len(line):
            os.ftruncate(self._file, end)
            raise EnvironmentProblem(f"cannot write the journal {self.path}: disk full; make room and start again")
        self._last = record.hash
        return record
