"""
What is in a folder's files: the manifest, one JSON fact a line. Pure.

Files tell that they are there by being listed; the manifest tells what has to be in them: bytes and their hash, rows,
offsets by partition, and which files a merged one replaces. It is appended to after a file has appeared, and replaced
whole when files are removed. A fact that a crash kept from being written is made again from the file (`adopted`), so a
reader needs no manifest and an auditor finds every file in it.

When the day is over the place is *sealed*: how many different messages it holds, and the hash over all of them, however
they are cut into files (`pipeline.archive_hash`). A message that comes later breaks the seal until the next one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date

import msgspec

from pipeline.messages.telemetry import Instant


class Published(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="published", tag_field="fact"):
    """A file has appeared."""

    file: str
    at: Instant
    """By the machine's clock."""
    bytes: int
    sha256: str
    """Of the file's bytes."""
    rows: int
    offsets: dict[int, tuple[int, int]] = {}
    """First and last by Kafka partition; none for what was loaded."""
    replaces: dict[str, str] = {}
    """Files whose rows are in this one, each with the hash it had: one that is another now is not replaced."""
    adopted: bool = False
    """Found without a fact, after a crash."""


class Sealed(msgspec.Struct, frozen=True, kw_only=True, tag="sealed", tag_field="fact"):
    """The day is over, and this is what it holds."""

    at: Instant
    files: tuple[str, ...]
    rows: int
    rows_sha256: str


class Expired(msgspec.Struct, frozen=True, kw_only=True, tag="expired", tag_field="fact"):
    """A day went as retention says; in the topic's own manifest, for the folder's went with it."""

    at: Instant
    day: date
    site: str
    files: int
    rows: int
    """In the files, redeliveries included."""
    rows_sha256: str | None
    """As it was sealed; None where it never was."""


Fact = Published | Sealed | Expired

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Fact] = msgspec.json.Decoder(Published | Sealed | Expired)


@dataclass(frozen=True)
class Manifest:
    """The facts of one place, as they stand."""

    files: Mapping[str, Published] = field(default_factory=dict)
    sealed: Sealed | None = None
    expired: tuple[Expired, ...] = ()

    @property
    def replaced(self) -> Mapping[str, Instant]:
        """Return which files' rows are in another one, and since when."""
        since: dict[str, Instant] = {}
        for fact in self.files.values():
            for name, digest in fact.replaces.items():
                if name not in self.files or self.files[name].sha256 == digest:
                    since[name] = min(fact.at, since.get(name, fact.at))
        return since

    @property
    def live(self) -> Mapping[str, Published]:
        """Return the files whose rows are in no other one."""
        replaced = self.replaced
        return {name: fact for name, fact in self.files.items() if name not in replaced}

    def among(self, listed: Iterable[str]) -> "Manifest":
        """Return the manifest without files that are gone."""
        there = set(listed)
        return Manifest({name: fact for name, fact in self.files.items() if name in there}, self.sealed, self.expired)

    def plus(self, *facts: Fact) -> "Manifest":
        """Return the manifest after *facts*; of a file the newest holds."""
        return of((*self.facts(), *facts))

    def facts(self) -> tuple[Fact, ...]:
        """Return what has to be written to have this manifest again."""
        return (*self.files.values(), *((self.sealed,) if self.sealed else ()), *self.expired)

    def is_sealed(self) -> bool:
        """Tell whether the seal is over what is there now."""
        return self.sealed is not None and set(self.sealed.files) == set(self.live)


def of(facts: Iterable[Fact]) -> Manifest:
    """Return what *facts*, in the order they were written, add up to."""
    files: dict[str, Published] = {}
    sealed: Sealed | None = None
    expired: list[Expired] = []
    for fact in facts:
        if isinstance(fact, Published):
            files[fact.file] = fact
        elif isinstance(fact, Sealed):
            sealed = fact
        else:
            expired.append(fact)
    return Manifest(files, sealed, tuple(expired))


def lines(facts: Iterable[Fact]) -> bytes:
    """Return *facts* as lines."""
    return b"".join(_encoder.encode(fact) + b"\n" for fact in facts)


def read(content: bytes) -> Manifest:
    """Return the manifest in *content*; a line that a crash tore is no fact."""
    facts: list[Fact] = []
    for line in content.splitlines():
        try:
            facts.append(_decoder.decode(line))
        except msgspec.DecodeError:  # `ValidationError` is one
            continue
    return of(facts)
