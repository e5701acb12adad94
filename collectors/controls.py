"""
What a command asks of each control of a host. Pure.

    asked      400 W for the host's T2 GPUs of this model
    floor      not below what tier and device allow                        max
    previous   not above what held before we came                          min
    alike      all GPUs of a job get the highest of their levels, or none  one slow GPU slows the whole job

T0 is never touched, and a job with a GPU that cannot be set along with its others is left alone: one that the command
does not name, that does not answer, or that refuses.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.levers import Key
from pipeline import tiers
from pipeline.messages.control import Kind, LeaseCommand, PoolCap, PoolClock
from pipeline.messages.telemetry import Tier

ALIKE = frozenset({Kind.POWER, Kind.CLOCK})
"""Kinds of which one GPU's level is a whole job's pace."""


@dataclass(frozen=True)
class Control:
    """One control as the core sees it, in the unit of its kind."""

    key: Key
    tier: Tier
    lowest: float
    highest: float
    """From here on nothing is held back."""
    previous: float
    """What held before the first touch, `FREE` if nothing did; never exceeded, and restored at the end."""
    model: str = ""
    """Of a GPU."""
    job: str | None = None
    """Whose GPU it is; GPUs of one job are set alike."""
    requested: float | None = None
    """What it reads back now; None where the device does not tell."""
    is_orphan: bool = False
    """Nobody claims it any more; tier and job are what they were. A safety cap stays, an economic lease does not."""
    answers: bool = True
    """It can be read."""
    refuses: bool = False
    """It did not take what was set last."""

    @property
    def floor(self) -> float:
        """The lowest level any command gets; a job that may be paused has none."""
        return 0.0 if self.key.kind is Kind.RUN else tiers.floor(self.tier, self.lowest, self.highest)

    @property
    def ceiling(self) -> float:
        """The level to which a way back rises before it ends at `previous`."""
        return min(self.previous, self.highest)


def power(  # noqa: PLR0917 - a GPU is these six things
    uuid: str, model: str, tier: Tier, min_w: float, max_w: float, previous_w: float, job: str | None = None
) -> Control:
    """Return the power limit of one GPU that nobody has touched, watts."""
    return Control(Key(Kind.POWER, uuid), tier, min_w, max_w, previous_w, model=model, job=job)


def asked(controls: Sequence[Control], command: LeaseCommand) -> dict[Key, float]:
    """Return the level of every control that *command* names and may hold back."""
    wanted = _wanted(controls, command)
    unequal = _unequal(controls, wanted)
    return {
        control.key: min(control.previous, level)
        for control, level in _alike(controls, wanted)
        if control.key not in unequal
    }


def left_out(controls: Sequence[Control], command: LeaseCommand) -> dict[Key, str]:
    """Return the controls that *command* names and that are left alone for the sake of their job, and why."""
    return _unequal(controls, _wanted(controls, command))


def named(controls: Iterable[Control], command: LeaseCommand) -> dict[Key, float]:
    """Return every control that *command* names, at the level it asks for, whether or not that can be had."""
    levels = ((control, _level(control, command)) for control in controls)
    return {control.key: min(control.previous, level) for control, level in levels if level is not None}


def _wanted(controls: Iterable[Control], command: LeaseCommand) -> dict[Key, float]:
    """Return what is asked of every control that answers and is somebody's, floors observed."""
    is_safety = command.kind == "safety"
    able = (control for control in controls if control.answers and (is_safety or not control.is_orphan))
    levels = ((control.key, _level(control, command)) for control in able)
    return {key: level for key, level in levels if level is not None}


def _level(control: Control, command: LeaseCommand) -> float | None:
    """Return what *command* asks of *control*, its floor observed; None: nothing."""
    tier, level = control.tier, None
    if tier is Tier.T0:
        return None
    match control.key.kind:
        case Kind.POWER:
            level = next((cap.cap_w for cap in command.caps if _pool(cap) == (tier, control.model)), None)
        case Kind.CLOCK:
            level = next((clock.max_mhz for clock in command.clocks if _pool(clock) == (tier, control.model)), None)
        case Kind.RUN:
            return 0.0 if tier in command.pauses and tier in tiers.PAUSABLE else None
        case Kind.ADMISSION:
            share = next((one.share for one in command.admissions if one.tier is tier), None)
            return None if share is None else float(math.ceil(max(share * control.highest, control.floor)))
    return None if level is None else max(level, control.floor)


def _pool(asked_for: PoolCap | PoolClock) -> tuple[Tier, str]:
    return asked_for.tier, asked_for.gpu_model


def _alike(controls: Iterable[Control], wanted: Mapping[Key, float]) -> Iterable[tuple[Control, float]]:
    """Yield the wanted controls, those of one job at the highest level that any of them needs."""
    highest: dict[tuple[Kind, str | None], float] = defaultdict(float)
    for control in controls:
        if control.key in wanted:
            group = (control.key.kind, control.job)
            highest[group] = max(highest[group], wanted[control.key])
    for control in controls:
        if control.key in wanted:
            is_alike = control.job is not None and control.key.kind in ALIKE
            yield control, highest[control.key.kind, control.job] if is_alike else wanted[control.key]


def _unequal(controls: Iterable[Control], wanted: Mapping[Key, float]) -> dict[Key, str]:
    """Return the wanted controls of jobs of which one GPU is not wanted, does not answer or does not obey."""
    groups: dict[tuple[Kind, str], list[Control]] = defaultdict(list)
    for control in controls:
        if control.job is not None and control.key.kind in ALIKE:
            groups[control.key.kind, control.job].append(control)
    found: dict[Key, str] = {}
    for (_, job), group in groups.items():
        odd = next((one.key.subject for one in group if one.key not in wanted or one.refuses), None)
        if odd is not None and len(group) > 1:
            why = f"job {job} also runs on {odd}, which cannot be set alike"
            found |= {control.key: why for control in group if control.key in wanted}
    return found
