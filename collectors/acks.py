"""What a host answers. Pure: readings before and after in, the acknowledgement out."""

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime

from collectors.admit import Refusal
from collectors.hands import Failure
from collectors.lease import response_time
from collectors.levers import TOLERANCE, Key, Reading
from pipeline.clock import Clock
from pipeline.messages.control import (
    AckStatus,
    CommandAck,
    ControlAck,
    GpuAck,
    Kind,
    LeaseCommand,
    Trouble,
)

SETTLED_W = 2.0
"""So close above its limit a draw has followed it."""
ACCURACY_W, ACCURACY_SHARE = 5.0, 0.08
"""
A draw above its limit by more than this has not followed: ±5 W is the stated accuracy (`nvidia-smi --help-query-gpu`),
and at its floor of 100 W an A40 drew 107 W (Zeus' traces, NSDI '23).
"""


@dataclass(frozen=True)
class Report:
    """What was done on one host for one command."""

    asked: Mapping[Key, float]
    """Every control that the command names, at the level it asks for, whether or not that could be had."""
    before: Mapping[Key, Reading]
    after: Mapping[Key, Reading]
    failures: Mapping[Key, Failure]
    affected: Collection[Key]
    """Power controls of all GPUs whose draw that changes."""


def words(command: LeaseCommand) -> str:
    """Return what *command* asks for, for a log."""
    parts = [
        *(f"{cap.tier} at {cap.cap_w:g} W" for cap in command.caps),
        *(f"{clock.tier} at {clock.max_mhz:g} MHz" for clock in command.clocks),
        *(f"{tier} paused" for tier in command.pauses),
        *(f"{admission.tier} admits {admission.share:.0%}" for admission in command.admissions),
    ]
    return ", ".join(parts) or "release"


def has_followed(reading: Reading | None, level: float | None) -> bool:
    """Tell whether the draw is where the limit puts it; nothing can be said against what is not measured."""
    if reading is None or reading.power_w is None or level is None:
        return True
    return reading.power_w <= level + SETTLED_W


def applied(
    command: LeaseCommand, report: Report, clock: Clock, *, set_ms: float | None, reason: str | None, simulated: bool
) -> CommandAck:
    """Acknowledge what is set, read back and measured."""
    at = clock.now()
    gpus, controls = gpu_acks(report), control_acks(report)
    errors = [*(gpu.error for gpu in gpus), *(control.error for control in controls)]
    failed, named = sum(error is not None for error in errors), len(errors)
    if failed:
        reason = f"{failed} of {named} controls are not as asked"
    elif not named:
        reason = reason or "nothing on this host is named"
    return _ack(
        command,
        AckStatus.APPLIED,
        reason,
        at,
        simulated=simulated,
        gpus=gpus,
        controls=controls,
        latency_ms=clock.wall_seconds(response_time(command, at)) * 1000,
        set_ms=set_ms,
    )


def released(command: LeaseCommand, acknowledged_at: datetime, reason: str | None, *, simulated: bool) -> CommandAck:
    """Acknowledge that everything is back where it was."""
    return _ack(command, AckStatus.RELEASED, reason, acknowledged_at, simulated=simulated)


def conflict(
    command: LeaseCommand,
    found: Mapping[Key, float],
    levels: Mapping[Key, float],
    acknowledged_at: datetime,
    *,
    simulated: bool,
) -> CommandAck:
    """Say of which controls somebody else has taken hold, and at what level they were *found*."""
    controls = tuple(
        ControlAck(
            kind=key.kind,
            subject=key.subject,
            asked=_number(levels.get(key)),
            found=_number(level),
            error="somebody else sets it, too; it is left to them until the next command",
            trouble=Trouble.CONFLICT,
        )
        for key, level in sorted(found.items())
    )
    reason = f"{len(controls)} controls are held by somebody else"
    return _ack(command, AckStatus.CONFLICT, reason, acknowledged_at, simulated=simulated, controls=controls)


