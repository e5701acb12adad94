"""
What a command asks of each control of a host. Pure.

    asked      400 W for the host's T2 GPUs of this model
    floor      not below what tier and device allow                        max
    previous   not above what held before we came                          min
    alike      all GPUs of a job get the highest of their levels, or none  one slow GPU slows the whole job

T0 is never touched, and a job with a GPU that cannot be set along with its others is left alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.levers import Key
from pipeline import tiers
from pipeline.messages.control import Kind, LeaseCommand
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


def asked(controls: Iterable[Control], command: LeaseCommand) -> dict[Key, float]:
    """Return the level of every control that *command* names and may hold back."""
    wanted = {control.key: level for control, level in _wanted(controls, command) if level is not None}
    unequal = _unequal(controls, wanted)
    return {
        control.key: min(control.previous, level)
        for control, level in _alike(controls, wanted)
        if control.key not in unequal
    }


def left_out(controls: Sequence[Control], command: LeaseCommand) -> dict[Key, str]:
    """Return the controls that *command* names and that are left alone for the sake of their job, and why."""
    wanted = {control.key: level for control, level in _wanted(controls, command) if level is not None}
    return _unequal(controls, wanted)


def _wanted(controls: Iterable[Control], command: LeaseCommand) -> Iterable[tuple[Control, float | None]]:
    """Yield every control with what is asked of it, its floor observed; None: nothing."""
    pools = {
        Kind.POWER: {(cap.tier, cap.gpu_model): cap.cap_w for cap in command.caps},
        Kind.CLOCK: {(clock.tier, clock.gpu_model): clock.max_mhz for clock in command.clocks},
    }
    shares = {admission.tier: admission.share for admission in command.admissions}
    for control in controls:
        kind, tier = control.key.kind, control.tier
        level: float | None
        match kind:
            case Kind.POWER | Kind.CLOCK:
                level = pools[kind].get((tier, control.model))
            case Kind.RUN:
                level = 0.0 if tier in command.pauses and tier in tiers.PAUSABLE else None
            case Kind.ADMISSION:
                level = math.ceil(shares[tier] * control.highest) if tier in shares else None
        if tier is Tier.T0 or level is None:
            yield control, None
        else:
            yield control, max(level, math.ceil(control.floor) if kind is Kind.ADMISSION else control.floor)


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
    """Return the wanted controls of jobs that have others of that kind, which are not wanted."""
    alone = {
        (control.key.kind, control.job): control.key.subject
        for control in controls
        if control.job is not None and control.key.kind in ALIKE and control.key not in wanted
    }
    return {
        control.key: f"job {control.job} also runs on {alone[group]}, which is not to be set alike"
        for control in controls
        if control.key in wanted and (group := (control.key.kind, control.job)) in alone
    }
