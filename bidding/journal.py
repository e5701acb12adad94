"""
The journal: every intent, document and answer, on disk before it is acted on. SQLite, append-only, chained.

    records   number, epoch, at, kind, payload, hash     written by the primary only
    actions   number, at, who, kind, payload, hash       what people did; any process may append
    lease     epoch, holder, beat                        who the primary is

Every append is one transaction, which returns once it is on disk (WAL, synchronous=FULL) and which first checks that no
newer process holds the lease: a stale primary cannot write, and so never sends, because `sent` is written before a byte
goes out. What remains: a process that is stopped between that append and the request, and goes on later. A venue with
`Feature.FENCE` refuses its request by its epoch; at any other venue `reconcile` finds what it did and sends the newest
again. The request of a process that died may still be under way, so the next one waits before it believes "absent".

Standby and primary share one file on one machine: WAL keeps its index in shared memory (sqlite.org/wal.html). Never
open the file by other means than SQLite while it is in use: closing it would drop SQLite's locks
(sqlite.org/howtocorrupt.html).
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Self

import msgspec
from pydantic import BaseModel

from bidding import fence, journal_file
from bidding.chain import Action, Record, chained, check
from bidding.fence import Lease
from bidding.journal_file import BUSY_S, clear, connect
from pipeline.errors import ConfigError, FencedError

INSERT = "INSERT INTO records (number, epoch, at, kind, payload, hash) VALUES (?, ?, ?, ?, ?, ?)"
RECORDS = "SELECT number, epoch, at, kind, payload, hash FROM records ORDER BY number"
ACTIONS = "SELECT number, at, who, kind, payload, hash FROM actions WHERE number >= ? ORDER BY number"
LEASE = "SELECT epoch, holder, beat FROM lease"


SILENT_BUSY_S = 0.5
"""How long the lock of a primary that has stood still is waited for: others hold it for one fsync."""


class HeldError(ConfigError):
    """Another process that is not known to be dead is the primary."""


def read(path: Path) -> list[Record]:
    """Return the records of the journal at *path*, checked, without changing it; another process may be writing it."""
    if not path.exists():
        raise ConfigError(f"cannot read the journal {path}: there is none yet")
    if (lines := journal_file.lines_of(path)) is not None:
        return lines
    with _reading(path) as database:
        return _records(database, path)


def read_lease(path: Path) -> Lease:
    """Return the lease of the journal at *path*; an empty one where there is no journal yet."""
    if not path.exists() or journal_file.lines_of(path) is not None:
        return Lease()
    with _reading(path) as database:
        return _lease(database)


def read_actions(path: Path, after: int = 0) -> list[Action]:
    """Return what people did after action number *after*, checked; nothing where there is no journal yet."""
    if not path.exists() or journal_file.lines_of(path) is not None:
        return []
    with _reading(path) as database:
        return _actions(database, path, after)


def append_action(path: Path, at: datetime, who: str, kind: str, payload: Mapping[str, object] | BaseModel) -> Action:
    """
    Return the action once it is on disk. Any process may: there is no lease to hold.

    Raise `EnvironmentProblem` when it cannot be written, leaving no part.
    """
    body = msgspec.Raw(_bytes(payload) if isinstance(payload, BaseModel) else msgspec.json.encode(payload))
    journal_file.prepare(path)
    with clear(path), closing(connect(path, BUSY_S)) as database, _transaction(database):
        last = database.execute("SELECT number, hash FROM actions ORDER BY number DESC LIMIT 1").fetchone()
        number, previous = last or (0, "")
        action = Action(number=number + 1, at=at, who=who, kind=kind, payload=body, hash="")
        action = msgspec.structs.replace(action, hash=action.expected_hash(previous))
        database.execute(
            "INSERT INTO actions (number, at, who, kind, payload, hash) VALUES (?, ?, ?, ?, ?, ?)",
            (action.number, at.isoformat(), who, kind, bytes(body).decode(), action.hash),
        )
    return action


class Journal:
    """The open journal of the primary: `records` as found, then `append`."""

    def __init__(self, path: Path, silent: Lease | None = None) -> None:
        """*silent* is the lease of a primary that has been seen to stand still: it is taken over if it still does."""
        self.path = path
        self.records: list[Record] = []
        """What was there when it was opened."""
        self.epoch = 0
        """The fencing epoch of this process."""
        self.after_silence = False
        """Whether the process before this one may still be there, and only was not heard of."""
        self.beaten_s = 0.0
        """When the lease was last known to be ours, by `fence.up_s`."""
        self._silent = silent
        self._last: Record | None = None
        self._database: sqlite3.Connection

    def __enter__(self) -> Self:
        """Open it, if that has not been done."""
        return self if self.epoch else self.open()

    def open(self) -> Self:
        """Make and check the file, take the lease, read; raise `HeldError` while another process holds it."""
        journal_file.prepare(self.path)
        with clear(self.path):
            self._database = connect(self.path, SILENT_BUSY_S if self._silent else BUSY_S)
            try:
                self._take()
                self._database.execute(f"PRAGMA busy_timeout = {round(BUSY_S * 1000)}")
            except BaseException:
                self._database.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        """Give the lease back, so that the next process need not wait for silence."""
        with suppress(sqlite3.Error):  # what is not given back is found to be dead
            self._database.execute("UPDATE lease SET holder = '' WHERE epoch = ?", (self.epoch,))
        self._database.close()

    def _take(self) -> None:
        began_s = fence.up_s()
        with _transaction(self._database):
            lease = _lease(self._database)
            lives = bool(lease.holder) and not fence.is_dead(lease.holder)
            if lives and lease != self._silent:
                raise HeldError(f"another bidding process holds {self.path}; one process sells one resource")
            records = _records(self._database, self.path)
            _actions(self._database, self.path, 0)
            taken = (lease.epoch + 1, fence.me(), lease.beat + 1)
            self._database.execute("UPDATE lease SET epoch = ?, holder = ?, beat = ?", taken)
        self.beaten_s, self.after_silence = began_s, lives
        self.epoch, self.records = lease.epoch + 1, records
        self._last = records[-1] if records else None

    def append(self, at: datetime, kind: str, payload: BaseModel | msgspec.Struct) -> Record:
        """
        Return the new record once it is on disk.

        Raise `FencedError` when a newer process has taken over, `EnvironmentProblem` when it cannot be written; no
        part of it is left in either case.
        """
        record = chained(self._last, at, kind, _bytes(payload), self.epoch)
        row = (record.number, record.epoch, at.isoformat(), kind, bytes(record.payload).decode(), record.hash)
        with self._as_primary():
            self._database.execute(INSERT, row)
        self._last = record
        return record

    def beat(self) -> None:
        """Show that this process lives; raise `FencedError` when a newer one has taken over."""
        with self._as_primary():
            pass

    @contextmanager
    def _as_primary(self) -> Iterator[None]:
        """Write in one transaction with a beat, which only the newest process can make."""
        began_s = fence.up_s()
        with clear(self.path), _transaction(self._database):
            changed = self._database.execute("UPDATE lease SET beat = beat + 1 WHERE epoch = ?", (self.epoch,))
            if changed.rowcount != 1:
                raise FencedError(f"another process has taken {self.path} over; this one ends and sends nothing more")
            yield
        self.beaten_s = began_s

    @property
    def durability(self) -> tuple[str, int]:
        """SQLite's journal mode and `synchronous` as they are in force: ``wal`` and 2, which is FULL."""
        ((mode,),) = self._database.execute("PRAGMA journal_mode")
        ((synchronous,),) = self._database.execute("PRAGMA synchronous")
        return mode, synchronous

    def actions(self, after: int = 0) -> list[Action]:
        """Return what people did after action number *after*, checked."""
        with clear(self.path):
            return _actions(self._database, self.path, after)


