"""
Where a host's ticks wait until Kafka has acknowledged them: on disk, in order, over restarts of the collector.

    append ──▶ memory ──▶ disk ──▶ pending ──▶ Kafka ──▶ retire        a tick is on disk before it is sent…
                  └───────────────────▲                                …or, while the disk fails, sent without

Ticks are numbered by (boot, seq), and no number may ever mean two of them. A collector that is started again goes on
where the last one stopped: whatever that wrote is there, even after kill -9. It begins a new boot after a loss of
power, which the kernel's boot id tells, and when a tick was numbered and not stored, which the missing file `unbroken`
tells: taking a name away works on a full disk.
"""

import logging
import secrets
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Self

import msgspec

from collectors.spool_folder import Folder
from collectors.spool_format import Boot, FormatError, Tick, is_bad
from collectors.spool_store import Store
from pipeline import frames
from pipeline.clock import wall
from pipeline.errors import ConfigError
from pipeline.messages.telemetry import Instant

__all__ = ["Spool", "Tick"]

log = logging.getLogger(__name__)

SMALLEST_BYTES = 1_000_000
IN_MEMORY = 600
"""Ticks kept while the disk fails: ten minutes of them, a few megabytes."""
AT_ONCE = 32
"""Of these, so many a transaction when the disk works again: one must fit the log."""
RETRY_S = 10.0
"""A file that failed is opened again after this, seconds of the machine."""
FEW = 100
"""With no more ticks than this left, an outage is over."""
KERNEL_BOOT = Path("/proc/sys/kernel/random/boot_id")


class Stamp(msgspec.Struct):
    """When the JSON tick of an earlier version was measured."""

    measured_at: Instant


