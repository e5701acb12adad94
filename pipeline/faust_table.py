"""
A Faust table of structs: kept in memory, filled from its changelog on Kafka by whoever takes a partition over.

Faust's own tables fall back to JSON of plain values; these hold bytes. And where Faust keeps the last state that was
written of a key, these put all of them together: a worker that was stopped, lost its partitions and wakes may still
write a state that is older than its successor's.

A standby holds the states of partitions that another worker has; taking over, it reads only what came since. With
Faust's in-memory store it would read everything again.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar
from weakref import ref
from zlib import compress, decompress

import msgspec
from faust import current_event
from faust.stores import memory
from faust.streams import _current_event

S = TypeVar("S")

#: States above this size are compressed.
SMALL_B = 512
COMPRESSED = b"\xc1"

#: Kafka's settings of a changelog: compacted soon and in small pieces, for all of it is read before work begins.
CHANGELOG = {"segment.bytes": str(8 * 2**20), "segment.ms": "600000", "min.cleanable.dirty.ratio": "0.1"}


class _Store(memory.Store):  # type: ignore[misc] # Faust ships no types mypy can follow
    """States by key, as bytes; knows up to which offset of the changelog it holds them."""

    join: Callable[[bytes, bytes], bytes]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._holds: dict[Any, int] = {}
        """By changelog partition."""

    def __setitem__(self, key: bytes, value: bytes) -> None:
        if (event := current_event()) is not None:
            self._key_partition[key] = event.message.partition
        self.data[key] = value

    def __delitem__(self, key: bytes) -> None:
        del self.data[key]
        self._key_partition.pop(key, None)

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Put what the changelog says together with what is known."""
        del to_key, to_value  # bytes stay bytes
        for event in batch:
            key, value = event.key, event.message.value
            self._key_partition[key] = event.message.partition
            self.set_persisted_offset(event.message.tp, event.message.offset)
            if value is None:
                self.data.pop(key, None)
                self._key_partition.pop(key, None)
            else:
                self.data[key] = self.join(self.data[key], value) if key in self.data else value

    def persisted_offset(self, tp: Any) -> int | None:
        """Return up to which offset of changelog partition *tp* everything is held."""
        return self._holds.get(tp)

    def set_persisted_offset(self, tp: Any, offset: int) -> None:
        """Take note that what was written here is on Kafka, at *offset*."""
        self._holds[tp] = max(offset, self._holds.get(tp, offset))

    async def on_recovery_completed(self, active_tps: set[Any], standby_tps: set[Any]) -> None:
        """Let go of what belongs to others."""
        held = active_tps | standby_tps
        self._holds = {tp: offset for tp, offset in self._holds.items() if tp in held}
        partitions = {tp.partition for tp in held}
        for key in [key for key, partition in self._key_partition.items() if partition not in partitions]:
            self.data.pop(key, None)
            del self._key_partition[key]


class _Packing(Generic[S]):
    """
    States as msgpack; large ones compressed, for a table of intervals holds those of three days.

    A compressed one begins with the byte that msgpack never uses, so that a changelog may hold both.
    """

    def __init__(self, kind: type[S]) -> None:
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)

    def pack(self, state: S) -> bytes:
        """Return *state* as bytes."""
        plain = self._encoder.encode(state)
        return plain if len(plain) <= SMALL_B else COMPRESSED + compress(plain, 1)

    def unpack(self, packed: bytes) -> S:
        """Return the state in *packed*."""
        return self._decoder.decode(decompress(packed[1:]) if packed[:1] == COMPRESSED else packed)


@dataclass(frozen=True)
class _Change(Generic[S]):
    """What a key is to become."""

    state: S | None
    """None: gone."""
    event: Any
    """What was handled then; it tells the partition, and before which rebalance it was."""


class Table(MutableMapping[str, S], Generic[S]):
    """
    A table of structs of one kind; *join* puts two states of one key together, whichever was written first.

    What is changed is kept to oneself until `write`, which gives it to Faust, and so to the changelog.
    """

    def __init__(self, app: Any, name: str, kind: type[S], partitions: int, join: Callable[[S, S], S]) -> None:
        self.recoveries = 0
        """How often it was filled from its changelog."""
        self._changes: dict[str, _Change[S]] = {}
        self._bytes = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            extra_topic_configs=CHANGELOG,
            on_recover=self._recovered,
        )
        self._bytes.key_serializer = self._bytes.value_serializer = "raw"
        self._packing = _Packing(kind)
        store = self._bytes._data = _Store("memory://", app, self._bytes)  # noqa: SLF001 - a scheme is the public way
        store.join = lambda one, other: self._packing.pack(join(*map(self._packing.unpack, (one, other))))

    async def _recovered(self) -> None:
        self.recoveries += 1
        self._changes.clear()

    def write(self) -> None:
        """
        Write what has changed.

        Not what was changed before a rebalance: the changelog may know more by now, and what was handled then is not
        acknowledged (`pipeline.streams.events`) but read again.
        """
        changes, self._changes = self._changes, {}
        generation = self._bytes.app.consumer_generation_id
        for key, change in changes.items():
            if change.event is not None and change.event.message.generation_id != generation:
                continue
            with _handling(change.event):
                if change.state is not None:
                    self._bytes[key.encode()] = self._packing.pack(change.state)
                elif key.encode() in self._bytes:
                    del self._bytes[key.encode()]

    def __getitem__(self, key: str) -> S:
        if (change := self._changes.get(key)) is None:
            return self._packing.unpack(self._bytes[key.encode()])
        if change.state is None:
            raise KeyError(key)
        return change.state

    def __setitem__(self, key: str, state: S) -> None:
        self._changes[key] = _Change(state, current_event())

    def __delitem__(self, key: str) -> None:
        if key not in self:
            raise KeyError(key)
        self._changes[key] = _Change(None, current_event())

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, str):
            return False
        change = self._changes.get(key)
        return key.encode() in self._bytes if change is None else change.state is not None

    def __iter__(self) -> Iterator[str]:
        written = {key.decode() for key in self._bytes.keys()}  # noqa: SIM118 - Faust's table, not a dict
        return (key for key in sorted(written | self._changes.keys()) if key in self)

    def __len__(self) -> int:
        return sum(1 for _ in self)


@contextmanager
def _handling(event: Any) -> Iterator[None]:
    """Let Faust take *event* for the one that is being handled: a change goes to the changelog of its partition."""
    before = _current_event.set(None if event is None else ref(event))
    try:
        yield
    finally:
        _current_event.reset(before)
