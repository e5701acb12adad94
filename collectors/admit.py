"""
Which commands a host obeys. Pure but for the keyring's file.

Nothing is decoded before its signature holds, and nothing that a signature covers moves a bound of the host.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from collectors.bounds import Bounds
from collectors.settings import read_document
from pipeline.errors import ConfigError
from pipeline.messages.control import LeaseCommand, SignedCommand
from pipeline.messages.telemetry import Tier
from pipeline.tiers import PAUSABLE

_DECODER = msgspec.json.Decoder(LeaseCommand)

MAX_PAYLOAD = 1 << 14
"""Bytes. A lease for every tier and six GPU models is a tenth of it."""
LEAP = timedelta(days=1)
"""
How far a sequence may be ahead of the clock's microseconds, which is what dispatch counts by.

Whoever sent a higher one by mistake would lock the host for good, since every later one is below it.
"""
SHOWN = 40
"""Characters of a name that came with a refused command which a message shows."""
MAX_SEQ = 2**63 - 1
"""What a column of any database holds."""

_QUOTED = re.compile(r"(Invalid (?:enum )?value) '.*'", re.DOTALL)


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

    def __len__(self) -> int:
        return len(self._keys)

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
    """Its sequence is not above the highest obeyed: sent again, or overtaken."""
    EXPIRED = "expired"
    FROM_THE_FUTURE = "from_the_future"
    TOO_FAR_AHEAD = "too_far_ahead"
    BAD_LENGTH = "bad_length"
    NO_AWARD = "no_award"
    BAD_LEVEL = "bad_level"
    OUT_OF_BOUNDS = "out_of_bounds"
    PROTECTED_TIER = "protected_tier"
    LATCHED = "latched"
    TOO_MANY = "too_many"
    STOPPING = "stopping"
    """The actuator is ending, and would leave behind what it held back now."""
    NOT_RECORDED = "not_recorded"
    """The journal cannot be written."""


@dataclass(frozen=True)
class Refusal:
    """A no, with the reason an operator reads."""

    reason: str
    code: RefusalCode
    command: LeaseCommand | None = None
    """What was refused; None where the bytes could not be trusted and were not looked at."""


def admit(  # noqa: PLR0917 - a decision with seven inputs has seven arguments
    signed: SignedCommand,
    host: str,
    highest_seq: int,
    keyring: Keyring,
    now: datetime,
    bounds: Bounds,
    *,
    is_latched: bool = False,
    planned: int = 0,
) -> LeaseCommand | Refusal:
    """
    Return the command in *signed* if this *host* must obey it at *now*, by the host's wall clock; else why not.

    A level above or below what a GPU or a tier takes is no reason to refuse: it is clamped when applied, where that is
    known. *is_latched*: a safety cap holds; *planned*: so many leases hold or wait.
    """
    verdict = opened(signed, keyring)
    if isinstance(verdict, Refusal):
        return verdict
    for failed, code, reason in _objections(verdict, host, highest_seq, now, bounds, is_latched=is_latched):
        if failed:
            return Refusal(reason, code, verdict)
    if planned >= bounds.max_leases and not verdict.is_release:
        return Refusal(f"{planned} leases hold or wait, at most {bounds.max_leases} may", RefusalCode.TOO_MANY, verdict)
    return verdict


def opened(signed: SignedCommand, keyring: Keyring) -> LeaseCommand | Refusal:
    """Return the command if a key of *keyring* signed it, whatever it says; else why not."""
    if len(signed.payload) > MAX_PAYLOAD:
        return Refusal(f"{len(signed.payload)} bytes, a lease has at most {MAX_PAYLOAD}", RefusalCode.MALFORMED)
    if signed.key_id not in keyring:
        return Refusal(f"no key {_shown(signed.key_id)} in the keyring", RefusalCode.UNKNOWN_KEY)
    if not keyring.verifies(signed):
        return Refusal(f"the signature is not {signed.key_id}'s over this payload", RefusalCode.BAD_SIGNATURE)
    return decoded(signed)


def decoded(signed: SignedCommand) -> LeaseCommand | Refusal:
    """Return what *signed* says, whoever has signed it; a field that this version does not know is a mistake."""
    try:
        command = _DECODER.decode(signed.payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Refusal(f"not a lease: {unquoted(error)}", RefusalCode.MALFORMED)
    if not 0 <= command.seq <= MAX_SEQ:
        return Refusal(f"not a lease: its sequence is not between 0 and {MAX_SEQ}", RefusalCode.MALFORMED)
    return command


def unquoted(error: Exception) -> str:
    """Return what is wrong with some bytes without what they say: that may be a megabyte, or somebody's secret."""
    return _QUOTED.sub(r"\1", str(error))


