"""An authority, a server's certificate and a participant's, in a folder, for one test."""

from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

BEGIN, END = datetime(2020, 1, 1, tzinfo=UTC), datetime(2049, 1, 1, tzinfo=UTC)
CA, SERVER, CLIENT = "ca", "server", "client"


def make(folder: Path, participant: str) -> None:
    """Write ca.pem, server.pem, server.key, client.pem and client.key; the keys are their owner's alone."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca = _sign("firmwatt test authority", ca_key.public_key(), ca_key, "firmwatt test authority", authority=True)
    _write(folder / f"{CA}.pem", ca.public_bytes(Encoding.PEM))
    for name, common_name in ((SERVER, "127.0.0.1"), (CLIENT, participant)):
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _sign(common_name, key.public_key(), ca_key, "firmwatt test authority", authority=False)
        _write(folder / f"{name}.pem", certificate.public_bytes(Encoding.PEM))
        _write(folder / f"{name}.key", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def _sign(
    subject: str, key: ec.EllipticCurvePublicKey, by: ec.EllipticCurvePrivateKey, issuer: str, *, authority: bool
) -> x509.Certificate:
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject))
        .issuer_name(_name(issuer))
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(BEGIN)
        .not_valid_after(END)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(by.public_key()), critical=False)
    )
    if authority:
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        return builder.add_extension(usage, critical=True).sign(by, hashes.SHA256())
    purposes = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    host = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    return builder.add_extension(purposes, critical=False).add_extension(host, critical=False).sign(by, hashes.SHA256())


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
