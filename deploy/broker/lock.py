"""
The pinned jars of Apache Kafka: what a lock file says, and whether a file is what it says.

A lock lists everything one program needs. What two programs share stands in both, with one checksum.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

KAFKA_VERSION = "4.3.1"
#: The broker.
KAFKA = Path(__file__).with_name("kafka.lock")
#: MirrorMaker 2.
MIRROR = Path(__file__).with_name("mirror.lock")

_ROW = re.compile(r"(?P<group>[\w.-]+):(?P<artifact>[\w.-]+):(?P<version>[\w.-]+) (?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True)
class Jar:
    """One jar by its Maven coordinates, and the SHA-256 of its bytes."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def coordinates(self) -> str:
        """``group:artifact:version``."""
        return f"{self.group}:{self.artifact}:{self.version}"

    @property
    def name(self) -> str:
        """File name, the same in the cache and in a repository."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """Place in a Maven repository: ``org/apache/kafka/kafka-raft/4.3.1/kafka-raft-4.3.1.jar``."""
        return "/".join([*self.group.split("."), self.artifact, self.version, self.name])

    def matches(self, file: Path) -> bool:
        """Tell whether *file* holds exactly this jar; an absent file does not."""
        try:
            with file.open("rb") as content:
                return hashlib.file_digest(content, "sha256").hexdigest() == self.sha256
        except FileNotFoundError:
            return False


def parse(text: str) -> tuple[Jar, ...]:
    """Read a lock file: a jar a line, ``group:artifact:version sha256``; # begins a comment. Pure."""
    jars = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not (content := line.partition("#")[0].strip()):
            continue
        if not (row := _ROW.fullmatch(content)):
            raise ValueError(f"line {number} is not `group:artifact:version sha256`: {line!r}")
        jars.append(Jar(**row.groupdict()))
    return tuple(jars)


def pinned(lock: Path = KAFKA) -> tuple[Jar, ...]:
    """Return the jars that *lock* names, by default those this release of firmwatt runs its broker on."""
    return parse(lock.read_text(encoding="utf-8"))
