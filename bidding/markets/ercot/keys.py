"""Who we are to ERCOT and whom we believe: certificates and keys, from PEM files."""

import stat
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Signer:
    """Who we are to ERCOT: a certificate, and the key that belongs to it."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey


@dataclass(frozen=True)
class Trust:
    """Whose signatures are believed."""

    authorities: tuple[x509.Certificate, ...]
    signer: str = ""
    """Common name that the signer's certificate has to bear; empty: any that an authority issued."""
    sha1: bool = False


def load_signer(certificate: Path, key: Path) -> Signer:
    """Read both from PEM files; raise `ConfigError` for a key that others may read or that is not the certificate's."""
    if _read(key, "key") and stat.S_IMODE(key.stat().st_mode) & 0o077:
        raise ConfigError(f"{key} can be read by others than its owner; run `chmod 600 {key}`")
    try:
        ours = x509.load_pem_x509_certificate(_read(certificate, "certificate"))
        private = serialization.load_pem_private_key(_read(key, "key"), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{certificate} and {key} have to be an X.509 certificate and its plain key, PEM") from error
    if not isinstance(private, rsa.RSAPrivateKey) or private.public_key() != ours.public_key():
        raise ConfigError(f"{key} is not the RSA key of {certificate}")
    return Signer(ours, private)


def load_authorities(path: Path) -> tuple[x509.Certificate, ...]:
    """Read the certificates in the PEM file at *path*; raise `ConfigError` where there are none."""
    try:
        found = tuple(x509.load_pem_x509_certificates(_read(path, "ca")))
    except ValueError as error:
        raise ConfigError(f"{path} holds no X.509 certificates in PEM") from error
    return found


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(f"[venue.ercot] {what}: cannot read {path}: {error.strerror}") from error
