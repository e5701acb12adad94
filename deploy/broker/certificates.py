"""
An authority of one's own and the certificates it issues: P-256 keys, PEM, for one machine. Pure but for randomness.

Profiles follow RFC 5280, section 4.2; that a host is named in subjectAltName and nowhere else is RFC 9525.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

#: A certificate counts from a little before it is made, for clocks that are behind.
EARLIER = timedelta(minutes=5)
AUTHORITY_FOR = timedelta(days=3650)
#: The longest that browsers and operating systems accept of others is 398 days (CA/Browser Forum, Baseline
#: Requirements 6.3.2); a start of the broker renews what is issued.
ISSUED_FOR = timedelta(days=397)


@dataclass(frozen=True)
class Pair:
    """A private key and the certificate that names its owner."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key as PKCS 8, not encrypted: whoever holds it has to guard it."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @classmethod
    def from_pem(cls, key: bytes, certificate: bytes) -> "Pair":
        """Read both back; raise `ValueError` if they are none, or of another kind than is made here."""
        private = serialization.load_pem_private_key(key, password=None)
        if not isinstance(private, ec.EllipticCurvePrivateKey):
            raise ValueError("no elliptic-curve key")  # noqa: TRY004 - the content is wrong, not the type given
        return cls(private, x509.load_pem_x509_certificate(certificate))


def authority(name: str, now: datetime) -> Pair:
    """Return an authority called *name*, good for ten years from *now* on."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(name, name, key, now, now + AUTHORITY_FOR)
    usage = _usage(signs_certificates=True)
    certificate = (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .sign(key, hashes.SHA256())
    )
    return Pair(key, certificate)


def issued(
    by: Pair | None, name: str, now: datetime, *, hosts: Sequence[str] = (), until: datetime | None = None
) -> Pair:
    """
    Return a certificate for *name* with a key of its own, good from *now* on, by default for 397 days.

    With *hosts*, names or addresses, it serves at both ends of a connection, without only at the client's. With no
    authority to issue it (*by* is None) it vouches for itself: for those who know it, and trust nothing else.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signer, issuer = (by.key, _name_of(by)) if by else (key, name)
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH, *([ExtendedKeyUsageOID.SERVER_AUTH] if hosts else [])]
    builder = (
        _builder(name, issuer, key, now, until or now + ISSUED_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), critical=False)
    return Pair(key, builder.sign(signer, hashes.SHA256()))


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePrivateKey, now: datetime, until: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(_subject(name))
        .issuer_name(_subject(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(min(now, until) - EARLIER)
        .not_valid_after(until)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _name_of(pair: Pair) -> str:
    return str(pair.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