def _shown(name: str) -> str:
    """Return a name nobody has vouched for, unless it is so long or so odd that it may be a key put in its place."""
    return repr(name) if len(name) <= SHOWN and name.isprintable() else f"of {len(name)} characters"


def _objections(
    command: LeaseCommand, host: str, highest_seq: int, now: datetime, bounds: Bounds, *, is_latched: bool
) -> Iterator[tuple[bool, RefusalCode, str]]:
    """Yield what may speak against a command whose sender is known, and whether it does."""
    length, ahead = command.expires_at - command.not_before, command.not_before - now
    seq, early = command.seq, command.issued_at - now
    yield command.host != host, RefusalCode.WRONG_HOST, f"for host {command.host[:SHOWN]!r:.80}, this is {host!r}"
    yield seq <= highest_seq, RefusalCode.REPLAYED, f"sequence {seq} is not above {highest_seq}"
    yield (
        seq > (now + LEAP).timestamp() * 1e6,
        RefusalCode.OUT_OF_BOUNDS,
        f"sequence {seq} is more than {LEAP} ahead of the clock's microseconds",
    )
    yield command.expires_at <= now, RefusalCode.EXPIRED, f"expired at {command.expires_at.isoformat()}"
    yield (
        early > bounds.max_skew,
        RefusalCode.FROM_THE_FUTURE,
        f"issued {early} from now: compare this host's clock with the dispatcher's",
    )
    yield ahead > bounds.max_ahead, RefusalCode.TOO_FAR_AHEAD, f"begins in {ahead}, at most {bounds.max_ahead}"
    yield (
        not timedelta(0) < length <= bounds.max_lease,
        RefusalCode.BAD_LENGTH,
        f"lasts {length}, must be above 0 and at most {bounds.max_lease}",
    )
    yield (
        not 0 <= command.release_s <= bounds.max_lease.total_seconds(),
        RefusalCode.BAD_LENGTH,
        f"a way back of {command.release_s:g} s, must be 0 to {bounds.max_lease}",
    )
    yield (
        command.kind == "economic" and not command.award_id,
        RefusalCode.NO_AWARD,
        "an economic lease without the award it serves",
    )
    yield from _levels(command, bounds)
    yield (
        is_latched and command.kind != "safety",
        RefusalCode.LATCHED,
        "a safety cap holds; only a safety command may follow it",
    )


def _levels(command: LeaseCommand, bounds: Bounds) -> Iterator[tuple[bool, RefusalCode, str]]:
    """Yield what may speak against what a command asks for."""
    watts, megahertz = [cap.cap_w for cap in command.caps], [clock.max_mhz for clock in command.clocks]
    shares = [admission.share for admission in command.admissions]
    yield (
        not all(math.isfinite(level) and level > 0 for level in (*watts, *megahertz)),
        RefusalCode.BAD_LEVEL,
        "a cap or a clock is not a positive number",
    )
    yield not all(0 <= share <= 1 for share in shares), RefusalCode.BAD_LEVEL, "a share is not between 0 and 1"
    pools = (
        [(cap.tier, cap.gpu_model) for cap in command.caps],
        [(clock.tier, clock.gpu_model) for clock in command.clocks],
        [admission.tier for admission in command.admissions],
        command.pauses,
    )
    yield (
        any(len(set(named)) < len(named) for named in pools),
        RefusalCode.BAD_LEVEL,
        "two levels for one tier and GPU model",
    )
    yield (
        not all(bounds.min_cap_w <= cap_w <= bounds.max_cap_w for cap_w in watts),
        RefusalCode.OUT_OF_BOUNDS,
        f"a cap is outside this host's bounds, {bounds.min_cap_w:g} to {bounds.max_cap_w:g} W",
    )
    named = {*(cap.tier for cap in command.caps), *(clock.tier for clock in command.clocks)}
    named |= {admission.tier for admission in command.admissions} | set(command.pauses)
    yield Tier.T0 in named, RefusalCode.PROTECTED_TIER, "T0 is never held back"
    yield (
        not set(command.pauses) <= PAUSABLE,
        RefusalCode.PROTECTED_TIER,
        f"only jobs of {', '.join(sorted(PAUSABLE))} may be paused",
    )
