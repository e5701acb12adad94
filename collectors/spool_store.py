"""
The file of a spool: one SQLite database in WAL mode, one transaction a tick.

The log is fsynced with every transaction (synchronous=FULL); its frames carry checksums, and a torn tail is cut off on
opening (sqlite.org/walformat.html). The file is locked from the first access on, so SQLite keeps the index of its log
in memory and maps no shared file. Whatever the disk does is raised as `sqlite3.Error` or `OSError`.
"""

import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import index
from pathlib import Path
from typing import Self

from collectors.spool_format import (
    DROP,
    KEEP_EVERY,
    READ,
    RETIRE,
    SCHEMA,
    THIN,
    TIDY,
    VERSION,
    Boot,
    FormatError,
    Tick,
)
from collectors.spool_pack import ENOUGH, PackError, pack, unpack

PAGE_BYTES, FRAME_BYTES = 4096, 24
"""A page in the log has a header (sqlite.org/fileformat2.html, section 4.1)."""
DICTIONARY_TICKS = 1024
"""A new dictionary after so many ticks: jobs come and go, and it costs 6 bytes a tick."""
MARGIN_PAGES = 16
"""Kept free for the inner pages of the tree."""
SHRINK_SHARE = 1 / 32
"""A file larger than this share of its limit is made small again when an outage is over."""


