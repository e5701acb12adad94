"""
Records that are chained by hash, so that one taken out, put in or changed is noticed. Pure.

    hash = sha256(hash of the record before + epoch + at + kind + payload)

A record of a journal that was still JSON lines has no epoch, and its hash none either: epoch 0 leaves it out.
"""

import hashlib
from collections.abc import Iterable
from datetime import datetime

import msgspec

from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Instant


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the journal."""

    at: Instant
    kind: str
    payload: msgspec.Raw
    hash: str
    epoch: int = 0
    """Of the process that wrote it."""
    number: int = 0
    """From 1 on, without a gap."""

    def expected_hash(self, previous: str) -> str:
        """Return the hash that chains this record to the one before."""
        epoch = f"{self.epoch} " if self.epoch else ""
        head = f"{previous} {epoch}{self.at.isoformat()} {self.kind} "
        return hashlib.sha256(head.encode() + bytes(self.payload)).hexdigest()


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """What a person did: approved, halted, resumed."""

    number: int
    at: datetime
    who: str
    kind: str
    payload: msgspec.Raw
    hash: str

    def expected_hash(self, previous: str) -> str:
        """Return the hash that chains this action to the one before."""
        head = f"{previous} {self.at.isoformat()} {self.who} {self.kind} "
        return hashlib.sha256(head.encode() + bytes(self.payload)).hexdigest()


def chained(previous: Record | None, at: datetime, kind: str, payload: bytes, epoch: int) -> Record:
    """Return the record that follows *previous*, None at the start."""
    number = previous.number + 1 if previous else 1
    record = Record(at=at, kind=kind, payload=msgspec.Raw(payload), hash="", epoch=epoch, number=number)
    return msgspec.structs.replace(record, hash=record.expected_hash(previous.hash if previous else ""))


def check(entries: Iterable[Record | Action], name: str, previous: str = "", number: int = 0) -> None:
    """Raise `ConfigError` at the first of *entries* that does not follow the one before; *number* is the last known."""
    for entry in entries:
        number += 1
        if entry.number != number or entry.hash != entry.expected_hash(previous):
            raise ConfigError(f"{name}, record {number} does not follow the one before; restore it from a copy")
        previous = entry.hash


def parse_lines(content: bytes, name: str) -> tuple[list[Record], int]:
    """
    Return the records of a journal in JSON lines, and how many bytes of *content* are whole lines.

    A process killed while writing left a line without its newline, which was never acted on. Raise `ConfigError` on
    any other line that is no record or does not chain.
    """
    whole = content.rfind(b"\n") + 1
    decoder = msgspec.json.Decoder(Record)
    records: list[Record] = []
    previous = ""
    for number, line in enumerate(content[:whole].splitlines(), start=1):
        try:
            record = msgspec.structs.replace(decoder.decode(line), number=number, epoch=0)
        except ValueError as error:
            raise ConfigError(f"journal {name}, line {number} is damaged: {error}; restore it from a copy") from error
        if record.hash != record.expected_hash(previous):
            raise ConfigError(f"journal {name}, line {number} does not follow the line before; restore it from a copy")
        previous = record.hash
        records.append(record)
    return records, whole
