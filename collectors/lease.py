"""
The actuator's decisions: which commands to obey, and which limits hold when. Pure; shells set the limits.

    previous ─────────┐                                    ┌─────   4/4: exactly `previous_w`, the lease is over
                      │                            ┌───────┘
                      │                    ┌───────┘
                      │            ┌───────┘  1/4 of the way back
    cap               └────────────┘
                  not_before   expires_at       each stage `release_stage` after the one before
                                   ├─jitter─┤   the same for a host every time, less than one stage: a site's hosts
                                                do not come back at one instant, which would be a grid event itself

- A lease holds from `not_before` until `expires_at`; of several, the highest sequence that has begun holds. So a
  renewal sent ahead of time takes over without a gap, and a lease that starts no later than an older one erases it.
- A command without caps starts the staged release at once, from whatever holds, and erases what was planned.
- ``kind="safety"`` latches: it has no end of its own, and only a safety command may follow it.
- No limit is ever above the one that held before we came, nor below the floor of tier and device; T0 is never touched.

Nothing here needs the network: a host that hears nothing more lets go by itself.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collectors.settings import read_document
from pipeline.errors import ConfigError
from pipeline.messages.control import LeaseCommand, SignedCommand
from pipeline.messages.telemetry import Tier
from pipeline.tiers import floor_w

_DECODER = msgspec.json.Decoder(LeaseCommand)


@dataclass(frozen=True)
class Bounds:
    """What a host enforces whatever it is told. Spans of the shared clock."""

    max_lease: timedelta = timedelta(minutes=15)
    max_ahead: timedelta = timedelta(hours=1)
    """How far in the future a lease may begin."""
    release_stages: int = 4
    release_stage: timedelta = timedelta(seconds=5)


class Keyring:
    """The dispatchers a host listens to: key id → Ed25519 public key (RFC 8032)."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Take 32 raw bytes per key; raise `ConfigError` on anything else."""
        try:
            self._keys = {key_id: Ed25519PublicKey.from_public_bytes(raw) for key_id, raw in keys.items()}
        except ValueError as error:
            raise ConfigError(f"keyring: an Ed25519 public key is 32 bytes: {error}") from error

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Read ``key_id = "base64 of 32 bytes"`` from a TOML file, or the same as a JSON object."""
        return cls(read_document(path, dict[str, bytes]))

    def __contains__(self, key_id: str) -> bool:
        return key_id in self._keys

    def verifies(self, signed: SignedCommand) -> bool:
        """Tell whether the key it names made the signature over exactly these payload bytes."""
        try:
            self._keys[signed.key_id].verify(signed.signature, signed.payload)
        except InvalidSignature:
            return False
        return True


class RefusalCode(StrEnum):
    """Why a command is not obeyed, in the order of the checks."""

    UNKNOWN_KEY = "unknown_key"
    BAD_SIGNATURE = "bad_signature"
    MALFORMED = "malformed"
    WRONG_HOST = "wrong_host"
    REPLAYED = "replayed"
    EXPIRED = "expired"
    TOO_FAR_AHEAD = "too_far_ahead"
    BAD_LENGTH = "bad_length"
    BAD_CAP = "bad_cap"
    PROTECTED_TIER = "protected_tier"
    LATCHED = "latched"


@dataclass(frozen=True)
class Refusal:
    """A no, with the reason an operator reads."""

    reason: str
    code: RefusalCode
    command: LeaseCommand | None = None
    """What was refused; None where the bytes could not be trusted and were not looked at."""


@dataclass(frozen=True)
class Release:
    """A staged way back to the previous limits."""

    first_raise_at: datetime
    from_w: Mapping[str, float]
    """Limits by GPU UUID when it started."""

    def share(self, now: datetime, bounds: Bounds) -> float:
        """Return how much of the way is gone: 0 before the first raise, 1 from the last on or if none is needed."""
        if not self.from_w:
            return 1.0
        stages = (now - self.first_raise_at) // bounds.release_stage + 1
        return min(max(stages, 0), bounds.release_stages) / bounds.release_stages


@dataclass(frozen=True)
class HostState:
    """What a host remembers. Never edited: `accept` and `step` return a new one."""

    highest_seq: int = 0
    """The highest sequence ever accepted; shells keep it on disk, so that a replay after a restart is refused."""
    leases: tuple[LeaseCommand, ...] = ()
    """Accepted and not over, by sequence and by start: the first may hold now, the others wait."""
    release: Release | None = None
    limits_w: Mapping[str, float] = field(default_factory=dict)
    """What the last step said should hold."""
    released: LeaseCommand | None = None
    """The lease whose release the last step completed: the moment to acknowledge it."""

    @classmethod
    def initial(cls, highest_seq: int = 0) -> "HostState":
        """Return the state of a host that holds nothing."""
        return cls(highest_seq=highest_seq)

    @property
    def lease(self) -> LeaseCommand | None:
        """The newest lease that is not over."""
        return self.leases[-1] if self.leases else None

    def holding(self, now: datetime) -> LeaseCommand | None:
        """Return the lease whose turn it is at *now*, one in staged release included."""
        return next((lease for lease in reversed(self.leases) if not lease.caps or lease.not_before <= now), None)


@dataclass(frozen=True)
class GpuLimits:
    """One GPU as the core sees it. Watts."""

    uuid: str
    model: str
    tier: Tier
    min_w: float
    max_w: float
    previous_w: float
    """The limit that held before the first cap; never exceeded, and restored at the end."""


def admit(  # noqa: PLR0917 - a decision with six inputs has six arguments
    signed: SignedCommand, host: str, state: HostState, keyring: Keyring, now: datetime, bounds: Bounds
) -> LeaseCommand | Refusal:
    """
    Return the command in *signed* if this *host* must obey it, else why not.

    Nothing is decoded before its signature holds. A cap above or below a GPU's limits is no reason to refuse: it is
    clamped when applied.
    """
    if signed.key_id not in keyring:
        return Refusal(f"no key {signed.key_id!r} in the keyring", RefusalCode.UNKNOWN_KEY)
    if not keyring.verifies(signed):
        return Refusal(f"the signature is not {signed.key_id}'s over this payload", RefusalCode.BAD_SIGNATURE)
    try:
        command = _DECODER.decode(signed.payload)
    except msgspec.MsgspecError as error:
        return Refusal(f"not a lease: {error}", RefusalCode.MALFORMED)
    return _refusal(command, host, state, now, bounds) or command


def _refusal(command: LeaseCommand, host: str, state: HostState, now: datetime, bounds: Bounds) -> Refusal | None:
    """Return what speaks against a command whose sender is known."""
    length, ahead = command.expires_at - command.not_before, command.not_before - now
    pools = [(cap.tier, cap.gpu_model) for cap in command.caps]
    latched = any(lease.kind == "safety" and lease.caps for lease in state.leases)
    checks = (
        (command.host != host, RefusalCode.WRONG_HOST, f"for host {command.host!r}, this is {host!r}"),
        (
            command.seq <= state.highest_seq,
            RefusalCode.REPLAYED,
            f"sequence {command.seq} is not above {state.highest_seq}",
        ),
        (command.expires_at <= now, RefusalCode.EXPIRED, f"expired at {command.expires_at.isoformat()}"),
        (ahead > bounds.max_ahead, RefusalCode.TOO_FAR_AHEAD, f"begins in {ahead}, at most {bounds.max_ahead}"),
        (
            not timedelta(0) < length <= bounds.max_lease,
            RefusalCode.BAD_LENGTH,
            f"lasts {length}, must be above 0 and at most {bounds.max_lease}",
        ),
        (
            not all(math.isfinite(cap.cap_w) and cap.cap_w > 0 for cap in command.caps),
            RefusalCode.BAD_CAP,
            "a cap is not a positive number of watts",
        ),
        (len(set(pools)) < len(pools), RefusalCode.BAD_CAP, "two caps for one tier and GPU model"),
        (any(tier is Tier.T0 for tier, _ in pools), RefusalCode.PROTECTED_TIER, "T0 is never capped"),
        (
            latched and command.kind != "safety",
            RefusalCode.LATCHED,
            "a safety cap holds; only a safety command may follow it",
        ),
    )
    return next((Refusal(reason, code, command) for failed, code, reason in checks if failed), None)


def accept(state: HostState, lease: LeaseCommand) -> HostState:
    """Return *state* with *lease* taken on: it replaces every lease that would not have begun before it."""
    earlier = tuple(old for old in state.leases if lease.caps and (not old.caps or old.not_before < lease.not_before))
    return replace(state, highest_seq=max(state.highest_seq, lease.seq), leases=(*earlier, lease))


def caps_for(gpus: Sequence[GpuLimits], lease: LeaseCommand) -> dict[str, float]:
    """Return the cap in watts for every GPU that *lease* names, clamped to floor and previous limit; T0 is left out."""
    asked_w = {(cap.tier, cap.gpu_model): cap.cap_w for cap in lease.caps}
    return {
        gpu.uuid: min(gpu.previous_w, max(asked_w[gpu.tier, gpu.model], floor_w(gpu.tier, gpu.min_w, gpu.max_w)))
        for gpu in gpus
        if gpu.tier is not Tier.T0 and (gpu.tier, gpu.model) in asked_w
    }


def step(
    state: HostState, gpus: Sequence[GpuLimits], now: datetime, bounds: Bounds
) -> tuple[HostState, dict[str, float]]:
    """
    Return the new state and the limit in watts, by UUID, of every GPU that is to be held back at *now*.

    A GPU that is not named belongs at its `previous_w`. Call it as often as you like, at least once per stage.
    """
    holding = state.holding(now)
    if holding is None:
        return replace(state, release=None, limits_w={}, released=None), {}
    leases = state.leases[state.leases.index(holding) :]
    if not _over(holding, now):
        limits_w = caps_for(gpus, holding)
        return replace(state, leases=leases, release=None, limits_w=limits_w, released=None), limits_w

    release = state.release or _release(holding, state.limits_w, now, bounds)
    back = release.share(now, bounds)
    if back == 1:
        return replace(state, leases=leases[1:], release=None, limits_w={}, released=holding), {}
    limits_w = {
        gpu.uuid: _raised(release.from_w[gpu.uuid], gpu.previous_w, back)
        for gpu in gpus
        if gpu.uuid in release.from_w and gpu.tier is not Tier.T0
    }
    return replace(state, leases=leases, release=release, limits_w=limits_w, released=None), limits_w


def response_time(lease: LeaseCommand, acknowledged_at: datetime) -> timedelta:
    """Return how long the host took, of the shared clock: from issue, or from the start of a lease sent ahead of it."""
    return acknowledged_at - max(lease.issued_at, lease.not_before)


def release_jitter(host: str, bounds: Bounds) -> timedelta:
    """Return this host's own delay before its first stage, at least 0 and less than one stage."""
    share = int.from_bytes(hashlib.sha256(host.encode()).digest()[:8]) / 2**64
    return bounds.release_stage * share


def _over(lease: LeaseCommand, now: datetime) -> bool:
    """Tell whether nothing of *lease* is left but its release."""
    return not lease.caps or (lease.kind == "economic" and now >= lease.expires_at)


def _raised(held_w: float, previous_w: float, back: float) -> float:
    """Return the limit at share *back* of the way from *held_w* to *previous_w*, never above the latter."""
    return min(previous_w, held_w + back * (previous_w - held_w))


def _release(lease: LeaseCommand, held_w: Mapping[str, float], now: datetime, bounds: Bounds) -> Release:
    """Return the way back from the limits that hold as *lease* ends: by expiry, or by command and then now."""
    ended_at = lease.expires_at if lease.caps else now
    return Release(ended_at + release_jitter(lease.host, bounds), held_w)
