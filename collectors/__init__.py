"""
What runs on every GPU host: sources that measure it, levers that limit it, and the two processes around them.

A source is one file in `collectors.sources` with a function ``connect() -> Source``; the file name is its name.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.errors import FirmwattError
from pipeline.messages.telemetry import GpuSample


class SourceError(FirmwattError):
    """A device could not be measured; the text says why. Nothing is published in place of the reading."""

    exit_code = 4


class RestartNeededError(SourceError):
    """Only a new process can measure again: leave it to the supervisor."""


@dataclass(frozen=True)
class Reading:
    """What one source saw of this host. Watts and joules; absent is None."""

    gpus: tuple[GpuSample, ...] = ()
    chassis_w: float | None = None
    chassis_energy_j: float | None = None


class Source(Protocol):
    """Everything a collector may ask of a device family."""

    def read(self, now: datetime) -> Reading:
        """
        Measure once; may block, and is therefore called in a thread, one call at a time.

        *now* is the shared clock's and serves to space retries. Raise `SourceError` when nothing could be measured;
        a single GPU that fails is marked in the reading and does not stop the others.
        """
        ...
