"""Signed commands: a key nobody else can read, and a signature over exactly the bytes that travel."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from doubles.builders import NOON

from bidding.signing import Signer, generate
from pipeline.errors import ConfigError
from pipeline.messages.control import LeaseCommand

COMMAND = LeaseCommand(
    command_id="h1-7",
    host="h1",
    seq=7,
    kind="economic",
    award_id="a",
    dispatch_id="d",
    issued_at=NOON,
    not_before=NOON,
    expires_at=NOON + timedelta(minutes=1),
    caps=(),
)


def test_the_signature_holds_for_these_bytes_and_no_others(tmp_path: Path) -> None:
    public = Ed25519PublicKey.from_public_bytes(generate(tmp_path / "key"))

    signed = Signer.load(tmp_path / "key", "k1").sign(COMMAND)

    public.verify(signed.signature, signed.payload)
    assert msgspec.json.decode(signed.payload, type=LeaseCommand) == COMMAND
    assert (signed.host, signed.key_id) == ("h1", "k1")
    with pytest.raises(InvalidSignature):
        public.verify(signed.signature, signed.payload + b" ")


def test_the_key_is_its_owners_alone_and_never_overwritten(tmp_path: Path) -> None:
    public = generate(tmp_path / "key")

    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert Signer.load(tmp_path / "key", "k").public_key == public
    with pytest.raises(ConfigError, match="never overwritten"):
        generate(tmp_path / "key")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    generate(tmp_path / "key")
    (tmp_path / "key").chmod(0o640)

    with pytest.raises(ConfigError, match="must be 0600"):
        Signer.load(tmp_path / "key", "k")


def test_a_missing_key_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="firmwatt bid keygen"):
        Signer.load(tmp_path / "key", "k")


def test_what_is_no_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").touch(mode=0o600)
    (tmp_path / "key").write_text("not a key", encoding="utf-8")

    with pytest.raises(ConfigError, match="no PEM private key"):
        Signer.load(tmp_path / "key", "k")
