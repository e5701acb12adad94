"""
Levers, one per way of limiting power; the file name is the lever's name and it exposes ``connect() -> Lever``.

Calls block and come from several threads at once, never two for one GPU.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipeline.errors import FirmwattError

TOLERANCE_W = 0.5
"""A limit that reads back this close to what was asked for has been taken."""


class LeverError(FirmwattError):
    """One GPU could not be read or limited; the text says why, and the others go on."""


@dataclass(frozen=True)
class GpuReading:
    """One GPU: what it may be set to, what is set, what it draws. Watts; absent is None."""

    uuid: str
    model: str
    min_w: float
    max_w: float
    requested_w: float
    """The limit software asked for last: ours, or whoever's."""
    enforced_w: float | None
    """The limit in force, a BMC's out-of-band cap included."""
    power_w: float | None
    """Instantaneous draw."""
    binding: bool | None
    """The limit is what holds the draw down."""


class Lever(Protocol):
    """Everything an actuator may ask of a device family."""

    def gpus(self, now: datetime) -> Mapping[str, GpuReading]:
        """Return the GPUs that answer and can be limited, by UUID; raise `SourceError` when none can be asked."""
        ...

    def set_limit(self, uuid: str, limit_w: float) -> None:
        """Ask for a limit; raise `LeverError` when it is refused."""
        ...

    def read(self, uuid: str) -> GpuReading:
        """Return one GPU as it is now; raise `LeverError` when it does not answer."""
        ...


def apply(lever: Lever, uuid: str, limit_w: float) -> GpuReading:
    """Set a limit and read it back; raise `LeverError` when it was refused or does not hold."""
    lever.set_limit(uuid, limit_w)
    reading = lever.read(uuid)
    if abs(reading.requested_w - limit_w) > TOLERANCE_W:
        raise LeverError(f"asked for {limit_w:.1f} W, reads back {reading.requested_w:.1f} W")
    return reading
