"""Builders of signed commands, for tests of whoever obeys them."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from collectors.lease import Keyring
from pipeline.messages.control import LeaseCommand, PoolCap, SignedCommand
from pipeline.messages.telemetry import Tier

NOON = datetime(2026, 7, 23, 12, 0, tzinfo=UTC)
HOST, KEY_ID, H100 = "host-1", "dispatch", "NVIDIA H100 80GB HBM3"

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
STRANGER = Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
PUBLIC = KEY.public_key().public_bytes_raw()
KEYRING = Keyring({KEY_ID: PUBLIC})


def cap(cap_w: float, tier: Tier = Tier.T3, model: str = H100) -> PoolCap:
    """Return a cap on one pool."""
    return PoolCap(tier=tier, gpu_model=model, cap_w=cap_w)


def lease(
    seq: int,
    *caps: PoolCap,
    begins: datetime = NOON,
    lasts_s: float = 60,
    host: str = HOST,
    kind: Literal["economic", "safety"] = "economic",
) -> LeaseCommand:
    """Return a lease issued as it begins; no caps: a release."""
    return LeaseCommand(
        command_id=f"{host}-{seq}",
        host=host,
        seq=seq,
        kind=kind,
        award_id="award-1",
        dispatch_id="dispatch-1",
        issued_at=begins,
        not_before=begins,
        expires_at=begins + timedelta(seconds=lasts_s),
        caps=caps,
    )


def signed(command: LeaseCommand, key: Ed25519PrivateKey = KEY, key_id: str = KEY_ID) -> SignedCommand:
    """Return *command* as it travels."""
    payload = msgspec.json.encode(command)
    return SignedCommand(host=command.host, key_id=key_id, payload=payload, signature=key.sign(payload))
