"""Keys and certificates for a market of one's own: an authority, ERCOT, the QSE, a stranger with another one."""

from collections.abc import Sequence
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

QSE, USER, DUNS = "QFIRM", "DESK1", "1234567890000"
ERCOT_NAME = "Mock ERCOT"
SINCE, UNTIL = datetime(2000, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
"""Any virtual day lies within."""


def make(folder: Path) -> None:
    """Write `ca.pem`, and for each of `ercot`, `qse`, `stranger` a `.pem` and a `.key` that only its owner may read."""
    folder.mkdir(parents=True, exist_ok=True)
    authority, authority_key = _authority("Mock market CA")
    other, other_key = _authority("Somebody else's CA")
    _write(folder / "ca.pem", authority)
    _write(folder / "other-ca.pem", other)
    for name, common, issuer, issuer_key in (
        ("ercot", ERCOT_NAME, authority, authority_key),
        ("qse", USER, authority, authority_key),
        ("stranger", USER, other, other_key),
    ):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        certificate = _certificate(common, key, issuer, issuer_key)
        _write(folder / f"{name}.pem", certificate)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = folder / f"{name}.key"
        path.touch(mode=0o600)
        path.write_bytes(pem)


def _authority(common: str) -> tuple[x509.Certificate, rsa.RSAPrivateKey]:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])
    built = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
    )
    return built.sign(key, hashes.SHA256()), key


def _certificate(
    common: str, key: rsa.RSAPrivateKey, issuer: x509.Certificate, issuer_key: rsa.RSAPrivateKey
) -> x509.Certificate:
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, common), x509.NameAttribute(NameOID.SERIAL_NUMBER, DUNS)]
    )
    names: Sequence[x509.GeneralName] = (x509.IPAddress(ip_address("127.0.0.1")), x509.DNSName("localhost"))
    return (
        _builder(subject, issuer.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )


def _builder(subject: x509.Name, issuer: x509.Name, key: rsa.RSAPrivateKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(SINCE)
        .not_valid_after(UNTIL)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _write(path: Path, certificate: x509.Certificate) -> None:
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