@dataclass
class Store:
    """An open file. What the fields say is on disk."""

    db: sqlite3.Connection
    limit_pages: int
    """Of the file; the log has twice `log_pages` beside it."""
    log_pages: int
    acknowledged: int = 0
    """As noted when the file was closed: what was retired since then is deleted, the newest excepted."""
    thinned: int = 0
    """Up to here only every `KEEP_EVERY`th tick is left."""
    dropped: int = 0
    boot: Boot | None = None
    newest: Tick | None = None
    """When it was opened."""
    last: int = 0
    """The newest position."""
    _dictionary: int = 0
    _dictionaries: dict[int, bytes] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path, max_bytes: int) -> Self:
        """Open the file at *path* or make it; it and its log stay within *max_bytes*."""
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        path.chmod(0o600)  # its log gets the same mode
        pages = max_bytes // (PAGE_BYTES + FRAME_BYTES)
        log_pages = min(max(pages // 8, 16), 1000)
        db = sqlite3.connect(path, timeout=0, isolation_level=None, check_same_thread=False)
        db.text_factory = bytes  # what went bad may not be text
        store = cls(db, pages - 2 * log_pages, log_pages)
        try:
            store._prepare()
            store._load()
        except (TypeError, ValueError) as error:  # no row where one must be, no text where one must be
            db.close()
            raise FormatError(f"not a spool: {error}") from error
        except sqlite3.Error:
            db.close()
            raise
        return store

    def commit(self, boot: Boot, ticks: Sequence[Tick], acknowledged: int, in_flight: int, dropped: int) -> int:
        """
        Return once *ticks* are on disk; forget what is *acknowledged*, the newest excepted.

        Where there is no room left for them, return how many older ones had to go, none of them at or before
        *in_flight*. *dropped* is how many had to go before.
        """
        before = self.thinned, self._dictionary
        newest = max(self.last, ticks[-1].position)
        retired = min(acknowledged, newest - 1)
        try:
            with self._transaction():
                if boot != self.boot:
                    self.db.execute("INSERT OR REPLACE INTO boot VALUES (?, ?, ?)", boot)
                self._retire(retired)
                gone = self._make_room(ticks, retired, in_flight)
                self._insert(ticks)
                if dropped + gone != self.dropped:
                    self.db.execute("UPDATE state SET thinned = ?, dropped = ?", (self.thinned, dropped + gone))
        except sqlite3.Error:
            self.thinned, self._dictionary = before
            raise
        self.boot, self.last, self.dropped = boot, newest, dropped + gone
        return gone

    def read(self, after: int, limit: int) -> tuple[list[Tick], list[int]]:
        """Return the first *limit* ticks beyond *after*, and the positions of those among them that went bad."""
        ticks, bad = [], []
        for position, dictionary, content in self.db.execute(READ, (after, limit)).fetchall():
            try:
                ticks.append(Tick(position, unpack(content, self._dictionary_of(dictionary))))
            except (PackError, TypeError):  # TypeError: what went bad may not be bytes
                bad.append(position)
        return ticks, bad

    def count(self, after: int) -> int:
        """Count the ticks beyond *after*; reads the whole table."""
        return self._number("SELECT count(*) FROM tick WHERE position > ?", after)

    def shrink(self) -> None:
        """Give the disk back what an outage took."""
        pages = self._number("PRAGMA page_count")
        if pages > SHRINK_SHARE * self.limit_pages and self._number("PRAGMA freelist_count") * 10 > pages * 9:
            self.db.execute("VACUUM")
            self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self, acknowledged: int) -> None:
        """Note what is *acknowledged*, move the log into the file, let go of it."""
        try:
            with self._transaction():
                self._retire(min(acknowledged, self.last - 1))
                self.db.execute("UPDATE state SET acknowledged = ?", (acknowledged,))
        finally:
            self.db.close()

    def abandon(self) -> None:
        """Let go of the file as it is: it, or the disk under it, has failed."""
        with suppress(sqlite3.Error):
            self.db.close()

    def _prepare(self) -> None:
        for pragma in (
            f"page_size = {PAGE_BYTES}",
            "locking_mode = EXCLUSIVE",
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {self.log_pages}",
            f"journal_size_limit = {self.log_pages * PAGE_BYTES}",
            "temp_store = MEMORY",
        ):
            self.db.execute(f"PRAGMA {pragma}")

    def _load(self) -> None:
        version = self._number("PRAGMA user_version")
        if not version and not self._number("SELECT count(*) FROM sqlite_schema"):
            with self._transaction():
                for statement in SCHEMA:
                    self.db.execute(statement)
        elif version != VERSION:
            raise FormatError(f"its format is {version}, this firmwatt reads {VERSION}")
        if (found := self.db.execute("PRAGMA quick_check(1)").fetchone()[0]) != b"ok":
            raise FormatError(f"database disk image is malformed: {found.decode('ascii', 'replace').splitlines()[-1]}")
        self.db.execute(f"PRAGMA max_page_count = {self.limit_pages}")
        self.acknowledged, self.thinned, self.dropped = map(index, self.db.execute("SELECT * FROM state").fetchone())
        boot = self.db.execute("SELECT base, boot, kernel FROM boot ORDER BY base DESC LIMIT 1").fetchone()
        self.boot = Boot(boot[0], str(boot[1], "ascii"), str(boot[2], "ascii")) if boot else None
        self._dictionary = self._number("SELECT coalesce(max(id), 0) FROM dictionary")
        self.last = self._number("SELECT coalesce(max(position), 0) FROM tick")
        newest, _ = self.read(self.last - 1, 1)
        self.newest = newest[0] if newest else None

    def _retire(self, through: int) -> None:
        """Delete what is acknowledged, no more at once than the log has room for."""
        if self.db.execute(RETIRE, (min(through, self._oldest(after=0) + self._step),)).rowcount:
            self.db.execute(TIDY)

    def _make_room(self, ticks: Sequence[Tick], acknowledged: int, in_flight: int) -> int:
        """
        Let go of old ticks until there is room for *ticks*; return how many of them were neither sent nor in flight.

        The older ones are thinned; once there are as many thin ticks as whole ones, the oldest go.
        """
        need = MARGIN_PAGES + sum(1 + len(tick.payload) // PAGE_BYTES for tick in ticks)
        gone, keep = 0, max(acknowledged, in_flight)
        while self._used_pages() + need > self.limit_pages:
            if self._oldest(after=0) <= acknowledged:
                self._retire(acknowledged)
            elif self._oldest(after=keep):
                gone += self._thin_or_drop(self._oldest(after=keep))
            else:
                break
        return gone

    def _thin_or_drop(self, oldest: int) -> int:
        """Delete some of the ticks from *oldest* on; return how many."""
        whole = self._oldest(after=max(self.thinned, oldest - 1)) or self.last
        if (self.last - whole) * KEEP_EVERY > whole - oldest:
            self.thinned = min(whole + self._step, self.last)
            return self.db.execute(THIN, (whole - 1, self.thinned, KEEP_EVERY)).rowcount
        return self.db.execute(DROP, (oldest, oldest + self._step)).rowcount

    def _insert(self, ticks: Sequence[Tick]) -> None:
        """Write *ticks*; one that is there already was written by a transaction whose success was not reported."""
        for tick in ticks:
            if not self._dictionary or tick.position - self._dictionary >= DICTIONARY_TICKS:
                self._dictionary = tick.position
                self._dictionaries = {tick.position: tick.payload[-ENOUGH:]}
                self.db.execute(
                    "INSERT OR REPLACE INTO dictionary VALUES (?, ?)", (tick.position, tick.payload[-ENOUGH:])
                )
            content = pack(tick.payload, self._dictionary_of(self._dictionary))
            self.db.execute("INSERT OR IGNORE INTO tick VALUES (?, ?, ?)", (tick.position, self._dictionary, content))

    def _dictionary_of(self, number: int) -> bytes:
        if (known := self._dictionaries.get(number)) is None:
            row = self.db.execute("SELECT content FROM dictionary WHERE id = ?", (number,)).fetchone()
            if row is None:
                raise PackError(f"dictionary {number} is gone")
            known = self._dictionaries[number] = row[0]
        return known

    @property
    def _step(self) -> int:
        """How many positions a deletion takes at once: even at a tick a page the log has room for it."""
        return self.log_pages

    def _used_pages(self) -> int:
        return self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")

    def _oldest(self, after: int) -> int:
        """Return the first position beyond *after*, 0 if there is none."""
        return self._number("SELECT coalesce(min(position), 0) FROM tick WHERE position > ?", after)

    def _number(self, query: str, *values: int) -> int:
        found: int = self.db.execute(query, values).fetchone()[0]
        return found

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.db.execute("COMMIT")
        except BaseException:
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise
