"""
Levers, one per way of holding power back; the file name is the lever's name.

    class Settings(Section, frozen=True, kw_only=True): ...      # the table [lever.NAME] of the settings file
    def connect(settings: Settings) -> Lever: ...                # opens nothing yet

A lever turns one kind of control: power limits and clock ceilings of GPUs, whether jobs run, how many requests their
engines take at once. A control has a set-point, in the unit of its kind; `FREE` is the set-point of what nothing holds
back. Whoever sets one reads it back: a lever that says yes and does nothing is found out.

Calls block for as long as the device does, come from several threads at once, and never from two for one subject.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from collectors import Place
from pipeline.errors import FirmwattError
from pipeline.messages.control import Kind, Trouble

FREE = math.inf
"""Clocks unlocked, requests unlimited."""

TOLERANCE = {Kind.POWER: 0.5, Kind.CLOCK: 15.0, Kind.RUN: 0.0, Kind.ADMISSION: 0.0}
"""
A set-point that reads back this close to what was asked for has been taken, in the unit of the kind.

Clocks come in steps of 15 MHz (`nvidia-smi -q -d SUPPORTED_CLOCKS` of an H100 and an A100).
"""


class Key(NamedTuple):
    """One control of this host."""

    kind: Kind
    subject: str
    """UUID of a GPU, or a job."""

    def __str__(self) -> str:
        return f"{self.kind} of {self.subject}"


class LeverError(FirmwattError):
    """One subject could not be read or set; the text says why, `trouble` of what sort it is. The others go on."""

    def __init__(self, text: str, trouble: Trouble = Trouble.FAILED) -> None:
        super().__init__(text)
        self.trouble = trouble


class Found(NamedTuple):
    """Something a lever can turn."""

    subject: str
    place: Place | None = None
    """Where a GPU sits, for mappings that know GPUs by number; None where the lever cannot tell, and of a job."""


@dataclass(frozen=True)
class Reading:
    """One control as it is now, in the unit of its kind: watts, megahertz, 1 or 0, requests. Absent is None."""

    subject: str
    lowest: float
    """The lowest set-point the device takes."""
    highest: float
    """The set-point from which on nothing is held back."""
    requested: float | None
    """What was asked for last, by us or whoever; None where the device does not tell (NVML has no call for locks)."""
    enforced: float | None = None
    """What is in force, a BMC's out-of-band cap included."""
    power_w: float | None = None
    """Instantaneous draw of a GPU."""
    binding: bool | None = None
    """The set-point is what holds the draw down."""
    model: str = ""
    """Of a GPU."""
    note: str = ""
    """What an operator should know of it, as that its driver forgets limits; one line."""


class Lever(Protocol):
    """Everything an actuator may ask of a device family."""

    @property
    def kind(self) -> Kind:
        """What it turns."""
        ...

    @property
    def patience_s(self) -> float:
        """How long a call may take before it counts as hanging, seconds of the machine."""
        ...

    def find(self, now: datetime, jobs: Collection[str]) -> tuple[Found, ...]:
        """
        Return what can be turned: GPUs that answer, or those of *jobs* that this lever knows how to reach.

        Raise `SourceError` when nothing can be asked.
        """
        ...

    def read(self, subject: str) -> Reading:
        """Return one control as it is now; raise `LeverError` when it does not answer."""
        ...

    def set(self, subject: str, level: float) -> None:
        """Ask for a set-point, `FREE` to lift it; raise `LeverError` when it is refused."""
        ...

    def close(self) -> None:
        """Let go of the devices, so that a driver can be replaced; the next `find` opens them again."""
        ...


def apply(lever: Lever, subject: str, level: float) -> Reading:
    """Set a control and read it back; raise `LeverError` when it was refused or does not hold."""
    lever.set(subject, level)
    reading = lever.read(subject)
    if reading.requested is not None and not is_at(lever.kind, reading.requested, level):
        raise LeverError(f"asked for {level:g}, reads back {reading.requested:g}", Trouble.NOT_TAKEN)
    return reading


def is_at(kind: Kind, requested: float, level: float) -> bool:
    """Tell whether *requested* is *level*, as near as controls of this kind are set."""
    return requested == level or abs(requested - level) <= TOLERANCE[kind]
