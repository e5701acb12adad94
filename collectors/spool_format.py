"""
What the file of a spool looks like, and when it does not look like one.

    position   … 41 42 43 │ 44 45 46 47 48 49 50       counts on for ever; the seq of a boot is position − base
                 retired  │ pending          └ newest   stays when it is retired: the next process resumes its counters
"""

import sqlite3
from typing import NamedTuple

VERSION = 1
KEEP_EVERY = 10
"""Of thinned ticks. Energy is the difference of counters, so that of an interval survives."""

SCHEMA = (
    "CREATE TABLE tick (position INTEGER PRIMARY KEY, dictionary INTEGER NOT NULL, content BLOB NOT NULL)",
    "CREATE TABLE dictionary (id INTEGER PRIMARY KEY, content BLOB NOT NULL)",
    "CREATE TABLE boot (base INTEGER PRIMARY KEY, boot TEXT NOT NULL, kernel TEXT NOT NULL)",
    "CREATE TABLE state (acknowledged INTEGER NOT NULL, thinned INTEGER NOT NULL, dropped INTEGER NOT NULL)",
    "INSERT INTO state VALUES (0, 0, 0)",
    f"PRAGMA user_version = {VERSION}",
)
RETIRE = "DELETE FROM tick WHERE position <= ?"
TIDY = "DELETE FROM dictionary WHERE id < (SELECT dictionary FROM tick ORDER BY position LIMIT 1)"
THIN = """
DELETE FROM tick WHERE position > ? AND position <= ? AND position % ? != 0
AND position NOT IN (SELECT base FROM boot UNION SELECT base + 1 FROM boot)
"""
"""The first and the last tick of a boot stay: they bound its energy."""
DROP = "DELETE FROM tick WHERE position >= ? AND position < ?"
READ = "SELECT position, dictionary, content FROM tick WHERE position > ? ORDER BY position LIMIT ?"


class Tick(NamedTuple):
    """One encoded tick and its place in the spool."""

    position: int
    payload: bytes


class Boot(NamedTuple):
    """A run of sequence numbers."""

    base: int
    """Where its seq 0 would be."""
    boot: str
    kernel: str
    """The boot id of the machine under it."""


class FormatError(sqlite3.DatabaseError):
    """A database, but not a spool that this version reads."""


OF_THE_DISK = {
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
}
"""Result codes (sqlite.org/rescode.html) that say nothing against the file."""


def is_bad(error: Exception) -> bool:
    """Tell whether it is the file that went wrong, and not the disk under it."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return isinstance(error, sqlite3.Error) and (code is None or code & 0xFF not in OF_THE_DISK)
