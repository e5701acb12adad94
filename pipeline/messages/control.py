"""
Signed leases from dispatch to host, acknowledgements back.

A command is a lease: it says from when until when controls may be held back, and the host lets go by itself when it
ends. The signature covers the payload's bytes exactly as sent, so nothing has to be canonical.

    previous ────┐                        ┌────   all of it over at `expires_at`, whatever happens
                 │                    ┌───┘
    cap          └────────────────────┘       the way back takes the last `release_s` of the lease, in stages:
                 not_before               expires_at     whoever needs a cap until T lets it expire at T + release_s
"""

from enum import StrEnum
from typing import Literal

import msgspec

from pipeline.messages.telemetry import Instant, Message, Tier

RELEASE_S = 20.0
"""Seconds of the shared clock that a lease's way back takes unless the command says otherwise."""


class Kind(StrEnum):
    """What can be held back on a host, and the unit of its set-points."""

    POWER = "power"
    """A GPU's power limit, watts."""
    CLOCK = "clock"
    """A GPU's highest SM clock, megahertz."""
    RUN = "run"
    """Whether a job runs: 1, or 0 while it is paused."""
    ADMISSION = "admission"
    """How many requests a job's engines take at once."""


class PoolCap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Cap every GPU of this tier and model on the host at `cap_w` watts: all GPUs of a job alike."""

    tier: Tier
    gpu_model: str
    cap_w: float


class PoolClock(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let no GPU of this tier and model run faster than `max_mhz`: what a cap does not reach, such as LLM decode."""

    tier: Tier
    gpu_model: str
    max_mhz: float


class PoolAdmission(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Let the engines of this tier's jobs take at most this share of the requests they took at once before."""

    tier: Tier
    share: float


class LeaseCommand(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="lease.v1"):
    """
    What the dispatcher wants of one host. The newest sequence replaces the lease before it.

    Nothing asked for means: release now, in stages. A host refuses what it does not know, so hosts are upgraded first.
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
    clocks: tuple[PoolClock, ...] = ()
    pauses: tuple[Tier, ...] = ()
    """Tiers whose jobs are to stand still."""
    admissions: tuple[PoolAdmission, ...] = ()
    release_s: float = RELEASE_S
    """How long the way back takes, at most half of the lease; seconds of the shared clock."""

    @property
    def is_release(self) -> bool:
        """Whether it asks for nothing, and so ends whatever holds."""
        return not (self.caps or self.clocks or self.pauses or self.admissions)


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
    CONFLICT = "conflict"
    """Somebody else keeps changing what the lease holds, and the host no longer sets it; each such control is named."""


class Trouble(StrEnum):
    """What keeps one control from doing what was asked, or from doing it alone."""

    NO_PERMISSION = "no_permission"
    LOST = "lost"
    """The device is gone: off the bus, or its driver is."""
    HANGS = "hangs"
    """A call to it has not come back; nothing more is asked of it until it does."""
    OUT_OF_RANGE = "out_of_range"
    NOT_SUPPORTED = "not_supported"
    NOT_TAKEN = "not_taken"
    """It said yes and reads back something else."""
    NOT_FOLLOWED = "not_followed"
    """The limit is set, and the draw has stayed above it."""
    OUT_OF_BAND = "out_of_band"
    """Something below the driver, a BMC as a rule, holds it lower than was asked: ours frees nothing more."""
    CONFLICT = "conflict"
    """Somebody else on the host sets it, too."""
    UNEQUAL = "unequal"
    """Left alone, because other GPUs of its job cannot be set alike."""
    FAILED = "failed"


class GpuAck(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU before and after: what was asked, what holds, whether the limit binds."""

    uuid: str
    asked_w: float | None
    """None: no power limit was asked of this GPU, but something else that changes its draw."""
    requested_w: float | None
    enforced_w: float | None
    before_w: float | None
    after_w: float | None
    binding: bool | None
    """The cap is below what the GPU would draw. False is information, not failure: it frees nothing."""
    error: str | None = None
    """Why it is not as asked, for people."""
    trouble: Trouble | None = None
    """The same for machines; also set where the limit holds and something is still to be known of it."""


class ControlAck(msgspec.Struct, frozen=True, kw_only=True):
    """One control other than a power limit, in the unit of its kind; infinite, which is free, is None."""

    kind: Kind
    subject: str
    """UUID of a GPU, or a job."""
    asked: float | None
    found: float | None
    """As it reads back; None where it cannot be read."""
    error: str | None = None
    trouble: Trouble | None = None


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
    controls: tuple[ControlAck, ...] = ()
    set_ms: float | None = None
    """Of `latency_ms`: from the command's arrival on the host until every control was set and read back."""
