"""
A file that says who uses which GPU, by UUID and never by index. It needs no cluster manager, and tests use it too.

    ["GPU-8d3fb1a0-…"]
    job = "llama-70b-pretrain"
    tenant = "research"
    tier = "T3"
    workload = "training"
    served_model = "llama-70b"

A MIG instance is claimed by its own UUID (``MIG-…``).
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from collectors import Place, SourceError
from collectors.mappings import Claim
from collectors.settings import read_document
from pipeline.errors import ConfigError
from pipeline.settings import Positive, Section

Stamp = tuple[int, int, int]


class Settings(Section, frozen=True, kw_only=True):
    """``[mapping.static]``."""

    file: str = ""
    """TOML, or JSON if its name ends so; empty: it claims nothing."""
    period_s: Positive = 10.0
    """How often it is looked at; it is read again when it has changed."""


def connect(settings: Settings) -> "Static":
    """Return the mapping; the file is read by the first call."""
    return Static(settings)


def load(path: str) -> dict[str, Claim]:
    """Return the claims in the TOML or JSON file at *path* by UUID, none for an empty path; or `ConfigError`."""
    return read_document(Path(path), dict[str, Claim]) if path else {}


class Static:
    """One file and what it said when it last changed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._stamp: Stamp | None = None
        self._claims: dict[str, Claim] = {}

    @property
    def troubles(self) -> tuple[str, ...]:
        """None: a file is understood whole or not at all."""
        return ()

    @property
    def period_s(self) -> float:
        """How often the file is looked at, seconds of the shared clock."""
        return self._settings.period_s

    def claims(self, now: datetime, places: Sequence[Place]) -> Mapping[str, Claim]:  # noqa: ARG002 - a file knows UUIDs
        """Return what the file says; raise `SourceError` while it says nothing that makes sense."""
        if not self._settings.file:
            return {}
        stamp = self._stamped()
        if stamp is None or stamp != self._stamp:
            try:
                self._claims = load(self._settings.file)
            except ConfigError as error:
                raise SourceError(str(error)) from error
            self._stamp = stamp
        return self._claims

    def _stamped(self) -> Stamp | None:
        """Return what changes whenever the file does, also when another is renamed into its place; None without one."""
        try:
            stat = Path(self._settings.file).stat()
        except OSError:
            return None
        return stat.st_mtime_ns, stat.st_size, stat.st_ino
