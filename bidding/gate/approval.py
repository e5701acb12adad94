"""
Two people over exactly one document: Ed25519 (RFC 8032) over its content hash. Pure.

A changed document has another hash, so that what was approved cannot be anything else.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from bidding.gate.control import Approval
from bidding.rules.refusal import Refusal
from pipeline.messages.market import Offer

SKEW = timedelta(seconds=5)
"""How far an approver's clock may be ahead of ours."""
SOURCE = "[bidding.approvers], [bidding.limits] approval_valid_s"


def content_hash(offers: Sequence[Offer]) -> str:
    """Return the SHA-256 of a document's *offers*, revision and all, whatever order they are listed in."""
    lines = sorted(offer.model_dump_json() for offer in offers)
    return sha256("\n".join(lines).encode()).hexdigest()


def signed_bytes(document: str, by: str, at: datetime) -> bytes:
    """Return what an approver signs; the instant is within, so that an approval cannot be made to look newer."""
    return f"firmwatt approval v1\n{document}\n{by}\n{at.astimezone(UTC).isoformat()}".encode()


def approve(document: str, by: str, at: datetime, key: Ed25519PrivateKey) -> Approval:
    """Return the signed approval of *by* for the document with this hash."""
    signature = base64.b64encode(key.sign(signed_bytes(document, by, at))).decode()
    return Approval(document=document, by=by, at=at, signature=signature)


@dataclass(frozen=True)
class Agreement:
    """Who agreed, and what did not count."""

    by: tuple[str, ...]
    refused: tuple[Refusal, ...]


def agreement(
    document: str, approvals: Iterable[Approval], keys: Mapping[str, bytes], now: datetime, valid: timedelta
) -> Agreement:
    """Return the people whose approval of *document* counts at *now*, and why each other approval does not."""
    by: list[str] = []
    refused: list[Refusal] = []
    for approval in approvals:
        if text := objection(approval, document, keys, now, valid) or _repeated(approval, by):
            refused.append(Refusal("approval", text, SOURCE))
        else:
            by.append(approval.by)
    return Agreement(tuple(by), tuple(refused))


def objection(approval: Approval, document: str, keys: Mapping[str, bytes], now: datetime, valid: timedelta) -> str:
    """Return why *approval* does not count for *document* at *now*, in one line; empty where it does."""
    who = f"approval of {approval.by[:40]!r}"
    if approval.by not in keys:
        return f"{who}: no such name in [bidding.approvers]; it has {', '.join(sorted(keys)) or 'none'}"
    if approval.document != document:
        return f"{who} is for document {approval.document[:12]}, this is {document[:12]}; approve what is to leave"
    if not _signed(approval, keys[approval.by]):
        return f"{who}: the signature is not theirs over this document; sign again with their own key"
    if now - approval.at > valid:
        return f"{who} is {now - approval.at} old, it counts for {valid}; approve again"
    if approval.at - now > SKEW:
        return f"{who} is from {approval.at.isoformat()}, {approval.at - now} ahead of our clock; set theirs"
    return ""


def _repeated(approval: Approval, by: Sequence[str]) -> str:
    if approval.by in by:
        return f"approval of {approval.by!r} is there already; another person has to agree"
    return ""


def _signed(approval: Approval, key: bytes) -> bool:
    try:
        signature = base64.b64decode(approval.signature, validate=True)
        signed = signed_bytes(approval.document, approval.by, approval.at)
        Ed25519PublicKey.from_public_bytes(key).verify(signature, signed)
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True
