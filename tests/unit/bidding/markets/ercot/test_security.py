"""Who said it, and is it what they said: signatures, and TLS, settings and replays against the running market."""

import base64
import re
import ssl
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from doubles import venue
from doubles.counterparts import ercot as market
from doubles.ercot import certificates
from doubles.ercot.offers import hour, offer, schema
from lxml import etree

from bidding.markets.ercot import connect, request, security
from bidding.markets.ercot.encode import encode
from bidding.markets.ercot.keys import Signer, Trust, load_authorities, load_signer
from bidding.markets.ercot.names import DS, MESSAGE, SOAP
from bidding.markets.ercot.security import sign, verify
from pipeline.clock import Clock
from pipeline.errors import ConfigError, RejectedError, UnknownOutcomeError, VenueError

NOW = datetime(2026, 7, 24, 5, tzinfo=UTC)
WORD = venue.at(NOW.isoformat())
ASK = request.get_bids(["QFIRM.20260725.REB.AIFAC_CLR1.17"])
SENDER = request.Sender(certificates.QSE, certificates.USER)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("keys")
    certificates.make(folder)
    return folder


@pytest.fixture
def signer(keys: Path) -> Signer:
    return load_signer(keys / "qse.pem", keys / "qse.key")


@pytest.fixture
def trust(keys: Path) -> Trust:
    return Trust(load_authorities(keys / "ca.pem"))


def asked(signer: Signer, nonce: str = "00" * 16, sender: request.Sender = SENDER, at: datetime = NOW) -> bytes:
    return sign(request.message(ASK, sender, nonce, at), signer, at)


async def test_every_request_is_valid_by_the_published_schema(signer: Signer, trust: Trust, shared_data: Path) -> None:
    document = encode([offer("ecrs", hour(17))])
    mrids = ["QFIRM.20260725.REB.AIFAC_CLR1.17"]
    requests = [
        request.create(document),
        request.cancel(mrids),
        request.get_bids(mrids),
        request.get_awards(NOW.date()),
        request.get_cancelled(NOW.date(), "ASOffer"),
        request.get_notifications(NOW, NOW + timedelta(hours=24), mrids),
    ]

    for one in requests:
        body = verify(sign(request.message(one, SENDER, "00" * 16, NOW), signer, NOW), trust, NOW)
        messages = schema(shared_data, "Message")
        assert messages.validate(body), messages.error_log
    query = body.find(f"{{{MESSAGE}}}Payload")
    assert query is not None
    queries = schema(shared_data, "ErcotGetNotifications")
    assert queries.validate(etree.fromstring(etree.tostring(query[0]))), queries.error_log


def test_a_signed_message_is_read_and_its_certificate_travels_in_front(signer: Signer, trust: Trust) -> None:
    message = asked(signer)

    assert verify(message, trust, NOW).findtext(f".//{{{MESSAGE}}}Source") == "QFIRM"
    assert message.index(b"BinarySecurityToken") < message.index(b"Body")


Change = Callable[[bytes], bytes]


def _wrapped(message: bytes) -> bytes:
    """Put another body where one is read, and the signed one where nobody looks."""
    root = etree.fromstring(message)
    header, body = root
    twin = etree.fromstring(etree.tostring(body).replace(b"CLR1", b"CLR2"))
    root.remove(body)
    header.append(body)
    twin.set(security.ID, "other")
    root.append(twin)
    return etree.tostring(root)


CHANGES: dict[str, tuple[Change, str]] = {
    "another resource": (lambda raw: raw.replace(b"CLR1.17", b"CLR2.17"), "digest does not match"),
    "another expiry": (lambda raw: raw.replace(b"05:05:00", b"05:06:00"), "digest does not match"),
    "another seal": (lambda raw: re.sub(b"SignatureValue>..", b"SignatureValue>AA", raw, count=1), "signature is not"),
    "no signature": (lambda raw: re.sub(b"<ds:Signature>.*</ds:Signature>", b"", raw), "has one Signature, not 0"),
    "a second body": (lambda raw: raw.replace(b"</soap:Body>", b"</soap:Body><soap:Body/>"), "one Body, not 2"),
    "the same id twice": (lambda raw: raw.replace(b"<msg:Header>", b'<msg:Header Id="body">'), "the same id"),
    "a body that is not the signed one": (_wrapped, "does not cover its body"),
    "the body left out of the signature": (
        lambda raw: re.sub(b'<ds:Reference URI="#body">.*?</ds:Reference>', b"", raw),
        "signature is not",
    ),
    "another canonical form": (lambda raw: raw.replace(b"xml-exc-c14n#", b"xml-exc-c14n#WithComments"), "exclusive"),
    "an algorithm of no worth": (lambda raw: raw.replace(b"rsa-sha256", b"hmac-sha256"), "not accepted here"),
    "no certificate": (lambda raw: raw.replace(b'URI="#token"', b'URI="#nothing"'), "does not name a certificate"),
}


