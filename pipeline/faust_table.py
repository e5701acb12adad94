"""
A Faust table of structs: kept in memory, filled from its changelog on Kafka by whoever takes a partition over.

Faust's own tables fall back to JSON of plain values; these hold bytes. And where Faust keeps the last state that was
written of a key, these put all of them together: a worker that was stopped, lost its partitions and wakes may still
write a state that is older than its successor's.

A standby holds the states of partitions that another worker has; taking over, it reads only what came since. With
Faust's in-memory store it would read everything again.
"""

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, Generic, TypeVar

import msgspec
from faust import current_event
from faust.stores import memory

S = TypeVar("S")

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

    def apply_changelog_batch(self, batch: Iterable[Any], to_key: Any, to_value: Any) -> None:
        """Put what the changelog says together with what is known."""
        del to_key, to_value  # bytes stay bytes
        for event in batch:
            key, value = event.key, event.message.value
            self._key_partition[key] = event.message.partition
            self.set_persisted_offset(event.message.tp, event.message.offset)
            if value is None:
                self.data.pop(key, None)
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


class Table(MutableMapping[str, S], Generic[S]):
    """A table of structs of one kind; *join* puts two states of one key together, whichever was written first."""

    def __init__(self, app: Any, name: str, kind: type[S], partitions: int, join: Callable[[S, S], S]) -> None:
        self.recoveries = 0
        """How often it was filled from its changelog."""
        self._bytes = app.Table(
            name,
            key_type=bytes,
            value_type=bytes,
            partitions=partitions,
            extra_topic_configs=CHANGELOG,
            on_recover=self._recovered,
        )
        self._bytes.key_serializer = self._bytes.value_serializer = "raw"
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(kind)
        store = self._bytes._data = _Store("memory://", app, self._bytes)  # noqa: SLF001 - a scheme is the public way
        store.join = lambda one, other: self._encoder.encode(join(*map(self._decoder.decode, (one, other))))

    async def _recovered(self) -> None:
        self.recoveries += 1

    def __getitem__(self, key: str) -> S:
        return self._decoder.decode(self._bytes[key.encode()])

    def __setitem__(self, key: str, state: S) -> None:
        self._bytes[key.encode()] = self._encoder.encode(state)

    def __delitem__(self, key: str) -> None:
        del self._bytes[key.encode()]

    def __contains__(self, key: object) -> bool:
        return isinstance(key, str) and key.encode() in self._bytes

    def __iter__(self) -> Iterator[str]:
        return (key.decode() for key in list(self._bytes.keys()))

    def __len__(self) -> int:
        return len(self._bytes)
