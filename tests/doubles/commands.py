"""
Builders of signed commands, for tests of whoever obeys them.

    signed(lease(1, cap(400), clocks=(clock(1200),), pauses=(Tier.T3,)))
    path.write_text(keyring_text({KEY_ID: PUBLIC, KEY_ID_2: PUBLIC_2}))       # while keys are rotated, both hold
"""

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collectors.admit import Keyring
from pipeline.messages.control import (
    RELEASE_S,
    LeaseCommand,
    PoolAdmission,
    PoolCap,
    PoolClock,
    SignedCommand,
)
from pipeline.messages.telemetry import Tier

NOON = datetime(2026, 7, 23, 12, 0, tzinfo=UTC)
HOST, KEY_ID, KEY_ID_2, H100 = "host-1", "dispatch", "dispatch-2", "NVIDIA H100 80GB HBM3"

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
KEY_2 = Ed25519PrivateKey.from_private_bytes(bytes(range(2, 34)))
PUBLIC, PUBLIC_2 = KEY.public_key().public_bytes_raw(), KEY_2.public_key().public_bytes_raw()
KEYRING = Keyring({KEY_ID: PUBLIC})


def keyring_text(keys: Mapping[str, bytes]) -> str:
    """Return a keyring file, TOML, that holds *keys*: public ones by their ids."""
    return "".join(f'"{key_id}" = "{base64.b64encode(raw).decode()}"\n' for key_id, raw in keys.items())


def cap(cap_w: float, tier: Tier = Tier.T3, model: str = H100) -> PoolCap:
    """Return a cap on one pool."""
    return PoolCap(tier=tier, gpu_model=model, cap_w=cap_w)


def clock(max_mhz: float, tier: Tier = Tier.T3, model: str = H100) -> PoolClock:
    """Return a clock ceiling on one pool."""
    return PoolClock(tier=tier, gpu_model=model, max_mhz=max_mhz)


def admission(share: float, tier: Tier = Tier.T3) -> PoolAdmission:
    """Return a share of the requests that engines of one tier take."""
    return PoolAdmission(tier=tier, share=share)


def lease(
    seq: int,
    *caps: PoolCap,
    begins: datetime = NOON,
    lasts_s: float = 60,
    host: str = HOST,
    kind: Literal["economic", "safety"] = "economic",
    clocks: tuple[PoolClock, ...] = (),
    pauses: tuple[Tier, ...] = (),
    admissions: tuple[PoolAdmission, ...] = (),
    release_s: float = RELEASE_S,
    award_id: str = "award-1",
) -> LeaseCommand:
    """Return a lease issued as it begins; nothing asked for: a release."""
    return LeaseCommand(
        command_id=f"{host}-{seq}",
        host=host,
        seq=seq,
        kind=kind,
        award_id=award_id,
        dispatch_id="dispatch-1",
        issued_at=begins,
        not_before=begins,
        expires_at=begins + timedelta(seconds=lasts_s),
        caps=caps,
        clocks=clocks,
        pauses=pauses,
        admissions=admissions,
        release_s=release_s,
    )


def signed(command: LeaseCommand, key: Ed25519PrivateKey = KEY, key_id: str = KEY_ID) -> SignedCommand:
    """Return *command* as it travels."""
    payload = msgspec.json.encode(command)
    return SignedCommand(host=command.host, key_id=key_id, payload=payload, signature=key.sign(payload))