class Spool:
    """A folder that one process uses; its threads may share it. A call takes as long as the disk does."""

    def __init__(self, folder: Path, max_bytes: int, kernel: str) -> None:
        self._folder = Folder(folder)
        self._max_bytes = max_bytes
        self._guard = threading.RLock()
        self._store: Store | None = None
        self._opened_before = False
        self._retry_at_s = 0.0
        # The base is beyond all of a file that cannot be opened now and may be later.
        self._boot = Boot(int(wall() * 1000), secrets.token_hex(8), kernel)
        self._memory: deque[Tick] = deque()
        """Those not on disk, newer than all that are."""
        self._acknowledged = 0
        self._in_flight = 0
        self._bad = 0
        """Positions: up to here, retired; handed out; counted as gone bad."""
        self._oldest: bytes | None = None
        self.next_seq = 1
        self.last: bytes | None = None
        """The newest tick, acknowledged or not; of an earlier boot until there is one of this."""
        self.depth = 0
        """Ticks that are not acknowledged."""
        self.dropped_total = 0
        """Ticks given up since the folder was made: there was no room, or they went bad on disk."""
        self.unstored_total = 0
        """Ticks that were not on disk when `append` returned, in this process."""
        self.set_aside_total = 0
        """Files that went bad, in this process; how many ticks one held is known only if it had been open."""
        self.trouble: str | None = None
        """Why ticks cannot be stored, None if they can."""

    @classmethod
    def open(cls, folder: Path, max_bytes: int, kernel: str | None = None) -> Self:
        """
        Take possession of *folder*, made if need be; *kernel* is the machine's boot id unless given.

        Raise `ConfigError` if another collector has it. A disk that fails is `trouble`, not an error.
        """
        if max_bytes < SMALLEST_BYTES:
            raise ConfigError(f"a spool of {max_bytes} bytes is too small; give it 1 MB or more")
        spool = cls(folder, max_bytes, kernel or _kernel_boot())
        spool._ready()
        return spool

    @property
    def boot(self) -> str:
        """What `HostTick.boot` must say of the next tick."""
        return self._boot.boot

    @property
    def size_bytes(self) -> int:
        """What the ticks take on disk, log included."""
        return self._folder.size_bytes

    @property
    def oldest_at(self) -> datetime | None:
        """When the oldest tick not acknowledged was measured, None if there is none."""
        payload = self._oldest
        if payload is None:
            return None
        if frames.is_frame(payload):
            return frames.measured_at(payload)
        return msgspec.json.decode(payload, type=Stamp).measured_at

    def append(self, seq: int, payload: bytes) -> None:
        """Return once tick *seq*, which must be `next_seq`, is on disk, or counted in `unstored_total`."""
        with self._guard:
            if seq != self.next_seq:
                raise ValueError(f"tick {seq} is not the next one, {self.next_seq}")
            self.next_seq, self.last = seq + 1, payload
            self.depth += 1
            self._oldest = self._oldest or payload
            self._memory.append(Tick(self._boot.base + seq, payload))
            self._write()
            if self._memory:
                self.unstored_total += 1
                self._folder.mark_broken()
            if len(self._memory) > IN_MEMORY:
                self._memory.popleft()
                self.depth -= 1
                self.dropped_total += 1

    def pending(self, limit: int) -> list[Tick]:
        """Return the oldest ticks that are not retired, *limit* at most. They are not dropped until asked again."""
        with self._guard:
            batch = self._read(limit)
            batch += islice(self._memory, limit - len(batch))
            self._in_flight = batch[-1].position if batch else 0
            self._oldest = batch[0].payload if batch else None
            return batch

    def retire(self, batch: Sequence[Tick]) -> None:
        """Let go of the ticks handed out last, or the first of them: Kafka has them. They leave the disk later."""
        with self._guard:
            fresh = [tick.position for tick in batch if self._acknowledged < tick.position <= self._in_flight]
            if not fresh:
                return
            self._acknowledged = fresh[-1]
            self.depth -= len(fresh)
            if not self.depth:
                self._oldest = None
            while self._memory and self._memory[0].position <= self._acknowledged:
                self._memory.popleft()

    def close(self) -> None:
        """Note what is retired and let others have the folder."""
        with self._guard:
            if self._store is not None:
                try:
                    self._store.close(self._acknowledged)
                except (sqlite3.Error, OSError) as error:
                    log.warning("spool: %s", error)  # what is retired is sent again
                self._store = None
            self._folder.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write(self) -> None:
        """Store what is in memory, as far as the disk lets us."""
        while self._memory and (store := self._ready()) is not None:
            ticks = list(islice(self._memory, AT_ONCE))
            try:
                gone = store.commit(self._boot, ticks, self._acknowledged, self._in_flight, self.dropped_total)
            except sqlite3.Error as error:
                self._failed(error)
                return
            for _ in ticks:
                self._memory.popleft()
            self.dropped_total += gone
            self.depth -= gone
            self._stored(store)

    def _read(self, limit: int) -> list[Tick]:
        """Return the oldest pending ticks on disk; those that went bad are counted and passed over."""
        while (store := self._ready()) is not None:
            try:
                ticks, bad = store.read(self._acknowledged, limit)
            except sqlite3.Error as error:
                self._let_go()
                self._failed(error)
                return []
            if fresh := [position for position in bad if position > self._bad]:
                self._bad = fresh[-1]
                self.dropped_total += len(fresh)
                self.depth -= len(fresh)
                log.warning("spool: %d ticks in %s went bad on disk and are lost", len(fresh), self._folder.database)
            if ticks or not bad:
                return [tick for tick in ticks if not self._memory or tick.position < self._memory[0].position]
            self._acknowledged = bad[-1]
        return []

    def _ready(self) -> Store | None:
        """Return the open file, None while it cannot be had."""
        for _ in range(2):  # a file that went bad, and the new one
            if self._store is None and time.monotonic() >= self._retry_at_s:
                try:
                    self._folder.claim()
                    self._adopt(Store.open(self._folder.database, self._max_bytes))
                except (sqlite3.Error, OSError) as error:
                    self._let_go()
                    self._failed(error)
        return self._store

    def _adopt(self, store: Store) -> None:
        """Go on with what is in *store*."""
        self._store = store
        if not self._opened_before:
            self._go_on(store)
            self._opened_before = True
            self._acknowledged, self._in_flight = store.acknowledged, 0  # ticks turn up that are older than any so far
        in_memory = sum(tick.position > store.last for tick in self._memory)
        self.depth = store.count(self._acknowledged) + in_memory
        if self._oldest is None:
            self.pending(1)

    def _go_on(self, store: Store) -> None:
        """Continue the stream in *store* if nothing of it can be missing, else begin after it."""
        self.dropped_total += store.dropped
        if self.next_seq > 1:  # numbered before the file could be opened
            if store.last > self._boot.base:
                raise FormatError("its ticks are newer than the clock")
            return
        self.last = store.newest.payload if store.newest else None
        if store.boot is not None and store.boot.kernel == self._boot.kernel and self._folder.unbroken:
            self._boot = store.boot
            self.next_seq = store.last - store.boot.base + 1
        else:
            self._boot = self._boot._replace(base=store.last)

    def _failed(self, error: Exception) -> None:
        """Say that ticks cannot be stored; set the file aside if it is that which went bad."""
        self.trouble = f"cannot store ticks in {self._folder.path} ({error}): they are sent without being stored"
        if is_bad(error):
            self._let_go()
            self._set_aside(error)

    def _set_aside(self, error: Exception) -> None:
        """Begin a new file."""
        try:
            aside = self._folder.set_aside()
        except OSError:
            return
        lost = self.depth - len(self._memory)
        self.set_aside_total += 1
        self.depth -= lost
        self.dropped_total += lost
        self._oldest = self._memory[0].payload if self._memory else None
        self._retry_at_s, self.trouble = 0.0, None
        log.warning("spool: %s: %s; what was in it is in %s now and not sent", self._folder.database, error, aside)

    def _let_go(self) -> None:
        """Close the file, to be opened again in a while."""
        self._retry_at_s = time.monotonic() + RETRY_S
        if self._store is not None:
            self._store.abandon()
            self._store = None

    def _stored(self, store: Store) -> None:
        """Note that the disk works."""
        self.trouble = None
        if not self._memory and not self._folder.unbroken:
            self._folder.mark_unbroken()
        if self.depth <= FEW:
            try:
                store.shrink()
            except sqlite3.Error as error:
                if is_bad(error):
                    self._failed(error)


def _kernel_boot() -> str:
    """Return what differs after every start of the machine; where it cannot be had, of the process."""
    try:
        return KERNEL_BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return secrets.token_hex(16)
