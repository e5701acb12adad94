"""
What runs on every GPU host: sources that measure it, levers that limit it, and the two processes around them.

A source is one file in `collectors.sources`; the file name is its name. It has a settings struct and a function:

    class Settings(Section, frozen=True, kw_only=True): ...     # the table [source.NAME] of the settings file
    def connect(settings: Settings) -> Source: ...              # opens nothing yet
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.errors import FirmwattError
from pipeline.messages.telemetry import GpuSample, MeterSample

PLAUSIBLE_SHARE = 1.5
"""
A draw above this share of a device's maximum limit is garbage, and withheld: 593 W at idle was seen on a laptop card
(g-helper#5819), while real ones exceed their limit by a few percent for moments (LACT#1128: 615.8 W of 600 W).
"""


class SourceError(FirmwattError):
    """A device could not be measured; the text says why and what to do. Nothing is published in its place."""

    exit_code = 4


class RestartNeededError(SourceError):
    """Only a new process can measure again: leave it to the supervisor."""


@dataclass(frozen=True)
class Place:
    """Where a GPU sits on this host: for cluster managers that know it by number. Everything else knows its UUID."""

    uuid: str
    index: int
    """NVML's, in PCI order."""
    minor: int | None = None
    """The N of /dev/nvidiaN, which Slurm's IDX means; on some hosts not the index."""
    mig: tuple[str, ...] = ()
    """UUIDs of its MIG instances, in NVML's order."""


@dataclass(frozen=True)
class Reading:
    """
    What one source saw of this host. Watts and joules; absent is None.

    Energy is the device's own counter as it stands, or None: `collectors.counters` gives it its epoch and integrates
    power where there is no counter to be believed.
    """

    gpus: tuple[GpuSample, ...] = ()
    meters: tuple[MeterSample, ...] = ()
    places: tuple[Place, ...] = ()
    troubles: tuple[str, ...] = ()
    """One line for each part that did not answer while the rest did."""


class Source(Protocol):
    """Everything a collector may ask of a device family. Called by one thread at a time, never by two."""

    @property
    def period_s(self) -> float:
        """How often it is worth asking, seconds of the shared clock; 0: every tick."""
        ...

    def read(self, now: datetime) -> Reading:
        """
        Measure once; may block for as long as the device's own timeout.

        *now* is the shared clock's: it stamps readings and spaces retries. Raise `SourceError` when nothing could be
        measured; a single device that fails is marked or left out, said in `troubles`, and does not stop the others.
        """
        ...

    def close(self) -> None:
        """Let go of the devices, so that a driver can be replaced; the next `read` opens them again."""
        ...
