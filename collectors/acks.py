"""What a host answers. Pure: readings before and after in, the acknowledgement out."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from collectors.lease import Refusal, response_time
from collectors.levers import GpuReading
from pipeline.clock import Clock
from pipeline.messages.control import AckStatus, CommandAck, GpuAck, LeaseCommand


def gpu_acks(
    asked_w: Mapping[str, float],
    before: Mapping[str, GpuReading],
    after: Mapping[str, GpuReading],
    errors: Mapping[str, str],
) -> tuple[GpuAck, ...]:
    """Return every GPU that was asked for a limit, before and after; what could not be read is None."""
    return tuple(
        _gpu_ack(uuid, asked_w[uuid], before.get(uuid), after.get(uuid), errors.get(uuid)) for uuid in sorted(asked_w)
    )


def applied(
    lease: LeaseCommand, gpus: Sequence[GpuAck], acknowledged_at: datetime, clock: Clock, *, simulated: bool
) -> CommandAck:
    """Acknowledge caps that are set, read back and measured."""
    failed = sum(gpu.error is not None for gpu in gpus)
    reason = f"{failed} of {len(gpus)} GPUs could not be limited" if failed else None
    return _ack(
        lease,
        AckStatus.APPLIED,
        reason if gpus else "no GPU of this host is named",
        gpus,
        acknowledged_at,
        latency_ms=clock.wall_seconds(response_time(lease, acknowledged_at)) * 1000,
        simulated=simulated,
    )


def released(lease: LeaseCommand, acknowledged_at: datetime, reason: str | None, *, simulated: bool) -> CommandAck:
    """Acknowledge that every limit is back where it was."""
    return _ack(lease, AckStatus.RELEASED, reason, (), acknowledged_at, latency_ms=None, simulated=simulated)


def refused(host: str, refusal: Refusal, acknowledged_at: datetime, *, simulated: bool) -> CommandAck:
    """Acknowledge a no; a command whose bytes could not be trusted has neither id nor sequence."""
    reason = f"{refusal.code}: {refusal.reason}"
    if refusal.command is not None:
        return _ack(
            refusal.command,
            AckStatus.REFUSED,
            reason,
            (),
            acknowledged_at,
            latency_ms=None,
            simulated=simulated,
            host=host,
        )
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


def _gpu_ack(
    uuid: str, asked_w: float, before: GpuReading | None, after: GpuReading | None, error: str | None
) -> GpuAck:
    return GpuAck(
        uuid=uuid,
        asked_w=asked_w,
        requested_w=after.requested_w if after else None,
        enforced_w=after.enforced_w if after else None,
        before_w=before.power_w if before else None,
        after_w=after.power_w if after else None,
        binding=after.binding if after else None,
        error=error,
    )


def _ack(
    lease: LeaseCommand,
    status: AckStatus,
    reason: str | None,
    gpus: Sequence[GpuAck],
    acknowledged_at: datetime,
    *,
    latency_ms: float | None,
    simulated: bool,
    host: str = "",
) -> CommandAck:
    """Return the answer to *lease*; its watts are sums over the GPUs measured both before and after."""
    pairs = [(gpu.before_w, gpu.after_w) for gpu in gpus if gpu.before_w is not None and gpu.after_w is not None]
    return CommandAck(
        host=host or lease.host,
        command_id=lease.command_id,
        seq=lease.seq,
        status=status,
        reason=reason,
        issued_at=lease.issued_at,
        acknowledged_at=acknowledged_at,
        latency_ms=latency_ms,
        before_w=sum(before for before, _ in pairs) if pairs else None,
        after_w=sum(after for _, after in pairs) if pairs else None,
        gpus=tuple(gpus),
        simulated=simulated,
    )
