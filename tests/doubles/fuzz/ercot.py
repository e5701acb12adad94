"""What is read of ERCOT, for the fuzzer: each decoder as a function of bytes, and what its corpus begins with."""

import base64
import gzip
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from doubles.ercot import answers
from doubles.ercot.book import Award, Entry
from doubles.ercot.offers import DAY, RESOURCE, hour, offer
from lxml import etree

from bidding.markets.ercot import reply as read
from bidding.markets.ercot import request
from bidding.markets.ercot.decode import decode, held, standing, transactions
from bidding.markets.ercot.encode import documents, encode
from bidding.markets.ercot.keys import Signer, Trust
from bidding.markets.ercot.security import sign, unsigned, verify
from bidding.markets.ercot.xml import gunzip, parse
from pipeline.messages.market import Offer

NOW = datetime(2026, 7, 24, 5, tzinfo=UTC)


def _signer() -> Signer:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "fuzz")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(NOW - timedelta(days=1))
        .not_valid_after(NOW + timedelta(days=1))
    )
    return Signer(built.sign(key, hashes.SHA256()), key)


SIGNER = _signer()
TRUST = Trust((SIGNER.certificate,), sha1=True)


def bid_set(data: bytes) -> None:
    """Read our own document."""
    root = parse(data)
    standing(root)
    decode(data)


def anybodys(data: bytes) -> None:
    """Read a BidSet as ERCOT may return it."""
    list(held(parse(data)))
    transactions(parse(data))


def reply(data: bytes) -> None:
    """Read an answer to a submission or a query for bids."""
    root = read.bids(read.read_reply(parse(data)))
    if root is not None:
        standing(root)
        transactions(root)


def awards(data: bytes) -> None:
    read.read_awards(read.read_reply(parse(data)), RESOURCE)


def notices(data: bytes) -> None:
    read.read_notices(read.read_reply(parse(data)), RESOURCE)


def notifications(data: bytes) -> None:
    list(read.read_notifications(read.read_reply(parse(data))))


def soap(data: bytes) -> None:
    """Read a message as the unsigned fault it may be."""
    read.read_fault(unsigned(data))


def signature(data: bytes) -> None:
    read.read_reply(verify(data, TRUST, NOW))


def compressed(data: bytes) -> None:
    parse(gunzip(data.decode("latin-1")))


def _document(*offers: Offer) -> bytes:
    return encode(documents(offers)[0])


def _entry(product: str, status: str) -> Entry:
    document = _document(offer(product, hour(17)))
    bid = etree.fromstring(document)[1]
    kind = "REB.AIFAC_CLR1" if product == "energy-rt" else "ASO.AIFAC_CLR1.REGUP-RRS-ONNS"
    return Entry(
        number=1,
        tag=etree.QName(bid).localname,
        key=kind,
        day=DAY,
        hour=hour(17),
        mrid=f"QFIRM.20260725.{kind}.17",
        external_id=offer(product, hour(17)).offer_id,
        element=bid,
        submitted_at=NOW,
        due=0.0,
        polls=0,
        status=status,
        errors=["wrong"] if status != "ACCEPTED" else [],
    )


def _answer(*payload: etree._Element, errors: tuple[str, ...] = ()) -> bytes:
    return etree.tostring(answers.response("reply", "BidSet", NOW, "id", payload, list(errors)))


def _bids(product: str, status: str, *, whole: bool = False) -> etree._Element:
    return answers.bid_set(DAY, NOW, [_entry(product, status)], whole=whole)


def _awards() -> bytes:
    root = etree.fromstring(b'<AwardSet xmlns="http://www.ercot.com/schema/2007-06/nodal/ews"/>')
    child = etree.SubElement(root, "{http://www.ercot.com/schema/2007-06/nodal/ews}tradingDate")
    child.text = DAY.isoformat()
    price = (offer("ecrs", hour(1)).steps[0].quantity_mw, offer("ecrs", hour(1)).steps[0].price_per_mwh)
    for service, tag in (("ECRSS", "ECRS"), ("Reg-Down", "REGDN"), ("RRSFF", "RRSFF")):
        answers.add_award(root, "QFIRM", Award(RESOURCE, service, tag, hour(17), DAY, [price, price]))
    return _answer(root)


def _told() -> bytes:
    root = etree.fromstring(b'<NotificationMessages xmlns="http://www.ercot.com/schema/2007-06/nodal/ews"/>')
    root.append(answers.response("changed", "BidSet", NOW, "", [_bids("ecrs", "ERRORS")], []))
    root.append(answers.response("changed", "BidSet", NOW, "", [_bids("energy-rt", "ACCEPTED")], []))
    return _answer(root)


def _packed(document: bytes) -> bytes:
    return base64.b64encode(gzip.compress(document, mtime=0))


def _signed() -> bytes:
    message = request.message(request.get_bids(["QFIRM.20260725.REB.R.17"]), request.Sender("Q", "U"), "ab" * 16, NOW)
    return sign(message, SIGNER, NOW)


_ENERGY = _document(offer("energy-rt", hour(17)), offer("energy-rt", hour(18), ("1.0", "5.00"), ("0.5", "5.00")))
_RESERVES = _document(offer("reg-up", hour(1)), offer("ecrs", hour(1)), offer("non-spin", hour(24), ("0.1", "0.00")))
_DOWN = _document(offer("reg-down", hour(2)))
_SUBMITTED = _answer(_bids("ecrs", "SUBMITTED"))
_FAULT = sign(answers.fault("NOT AUTHORIZED", NOW), SIGNER, NOW)
_ANSWERED = sign(answers.response("reply", "BidSet", NOW, "id", [_bids("ecrs", "ERRORS")], []), SIGNER, NOW)

TARGETS: dict[str, Callable[[bytes], None]] = {
    "bid-set": bid_set,
    "anybodys-bid-set": anybodys,
    "reply": reply,
    "awards": awards,
    "notices": notices,
    "notifications": notifications,
    "soap": soap,
    "signature": signature,
    "compressed": compressed,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "bid-set": (_ENERGY, _RESERVES, _DOWN),
    "anybodys-bid-set": (_ENERGY, _RESERVES, etree.tostring(_bids("ecrs", "ACCEPTED", whole=True))),
    "reply": (_SUBMITTED, _answer(_bids("energy-rt", "ACCEPTED", whole=True)), _answer(errors=("BAD BIDSET: closed",))),
    "awards": (_awards(), _answer()),
    "notices": (_answer(_bids("energy-rt", "P2")), _answer(_bids("ecrs", "P2"))),
    "notifications": (_told(), _answer()),
    "soap": (_FAULT, _ANSWERED),
    "signature": (_ANSWERED, _FAULT, _signed()),
    "compressed": (_packed(_ENERGY), _packed(_awards())),
}
