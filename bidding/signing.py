"""Ed25519 over a command's bytes (RFC 8032). The private key lives in a file that only its owner can read."""

import os
import stat
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from pipeline.errors import ConfigError, EnvironmentProblem
from pipeline.messages.control import LeaseCommand, SignedCommand

OWNER_ONLY = 0o600


class Signer:
    """Turn lease commands into signed ones; hosts know the public key by `key_id`."""

    def __init__(self, key: Ed25519PrivateKey, key_id: str) -> None:
        self._key = key
        self._key_id = key_id
        self._encoder = msgspec.json.Encoder()

    @classmethod
    def load(cls, path: Path, key_id: str) -> "Signer":
        """Return the signer with the key at *path*; raises as `load_key` does."""
        return cls(load_key(path), key_id)

    @property
    def public_key(self) -> bytes:
        """The 32 raw bytes that hosts verify with."""
        return public_bytes(self._key)

    def sign(self, command: LeaseCommand) -> SignedCommand:
        """Return *command* as bytes with the signature over exactly these bytes."""
        payload = self._encoder.encode(command)
        return SignedCommand(host=command.host, key_id=self._key_id, payload=payload, signature=self._key.sign(payload))


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read the key at *path*; raise `ConfigError` when it is missing, no Ed25519 key or readable by others."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        hint = f"`firmwatt bid keygen --out {path}` makes one"
        raise ConfigError(f"cannot read the signing key {path}: {error.strerror}; {hint}") from error
    if mode & ~OWNER_ONLY:
        raise ConfigError(f"signing key {path} has mode {mode:04o}, must be 0600; run chmod 600 {path}")
    try:
        key = load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"signing key {path} is no PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"signing key {path} is no Ed25519 key")
    return key


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    """Return the public half of *key*, 32 raw bytes."""
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def generate(path: Path) -> bytes:
    """Write a new private key to *path*, readable by its owner only, and return the public key, 32 raw bytes."""
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
    except FileExistsError as error:
        raise ConfigError(f"{path} is there already; a key is never overwritten") from error
    except OSError as error:
        raise EnvironmentProblem(f"cannot write {path}: {error.strerror}") from error
    return public_bytes(key)
