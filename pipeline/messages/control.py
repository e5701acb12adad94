"""
Signed leases from dispatch to host, acknowledgements back.

A command is a lease: it says from when until when a cap may hold, and the host lets go by itself when it ends. The
signature covers the payload's bytes exactly as sent, so nothing has to be canonical.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from pipeline.messages.telemetry import Instant, Message, Tier


class PoolCap(msgspec.Struct, frozen=True, kw_only=True):
    """Cap every GPU of this tier and model on the host at `cap_w` watts: all GPUs of a job alike."""

    tier: Tier
    gpu_model: str
    cap_w: float


class LeaseCommand(msgspec.Struct, frozen=True, kw_only=True, tag="lease.v1"):
    """
    What the dispatcher wants of one host. The newest sequence replaces the lease before it.

    No caps means: release now, in stages.
    """

    command_id: str
    host: str
    seq: int
    """Grows with every command to this host; a host refuses what is not above the highest it has accepted."""
    kind: Literal["economic", "safety"]
    award_id: str
    dispatch_id: str
    issued_at: Instant
    not_before: Instant
    expires_at: Instant
    caps: tuple[PoolCap, ...]


class SignedCommand(Message, frozen=True, kw_only=True, tag="signed-command.v1"):
    """A `LeaseCommand` as JSON bytes with its Ed25519 signature (RFC 8032)."""

    host: str
    key_id: str
    payload: bytes
    signature: bytes


class AckStatus(StrEnum):
    """What became of a command."""

    APPLIED = "applied"
    REFUSED = "refused"
    RELEASED = "released"


class GpuAck(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU before and after: what was asked, what holds, whether the limit binds."""

    uuid: str
    asked_w: float | None
    requested_w: float | None
    enforced_w: float | None
    before_w: float | None
    after_w: float | None
    binding: bool | None
    """The cap is below what the GPU would draw. False is information, not failure: it frees nothing."""
    error: str | None = None


class CommandAck(Message, frozen=True, kw_only=True, tag="command-ack.v1"):
    """A host's answer. Natural key (host, command_id, status)."""

    host: str
    command_id: str
    seq: int
    status: AckStatus
    reason: str | None
    issued_at: Instant | None
    acknowledged_at: Instant
    latency_ms: float | None
    """Issued, or begun if later, to acknowledged on the machine's clock, watts after the change included."""
    before_w: float | None
    after_w: float | None
    gpus: tuple[GpuAck, ...]
    simulated: bool