def refused(host: str, refusal: Refusal, acknowledged_at: datetime, *, simulated: bool) -> CommandAck:
    """Acknowledge a no; a command whose bytes could not be trusted has neither id nor sequence."""
    reason = f"{refusal.code}: {refusal.reason}"
    if refusal.command is not None:
        return _ack(refusal.command, AckStatus.REFUSED, reason, acknowledged_at, simulated=simulated, host=host)
    return CommandAck(
        host=host,
        command_id="",
        seq=0,
        status=AckStatus.REFUSED,
        reason=reason,
        issued_at=None,
        acknowledged_at=acknowledged_at,
        latency_ms=None,
        before_w=None,
        after_w=None,
        gpus=(),
        simulated=simulated,
    )


def gpu_acks(report: Report) -> tuple[GpuAck, ...]:
    """Return every GPU whose draw was to change, before and after; what could not be read is None."""
    keys = {key for key in report.asked if key.kind is Kind.POWER}
    return tuple(_gpu_ack(key, report) for key in sorted(keys | set(report.affected)))


def control_acks(report: Report) -> tuple[ControlAck, ...]:
    """Return every other control that was asked for."""
    keys = {key for key in report.asked if key.kind is not Kind.POWER}
    return tuple(
        ControlAck(
            kind=key.kind,
            subject=key.subject,
            asked=_number(report.asked.get(key)),
            found=_number(report.after[key].requested) if key in report.after else None,
            error=report.failures[key].text if key in report.failures else None,
            trouble=report.failures[key].trouble if key in report.failures else None,
        )
        for key in sorted(keys)
    )


def _gpu_ack(key: Key, report: Report) -> GpuAck:
    asked_w, before, after = report.asked.get(key), report.before.get(key), report.after.get(key)
    failure = report.failures.get(key) or _reservation(asked_w, after)
    is_wrong = failure is not None and failure.trouble is not Trouble.OUT_OF_BAND
    return GpuAck(
        uuid=key.subject,
        asked_w=asked_w,
        requested_w=after.requested if after else None,
        enforced_w=after.enforced if after else None,
        before_w=before.power_w if before else None,
        after_w=after.power_w if after else None,
        binding=after.binding if after and asked_w is not None else None,
        error=failure.text if failure is not None and is_wrong else None,
        trouble=failure.trouble if failure is not None else None,
    )


def _reservation(asked_w: float | None, after: Reading | None) -> Failure | None:
    """Return what is to be known of a limit that was set as asked."""
    if after is None or asked_w is None:
        return None
    if after.enforced is not None and after.enforced < asked_w - TOLERANCE[Kind.POWER]:
        return Failure(Trouble.OUT_OF_BAND, f"held at {after.enforced:g} W out of band")
    if after.power_w is not None and after.power_w > asked_w + max(ACCURACY_W, ACCURACY_SHARE * asked_w):
        return Failure(Trouble.NOT_FOLLOWED, f"draws {after.power_w:g} W above a limit of {asked_w:g} W")
    return None


def _number(level: float | None) -> float | None:
    return None if level is None or math.isinf(level) else level


def _ack(
    command: LeaseCommand,
    status: AckStatus,
    reason: str | None,
    acknowledged_at: datetime,
    *,
    simulated: bool,
    gpus: tuple[GpuAck, ...] = (),
    controls: tuple[ControlAck, ...] = (),
    latency_ms: float | None = None,
    set_ms: float | None = None,
    host: str = "",
) -> CommandAck:
    """Return the answer to *command*; its watts are sums over the GPUs measured both before and after."""
    pairs = [(gpu.before_w, gpu.after_w) for gpu in gpus if gpu.before_w is not None and gpu.after_w is not None]
    return CommandAck(
        host=host or command.host,
        command_id=command.command_id,
        seq=command.seq,
        status=status,
        reason=reason,
        issued_at=command.issued_at,
        acknowledged_at=acknowledged_at,
        latency_ms=latency_ms,
        before_w=sum(before for before, _ in pairs) if pairs else None,
        after_w=sum(after for _, after in pairs) if pairs else None,
        gpus=gpus,
        simulated=simulated,
        controls=controls,
        set_ms=set_ms,
    )