@pytest.mark.parametrize("name", sorted(CHANGES))
def test_an_altered_message_is_not_believed(name: str, signer: Signer, trust: Trust) -> None:
    change, reason = CHANGES[name]
    message = asked(signer)

    altered = change(message)

    assert altered != message
    with pytest.raises(VenueError, match=reason):
        verify(altered, trust, NOW)


def test_comments_in_a_signed_body_are_not_read(signer: Signer, trust: Trust) -> None:
    """They are not signed, so they could be anybody's; the rest is what was signed."""
    message = asked(signer).replace(b"<msg:Header>", b"<msg:Header><!-- 1 -->")

    assert b"<!--" not in etree.tostring(verify(message, trust, NOW))


def test_somebody_elses_signature_is_not_believed(keys: Path, trust: Trust) -> None:
    stranger = load_signer(keys / "stranger.pem", keys / "stranger.key")

    with pytest.raises(VenueError, match="none of the configured authorities"):
        verify(asked(stranger), trust, NOW)


def test_another_participant_of_the_same_authority_is_not_ercot(keys: Path, signer: Signer) -> None:
    trust = Trust(load_authorities(keys / "ca.pem"), signer=certificates.ERCOT_NAME)

    with pytest.raises(VenueError, match="not by Mock ERCOT"):
        verify(asked(signer), trust, NOW)


def test_a_certificate_that_is_not_in_force_is_not_believed(signer: Signer, trust: Trust) -> None:
    with pytest.raises(VenueError, match="not in force"):
        verify(asked(signer), trust, datetime(2100, 1, 1, tzinfo=UTC))


def test_sha1_is_believed_only_where_settings_say_so(keys: Path, signer: Signer) -> None:
    message = _resealed(asked(signer), signer)
    authorities = load_authorities(keys / "ca.pem")

    with pytest.raises(VenueError, match="not accepted here"):
        verify(message, Trust(authorities), NOW)
    assert verify(message, Trust(authorities, sha1=True), NOW) is not None


def _resealed(message: bytes, signer: Signer) -> bytes:
    """Sign *message* again with SHA-1, as ERCOT's documents say that it does."""
    old = message.replace(b"2001/04/xmldsig-more#rsa-sha256", b"2000/09/xmldsig#rsa-sha1")
    root = etree.fromstring(old)
    (info,) = root.iter(f"{{{DS}}}SignedInfo")
    octets = etree.tostring(info, method="c14n", exclusive=True, with_comments=False)
    seal = signer.key.sign(octets, padding.PKCS1v15(), hashes.SHA1())
    (value,) = root.iter(f"{{{DS}}}SignatureValue")
    value.text = base64.b64encode(seal).decode()
    return etree.tostring(root)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    return tmp_path_factory.mktemp("ercot")


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with market.start(folder, WORD) as running:
        yield running


def post(url: str, home: Path, message: bytes, certificate: str = "qse") -> tuple[int, str]:
    """Send *message* as anybody might; return the status and what the market said."""
    context = ssl.create_default_context(cafile=str(home / "ca.pem"))
    if certificate:
        context.load_cert_chain(home / f"{certificate}.pem", home / f"{certificate}.key")
    with httpx.Client(verify=context, trust_env=False) as http:
        answer = http.post(url, content=message)
    root = etree.fromstring(answer.content)
    return answer.status_code, " ".join(found.text or "" for found in root.iter("{*}Error", "faultstring"))


def test_the_market_hangs_up_on_a_caller_without_its_certificate(url: str, folder: Path) -> None:
    home = market.home_of(url, folder)
    for certificate in ("", "stranger"):
        with pytest.raises(httpx.TransportError):
            post(url, home, b"<a/>", certificate)


def test_the_market_takes_a_message_once(url: str, folder: Path) -> None:
    home = market.home_of(url, folder)
    message = asked(load_signer(home / "qse.pem", home / "qse.key"), nonce="11" * 16)

    assert post(url, home, message)[0] == 200
    status, told = post(url, home, message)

    assert (status, "used before" in told) == (500, True)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (lambda signer: asked(signer, "22" * 16).replace(b"CLR1.17", b"CLR2.17"), "signature"),
        (lambda signer: asked(signer, "33" * 16, at=NOW - timedelta(minutes=6)), "Created"),
        (lambda signer: asked(signer, "44" * 16, request.Sender("QOTHER", "DESK1")), "Source"),
        (lambda signer: b"<!DOCTYPE a>" + asked(signer, "55" * 16), "document type"),
    ],
)
def test_the_market_refuses_what_is_altered_old_or_somebody_elses(
    url: str, folder: Path, made: Callable[[Signer], bytes], reason: str
) -> None:
    home = market.home_of(url, folder)

    status, told = post(url, home, made(load_signer(home / "qse.pem", home / "qse.key")))

    assert (status, reason in told) == (500, True)


