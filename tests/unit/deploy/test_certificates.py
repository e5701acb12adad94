"""An authority of one's own: what its certificates say, and who believes them."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from deploy.broker.certificates import Pair, authority, issued

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def believes(ca: Pair, server: Pair, host: str, at: datetime = NOW) -> bool:
    """Tell whether a client that trusts *ca* takes *server* for *host* (RFC 5280 and RFC 9525, by `cryptography`)."""
    verifier = PolicyBuilder().store(Store([ca.certificate])).time(at).build_server_verifier(x509.DNSName(host))
    try:
        verifier.verify(server.certificate, [])
    except VerificationError:
        return False
    return True


def test_a_server_is_believed_for_its_names_by_those_who_trust_its_authority() -> None:
    ca = authority("ours", NOW)
    server = issued(ca, "broker", NOW, hosts=["localhost", "127.0.0.1"])

    assert believes(ca, server, "localhost")
    assert not believes(ca, server, "example.org")
    assert not believes(authority("ours", NOW), server, "localhost")


def test_a_certificate_is_good_for_397_days() -> None:
    """From noon on 2026-11-28 to noon on 2027-12-30, and five minutes before, for clocks that are behind."""
    ca = authority("ours", NOW)
    server = issued(ca, "broker", NOW, hosts=["localhost"])
    end = datetime(2027, 12, 30, 12, tzinfo=UTC)

    assert believes(ca, server, "localhost", NOW - timedelta(minutes=5))
    assert believes(ca, server, "localhost", end)
    assert not believes(ca, server, "localhost", NOW - timedelta(minutes=6))
    assert not believes(ca, server, "localhost", end + timedelta(seconds=1))


def test_a_client_without_hosts_cannot_pose_as_a_server() -> None:
    client = issued(authority("ours", NOW), "collector", NOW)

    uses = client.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value

    assert list(uses) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    with pytest.raises(x509.ExtensionNotFound):
        client.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)


def test_what_is_issued_issues_nothing() -> None:
    """Who steals the broker's key makes no certificates with it."""
    stolen = issued(authority("ours", NOW), "broker", NOW, hosts=["localhost"])

    constraints = stolen.certificate.extensions.get_extension_for_class(x509.BasicConstraints)

    assert constraints.critical
    assert not constraints.value.ca


def test_a_pair_is_read_back_from_its_files() -> None:
    made = authority("ours", NOW)

    again = Pair.from_pem(made.key_pem, made.certificate_pem)

    assert again.certificate == made.certificate
    assert believes(made, issued(again, "broker", NOW, hosts=["localhost"]), "localhost")
    with pytest.raises(ValueError, match="Unable to load PEM"):
        Pair.from_pem(b"", made.certificate_pem)
