"""The journal as a file: made, recognised, converted from JSON lines; every failure says what to do."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import mkstemp

from bidding.chain import Record, parse_lines
from pipeline.errors import ConfigError, EnvironmentProblem

log = logging.getLogger("bidding.journal")

BUSY_S = 5.0
"""How long an append waits for another process's: each takes one fsync."""

SCHEMA = """
CREATE TABLE records (number INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, at TEXT NOT NULL, kind TEXT NOT NULL,
                      payload TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE actions (number INTEGER PRIMARY KEY, at TEXT NOT NULL, who TEXT NOT NULL, kind TEXT NOT NULL,
                      payload TEXT NOT NULL, hash TEXT NOT NULL) STRICT;
CREATE TABLE lease (only INTEGER PRIMARY KEY CHECK (only = 1), epoch INTEGER NOT NULL, holder TEXT NOT NULL,
                    beat INTEGER NOT NULL) STRICT;
INSERT INTO lease VALUES (1, 0, '', 0);
CREATE TRIGGER records_update BEFORE UPDATE ON records BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER records_delete BEFORE DELETE ON records BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER actions_update BEFORE UPDATE ON actions BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER actions_delete BEFORE DELETE ON actions BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER lease_falls BEFORE UPDATE ON lease WHEN NEW.epoch < OLD.epoch
    BEGIN SELECT RAISE(ABORT, 'an epoch never falls'); END;
CREATE TRIGGER lease_delete BEFORE DELETE ON lease BEGIN SELECT RAISE(ABORT, 'the lease stays'); END;
PRAGMA user_version = 1;
"""


@contextmanager
def clear(path: Path) -> Iterator[None]:
    """Turn SQLite's failures into ours, one line each."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "")
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            raise EnvironmentProblem(
                f"cannot write the journal {path}: another process keeps it locked; end that one"
            ) from error
        if name.startswith("SQLITE_FULL"):
            raise EnvironmentProblem(
                f"cannot write the journal {path}: disk full; make room and start again"
            ) from error
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM")):
            raise EnvironmentProblem(
                f"cannot use the journal {path}: {error}; see to the disk and its rights"
            ) from error
        raise ConfigError(f"journal {path} is damaged: {error}; restore it from a copy") from error


def connect(path: Path, busy_s: float, *, read_only: bool = False) -> sqlite3.Connection:
    """Return a connection to the journal at *path*, which exists; a commit returns once it is on disk."""
    mode = "ro" if read_only else "rw"
    database = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}", uri=True, timeout=busy_s, isolation_level=None
    )
    try:
        if not read_only:
            database.execute("PRAGMA synchronous = FULL")
        database.execute("SELECT epoch FROM lease").fetchone()  # the first look tells whether it is a journal
    except BaseException:
        database.close()
        raise
    return database


def prepare(path: Path) -> None:
    """
    Make sure that there is a journal at *path*, mode 0600; JSON lines are converted, and kept beside it.

    One process at a time does so: a second one must not put another journal in the place of one that is in use.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if _is_ready(path):
            return
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            if not _is_ready(path):
                _make(path)
                os.fsync(folder)  # the file's name, too, must survive a power cut
        finally:
            os.close(folder)
    except OSError as error:
        raise EnvironmentProblem(f"cannot open the journal {path}: {error.strerror}") from error


def _is_ready(path: Path) -> bool:
    return path.exists() and lines_of(path) is None


def lines_of(path: Path) -> list[Record] | None:
    """
    Return the records of the journal at *path* if it still is JSON lines, None if it is not, or is not there.

    SQLite looks first: a file that it has open must not be opened and closed by other means.
    """
    if not path.exists():
        return None
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorname", "") != "SQLITE_NOTADB":
            return None
    else:
        return [] if path.stat().st_size == 0 else None
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read the journal {path}: {error.strerror}") from error
    records, whole = parse_lines(content, str(path))
    if whole < len(content):
        log.warning("journal %s: left out a torn last line of %d bytes", path, len(content) - whole)
    return records


def instant(text: str, path: Path, number: int) -> datetime:
    """Return the instant written as *text* in record *number*."""
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"journal {path}, record {number} is damaged: {error}; restore it from a copy") from error


def _make(path: Path) -> None:
    """Put a journal in the place of nothing, or of JSON lines; whoever is killed on the way leaves one, whole."""
    lines = lines_of(path) or []
    if lines and not (kept := path.with_name(f"{path.name}.jsonl")).exists():
        os.link(path, kept)
    number, name = mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    os.close(number)
    made = Path(name)
    try:
        with clear(path), closing(sqlite3.connect(made, isolation_level=None)) as database:
            database.executescript(f"PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; BEGIN; {SCHEMA}")
            database.executemany(
                "INSERT INTO records (number, epoch, at, kind, payload, hash) VALUES (?, ?, ?, ?, ?, ?)",
                ((r.number, 0, r.at.isoformat(), r.kind, bytes(r.payload).decode(), r.hash) for r in lines),
            )
            database.execute("COMMIT")
        made.replace(path)
    finally:
        made.unlink(missing_ok=True)
    if lines:
        log.warning("journal %s: converted %d records from JSON lines, kept as %s.jsonl", path, len(lines), path)