async def test_the_markets_refusal_of_a_signature_is_a_definite_no(url: str, folder: Path) -> None:
    """Sent by our own client: a wrong Source is refused with a signed fault."""
    path = folder / "other.toml"
    path.write_text(market.section(url, folder, qse="QOTHER"), encoding="utf-8")
    ercot = await connect(path, Clock.parse(WORD))
    (document,) = ercot.documents([offer("reg-down", hour(1))])
    try:
        with pytest.raises(RejectedError, match="Source is not"):
            await ercot.submit(ercot.encode(document), document, epoch=1)
    finally:
        await ercot.close()


async def test_an_answer_signed_by_another_participant_is_an_unknown_outcome(url: str, folder: Path) -> None:
    path = folder / "signer.toml"
    path.write_text(market.section(url, folder, reply_signer="Real ERCOT"), encoding="utf-8")
    ercot = await connect(path, Clock.parse(WORD))
    (document,) = ercot.documents([offer("reg-down", hour(2))])
    try:
        with pytest.raises(UnknownOutcomeError, match="not by Real ERCOT"):
            await ercot.submit(ercot.encode(document), document, epoch=1)
    finally:
        await ercot.close()


async def test_a_market_with_another_authoritys_certificate_is_not_spoken_to(url: str, folder: Path) -> None:
    path = folder / "ca.toml"
    other = str(market.home_of(url, folder) / "other-ca.pem")
    path.write_text(market.section(url, folder, ca_file=other), encoding="utf-8")
    ercot = await connect(path, Clock.parse(WORD))
    (document,) = ercot.documents([offer("reg-down", hour(3))])
    try:
        with pytest.raises(VenueError, match="nothing was sent"):
            await ercot.submit(ercot.encode(document), document, epoch=1)
    finally:
        await ercot.close()


async def test_nonces_do_not_come_again_after_a_restart(url: str, folder: Path) -> None:
    """The market refuses one that does; two clients that stand at the same instant ask it the same."""
    path = folder / "nonces.toml"
    path.write_text(market.section(url, folder), encoding="utf-8")
    for _ in range(3):
        ercot = await connect(path, Clock.parse(WORD))
        assert await ercot.status([offer("ecrs", hour(9))]) == {}
        await ercot.close()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"url": ""}, "url is missing"),
        ({"url": "http://127.0.0.1"}, "does not start with https"),
        ({"qse": ""}, "qse is missing"),
        ({"user": ""}, "user is missing"),
        ({"key_file": "/nowhere"}, "cannot read"),
        ({"certificate_file": "{keys}/ercot.pem"}, "is not the RSA key of"),
        ({"certificate_file": "{keys}/qse.key"}, "have to be an X.509 certificate"),
        ({"ca_file": "{keys}/qse.key"}, "holds no X.509 certificates"),
        ({"tries": 0}, "tries"),
        ({"certificat_file": "x"}, "did you mean 'certificate_file'"),
    ],
)
async def test_settings_that_cannot_work_say_so_in_one_line(
    keys: Path, tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    (tmp_path / "home-1").write_text(str(keys), encoding="utf-8")
    told = {key: str(given).format(keys=keys) if isinstance(given, str) else given for key, given in change.items()}
    path = tmp_path / "firmwatt.toml"
    path.write_text(market.section("https://127.0.0.1:1/ews", tmp_path, **told), encoding="utf-8")

    with pytest.raises(ConfigError, match=re.escape(reason)) as refusal:
        await connect(path, Clock.parse(WORD))
    assert "\n" not in str(refusal.value)


async def test_a_key_that_others_may_read_is_refused(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "home-1").write_text(str(keys), encoding="utf-8")
    open_key = tmp_path / "open.key"
    open_key.write_bytes((keys / "qse.key").read_bytes())
    open_key.chmod(0o640)
    path = tmp_path / "firmwatt.toml"
    path.write_text(market.section("https://127.0.0.1:1/ews", tmp_path, key_file=str(open_key)), encoding="utf-8")

    with pytest.raises(ConfigError, match=f"chmod 600 {open_key}"):
        await connect(path, Clock.parse(WORD))


def test_an_unsigned_fault_decides_nothing() -> None:
    fault = f"""<s:Envelope xmlns:s="{SOAP}"><s:Header/><s:Body><s:Fault><faultcode>s:Client</faultcode>
        <faultstring>no</faultstring></s:Fault></s:Body></s:Envelope>"""

    with pytest.raises(VenueError, match="one Security, not 0"):
        verify(fault.encode(), Trust(()), NOW)