def _bytes(payload: BaseModel | msgspec.Struct) -> bytes:
    return payload.model_dump_json().encode() if isinstance(payload, BaseModel) else msgspec.json.encode(payload)


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    with clear(path), closing(connect(path, BUSY_S, read_only=True)) as database:
        yield database


@contextmanager
def _transaction(database: sqlite3.Connection) -> Iterator[None]:
    """Commit at the end, or leave no part: the lock is taken at once, so that what is read here stays true."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some failures have rolled back already
            database.execute("ROLLBACK")
        raise


def _lease(database: sqlite3.Connection) -> Lease:
    return Lease(*database.execute(LEASE).fetchone())


def _records(database: sqlite3.Connection, path: Path) -> list[Record]:
    records = [
        Record(
            number=number,
            epoch=epoch,
            at=journal_file.instant(at, path, number),
            kind=kind,
            payload=msgspec.Raw(payload.encode()),
            hash=digest,
        )
        for number, epoch, at, kind, payload, digest in database.execute(RECORDS)
    ]
    check(records, f"journal {path}")
    return records


def _actions(database: sqlite3.Connection, path: Path, after: int) -> list[Action]:
    """Return the actions behind number *after*; the one of that number is read too, to check what follows it."""
    actions = [
        Action(
            number=number,
            at=journal_file.instant(at, path, number),
            who=who,
            kind=kind,
            payload=msgspec.Raw(payload.encode()),
            hash=digest,
        )
        for number, at, who, kind, payload, digest in database.execute(ACTIONS, (after,))
    ]
    known = [action for action in actions if action.number <= after]
    new = [action for action in actions if action.number > after]
    check(new, f"actions of journal {path}", known[-1].hash if known else "", after)
    return new
